"""Ensembles of trained networks: what their averages must be, and that taking out noise does not change them."""

import numpy as np
import pytest

import pdlt
from pdlt.networks import MLP
from pdlt.trained import blocks, simulate_training

Z = 4.5  # a false alarm in 150 000 per number; seeds are fixed
SCALES = {"C_b": 0.1, "C_W": 1.5, "lambda_b": 0.4, "lambda_W": 1.0}
NET = MLP(2, 8, "gelu", **SCALES)
X = np.array([[1.0, 0.2], [-0.5, 0.8], [0.3, -1.0]])
Y = np.array([1.0, -0.5, 0.7])
POINTS = np.array([[0.5, 0.5], [-0.5, 0.8]])
TIMES = [0.0, 0.5, 4.0]
NAMES = ["mean", "covariance", "kernel", "kernel_change"]
SAMPLES = 3000
WIDE = 400


def simulated(**changes):
    return simulate_training(NET, X, Y, POINTS, TIMES, **{"observables": NAMES, "samples": SAMPLES, **changes})


@pytest.fixture(scope="module")
def plain():
    return simulated(pairs=False, linearised=0, seed=1)


@pytest.fixture(scope="module")
def quiet():
    return simulated(linearised=6)


def largest(run, other):
    """The largest z-score of every observable, between two runs."""
    found = {}
    for name in [name for name in NAMES if name in other]:
        error = np.hypot(run[f"{name}_stderr"].values, other[f"{name}_stderr"].values)
        known = error > 1e-12
        found[name] = np.abs((run[name] - other[name]).values[known] / error[known]).max()
    return found


def test_pairs_and_controls_change_no_expectation(plain, quiet):
    z = largest(plain, quiet)
    assert max(z.values()) < Z, z


def test_a_reflection_that_is_no_symmetry_is_seen(plain, monkeypatch):
    monkeypatch.setattr(blocks, "reflected", lambda weights: (*weights[:-1], tuple(-1.5 * w for w in weights[-1])))
    # Another tolerance is another run: that of the right reflection may be compiled already.
    z = largest(plain, simulated(linearised=0, tolerance=1.1e-6, observables=["covariance", "kernel"]))
    assert min(z.values()) > Z, z


def test_noise_is_taken_out(plain, quiet):
    """Numbers of networks being equal; at the first time the most, because there the control is nearly all."""
    gain = {name: (plain[f"{name}_stderr"] / quiet[f"{name}_stderr"]).isel(time=1).values for name in NAMES}
    least = {name: np.median(value) for name, value in gain.items()}
    assert least["mean"] > 4 and min(least[name] for name in ("covariance", "kernel", "kernel_change")) > 1.3, least
    assert np.abs(quiet["mean"].values[0]).max() < 1e-12  # pairs cancel exactly at initialisation


def test_initialisation_is_that_of_the_ensembles(quiet):
    run = pdlt.simulate(NET, POINTS, ["K", "Theta"], samples=20_000, layers=[2])
    for name, known in (("covariance", "K"), ("kernel", "Theta")):
        found, error = (quiet[key].values[0, ..., 0, 0] for key in (name, f"{name}_stderr"))
        expected, other = (run[key].values[0] for key in (known, f"{known}_stderr"))
        z = (found - expected) / np.hypot(error, other)
        assert np.abs(z).max() < Z
        assert np.abs((found - 1.1 * expected) / np.hypot(error, other)).max() > Z


def test_the_limit_of_infinite_width():
    """Two outputs; what is left at this width is of the order 1/n, which is added to the errors."""
    times, y = [2, 40], np.stack([Y, -Y[::-1]], axis=1)
    rule = {"rule": "gd", "learning_rate": 0.15}
    run = simulate_training(MLP(2, WIDE, "relu", **SCALES), X, y, POINTS, times, samples=400, linearised=8, **rule)

    def z(**changes):
        net = MLP(2, WIDE, "relu", **{**SCALES, **changes})
        theory = pdlt.predict_training(net, X, y, POINTS, times, order=0, **rule)
        return {
            name: np.abs((run[name] - theory[name]).values / np.hypot(run[f"{name}_stderr"].values, 2 / WIDE)).max()
            for name in ("mean", "covariance")
        }

    right, wrong = z(), z(C_W=2.0)
    assert max(right.values()) < Z, right
    assert min(wrong.values()) > Z, wrong
