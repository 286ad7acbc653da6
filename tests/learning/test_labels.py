"""Probabilities of labels: against scipy's Gaussians, and against what they must become in special cases."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import pdlt
from pdlt.learning.labels import label_log_probability, rank_labels

NET = pdlt.MLP(depth=3, width=8, activation="relu", C_b=0.2, C_W=1.7, lambda_b=0.4, lambda_W=0.9)
FREE = pdlt.MLP(depth=3, width=8, activation="relu", C_W=2.0)
X = np.array([[-1.6], [-0.8], [0.1], [0.7], [1.5]])
Y = np.array([-0.5, 0.8, -0.2, 0.9, -0.7])
TEST = np.array([[0.4], [2.0]])
CANDIDATES = np.array([[0.5, -1.0], [0.5, -2.0], [0.8, -1.7], [0.5, -1.0]])


def kernels(net, x):
    found = pdlt.predict(net, x, ["K", "Theta"], order=0)
    return found.K.values[-1], found.Theta.values[-1]


def lee_et_al(net, x, y, test):
    """Return mean and covariance of trained networks, equation 16 of arXiv:1902.06720 at t = infinity."""
    k, theta = kernels(net, np.concatenate([x, test]))
    n = len(x)
    a = theta[n:, :n] @ np.linalg.inv(theta[:n, :n])
    mixed = a @ k[:n, n:]
    return a @ y, k[n:, n:] + a @ k[:n, :n] @ a.T - mixed - mixed.T


def bayes(net, x, y, test, noise=0.0):
    k, _ = kernels(net, np.concatenate([x, test]))
    n = len(x)
    a = k[n:, :n] @ np.linalg.inv(k[:n, :n] + noise * np.eye(n))
    return a @ y, k[n:, n:] - a @ k[:n, n:] + noise * np.eye(len(test))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_prior_against_scipy(noise):
    labels = np.stack([Y, Y**2], axis=1)
    found = label_log_probability(NET, X, labels, noise)
    k, theta = kernels(NET, X)
    prior = multivariate_normal(np.zeros(5), k + noise * np.eye(5))
    np.testing.assert_allclose(found.log_probability, prior.logpdf(labels.T), rtol=1e-10)
    assert found.attrs["total"] == pytest.approx(prior.logpdf(labels.T).sum(), rel=1e-10)
    np.testing.assert_allclose(found.quadratic + found.normalisation, found.log_probability)
    np.testing.assert_allclose(found.contribution.sum("mode"), found.quadratic)
    assert found.attrs["condition"] == pytest.approx(np.linalg.cond(k + noise * np.eye(5)), rel=1e-9)
    # The tangent kernel as prior covariance is another distribution.
    other = multivariate_normal(np.zeros(5), theta + noise * np.eye(5)).logpdf(Y)
    assert abs(other - float(found.log_probability[0])) > 0.1


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_posterior_against_scipy_and_the_product_rule(noise):
    found = rank_labels(NET, X, Y, TEST, CANDIDATES, noise=noise)
    mean, covariance = bayes(NET, X, Y, TEST, noise)
    np.testing.assert_allclose(
        found.log_probability, multivariate_normal(mean, covariance).logpdf(CANDIDATES), rtol=1e-8
    )
    np.testing.assert_allclose(found.deviation, np.sqrt(np.diag(covariance)), rtol=1e-8)
    order = np.argsort(-found.log_probability.values[:3])
    assert found["rank"].values[order].tolist() == sorted(found["rank"].values[:3])
    assert found["rank"].values[3] == found["rank"].values[0]
    # p(candidate | y) = p(y, candidate) / p(y)
    both = [label_log_probability(NET, np.concatenate([X, TEST]), [*Y, *c], noise).attrs["total"] for c in CANDIDATES]
    alone = label_log_probability(NET, X, Y, noise).attrs["total"]
    np.testing.assert_allclose(found.log_probability, np.array(both) - alone, rtol=1e-8)


def test_trained_against_lee_et_al():
    found = rank_labels(NET, X, Y, TEST, CANDIDATES, "trained")
    mean, covariance = lee_et_al(NET, X, Y, TEST)
    np.testing.assert_allclose(
        found.log_probability, multivariate_normal(mean, covariance).logpdf(CANDIDATES), rtol=1e-8
    )
    np.testing.assert_allclose(found["mean"][:, 0], mean, rtol=1e-9)
    # The posterior is something else, by far.
    assert np.abs(rank_labels(NET, X, Y, TEST, CANDIDATES).log_probability - found.log_probability).max() > 5


def test_training_the_last_layer_alone_samples_the_posterior():
    net = pdlt.MLP(3, 8, "relu", C_b=0.2, C_W=1.7, lambda_b=[0, 0, 0.2], lambda_W=[0, 0, 1.7])
    trained, bayesian = (rank_labels(net, X, Y, TEST, CANDIDATES, name) for name in ("trained", "posterior"))
    np.testing.assert_allclose(trained.log_probability, bayesian.log_probability, rtol=1e-7)


def test_outputs_are_independent():
    labels, candidates = np.stack([Y, -2 * Y], axis=1), np.stack([CANDIDATES, 0.3 * CANDIDATES], axis=2)
    found = rank_labels(NET, X, labels, TEST, candidates, "trained")
    parts = [rank_labels(NET, X, labels[:, i], TEST, candidates[:, :, i], "trained") for i in range(2)]
    np.testing.assert_allclose(found.log_probability, sum(part.log_probability for part in parts), rtol=1e-9)


def test_one_test_point():
    found = rank_labels(NET, X, Y, TEST[:1], [0.5, 0.8, 0.2])
    mean, covariance = bayes(NET, X, Y, TEST[:1])
    wanted = multivariate_normal(mean, covariance).logpdf(np.array([0.5, 0.8, 0.2]))
    np.testing.assert_allclose(found.log_probability, wanted, rtol=1e-8)


def test_a_singular_prior_has_a_support():
    """Without biases labels must be multiples of |x| on each half line; what is not has no probability."""
    inside = 0.3 * np.maximum(X[:, 0], 0) + 1.1 * np.maximum(-X[:, 0], 0)
    found = label_log_probability(FREE, X, np.stack([inside, Y], axis=1))
    k, _ = kernels(FREE, X)
    on_support = multivariate_normal(np.zeros(5), k, allow_singular=True).logpdf(inside)
    assert found.log_probability.values[0] == pytest.approx(on_support, rel=1e-9)
    assert found.log_probability.values[1] == -np.inf
    assert found.attrs["support"] == 2 and np.isinf(found.attrs["condition"])
    # With a jitter of 1e-8 the same labels get a number, and another jitter another one.
    jittered = [label_log_probability(FREE, X, Y, noise).attrs["total"] for noise in (1e-8, 1e-6)]
    assert jittered[0] < 50 * jittered[1] < -1e7


def test_equal_inputs():
    x = np.concatenate([X, X[:1]])
    assert label_log_probability(NET, x, [*Y, Y[0]]).attrs["support"] == 5
    assert label_log_probability(NET, x, [*Y, Y[0] + 0.01]).attrs["total"] == -np.inf
    found = rank_labels(NET, X, Y, [[2.0], [1.5]], [[-1.0, -0.7], [-1.0, -0.6]])
    assert found.attrs["support"] == 1
    assert np.isfinite(found.log_probability.values[0]) and found.log_probability.values[1] == -np.inf
    assert found["rank"].values.tolist() == [1, 2]


def test_networks_that_cannot_fit_their_data():
    with pytest.raises(pdlt.PdltError, match="numerically singular"):
        rank_labels(FREE, X, Y, [[2.0]], [0.0])
    with pytest.raises(pdlt.PdltError, match="numerically singular"):
        rank_labels(FREE, X, Y, [[2.0]], [0.0], "trained")
    # What they can learn they learn exactly: least squares on the half line, whatever the initial weights.
    best = 2 * (X[2:, 0] @ Y[2:]) / (X[2:, 0] @ X[2:, 0])
    found = rank_labels(FREE, X, Y, [[2.0]], [best, best + 0.01], "trained", unresolved="freeze")
    assert found.attrs["support"] == 0
    assert found["rank"].values.tolist() == [1, 2] and found.log_probability.values[1] == -np.inf


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([[1.0, 2.0, 3.0]], r"`candidates` must be .* of shape \(M, 2, 1\) or \(M, 2\), but got shape \(1, 3\)"),
        ([1.0, 2.0], r"but got shape \(2,\)"),
        ([[1.0, np.nan]], "not finite"),
        ([["a", "b"]], "got type"),
        ([[1.0], [1.0, 2.0]], "differ in length"),
    ],
)
def test_bad_candidates(candidates, message):
    with pytest.raises(pdlt.PdltError, match=message):
        rank_labels(NET, X, Y, TEST, candidates)


def test_bad_arguments():
    with pytest.raises(pdlt.PdltError, match="`distribution` must be posterior or trained"):
        rank_labels(NET, X, Y, TEST, CANDIDATES, "prior")
    with pytest.raises(pdlt.PdltError, match="belong to distribution 'trained'"):
        rank_labels(NET, X, Y, TEST, CANDIDATES, ridge=0.1)
    for time in ([1], np.array([1.0, 2.0]), "late"):
        with pytest.raises(pdlt.PdltError, match="`time` must be a non-negative number or inf"):
            rank_labels(NET, X, Y, TEST, CANDIDATES, "trained", time=time)
    with pytest.raises(pdlt.PdltError, match="`candidates` must be .* beyond 1e"):
        rank_labels(NET, X, Y, TEST, 1e300 * CANDIDATES)
    with pytest.raises(pdlt.PdltError, match="`noise` must be a finite number, not negative"):
        label_log_probability(NET, X, Y, -0.1)
    with pytest.raises(pdlt.PdltError, match="`y` must be an array"):
        label_log_probability(NET, X, Y[:3])


def test_a_prior_that_fades_into_rounding_is_refused():
    """A smooth activation on close inputs: rank is lost in rounding, not by structure; noise brings it back."""
    net = pdlt.MLP(depth=2, width=8, activation="erf", C_b=1.0, C_W=1.0)
    x = np.linspace(-1, 1, 19)[:, None]
    with pytest.raises(pdlt.PdltError, match="of the 19 labels is numerically singular.*`noise` a variance above"):
        label_log_probability(net, x, np.sin(3 * x[:, 0]))
    noise = 1e-9
    found = label_log_probability(net, x, np.sin(3 * x[:, 0]), noise)
    back = label_log_probability(net, x[::-1], np.sin(3 * x[::-1, 0]), noise)
    assert 0 < found.attrs["rounding"] < 1e-2 and found.attrs["support"] == 19
    assert back.attrs["total"] == pytest.approx(found.attrs["total"], rel=found.attrs["rounding"])


def test_rounding_of_what_is_regular_or_singular_by_structure():
    x = np.concatenate([X, X[:1]])
    for net, inputs, labels in ((NET, X, Y), (NET, x, [*Y, Y[0]]), (FREE, X, Y)):
        assert 0 < label_log_probability(net, inputs, labels).attrs["rounding"] < 1e-11
    assert label_log_probability(FREE, [[0.0]], [0.0]).attrs["rounding"] == 0
    assert 0 < rank_labels(NET, X, Y, TEST, CANDIDATES).attrs["rounding"] < 1e-8
