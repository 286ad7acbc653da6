"""Random functions: their moments are those of the predictions, and seeds mean what they say."""
from functools import partial

import numpy as np
import pytest
from slow_kernels import SCALES

import pdlt
from pdlt.learning.posterior import posterior
from pdlt.learning.samples import sample_posterior, sample_prior, sample_training
from pdlt.learning.training import predict_training as predict_to_an_order

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

NET = pdlt.MLP(depth=3, width=32, activation="erf", **SCALES)
X = np.array([[0.9, -0.4], [0.1, 0.8], [-1.1, 0.3], [0.9, -0.4]])
Y = np.array([[1.0, 0.2], [-0.5, 0.0], [0.3, -0.7], [0.4, 1.0]])
POINTS = np.array([[0.2, 0.2], [0.9, -0.4], [-0.7, -1.5]])
COUNT = 4000


def largest_z(z, mean, covariance):
    """Largest z-score of the sample mean and covariance of z (samples, P, n_L); outputs are independent."""
    n, p, outputs = z.shape
    flat = z.reshape(n, -1)
    expected = np.einsum("pq,ij->piqj", covariance, np.eye(outputs)).reshape(p * outputs, -1)
    deviation = flat - mean.reshape(-1)
    variance = np.diagonal(expected)
    of_mean = deviation.mean(0) / np.sqrt(variance / n)
    products = np.einsum("ni,nj->ij", deviation, deviation) / n
    of_covariance = (products - expected) / np.sqrt((np.outer(variance, variance) + expected**2) / n)
    return max(np.abs(of_mean).max(), np.abs(of_covariance).max())


@pytest.fixture(scope="module")
def kernel():
    return pdlt.predict(NET, POINTS, ["K"], order=0).K.values[-1]


def test_prior(kernel):
    z = sample_prior(NET, POINTS, COUNT, seed=0, outputs=2).z
    assert z.dims == ("sample", "point", "output")
    # About thirty correlated standard normals: above 4.5 once in ten thousand seeds.
    assert largest_z(z.values, np.zeros((3, 2)), kernel) < 4.5
    assert largest_z(z.values, np.zeros((3, 2)), 1.15 * kernel) > 4.5


def test_posterior_with_noise():
    arguments = (NET, X, Y, POINTS)
    found = posterior(*arguments, noise=0.1)
    z = sample_posterior(*arguments, COUNT, seed=0, noise=0.1).z.values
    assert largest_z(z, found["mean"].values, found.covariance.values[..., 0, 0]) < 4.5
    other = posterior(*arguments, noise=0.2)
    assert largest_z(z, other["mean"].values, other.covariance.values[..., 0, 0]) > 4.5


@pytest.mark.parametrize("rule", [{}, {"rule": "gd", "learning_rate": 0.1, "ridge": 0.2}])
def test_training(rule):
    arguments = (NET, X, Y, POINTS, [0, 3, np.inf])
    found = predict_training(*arguments, **rule)
    z = sample_training(*arguments, COUNT, 0, **rule).z
    assert z.dims == ("sample", "time", "point", "output")
    for i in range(3):
        spread = found.covariance.values[i, ..., 0, 0]
        # Without ridge the training point ends without any spread.
        keep = np.flatnonzero(np.diagonal(spread) > 1e-12)
        theory = found["mean"].values[i][keep], spread[np.ix_(keep, keep)]
        assert largest_z(z.values[:, i, keep], *theory) < 4.5
        planted = found["mean"].values[i - 1][keep], found.covariance.values[i - 1, ..., 0, 0][np.ix_(keep, keep)]
        assert (planted[1].diagonal() <= 1e-12).any() or largest_z(z.values[:, i, keep], *planted) > 4.5


def test_one_sample_is_one_network():
    """It starts as a function of the prior, and ends on the labels."""
    z = sample_training(NET, X, Y, X[:3], [0, np.inf], 5, seed=3).z.values
    start = sample_prior(NET, X[:3], 5, seed=3, outputs=2).z.values
    np.testing.assert_allclose(z[:, 0], start, atol=1e-13)
    labels = np.array([(Y[0] + Y[3]) / 2, *Y[1:3]])
    np.testing.assert_allclose(z[:, 1], np.broadcast_to(labels, (5, 3, 2)), atol=1e-12)


def test_seeds():
    few, many, other = (sample_prior(NET, POINTS, n, seed).z.values for n, seed in ((3, 7), (9, 7), (3, 8)))
    np.testing.assert_allclose(few, many[:3], rtol=1e-13)
    assert abs(few - other).min() > 1e-6
    a, b = (sample_posterior(NET, X[:3], Y[:3], POINTS, n, 7, noise=0.3).z.values for n in (3, 9))
    np.testing.assert_allclose(a, b[:3], rtol=1e-12)


def test_equal_points_have_equal_values():
    """The kernel of repeated and of dependent points is singular; nothing is added to it."""
    net = pdlt.MLP(depth=3, width=8, activation="relu", C_W=2.0)
    z = sample_prior(net, [[1.0, 2.0], [0.5, 1.0], [1.0, 2.0]], 50, seed=0).z.values[..., 0]
    np.testing.assert_array_equal(z[:, 0], z[:, 2])
    # Homogeneous of degree one; the square root of a rounding error is what remains.
    np.testing.assert_allclose(z[:, 1], z[:, 0] / 2, atol=1e-7)
    met = sample_posterior(net, [[1.0, 2.0]], [3.0], [[1.0, 2.0], [2.0, 4.0]], 5, seed=0).z.values[..., 0]
    np.testing.assert_allclose(met, [[3.0, 6.0]] * 5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "`samples` must be an integer from 1"),
        ({"seed": -1}, "`seed` must be an integer from 0"),
        ({"seed": None}, "`seed` must be an integer from 0"),
        ({"outputs": 0}, "`outputs` must be an integer from 1"),
        ({"samples": 10**9, "outputs": 1000}, "functions on 3 points need about .* GiB"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(pdlt.PdltError, match=message):
        sample_prior(NET, POINTS, **{"samples": 3, "seed": 0, **arguments})


def test_large_seeds_are_different_seeds():
    """As a float 2**64 - 1 would be 2**64, and so would its neighbours."""
    first, second = (
        [
            sample_prior(NET, POINTS, 1, seed).z.values,
            sample_posterior(NET, X[:3], Y[:3], POINTS, 1, seed, noise=0.3).z.values,
        ]
        for seed in (2**64 - 1, 2**64 - 2)
    )
    assert all(abs(a - b).min() > 1e-6 for a, b in zip(first, second, strict=True))
