"""Posterior and evidence at order 1/n: automatic derivatives, identities between them, and exact linear networks."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pdlt
from pdlt._jax import x64
from pdlt.learning.evidence import log_evidence
from pdlt.learning.finite_width import Expansion, coefficients
from pdlt.learning.kernel_fluctuations import KernelFluctuations, Part, kernel_fluctuations
from pdlt.learning.labels import label_log_probability
from pdlt.learning.posterior import Factor, posterior

NET = pdlt.MLP(3, (40, 32), "erf", C_b=0.2, C_W=1.6)
X = np.array([[0.9, -0.4], [-0.5, 0.8]])
Y = np.array([[1.0, -0.5], [-0.8, 0.2]])
POINTS = np.array([[0.3, 1.1]])
NAMES = ("log_evidence_1", "mean_1", "covariance_1", "hidden_kernel_change_1")


def tensors(x):
    found = pdlt.predict(NET, x, ["K", "V"]).isel(layer=-1)
    return found.K.values, found.K_1.values, found.V.values


@pytest.fixture(scope="module")
def prior():
    """K, K_1 and V on training and test inputs."""
    return tensors(np.concatenate([X, POINTS]))


def weighted(G, y, noise):
    """Return p(y|G), and p(y|G) times the posterior mean, the second moments, and the kernel, at the test inputs."""
    d, outputs = y.shape
    C = G[:d, :d] + noise * jnp.eye(d)
    m, gain = jnp.linalg.solve(C, y), jnp.linalg.solve(C, G[:d, d:]).T
    p = jnp.exp(-(jnp.sum(y * m) + outputs * jnp.linalg.slogdet(2 * jnp.pi * C)[1]) / 2)
    mean, own = G[d:, :d] @ m, G[d:, d:] - gain @ G[:d, d:]
    second = jnp.einsum("pq,ij->pqij", own, jnp.eye(outputs)) + jnp.einsum("pi,qj->pqij", mean, mean)
    return p, p * mean, p * second, p * G[d:, d:]


@jax.jit
def expanded(*arguments):
    """Return the weighted quantities, and their first and second derivatives in the kernel."""
    return weighted(*arguments), jax.jacrev(weighted)(*arguments), jax.jacfwd(jax.jacrev(weighted))(*arguments)


def by_automatic_derivatives(K, K_1, V, y, noise):
    """Expand E[p f] and E[p] in the kernel, f'[K_1] + f''[V]/2, with automatic derivatives and the full tensor."""
    with x64():
        leading, slopes, curves = jax.tree.map(np.asarray, expanded(K, y, noise))
    first = [
        np.einsum("...ab,ab->...", slope, K_1) + np.einsum("...abcd,abcd->...", curve, V) / 2
        for slope, curve in zip(slopes, curves, strict=True)
    ]
    (p, *leading), (p_1, *first) = leading, first
    mean, *_ = (a / p for a in leading)
    mean_1, second_1, kernel_1 = ((b - a * p_1 / p) / p for a, b in zip(leading, first, strict=True))
    mixed = np.einsum("pi,qj->pqij", mean_1, mean)
    return p_1 / p, mean_1, second_1 - mixed - mixed.transpose(1, 0, 3, 2), kernel_1 - K_1[len(y) :, len(y) :]


@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_against_automatic_derivatives(prior, noise):
    found = posterior(NET, X, Y, POINTS, noise, order=1)
    wanted = by_automatic_derivatives(*prior, Y, noise)
    for name, value in zip(NAMES, wanted, strict=True):
        np.testing.assert_allclose(found[name].values, value, rtol=1e-7, atol=1e-9, err_msg=name)
    variance = posterior(NET, X, Y, POINTS, noise, covariance="variance", order=1)
    np.testing.assert_allclose(variance.variance_1.values, np.einsum("ppii->pi", wanted[2]), rtol=1e-7, atol=1e-9)
    assert "variance_1" not in posterior(NET, X, Y, POINTS, noise, covariance="none", order=1)
    # What a wrong V would do is far larger.
    K, K_1, V = prior
    assert abs(by_automatic_derivatives(K, K_1, V.transpose(0, 2, 1, 3), Y, noise)[1] - wanted[1]).max() > 1e-3


def test_posterior_is_the_derivative_of_the_evidence():
    """Tweedie: E[z|y] = y + s d log p(y) and cov[z|y] = s + s^2 d d log p(y) at the training inputs, any prior."""
    noise, h = 0.3, 1e-2
    found = posterior(NET, X, Y, X, noise, order=1)
    fluctuations = kernel_fluctuations(NET, X, [3], "exact", 0, 0)
    factor = Factor(pdlt.kernel(NET, X, observables="K").K.values[0] + noise * np.eye(2), 0.0)

    def evidence(shift):
        expansion = Expansion.of(factor, np.zeros((0, 2)), Y + shift.reshape(Y.shape), "none")
        return float(coefficients({3: expansion}, fluctuations)[3]["log_evidence_1"][0])

    assert evidence(np.zeros(4)) == pytest.approx(float(found.log_evidence_1), rel=1e-6)

    # log_evidence_1 is a polynomial of degree four in y: central differences with two steps are exact.
    def slope(direction):
        one, two = (evidence(k * h * direction) - evidence(-k * h * direction) for k in (1, 2))
        return (8 * one - two) / (12 * h)

    unit = np.eye(Y.size)
    mean = noise * np.array([slope(e) for e in unit]).reshape(Y.shape)
    np.testing.assert_allclose(found.mean_1.values, mean, rtol=1e-6, atol=1e-9)

    def curvature(direction):
        one, two = (evidence(k * h * direction) + evidence(-k * h * direction) for k in (1, 2))
        return (16 * one - two - 30 * evidence(0 * direction)) / (12 * h**2)

    # Of the first output at the first input with the second output at the second input.
    crossed = (curvature(unit[0] + unit[3]) - curvature(unit[0] - unit[3])) / 4
    assert found.covariance_1.values[0, 1, 0, 1] == pytest.approx(noise**2 * crossed, rel=1e-5)
    assert abs(found.covariance_1.values[0, 1, 0, 1]) > 1e-3


def test_sampled_fluctuations_agree_with_the_tensor():
    net = pdlt.MLP(3, (20, 32), "erf", C_b=0.2, C_W=1.6)
    exact = posterior(net, X, Y, POINTS, 0.1, order=1, method="exact")
    sampled = posterior(net, X, Y, POINTS, 0.1, order=1, method="sampled", samples=2**11, seed=3)
    for name in NAMES:
        error = sampled[f"{name}_stderr"].values
        assert (np.abs(sampled[name].values - exact[name].values) <= 4.5 * error).all(), name
        assert (error < 0.2 * np.abs(exact[name].values).max()).all()
    depths = log_evidence(net, X, Y, 0.1, depths=[1, 2, 3], method="sampled", samples=2**11)
    wanted = log_evidence(net, X, Y, 0.1, depths=[1, 2, 3])
    assert float(depths.log_evidence_1[0]) == 0
    scores = (depths.log_evidence_1 - wanted.log_evidence_1)[1:] / depths.log_evidence_1_stderr[1:]
    assert np.abs(scores).max() < 4.5


def test_labels_are_met_without_noise_in_every_network():
    found = posterior(NET, X, Y, X, order=1)
    assert np.abs(found.mean_1.values).max() < 1e-10 and np.abs(found.covariance_1.values).max() < 1e-10
    # What the labels say about the hidden layer they still say.
    assert np.abs(found.hidden_kernel_change_1.values).max() > 0.1


def test_outputs_are_associated_through_the_hidden_layers():
    found = posterior(NET, X, Y, POINTS, 0.1, order=1).covariance_1.values
    assert abs(found[0, 0, 0, 1]) > 0.01
    np.testing.assert_allclose(found, found.transpose(1, 0, 3, 2), atol=1e-12)
    # An output without labels learns nothing from the others, but its variance does.
    silent = posterior(NET, X, Y * [1, 0], POINTS, 0.1, order=1)
    assert not silent.mean_1.values[:, 1].any() and not silent.covariance_1.values[..., 0, 1].any()
    assert np.abs(silent.mean_1.values[:, 0]).max() > 0.01


def test_one_layer_is_gaussian():
    net = pdlt.MLP(1, 8, "erf", C_b=0.2, C_W=1.6)
    found = posterior(net, X, Y, POINTS, 0.1, order=1)
    for name in NAMES:
        assert not found[name].values.any()
    assert found.attrs["width"] == 2 and found.attrs["order"] == 1


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_repeated_inputs(noise):
    x, y = X[[0, 1, 0]], Y[[0, 1, 0]] + noise * np.array([[0.0], [0.0], [1.0]])
    found = log_evidence(NET, x, y, noise)
    assert float(found.log_evidence) == pytest.approx(label_log_probability(NET, x, y, noise).attrs["total"])
    once = posterior(NET, X, np.stack([y[[0, 2]].mean(0), y[1]]), POINTS, 0.0, order=1)
    if noise == 0:
        assert float(found.log_evidence_1) == pytest.approx(float(once.log_evidence_1), rel=1e-10)
        return
    # With noise, all rows are kept: C is regular.
    K, K_1, V = tensors(x)
    rows, columns = (K + noise * np.eye(3)), np.zeros((0, 3))
    expansion = Expansion.of(Factor(rows, 0.0), columns, y, "none")
    part = Part(3, 0, np.ones(9), V.reshape(3, 3, 9).transpose(2, 0, 1))
    other = Part(3, 0, np.ones(9), np.eye(9).reshape(9, 3, 3))
    # V = sum over pairs of V_(..)(34) times a unit matrix: by polarisation, [(X+Y)^2 - (X-Y)^2]/4.
    parts = [Part(3, 0, sign * part.weights / 4, part.X + sign * other.X) for sign in (1, -1)]
    kept = coefficients({3: expansion}, KernelFluctuations({3: K_1}, 1, lambda: iter(parts)))[3]
    assert float(found.log_evidence_1) == pytest.approx(float(kept["log_evidence_1"][0]), rel=1e-8)
    both = posterior(NET, x, y, POINTS, noise, order=1)
    assert float(both.log_evidence_1) == pytest.approx(float(found.log_evidence_1), rel=1e-6)
    assert float(both.log_evidence) == pytest.approx(float(found.log_evidence), rel=1e-9)


def test_evidence_of_a_network_cut_short():
    net = pdlt.MLP(4, (40, 32, 24), "erf", C_b=[0.2, 0.2, 0.2, 0.0], C_W=[1.6, 1.6, 1.6, 2.0])
    found = log_evidence(net, X, Y, 0.1, depths=range(1, 5))
    assert found.width.values.tolist() == [2, 40, 32, 24] and found.depth.values.tolist() == [1, 2, 3, 4]
    alone = log_evidence(NET, X, Y, 0.1)
    for name in ("log_evidence", "log_evidence_1"):
        assert float(found[name].sel(depth=3)) == pytest.approx(float(alone[name]), rel=1e-6)
    assert "log_evidence_1" not in log_evidence(NET, X, Y, 0.1, order=0)


def exact_linear(y, K, noise, n):
    """Log-evidence of one input in a linear network with one hidden layer: chi-square integral, any width."""
    u = np.linspace(-13, 13, 261) / np.sqrt(n)
    log_weight = n / 2 * (u - np.expm1(u))
    weights = np.exp(log_weight) / np.exp(log_weight).sum()
    v = K * np.exp(u) + noise
    return np.log(weights @ (np.exp(-(y @ y) / (2 * v)) / (2 * np.pi * v) ** (len(y) / 2)))


def test_what_order_1_leaves_out_falls_as_the_square_of_the_width():
    y, x = np.array([1.3, -0.4, 0.8]), np.array([0.8, -0.5])
    found = log_evidence(pdlt.MLP(2, 16, "linear", C_W=1.3), [x], [y], 0.2)
    widths = np.array([16, 32, 64, 128])
    exact = np.array([exact_linear(y, 1.3**2 * (x @ x) / 2, 0.2, n) for n in widths])
    left = [exact - float(found.log_evidence) - c * float(found.log_evidence_1) / widths for c in (1, 1.1)]
    slopes = [np.diff(np.log(np.abs(rest))) / np.log(2) for rest in left]
    np.testing.assert_allclose(slopes[0][-1], -2, atol=0.1)
    # Ten percent off, and the slope is another.
    assert slopes[1][-1] > -1.6


def test_too_improbable_labels_are_warned_of():
    narrow = pdlt.MLP(3, (40, 4), "erf", C_b=0.2, C_W=1.6)
    with pytest.warns(pdlt.TruncationWarning, match="At depth 3 and width 4 the correction .* to the log-evidence is"):
        posterior(narrow, X, 4 * Y, POINTS, 0.1, order=1)
    with pytest.warns(pdlt.TruncationWarning, match="small against 1"):
        log_evidence(narrow, X, 4 * Y, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log_evidence(NET, X, Y, 0.1)


def test_bad_arguments():
    with pytest.raises(pdlt.PdltError, match="`order` must be an integer from 0 to 1"):
        posterior(NET, X, Y, POINTS, order=2)
    with pytest.raises(pdlt.PdltError, match="`method` must be one of auto, exact, sampled, but got 'fast'"):
        posterior(NET, X, Y, POINTS, order=1, method="fast")
    for depths in ([], [0], [3, 2], 2, [1, 4]):
        with pytest.raises(pdlt.PdltError, match="`depths` must be"):
            log_evidence(NET, X, Y, depths=depths)
    with pytest.raises(pdlt.PdltError, match="rows 0 and 2 have the same input"):
        log_evidence(NET, X[[0, 1, 0]], [1.0, 2.0, 3.0])
    with pytest.raises(pdlt.PdltError, match=r"`y_train` must be an array .* y_train\[1\] is nan"):
        log_evidence(NET, X, [1.0, np.nan])
    with pytest.raises(pdlt.PdltError, match="has a kink"):
        kernel_fluctuations(pdlt.MLP(2, 8, "relu"), X, [2], "sampled", 2**10, 0)
    with pytest.raises(pdlt.PdltError, match="numerically singular"):
        log_evidence(NET, X[[0, 0]] * [[1.0], [1 + 1e-15]], [1.0, 2.0])


def test_nearly_equal_inputs_are_refused_where_rounding_counts():
    net = pdlt.MLP(depth=2, width=32, activation="tanh", C_b=0.3, C_W=1.4)
    x, y = [[0.9, -0.4], [0.2, 1.3], [0.9003, -0.4]], [1.0, -0.5, 1.0]
    with pytest.raises(pdlt.PdltError, match="`order` must be 0 for training inputs this near to each other"):
        pdlt.posterior(net, x, y, x, order=1)
    assert np.isfinite(pdlt.posterior(net, x, y, x, noise=0.1, order=1).mean_1).all()
