"""Bayesian inference at infinite width: linear algebra in many digits, and Bayesian linear regression."""

from functools import partial

import mpmath as mp
import numpy as np
import pytest
from slow_kernels import SCALES, slow_kernels

import pdlt
from pdlt.learning.posterior import posterior
from pdlt.learning.training import predict_training as predict_to_an_order

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

NET = pdlt.MLP(depth=3, width=32, activation="erf", **SCALES)
# The last input repeats the first one.
X = np.array([[0.9, -0.4], [0.1, 0.8], [-1.1, 0.3], [0.5, 0.6], [0.9, -0.4]])
Y = np.array([[1.0, 0.2], [-0.5, 0.0], [0.3, -0.7], [0.1, 0.4], [0.4, 1.0]])
POINTS = np.array([[0.2, 0.2], [0.9, -0.4], [-0.7, -1.5]])


def slow_posterior(noise, rows, transposed=False):
    """Mean and covariance of one output on POINTS with all rows kept, in 40 digits."""
    kernel, _ = slow_kernels(np.concatenate([X[:rows], POINTS]))
    with mp.workdps(40):
        inverse = np.array(mp.inverse(mp.matrix(kernel[:rows, :rows] + noise * np.eye(rows))).tolist(), dtype=float)
    cross = kernel[rows:, :rows] if not transposed else kernel[rows:, rows - 1 :: -1]
    return cross @ inverse @ Y[:rows], kernel[rows:, rows:] - cross @ inverse @ cross.T


@pytest.mark.parametrize(("noise", "rows"), [(0.0, 4), (0.05, 4), (0.05, 5)])
def test_against_slow_linear_algebra(noise, rows):
    """With noise, the repeated input is two observations; the tolerance is the kernels' error times the condition."""
    found = posterior(NET, X[:rows], Y[:rows], POINTS, noise=noise)
    mean, covariance = slow_posterior(noise, rows)
    np.testing.assert_allclose(found["mean"].values, mean, rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.covariance.values[..., 0, 0], covariance, rtol=0, atol=1e-11)
    np.testing.assert_array_equal(found.covariance.values[..., 1, 1], found.covariance.values[..., 0, 0])
    assert not found.covariance.values[..., 0, 1].any()
    brief = posterior(NET, X[:rows], Y[:rows], POINTS, noise=noise, covariance="variance").variance.values
    np.testing.assert_allclose(brief, np.stack([np.diagonal(covariance)] * 2, axis=1), rtol=0, atol=1e-11)
    assert abs(slow_posterior(noise, rows, transposed=True)[0] - mean).max() > 0.1


def test_labels_are_met_without_noise():
    found = posterior(NET, X[:4], Y[:4], X[:4])
    np.testing.assert_allclose(found["mean"].values, Y[:4], atol=1e-12)
    assert np.abs(found.covariance.values).max() < 1e-12


@pytest.mark.parametrize("depth", [1, 3])
def test_deep_linear_networks_are_bayesian_linear_regression(depth):
    rng = np.random.default_rng(0)
    x, y, points = rng.normal(size=(7, 3)), rng.normal(size=7), rng.normal(size=(2, 3))
    net = pdlt.MLP(depth=depth, width=8, activation="linear", C_W=1.3)
    found = posterior(net, x, y, points, noise=0.2)
    # Prior N(0, (1.3^depth / 3) 1) of three weights; the posterior precision is a sum.
    covariance = np.linalg.inv(x.T @ x / 0.2 + np.eye(3) * 3 / 1.3**depth)
    np.testing.assert_allclose(found["mean"].values[:, 0], points @ covariance @ x.T @ y / 0.2, atol=1e-13)
    np.testing.assert_allclose(found.covariance.values[..., 0, 0], points @ covariance @ points.T, atol=1e-13)


def test_equal_labels_of_equal_inputs_count_once():
    once = posterior(NET, X[:4], Y[:4], POINTS)
    twice = posterior(NET, X[[0, 1, 1, 2, 3, 0]], Y[[0, 1, 1, 2, 3, 0]], POINTS)
    np.testing.assert_array_equal(once["mean"].values, twice["mean"].values)
    np.testing.assert_array_equal(once.covariance.values, twice.covariance.values)
    assert (twice.attrs["training_inputs"], twice.attrs["distinct_inputs"]) == (6, 4)


def test_different_labels_of_equal_inputs_need_noise():
    with pytest.raises(pdlt.PdltError, match="rows 0 and 4 have the same input"):
        posterior(NET, X, Y, POINTS)
    # A zero of either sign is the same input.
    with pytest.raises(pdlt.PdltError, match="rows 0 and 1 have the same input"):
        posterior(NET, [[0.0, 1.0], [-0.0, 1.0]], [1.0, 2.0], POINTS)


def test_inputs_of_different_size_are_no_obstacle():
    """Scaling is no loss of accuracy: bias-free ReLU networks are homogeneous, so K is D K' D with D = diag(norms)."""
    net = pdlt.MLP(depth=3, width=8, activation="relu", C_W=2.0)
    rng = np.random.default_rng(3)
    x, norms = rng.normal(size=(5, 2)), np.array([1e-7, 1.0, 1e5, 1e-3, 10.0])
    y = rng.normal(size=5)
    plain = posterior(net, x, y, POINTS)
    scaled = posterior(net, x * norms[:, None], y * norms, POINTS)
    np.testing.assert_allclose(scaled["mean"].values, plain["mean"].values, rtol=1e-10)
    assert scaled.attrs["condition"] == pytest.approx(plain.attrs["condition"], rel=1e-6)


def test_singular_kernels_are_refused_with_their_condition():
    net = pdlt.MLP(depth=3, width=8, activation="linear")
    for x in ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [[1.0, 2.0], [1.0, 2.0 + 1e-12]]):
        with pytest.raises(pdlt.PdltError, match=r"numerically singular: its condition number is .*Give `noise`"):
            posterior(net, x, np.arange(len(x)), POINTS)
        assert np.isfinite(posterior(net, x, np.arange(len(x)), POINTS, noise=0.1)["mean"].values).all()
    x = [[0.0, 0.0], [1.0, 1.0]]
    with pytest.raises(pdlt.PdltError, match="is singular: at one of them the output has no variance.*Give `noise`"):
        posterior(net, x, [0.0, 1.0], POINTS)
    assert np.isfinite(posterior(net, x, [0.0, 1.0], POINTS, noise=0.1)["mean"].values).all()


def test_training_the_last_layer_alone_is_exact_inference():
    """Then Theta = K, and the ensemble at the end of gradient flow has the law of the posterior without noise."""
    last = {"lambda_b": [0.0, 0.0, SCALES["C_b"]], "lambda_W": [0.0, 0.0, SCALES["C_W"]]}
    net = pdlt.MLP(depth=3, width=32, activation="erf", **{**SCALES, **last})
    bayes, trained = posterior(net, X[:4], Y[:4], POINTS), predict_training(net, X[:4], Y[:4], POINTS, [np.inf])
    np.testing.assert_allclose(trained["mean"].values[0], bayes["mean"].values, atol=1e-12)
    np.testing.assert_allclose(trained.covariance.values[0], bayes.covariance.values, atol=1e-12)
    # A ridge r gives the mean of noise r, and another covariance.
    ridge = predict_training(net, X[:4], Y[:4], POINTS, [np.inf], ridge=0.3)
    noise = posterior(net, X[:4], Y[:4], POINTS, noise=0.3)
    np.testing.assert_allclose(ridge["mean"].values[0], noise["mean"].values, atol=1e-12)
    assert np.abs(ridge.covariance.values[0] - noise.covariance.values).max() > 1e-3
