"""Training at infinite width against kernels and dynamics computed in other ways."""

import math
from functools import partial

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from slow_kernels import DIGITS, SCALES, exact_kernels, slow_kernels

import pdlt
from pdlt.learning.posterior import posterior
from pdlt.learning.training import predict_training as predict_to_an_order

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

NET = pdlt.MLP(depth=3, width=32, activation="erf", **SCALES)
# The last input repeats the first one, with another label; outputs are two.
X = np.array([[0.9, -0.4], [0.1, 0.8], [-1.1, 0.3], [0.5, 0.6], [0.9, -0.4]])
Y = np.array([[1.0, 0.2], [-0.5, 0.0], [0.3, -0.7], [0.1, 0.4], [0.4, 1.0]])
POINTS = np.array([[0.2, 0.2], [0.9, -0.4], [-0.7, -1.5]])


def generator(theta, y, ridge):
    """z' = -Theta (z - y) - ridge (z - z_0), y on training rows only, as a linear equation for z = A z_0 + b y + c."""
    size = len(theta)
    onto = np.zeros((size, size))
    onto[:, : len(y)] = theta[:, : len(y)]
    return onto + ridge * np.eye(size), onto, ridge


def slow_moments(maps, y, kernel):
    """Mean and covariance of A z_0 + B y for z_0 of covariance K."""
    start, labels = maps
    return labels[:, : len(y)] @ y, start @ kernel @ start.T


def flow(theta, y, ridge, time):
    """The maps A, B integrated step by step."""
    decay, onto, _ = generator(theta, y, ridge)
    size = len(theta)

    def slope(t, state):
        start, labels = state.reshape(2, size, size)
        return np.stack([-decay @ start + ridge * np.eye(size), -decay @ labels + onto]).ravel()

    begin = np.stack([np.eye(size), np.zeros((size, size))]).ravel()
    return solve_ivp(slope, (0, time), begin, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1].reshape(2, size, size)


def descent(theta, y, ridge, rate, steps):
    """The maps A, B iterated step by step."""
    decay, onto, _ = generator(theta, y, ridge)
    start, labels = np.eye(len(theta)), np.zeros_like(theta)
    for _ in range(steps):
        start = start - rate * (decay @ start - ridge * np.eye(len(theta)))
        labels = labels - rate * (decay @ labels - onto)
    return start, labels


def late(theta, y, ridge, time):
    """The maps A, B at a late time, by the exponential of a matrix in 60 digits."""
    decay, onto, _ = generator(theta, y, ridge)
    size = len(theta)
    with mp.workdps(60):
        big = mp.zeros(3 * size)
        for i in range(size):
            for j in range(size):
                big[i, j] = -mp.mpf(decay[i, j]) * time
                big[i, 2 * size + j] = mp.mpf(onto[i, j]) * time
            big[i, size + i] = mp.mpf(ridge) * time
        power = mp.expm(big, method="taylor")
        found = np.array(power.tolist(), dtype=float)
    return found[:size, :size] + found[:size, size : 2 * size], found[:size, 2 * size :]


def everything(ridge=0.0, maps=flow, wrong=None, **arguments):
    """Slow mean and covariance on POINTS, all rows of X kept, repeated ones too."""
    kernel, theta = slow_kernels(np.concatenate([X, POINTS]))
    if wrong == "exchanged":
        kernel, theta = theta, kernel
    if wrong == "unweighted":
        theta = theta.copy()
        theta[:, 4] = 0
    mean, covariance = slow_moments(maps(theta, Y, ridge, **arguments), Y, kernel)
    return mean[len(X) :], covariance[len(X) :, len(X) :]


def check(found, slow, tolerance=1e-9):
    """Absolute, for numbers of order one: the tolerance of the slow computation."""
    mean, covariance = slow
    np.testing.assert_allclose(found["mean"].values[0], mean, rtol=0, atol=tolerance)
    expected = np.einsum("pq,ij->pqij", covariance, np.eye(2))
    np.testing.assert_allclose(found["covariance"].values[0], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("time", [0.2, 3.0])
def test_flow_against_integration(time, ridge):
    check(predict_training(NET, X, Y, POINTS, [time], ridge=ridge), everything(ridge, time=time))


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize(("steps", "rate"), [(1, 0.1), (7, 0.02), (40, 0.25)])
def test_descent_against_iteration(steps, rate, ridge):
    """The largest rate times the largest eigenvalue is between 1 and 2: modes that alternate in sign."""
    found = predict_training(NET, X, Y, POINTS, [steps], rule="gd", learning_rate=rate, ridge=ridge)
    check(found, everything(ridge, descent, rate=rate, steps=steps))
    assert rate < found.attrs["learning_rate_bound"]
    assert (rate * found.eigenvalue.values[0] > 1) == (rate == 0.25)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_the_end_of_training(ridge):
    slow = everything(ridge, late, time=1000)
    check(predict_training(NET, X, Y, POINTS, [np.inf], ridge=ridge), slow)
    check(predict_training(NET, X, Y, POINTS, [np.inf], rule="gd", learning_rate=0.1, ridge=ridge), slow)


@pytest.mark.parametrize("wrong", ["exchanged", "unweighted"])
def test_the_comparison_sees_a_planted_error(wrong):
    with pytest.raises(AssertionError):
        check(predict_training(NET, X, Y, POINTS, [3.0]), everything(0.0, wrong=wrong, time=3.0), tolerance=1e-2)


def test_the_beginning_of_training():
    kernel, _ = slow_kernels(POINTS)
    check(predict_training(NET, X, Y, POINTS, [0.0]), (np.zeros((3, 2)), kernel), tolerance=1e-14)


def test_conflicting_labels_are_met_in_the_middle():
    found = predict_training(NET, X, Y, X, [np.inf])
    middle = (Y[0] + Y[4]) / 2
    np.testing.assert_allclose(found["mean"].values[0], np.stack([middle, *Y[1:4], middle]), atol=1e-12)
    assert np.abs(found.covariance.values).max() < 1e-12
    assert found.sizes["mode"] == 4


def test_variance_is_the_diagonal():
    full = predict_training(NET, X, Y, POINTS, [0.5, np.inf]).covariance.values
    brief = predict_training(NET, X, Y, POINTS, [0.5, np.inf], covariance="variance")
    np.testing.assert_allclose(brief.variance.values, np.einsum("tppii->tpi", full), atol=1e-14)
    assert set(predict_training(NET, X, Y, POINTS, 0.5, covariance="none").data_vars) == {
        "mean",
        "eigenvalue",
        "learning_time",
        "rounding",
    }


def test_modes_and_when_they_are_learned():
    """Labels along one mode: only it moves, and by a factor e in its learning time."""
    _, theta = slow_kernels(X[:4])
    values, vectors = np.linalg.eigh(theta)
    for rule, ridge in (({"rule": "flow"}, 0.0), ({"rule": "flow"}, 0.5)):
        found = predict_training(NET, X[:4], vectors[:, 0], X[:4], 1.0, ridge=ridge, **rule)
        np.testing.assert_allclose(found.eigenvalue.values, values[::-1], rtol=1e-10)
        np.testing.assert_allclose(found.learning_time.values, 1 / (values[::-1] + ridge), rtol=1e-10)
        assert found.attrs["condition"] == pytest.approx(values[-1] / values[0], rel=1e-9)
        assert found.attrs["learning_rate_bound"] == pytest.approx(2 / (values[-1] + ridge), rel=1e-12)
    time = found.learning_time.values[-1]
    left = [
        predict_training(NET, X[:4], vectors[:, 0], X[:4], [t, np.inf], ridge=0.5)["mean"].values[..., 0]
        for t in (time, 2 * time)
    ]
    ratio = (left[0][0] - left[0][1]) @ vectors[:, 0] / ((left[1][0] - left[1][1]) @ vectors[:, 0])
    assert ratio == pytest.approx(math.e, rel=1e-9)
    # gd: a number of steps, also for a mode that alternates
    rate = 1.5 / values[-1]
    steps = predict_training(NET, X[:4], Y[:4], X[:4], 1, rule="gd", learning_rate=rate).learning_time.values
    np.testing.assert_allclose(np.abs(1 - rate * values[::-1]) ** steps, np.exp(-1), rtol=1e-9)


def test_one_layer_is_linear_regression():
    """Depth 1 is exact at any width: the weights of a linear model under gradient flow, more inputs than weights."""
    rng = np.random.default_rng(1)
    x, y, points = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), rng.normal(size=(3, 2))
    net = pdlt.MLP(depth=1, width=1, activation="linear", C_W=1.2, lambda_W=0.6)
    # z = w.x, w' = -(lambda_W/2) x^T (x w - y); components of w along the right singular vectors of x.
    _, s, v = np.linalg.svd(x, full_matrices=False)
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    for time, arguments in ((0.7, {}), (1e6, {}), (np.inf, {"unresolved": "freeze"})):
        keep = (v.T * np.exp(-0.3 * s**2 * time)) @ v
        found = predict_training(net, x, y, points, [time], **arguments)
        np.testing.assert_allclose(found["mean"].values[0], points @ (best - keep @ best), atol=1e-9)
        covariance = 0.6 * points @ keep @ keep.T @ points.T
        np.testing.assert_allclose(found.covariance.values[0, ..., 0, 0], covariance, atol=1e-9)
    assert found.attrs["frozen"] == 4
    assert np.isinf(found.learning_time.values).sum() == 4
    with pytest.raises(pdlt.PdltError, match="depends on 4 of them .*unresolved='freeze'"):
        predict_training(net, x, y, points, [0.7, np.inf])
    # A ridge r is the parameter-space penalty (r/2) |w - w_0|^2 / (lambda_W/2).
    found = predict_training(net, x, y, points, [np.inf], ridge=0.25)
    weights = np.linalg.solve(x.T @ x + 0.25 / 0.3 * np.eye(2), x.T)
    np.testing.assert_allclose(found["mean"].values[0], points @ weights @ y, atol=1e-12)
    left = points @ (np.eye(2) - weights @ x)
    np.testing.assert_allclose(found.covariance.values[0, ..., 0, 0], 0.6 * left @ left.T, atol=1e-12)


def test_near_duplicates_need_time():
    """Two inputs 1e-7 apart with different labels: slow, exact until their mode counts, then refused."""
    x = np.array([[0.3, 0.4], [0.3 + 1e-7, 0.4], [-1.0, 0.2]])
    y = [0.0, 1.0, 0.5]
    found = predict_training(NET, x, y, [[0.3, 0.4]], [1e4])
    assert found["mean"].item() == pytest.approx(0.5, abs=1e-6)
    with pytest.raises(pdlt.PdltError, match="numerically singular.*Accepted are `times` up to .*`ridge` above"):
        predict_training(NET, x, y, [[0.3, 0.4]], [1e4, np.inf])
    frozen = predict_training(NET, x, y, [[0.3, 0.4]], [np.inf], unresolved="freeze")
    assert frozen["mean"].item() == pytest.approx(0.5, abs=1e-6)
    assert frozen.attrs["frozen"] == 1
    assert frozen.attrs["condition"] > 1e12


def test_what_cannot_be_learned():
    """No parameter is trained: nothing happens, and the end of training is not defined by the kernel."""
    net = pdlt.MLP(depth=1, width=1, activation="linear", lambda_W=0.0)
    found = predict_training(net, X, Y, POINTS, [5.0])
    assert not found["mean"].values.any()
    assert found.attrs["learning_rate_bound"] == np.inf
    frozen = predict_training(net, X, Y, POINTS, [np.inf], unresolved="freeze")
    np.testing.assert_array_equal(frozen.covariance.values, found.covariance.values)


@pytest.mark.parametrize("function", ["training", "posterior"])
def test_rounding_bounds_the_error(function):
    """Ill-conditioned kernels against 50 digits: the error is below what the result says, and not by accident."""
    x, points = np.linspace(-1, 1, 10)[:, None], np.array([[-0.93], [0.11], [1.4]])
    y = np.random.default_rng(0).normal(size=10)
    place = 1 if function == "training" else 0
    with mp.workdps(DIGITS):
        gram, cross = exact_kernels(x, x)[..., place], exact_kernels(points, x)[..., place]
        weights = mp.lu_solve(mp.matrix(gram.tolist()), mp.matrix([mp.mpf(label) for label in y]))
        exact = (mp.matrix(cross.tolist()) * weights).tolist()
    if function == "training":
        found = predict_training(NET, x, y, points, np.inf)
        rounding = found.rounding.item()
    else:
        found = posterior(NET, x, y, points)
        rounding = found.attrs["rounding"]
    error = np.abs(found["mean"].values.ravel() - np.array(exact, dtype=float).ravel()).max() / np.abs(y).max()
    assert found.attrs["condition"] > 1e5
    assert 1e-6 * rounding < error < rounding


def test_rounding_close_to_the_largest_learning_rate():
    """One mode, |1 - eta s| = 1 - 2e-12: an error e of s moves (1 - eta s)^k by k eta e, which a_k does not show."""
    net, steps = pdlt.MLP(depth=1, width=1, activation="linear"), 10**8
    rate = (1 - 1e-12) * predict_training(net, [[1.0]], [1.0], [[1.0]], 1).attrs["learning_rate_bound"]
    found = predict_training(net, [[1.0]], [1.0], [[1.0]], [steps, np.inf], rule="gd", learning_rate=rate)
    eps, value = np.finfo(float).eps, found.eigenvalue.values[0]
    other = (1 - rate * value * (1 + eps)) ** steps - (1 - rate * value) ** steps
    assert 0.1 * found.rounding.values[0] < abs(other) < 1.1 * found.rounding.values[0]
    assert found.rounding.values[1] < 1e-15
