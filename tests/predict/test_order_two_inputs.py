"""Order 2 with several inputs, preactivation sector: exact linear networks, and ensembles of real activations.

Corrections on several inputs mix index pairings ((12)(34) with (13)(24)), which one input cannot see.
"""

from fractions import Fraction

import numpy as np
import pytest

import pdlt

X = np.array([[0.9, -0.4, 1.1], [-0.3, 0.8, 0.5], [0.1, 1.2, -0.7]])
Z_MAX = 4.5


def linear_moments(gram: np.ndarray, C_W: float, depth: int) -> list[np.ndarray]:
    """Return the coefficients of 1, 1/n, 1/n^2 in E[G_ab G_cd] of a deep linear network of equal widths, by axes abcd.

    G' = (C_W/n) sum_j z_j z_j^T with z_j ~ N(0, G) gives E[G'_ab G'_cd] = C_W^2 (M_abcd + (M_acbd + M_adbc) / n).
    """
    kernel = C_W * gram
    moments = [np.einsum("ab,cd->abcd", kernel, kernel), np.zeros((len(gram),) * 4), np.zeros((len(gram),) * 4)]
    for _ in range(depth - 1):
        crossed = [np.einsum("acbd->abcd", m) + np.einsum("adbc->abcd", m) for m in moments]
        lower = [np.zeros_like(moments[0]), *crossed[:-1]]
        moments = [C_W**2 * (m + c) for m, c in zip(moments, lower, strict=True)]
    return moments


def test_three_inputs_of_a_linear_network_exactly() -> None:
    net = pdlt.MLP(4, 20, "linear", C_W=1.3)
    prediction = pdlt.predict(net, X, ["K", "V"], order=2).isel(layer=-1)
    gram = X @ X.T / 3
    product, first, second = linear_moments(gram, 1.3, depth=4)
    np.testing.assert_allclose(product, np.einsum("ab,cd->abcd", *[prediction["K"].values] * 2), rtol=1e-12)
    np.testing.assert_allclose(prediction["V"].values, first, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(prediction["V_1"].values, second, rtol=1e-12, atol=1e-13)
    # The mean of a linear network has no correction.
    for key in ("K_1", "K_2"):
        np.testing.assert_allclose(prediction[key].values, 0, atol=1e-12)
    # Planted: the pairings of the second correction exchanged.
    assert np.abs(np.swapaxes(prediction["V_1"].values, 1, 2) - second).max() > 0.1


def test_linear_moments_are_those_of_one_input() -> None:
    """The witness itself: E[G^2] / E[G]^2 = (1 + 2/n)^(L-1) on one input."""
    moments = linear_moments(np.array([[1.0]]), 1.0, depth=4)
    assert [Fraction(float(m.item())) for m in moments] == [1, 6, 12]


@pytest.fixture(scope="module")
def measured():
    """n = 16: corrections are tens of standard errors, what is left out after order 2 is about one."""
    net = pdlt.MLP(4, 16, "sin", C_W=1.2)
    prediction = pdlt.predict(net, X[:2], ["K", "V"], order=2)
    run = pdlt.simulate(net, X[:2], ["K", "V"], samples=200_000, seed=11, layers=[4], progress=False)
    return prediction, run


def largest_z(prediction, run) -> float:
    return float(pdlt.compare(prediction, run).z.abs().max())


def test_two_inputs_agree_with_networks(measured) -> None:
    """All nine independent entries of K and V; P(|z| > 4.5) is 7e-6 each."""
    prediction, run = measured
    assert len(pdlt.compare(prediction, run)) == 9
    assert largest_z(prediction, run) < Z_MAX
    # Power: each order matters to the agreement.
    for key, stderr in (("V_1", "V_stderr"), ("K_1", "K_stderr")):
        assert np.abs(prediction[key].values[-1] / 16 / run[stderr].values[-1]).max() > 20


@pytest.mark.parametrize("planted", ["no V_1", "pairings exchanged", "K_1 doubled"])
def test_planted_errors_are_seen(measured, planted) -> None:
    prediction, run = measured
    wrong = prediction.copy(deep=True)
    if planted == "no V_1":
        wrong["V_1"].values[:] = 0
    elif planted == "pairings exchanged":
        wrong["V_1"].values[:] = np.swapaxes(prediction["V_1"].values, 2, 3)
    else:
        wrong["K_1"].values[:] *= 2
    assert largest_z(wrong, run) > Z_MAX
