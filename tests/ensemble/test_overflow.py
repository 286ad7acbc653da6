"""What overflows or cannot be: said with the layer or with an estimate, never NaN in a table, nothing allocated."""

import numpy as np
import pytest

from pdlt.ensemble import simulate, tasks
from pdlt.ensemble.blocks import SAMPLERS
from pdlt.errors import PdltError
from pdlt.networks import MLP

X = np.array([[0.5, -1.0], [1.0, 0.3]])
#: Layer by layer z is multiplied by 10^5 (10^50) and cubed.
GROWING = {"float32": 1e10, "float64": 1e100}


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("precision", GROWING)
def test_an_ensemble_that_overflows_is_reported_with_the_layer(sampler, precision):
    net = MLP(3, 3, "z**3", C_W=GROWING[precision])
    with pytest.raises(PdltError, match=f"the ensemble overflows {precision} at layer [23]; choose") as caught:
        simulate(net, X, ["K", "B"], samples=100, layers=[3], sampler=sampler, precision=precision)
    assert ('precision="float64"' in str(caught.value)) is (precision == "float32")


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_numbers_beyond_single_precision_are_reported_too(sampler):
    with pytest.raises(PdltError, match="overflows float32 at layer 2"):
        simulate(MLP(2, 3, "z", C_W=1e200), X, ["K"], samples=100, sampler=sampler, precision="float32")


def test_what_overflows_in_single_precision_need_not_in_double():
    net = MLP(2, 3, "z**3", C_W=3e5)
    with pytest.raises(PdltError, match='overflows float32 at layer 2; choose precision="float64", or smaller'):
        simulate(net, X, ["V"], samples=100, precision="float32")
    found = simulate(net, X, ["V"], samples=100)
    assert np.isfinite(found.V).all() and float(found.V.max()) > 1e38


def test_a_product_that_overflows_where_its_factors_do_not():
    """K at layer 2 is 10^30, its third moment 10^90."""
    net = MLP(2, 3, "z", C_W=1e15)
    assert np.isfinite(simulate(net, X, ["K"], samples=150, precision="float32").K).all()
    with pytest.raises(PdltError, match="overflows float32 at layer 2"):
        simulate(net, X, ["1 2 | 3 4 | 5 6"], samples=150, precision="float32")


def test_deep_and_supercritical():
    """Linear, C_W = 4: G grows by 4 a layer, and its square beyond 2^128 (2^1024) at layer 32 (256)."""
    for precision, depth, end in (("float32", 50, 32), ("float64", 300, 256)):
        with pytest.raises(PdltError, match=f"overflows {precision} at layer") as caught:
            simulate(MLP(depth, 64, "z", C_W=4.0), [[1.0]], ["V"], samples=100, precision=precision)
        layer = int(str(caught.value).split("at layer ")[1].split(";")[0])
        assert 0.9 * end < layer < 1.1 * end


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_absurd_sizes_are_refused_with_an_estimate(sampler, monkeypatch):
    monkeypatch.setattr(tasks, "block_function", None)  # nothing is built
    estimate = r"need about .* GiB of memory \(this machine has .* GiB\) and .* of computing"
    net = MLP(3, 8, "tanh")
    with pytest.raises(PdltError, match=estimate):
        simulate(net, np.ones((100_000, 1)), ["K"], samples=100, sampler=sampler)
    with pytest.raises(PdltError, match=estimate + r" \(at most 10 years"):
        simulate(net, X, ["K"], samples=10**15, sampler=sampler)
    with pytest.raises(PdltError, match=estimate):
        simulate(net, X, ["K"], samples=10**15, sampler=sampler, executor=2)
    if sampler in ("structured", "network"):  # the others hold no matrices
        with pytest.raises(PdltError, match=estimate):
            simulate(MLP(3, 10**6, "tanh"), X, ["K"], samples=100, sampler=sampler)


def test_long_but_possible_runs_are_not_refused():
    found = simulate(MLP(3, 8, "tanh"), X, ["K"], samples=10**15, until_time=0.01)
    assert found.attrs["stopped"] == "time"
    # A million neurons without weights.
    assert simulate(MLP(2, 10**6, "z"), [[1.0]], ["K"], samples=100).K.sel(layer=2).item() == pytest.approx(1, abs=1e-3)
