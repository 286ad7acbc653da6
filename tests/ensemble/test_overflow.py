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
    net = MLP(3, 8, "z**3", C_W=GROWING[precision])
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
    memory = r"^The simulation would need about \S+ GiB of memory \(this machine has .* GiB\); choose fewer [^,]*,"
    time = r"^The simulation would take about .* years of computing \(at most 10 years are accepted\); choose fewer"
    net = MLP(3, 8, "tanh")
    with pytest.raises(PdltError, match=memory):
        simulate(net, np.ones((100_000, 1)), ["K"], samples=100, sampler=sampler)
    with pytest.raises(PdltError, match=time):
        simulate(net, X, ["K"], samples=10**15, sampler=sampler)
    with pytest.raises(PdltError, match=time):
        simulate(net, X, ["K"], samples=10**15, sampler=sampler, executor=2)
    if sampler in ("structured", "network"):  # the others hold no matrices
        with pytest.raises(PdltError, match=memory):
            simulate(MLP(3, 10**6, "tanh"), X, ["K"], samples=100, sampler=sampler)


def test_long_but_possible_runs_are_not_refused():
    found = simulate(MLP(3, 8, "tanh"), X, ["K"], samples=10**15, until_time=0.01)
    assert found.attrs["stopped"] == "time"
    # A million neurons without weights.
    assert simulate(MLP(2, 10**6, "z"), [[1.0]], ["K"], samples=100).K.sel(layer=2).item() == pytest.approx(1, abs=1e-3)


def test_advice_names_the_inputs_too():
    with pytest.raises(PdltError, match="smaller inputs, C_b"):
        simulate(MLP(2, 3, "z**2"), [[1e90]], ["V"], samples=100)


@pytest.mark.parametrize(
    "x, observable, precision, smallest",
    [(1e-200, "K", "float64", "2e-308"), (1e-100, "V", "float64", "2e-308"), (1e-30, "K", "float32", "1e-38")],
)
def test_inputs_that_vanish_in_rounding_are_remarked_upon(x, observable, precision, smallest):
    inputs = [[0.0], [1.0], [x]]  # the origin is 0 indeed
    message = f"input 2 is not 0, but .* below .* {precision}, {smallest}, at layer 1"
    with pytest.warns(UserWarning, match=message) as caught:
        simulate(MLP(2, 3, "z"), inputs, [observable], samples=100, precision=precision)
    assert ('precision="float64"' in str(caught[0].message)) is (precision == "float32")
    simulate(MLP(2, 3, "z"), inputs[:2], [observable], samples=100, precision=precision)


def test_kernels_that_vanish_in_deep_layers_are_remarked_upon():
    with pytest.warns(UserWarning, match="input 0 is not 0, but K is .* at layer 110"):
        simulate(MLP(120, 64, "z", C_W=1e-3), [[1.0]], ["K"], samples=100, layers=[90, 110, 120])
    simulate(MLP(3, 8, "z", C_W=[1.0, 0.0, 1.0]), [[1.0]], ["K"], samples=100)  # 0 because the weights are


def test_samples_beyond_all_bounds_get_a_hint():
    for samples, hint in ((10**18, "give until_stderr or until_time"), (1e3, "Write 1000"), (2.5, "got 2.5.$")):
        with pytest.raises(PdltError, match=hint):
            simulate(MLP(3, 8, "tanh"), X, ["K"], samples=samples)
