"""Measurements against results that are exact at every width (docstrings derive them, checkable by hand)."""

import numpy as np
import pytest

from pdlt.ensemble import simulate
from pdlt.networks import MLP

X = np.array([[0.6, -1.1, 0.8]])
GRAM = float((X @ X.T).item()) / 3


def product(widths, step):
    """prod_l (1 + step / n_l) over the hidden layers before each of the layers 1 ... L."""
    return np.cumprod([1.0, *(1 + step / n for n in widths)])


def homogeneous(p, n, depth, C_W, lambda_W):
    """Second moments of (z, H) for sigma(z) = z (p = 1) or ReLU (p = 1/2), no biases, one input, equal widths.

    With z1, z2 two neurons of a layer, m0 = E z1^2 z2^2, D1 = E z1^2 H11, D2 = E z1^2 H22, F = E z1 z2 H12,
    A1 = E H11^2, A2 = E H11 H22, B = E H12^2; a sum over the n neurons of the layer below has n equal terms with
    both factors on one neuron (weight p of being active) and n (n - 1) with two different ones (weight p^2).
    """
    v, c, r, q = C_W / n, lambda_W / n, p * n, p * p * n * (n - 1)
    kernel, theta = C_W * GRAM, lambda_W * GRAM
    m0, D1, D2, F, A1, A2, B = kernel**2, kernel * theta, kernel * theta, 0.0, theta**2, theta**2, 0.0
    rows = []
    for _ in range(depth):
        rows.append([n * (m0 - kernel**2), n * (D2 - kernel * theta), n * F, n * (A2 - theta**2), n * B])
        s4, sT, sM, t, t2 = 3 * r * m0 + q * m0, r * D1 + q * D2, r * D1 + q * F, r * A1 + q * A2, r * A1 + q * B
        m0, D2, F, B = v * v * s4, v * c * s4 + v * v * sT, v * v * sM, v * v * t2
        D1, A2 = D2 + 2 * F, c * c * s4 + 2 * c * v * sT + v * v * t
        A1 = A2 + 2 * B
        kernel, theta = C_W * p * kernel, lambda_W * p * kernel + C_W * p * theta
    shape = (depth, 1, 1, 1, 1)
    return {name: column.reshape(shape) for name, column in zip("VDFAB", np.array(rows).T, strict=True)}


def test_deep_linear_moments(judge):
    """G is a product of chi-squares: E G^k / (E G)^k = prod_l prod_{j<k} (1 + 2j/n_l)."""
    widths = (5, 9, 6)
    net = MLP(4, widths, "linear", C_W=1.3)
    run = simulate(net, X, ["K", "V"])
    kernel = 1.3 ** np.arange(1, 5) * GRAM
    n = np.array([3, *widths])
    expected = {"K": kernel.reshape(-1, 1, 1), "V": (n * kernel**2 * (product(widths, 2) - 1)).reshape(-1, 1, 1, 1, 1)}
    assert max(judge.against(run, expected).values()) < judge.threshold
    assert judge.power(run, ["V"])["V"] > 10


def test_deep_linear_third_cumulant(judge):
    widths = (20, 30)
    run = simulate(MLP(3, widths, "linear", C_W=0.9), X, ["1 2 | 3 4 | 5 6"], samples=60_000)
    kernel = 0.9 ** np.arange(1, 4) * GRAM
    second = product(widths, 2)
    third = second * product(widths, 4)
    exact = np.array([3, *widths]) ** 2 * kernel**3 * (third - 3 * second + 2)
    expected = {"1 2 | 3 4 | 5 6": exact.reshape(-1, *(1,) * 6)}
    assert max(judge.against(run, expected).values()) < judge.threshold
    assert max(judge.power(run, expected).values()) > 10


def test_relu_four_point_vertex(judge):
    """At criticality E G^2 / (E G)^2 = prod_l (1 + 5/n_l) with K constant."""
    widths = (6, 4)
    run = simulate(MLP(3, widths, "relu", C_W=2.0), X, ["K", "V"])
    kernel = 2 * GRAM
    exact = np.array([3, *widths]) * kernel**2 * (product(widths, 5) - 1)
    expected = {"K": np.full((3, 1, 1), kernel), "V": exact.reshape(-1, 1, 1, 1, 1)}
    assert max(judge.against(run, expected).values()) < judge.threshold
    assert judge.power(run, ["V"])["V"] > 10


@pytest.mark.parametrize("sampler, samples", [("jets", 10_000), ("conditioned", 30_000), ("network", 30_000)])
@pytest.mark.parametrize("name, p, C_W", [("relu", 0.5, 2.0), ("linear", 1.0, 0.9)])
def test_homogeneous_recursion(judge, sampler, samples, name, p, C_W):
    net = MLP(3, 8, name, C_W=C_W, lambda_W=0.7)
    run = simulate(net, X, ["Theta", *"VDFAB"], samples=samples, sampler=sampler)
    expected = homogeneous(p, 8, 3, C_W, 0.7)
    expected["Theta"] = np.array([1, 2, 3]).reshape(-1, 1, 1) * 0.7 * (p * C_W) ** np.arange(3).reshape(-1, 1, 1) * GRAM
    assert max(judge.against(run, expected).values()) < judge.threshold
    assert min(judge.power(run, "VDFAB").values()) > 10


def test_a_wrong_learning_rate_is_caught(judge):
    net = MLP(3, 8, "relu", C_W=2.0, lambda_W=0.77)  # 10 percent too large
    run = simulate(net, X, [*"DFAB"])
    found = judge.against(run, {name: homogeneous(0.5, 8, 3, 2.0, 0.7)[name] for name in "DFAB"})
    assert min(found["A"], found["B"]) > judge.threshold


def test_the_finite_width_part_is_seen(judge):
    """Leading coefficients only (L = 3, critical ReLU: V, D, F, A, B = 40, 36, 12, 38, 10) must be refused."""
    net = MLP(3, 8, "relu", C_W=2.0, lambda_W=1.0)
    run = simulate(net, X / np.sqrt(GRAM), [*"VDFAB"], samples=20_000, layers=[3])
    leading = dict(zip("VDFAB", (40, 36, 12, 38, 10), strict=True))
    assert min(judge.against(run, leading).values()) > judge.threshold
