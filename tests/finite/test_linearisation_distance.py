"""Distance of training from its linearisation: single networks against their own differentials, and ensembles."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pdlt
from pdlt import PdltError
from pdlt._jax import x64
from pdlt.ensemble.network import Derivatives
from pdlt.finite import Architecture, FiniteNetwork, LinearisationDistance, linearisation_distance, solve, train
from pdlt.finite.distance import Measured, _check_arrived, _sizes

X, Y = np.array([[0.9, -0.4], [0.2, 1.3]]), np.array([0.8, -0.5])


def against_differentials(width, seed, double=2):
    """Return z - z_lin at t = 0.5 on one point, and what is left of it after its formula,
    E [2 dH e^2 c_1 / H - (ddI + 2 ddII) e^3 c_2 / H^2] (derived in derivations/15_linearised_networks.py), with the
    differentials by the sampler `network`."""
    network = FiniteNetwork(pdlt.MLP(2, width, "tanh", 0.3, 1.4, 0.7, 1.1), 2, seed=seed)
    x, t = X[:1], 0.5
    y = network(x).item() + 1.5  # the same distance to go for all: what is left is of order e^4
    distance = (train(network, x, [y], [t]).outputs(x) - solve(network, x, [y], [t]).outputs(x)).item()
    with x64():

        @jax.jit
        def tangents(weights):
            f = Derivatives(lambda xi: network.architecture.evaluate(weights, xi, jnp.asarray(x)).T, network.start.size)
            kernels = f.H(0, 0), f.dH(0, 0, 0), f.ddI(0, 0, 0, 0) + double * f.ddII(0, 0, 0, 0)
            return f.z.sum(), *(kernel.sum() for kernel in kernels)

        z, H, dH, dd = (float(number) for number in tangents(network.weights))
    e, E = z - y, math.exp(-H * t)
    c_1, c_2 = t - (1 - E) / H, t - 2 * (1 - E) / H + (1 - E**2) / (2 * H)
    return distance, distance - E * (2 * dH * e**2 * c_1 / H - dd * e**3 * c_2 / H**2)


@pytest.fixture(scope="module")
def singles():
    """Distances and what is left, shape (widths, seeds, 2), at widths 256 and 4096."""
    return np.array([[against_differentials(width, seed) for seed in range(5)] for width in (256, 4096)])


def test_the_distance_is_of_order_1_over_n_and_its_formula_leaves_order_2(singles):
    """From width 256 to 4096 root mean squares of five networks fall 16-fold and 256-fold. Their logarithms scatter by
    about 0.4 each, so the powers by 0.2: a whole power is told apart."""
    first, second = np.log(np.sqrt((singles**2).mean(axis=1))[0] / np.sqrt((singles**2).mean(axis=1))[1]) / math.log(16)
    assert first == pytest.approx(1, abs=0.4)
    assert second == pytest.approx(2, abs=0.4)
    # In each wide network the formula is most of the distance.
    assert (np.abs(singles[1, :, 1]) < 0.02 * np.abs(singles[1, :, 0]).max()).all()


def test_a_forgotten_term_would_be_seen(singles):
    wrong = np.array([against_differentials(4096, seed, double=1)[1] for seed in range(2)])
    assert (np.abs(wrong) > 5 * np.abs(singles[1, :2, 1])).all()


@pytest.fixture(scope="module")
def measured():
    net = pdlt.MLP(2, 1, "tanh", 0.3, 1.4, 0.7, 1.1)
    return linearisation_distance(net, X, Y, [0.5, 2.0], widths=[20, 400], networks=80, seed=3, tolerance=1e-6)


def test_an_ensemble_is_its_networks(measured):
    """The first width again, network by network."""
    architecture = Architecture(pdlt.MLP(2, 20, "tanh", 0.3, 1.4, 0.7, 1.1), 2, 1)
    found = []
    with x64():
        keys = jax.random.split(jax.random.fold_in(jax.random.key(3), 20), 80)
        weights = jax.jit(jax.vmap(architecture.draw))(keys)
    network = FiniteNetwork(architecture.net, 2, seed=0)
    for k in range(80):
        network.__dict__["weights"] = jax.tree.map(lambda part: np.asarray(part[k]), weights)  # noqa: B023
        path, line = train(network, X, Y, [0.5, 2.0], tolerance=1e-6), solve(network, X, Y, [0.5, 2.0])
        H = path.ntk(X)
        H_0 = network.ntk(X)
        change = np.sqrt(((H - H_0) ** 2).sum(axis=(1, 2, 3, 4)) / (H_0**2).sum())
        found.append((path.outputs(X) - line.outputs(X), change))
    d, change = (np.array(part) for part in zip(*found))
    np.testing.assert_allclose(measured.mean.value[0], d.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(measured.mean.stderr[0], d.std(axis=0, ddof=1) / np.sqrt(80), rtol=1e-6)
    np.testing.assert_allclose(measured.rms.value[0], np.sqrt((d**2).mean(axis=(0, 2, 3))), rtol=1e-6)
    np.testing.assert_allclose(measured.kernel_change.value[0], np.sqrt((change**2).mean(axis=0)), rtol=1e-6)


def test_powers_of_the_width(measured):
    """Standard errors are below 0.05; the next order, which two widths cannot tell apart, biases by a tenth."""
    rms, change, spread = (measured.power(name, corrections=0)[0] for name in ("rms", "kernel_change", "kernel_spread"))
    assert -1.2 < rms < -0.8 and -1.2 < change < -0.8
    assert -0.6 < spread < -0.4


def test_fits_find_the_power_with_its_error():
    """500 synthetic data sets 3 n^-1 (1 - 2/n) with 3 percent noise: the pulls have mean 0 and variance 1."""
    rng, widths = np.random.default_rng(0), np.array([8, 16, 32, 64, 128])
    exact = 3 / widths * (1 - 2 / widths)
    pulls, plain = [], []
    for noise in rng.normal(size=(500, 5)):
        size = Measured((exact * (1 + 0.03 * noise))[:, None], 0.03 * exact[:, None])
        result = LinearisationDistance(widths, np.ones(1), 1, size, size, size, size, size)
        for corrections, into in ((1, pulls), (0, plain)):
            power, error = result.power("rms", corrections=corrections)
            into.append((power + 1) / error)
    assert abs(np.mean(pulls)) < 0.3 and 0.8 < np.std(pulls) < 1.2
    assert abs(np.mean(plain)) > 2  # a fit without the next order is seen to be biased


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mean"}, "`name` must be one of rms, bias, kernel_change, kernel_spread, but got mean"),
        ({"name": "rms", "time": 2}, "`time` must be a position among the 2 times, but got 2"),
        ({"name": "rms", "corrections": -1}, "`corrections` must be 0, 1, 2"),
    ],
)
def test_bad_fits(measured, arguments, message):
    with pytest.raises(PdltError) as raised:
        measured.power(**arguments)
    assert message in str(raised.value)


def test_failures_are_counted_and_kinks_named():
    d, net = np.zeros((3, 1, 2, 1)), pdlt.MLP(2, 7, "relu")
    d[1, 0, 1] = np.nan
    with pytest.raises(PdltError, match="training of 1 of 3 networks of width 7 .*has a kink"):
        _check_arrived(d, np.zeros((3, 1)), net)
    _check_arrived(d[:1], np.zeros((1, 1)), net)


def test_bias_is_free_of_the_noise_of_the_mean():
    """Differences of mean 0.1 on one point of two, noise 1: the naive root is off by many errors."""
    rng = np.random.default_rng(1)
    d = rng.normal(size=(4000, 1, 2, 1)) + np.array([0.1, 0.0])[None, None, :, None]
    _, rms, bias, *_ = _sizes(d, np.ones((4000, 1)), np.ones((4000, 2, 2)) + d)
    assert abs(bias.value[0] - 0.1 / np.sqrt(2)) < 4 * bias.stderr[0] and 0.005 < bias.stderr[0] < 0.05
    assert abs(rms.value[0] - np.sqrt(1.005)) < 4 * rms.stderr[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": pdlt.MLP(1, 1, "tanh")}, "`net` must be a pdlt.MLP with hidden layers"),
        ({"widths": [8, 4]}, "`widths` must be increasing positive integers, but got [8, 4]"),
        ({"widths": 8}, "`widths` must be increasing positive integers"),
        ({"networks": 50}, "`networks` must be a positive multiple of 40, but got 50"),
        ({"times": [np.inf]}, "`times` must be finite"),
        ({"x_test": [[1.0]]}, "`x_test` must have 2 columns"),
        ({"x_test": [[1.0, np.nan]]}, "x_test[0, 1] is nan"),
        ({"networks": np.int64(50)}, "but got 50"),
        ({"tolerance": -1.0}, "`tolerance` must be a number from 1e-13 to 1e-2, but got -1.0"),
        ({"tolerance": 1.0}, "`tolerance` must be a number"),
        ({"y": [1.0, np.nan]}, "y[1, 0] is nan"),
        ({"seed": 1.5}, "`seed` must be an integer"),
    ],
)
def test_bad_arguments(arguments, message):
    complete = {"net": pdlt.MLP(2, 1, "tanh"), "x": X, "y": Y, "times": [1.0], "widths": [4], **arguments}
    with pytest.raises(PdltError) as raised:
        linearisation_distance(**complete)
    assert message in str(raised.value)
