"""Training at infinite width against real networks, trained in plain jax and extrapolated in 1/n."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from slow_kernels import SCALES

import pdlt
from pdlt.learning.training import predict_training as predict_to_an_order

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

DEPTH, STEPS, RATE, RIDGE = 3, 5, 0.12, 0.3
# The last input repeats the first one, with another label.
X = np.array([[0.9, -0.4], [0.1, 1.3], [-1.1, 0.3], [0.9, -0.4]])
Y = np.array([1.0, -1.5, 0.3, 2.0])
POINTS = np.array([[0.2, 0.2], [-0.7, -1.5], [0.9, -0.4]])
NETWORKS, BATCH = 3000, 250


def initial(key, n):
    """Weights and biases of layers 1 ... L, and the learning rate of each."""
    parameters, rates = [], []
    for fan_in, fan_out in ((2, n), (n, n), (n, 1)):
        key, first, second = jax.random.split(key, 3)
        weight = jax.random.normal(first, (fan_out, fan_in)) * jnp.sqrt(SCALES["C_W"] / fan_in)
        bias = jax.random.normal(second, (fan_out, 1)) * jnp.sqrt(SCALES["C_b"])
        parameters.append((weight, bias))
        rates.append((SCALES["lambda_W"] / fan_in, SCALES["lambda_b"]))
    return parameters, rates


def function(parameters, x):
    z = x.T
    for k, (weight, bias) in enumerate(parameters):
        z = weight @ (jax.scipy.special.erf(z) if k else z) + jnp.broadcast_to(bias, (len(bias), x.shape[0]))
    return z[0]


def trained(key, n):
    """The function on POINTS after STEPS steps of descent, with the ridge of docs/regression.md."""
    start, rates = initial(key, n)

    def loss(parameters):
        return 0.5 * jnp.sum((function(parameters, jnp.asarray(X, jnp.float32)) - jnp.asarray(Y, jnp.float32)) ** 2)

    def step(_, parameters):
        slopes = jax.grad(loss)(parameters)
        return jax.tree.map(
            lambda p, g, rate, p0: p - RATE * (rate * g + RIDGE * (p - p0)), parameters, slopes, rates, start
        )

    return function(jax.lax.fori_loop(0, STEPS, step, start), jnp.asarray(POINTS, jnp.float32))


def ensemble(n, seed):
    """Mean and covariance over networks of width n, one after the other as a vector, and its covariance matrix."""
    keys = jax.random.split(jax.random.key(seed), (NETWORKS // BATCH, BATCH))
    found = jax.jit(lambda batches: jax.lax.map(jax.vmap(lambda key: trained(key, n)), batches))(keys)
    z = np.asarray(found, dtype=float).reshape(NETWORKS, -1)
    apart = z - z.mean(0)
    i, j = np.triu_indices(z.shape[1])
    each = np.concatenate([z, apart[:, i] * apart[:, j] * NETWORKS / (NETWORKS - 1)], axis=1)
    return each.mean(0), np.cov(each.T) / NETWORKS


@pytest.fixture(scope="module")
def measured():
    """The limit of infinite width: 2 f(2n) - f(n) leaves 1/n^2, here below a standard error."""
    (narrow, v1), (wide, v2) = ensemble(32, 1), ensemble(64, 2)
    return 2 * wide - narrow, np.sqrt(np.diagonal(4 * v2 + v1)), wide


def predicted(**changes):
    arguments = {"rule": "gd", "learning_rate": RATE, "ridge": RIDGE, **changes}
    net = pdlt.MLP(depth=DEPTH, width=64, activation="erf", **SCALES)
    found = predict_training(net, X, Y, POINTS, [STEPS], **arguments)
    covariance = found.covariance.values[0, ..., 0, 0]
    return np.concatenate([found["mean"].values[0, :, 0], covariance[np.triu_indices(len(POINTS))]])


def test_mean_and_covariance(measured):
    """Nine numbers, three of them means: beyond 4.5 standard errors in less than one of ten thousand seeds."""
    limit, stderr, wide = measured
    theory = predicted()
    z = (limit - theory) / stderr
    assert np.abs(z).max() < 4.5
    # Not vacuous: networks of width 64 are told from the limit.
    assert np.abs((wide - theory) / stderr).max() > 4.5


@pytest.mark.parametrize("wrong", ["kernels exchanged", "repeated input dropped", "one step more", "no ridge"])
def test_planted_errors_are_seen(measured, wrong, monkeypatch):
    limit, stderr, _ = measured
    if wrong == "kernels exchanged":
        from pdlt.learning import gram_blocks

        def exchanged(*arguments):
            (kernels, error) = true(*arguments)
            return {"K": kernels["Theta"], "Theta": kernels["K"]}, error

        true = gram_blocks.evaluate
        monkeypatch.setattr(gram_blocks, "evaluate", exchanged)
        theory = predicted()
    elif wrong == "repeated input dropped":
        net = pdlt.MLP(depth=DEPTH, width=64, activation="erf", **SCALES)
        found = predict_training(
            net, X[:3], [1.5, *Y[1:3]], POINTS, [STEPS], rule="gd", learning_rate=RATE, ridge=RIDGE
        )
        spread = found.covariance.values[0, ..., 0, 0]
        theory = np.concatenate([found["mean"].values[0, :, 0], spread[np.triu_indices(len(POINTS))]])
    else:
        theory = predicted(**({"ridge": 0.0} if wrong == "no ridge" else {"learning_rate": RATE * (STEPS + 1) / STEPS}))
    assert np.abs((limit - theory) / stderr).max() > 6
