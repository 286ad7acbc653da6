"""What a run promises: the same bits however it is cut, a store that resumes, provenance, clear refusals."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

from pdlt.ensemble import simulate
from pdlt.ensemble.forecast import forecast
from pdlt.ensemble.statistics import Accumulator
from pdlt.errors import PdltError
from pdlt.networks import MLP

NET = MLP(3, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
X = np.array([[0.5, -1.0], [1.0, 0.3]])


@pytest.mark.parametrize("sampler", ["jets", "network"])
def test_batch_size_does_not_change_a_bit(sampler):
    one, all_ = (
        simulate(NET, X, ["V", "B"], samples=350, sampler=sampler, batch=batch, layers=[3]) for batch in (1, 10_000)
    )
    assert one.identical(all_)


def test_seeds_matter():
    first, second = (simulate(NET, X, ["V"], samples=100, seed=seed) for seed in (0, 1))
    assert float(abs(first.V - second.V).max()) > 0


def test_shape_and_provenance_of_the_result():
    run = simulate(NET, X, ["K", "B", "ab1 ab2 | 3 4"], samples=120, seed=7)
    assert run.sizes == {"layer": 3, "alpha_1": 2, "alpha_2": 2, "alpha_3": 2, "alpha_4": 2}
    assert list(run.layer.values) == [1, 2, 3]
    assert set(run) == {name + end for name in ("K", "B", "ab1 ab2 | 3 4") for end in ("", "_stderr")}
    assert run.B.dims == ("layer", "alpha_1", "alpha_2", "alpha_3", "alpha_4")
    np.testing.assert_allclose(run.K.sel(layer=1), 0.1 + 1.5 * X @ X.T / 2)
    assert not run.B.sel(layer=1).any() and not run.K_stderr.sel(layer=1).any()
    assert run.attrs["samples"] == 150 and run.attrs["seed"] == 7 and run.attrs["kinks"] == "none"
    assert json.loads(run.attrs["network"]) == NET.describe()
    assert simulate(MLP(2, 4, "relu"), X, ["K"], samples=100).attrs["kinks"] == "pointwise"
    assert jnp.ones(1).dtype == jnp.float32  # double precision stays inside


def test_chosen_layers_and_the_trivial_network():
    assert list(simulate(NET, X, ["V"], samples=100, layers=[3, 1]).layer.values) == [1, 3]
    run = simulate(MLP(1, 5, "tanh", C_W=2.0, lambda_b=0.5), X, samples=100)
    np.testing.assert_allclose(run.Theta.values[0], 0.5 + X @ X.T / 2)
    assert not run.V.any()


def test_everything_zero_is_fine():
    run = simulate(MLP(3, 4, "tanh"), np.zeros((1, 2)), samples=100)
    assert all(np.all(run[name] == 0) for name in run if name != "Theta")


def test_progress_goes_to_stderr_when_asked(capsys):
    simulate(NET, X, ["K"], samples=100, progress=True)
    assert "samples" in capsys.readouterr().err
    simulate(NET, X, ["K"], samples=100, progress=False)
    simulate(NET, X, ["K"], samples=100)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "change, message",
    [
        ({"observables": ["theta"]}, "'theta' is not known. Did you mean 'Theta'"),
        ({"observables": ["K_1"]}, "'K_1' is not known. Did you mean 'K'"),
        ({"observables": []}, "at least one"),
        ({"observables": 5}, "5 is not known"),
        ({"observables": ["a1 a2 | b3"]}, "not two slots"),
        ({"observables": ["aa1 a2"]}, "distinct direction letters"),
        ({"observables": ["a1 a1"]}, "different data label"),
        ({"observables": ["a1 b2"]}, "vanishes identically"),
        ({"observables": ["abcdefg1 abcdefg2"]}, "at most 6 directions"),
        ({"observables": [" | ".join(f"{2 * k} {2 * k + 1}" for k in range(7))]}, "at most 6 components"),
        ({"observables": ["1 2 | 3 4 | 5 6"]}, "`samples` must be an integer from 150"),
        ({"observables": ["1 2 | 3 4 | 5 6"], "sampler": "network", "samples": 200}, 'sampler="jets"'),
        ({"sampler": "jet"}, "Did you mean 'jets'"),
        ({"sampler": []}, "`sampler` must be"),
        ({"precision": "single"}, '`precision` must be "float64" or "float32", but got \'single\''),
        ({"precision": ["float32"]}, "`precision` must be"),
        ({"samples": 50}, "`samples` must be an integer from 100"),
        ({"samples": 1e4}, "`samples` must be an integer"),
        ({"seed": -1}, "`seed`"),
        ({"batch": 0}, "`batch`"),
        ({"layers": [4]}, "`layers` must be an integer from 1 to 3"),
        ({"layers": []}, "`layers` must be a list"),
        ({"layers": 2}, "`layers` must be a list"),
        ({"x": [[1.0], [1.0, 2.0]]}, "`x`"),
        ({"x": [[np.nan]]}, "`x`"),
        ({"net": "tanh"}, "`net` must be"),
        ({"x": np.ones((500, 1)), "observables": ["V"]}, "GiB"),
        ({"store": 5}, "`store` must be a path"),
        ({"until_stderr": 0}, "`until_stderr` must be a positive number"),
        ({"until_stderr": True}, "`until_stderr` must be a positive number"),
        ({"until_stderr": 0.1}, "`samples` must be an integer from 200"),
        ({"until_time": "10m"}, "`until_time` must be a positive number"),
        ({"executor": 0}, "`executor` must be"),
        ({"executor": "dask"}, "`executor` must be"),
    ],
)
def test_bad_input(change, message):
    arguments = {"net": NET, "x": X, "samples": 100, "observables": ["V"]} | change
    with pytest.raises(PdltError, match=message.replace(".", r"\.").replace("(", r"\(")):
        simulate(**arguments)


def test_slow_imports_wait_until_they_are_needed():
    code = "import sys, pdlt.ensemble; print(sorted({'xarray', 'pandas', 'tqdm'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_result_is_a_dataset():
    assert isinstance(simulate(NET, X, "V", samples=100), xarray.Dataset)


def test_a_long_run_is_forecast_where_progress_is_shown(capsys, monkeypatch):
    assert forecast(1e-3, 1000, 1e6, 80.0) == ""
    text = forecast(2e-3, 10**9, 3e8, 80.0)
    assert text.startswith("50000000000 samples will take about 23.1 days of computing, 300 MB of memory, 8e+04 MB in")

    def interrupted(self, other):
        raise KeyboardInterrupt

    monkeypatch.setattr(Accumulator, "merge", interrupted)
    for progress, expected in ((True, True), (False, False)):
        with pytest.raises(KeyboardInterrupt):
            simulate(NET, X, ["K"], samples=10**13, progress=progress)
        assert ("samples will take about" in capsys.readouterr().err) is expected
