"""Mutual information of outputs: exact integrals and limits as witnesses."""

import numpy as np
import pytest

import pdlt
from pdlt.predict.information import (
    lognormal_mutual_information,
    mutual_information,
    optimal_coupling,
    relative_entropy,
)


def two_point_entropy(coupling: float, neurons: int) -> float:
    """Return D_m when the variance is 1 +- sqrt(kappa2), by the trapezoidal rule in log |z|."""
    radius = np.exp(np.linspace(-40, 2.7, 4001))
    base = radius**neurons * np.exp(-(radius**2) / 2)
    values = 1 + np.array([[1.0], [-1.0]]) * np.sqrt(coupling)
    ratio = (values ** (-neurons / 2) * np.exp(-(radius**2) / 2 * (1 / values - 1))).mean(axis=0)
    return float((base * ratio * np.log(ratio)).sum() / base.sum())


def residual_power(formula, neurons: int) -> float:
    """Return p of |exact - formula| ~ kappa2^p."""
    small, large = 0.0005, 0.002
    errors = [abs(two_point_entropy(kappa, neurons) - formula(kappa, neurons)) for kappa in (small, large)]
    return float(np.log(errors[1] / errors[0]) / np.log(large / small))


@pytest.mark.parametrize("neurons", [1, 2, 5])
def test_relative_entropy_leaves_out_the_fourth_power(neurons: int) -> None:
    assert residual_power(relative_entropy, neurons) == pytest.approx(4, abs=0.25)


def test_a_wrong_cubic_factor_leaves_out_the_third_power() -> None:
    def wrong(kappa: float, m: int) -> float:
        return m * (m + 2) * (kappa**2 / 16 - (m + 7) * kappa**3 / 48)

    assert residual_power(wrong, 2) == pytest.approx(3, abs=0.25)


@pytest.mark.parametrize(("n_1", "n_2"), [(1, 1), (2, 3), (1, 9)])
def test_information_is_a_difference_of_entropies(n_1: int, n_2: int) -> None:
    kappa = 0.1
    difference = relative_entropy(kappa, n_1 + n_2) - relative_entropy(kappa, n_1) - relative_entropy(kappa, n_2)
    assert mutual_information(kappa, n_1, n_2) == pytest.approx(difference, rel=1e-12)


@pytest.mark.parametrize(("n_1", "n_2"), [(1, 1), (2, 3), (1, 9)])
def test_the_optimum_is_the_maximum_of_the_truncated_information(n_1: int, n_2: int) -> None:
    grid = np.linspace(0, 0.3, 30_001)
    best = grid[np.argmax([mutual_information(float(kappa), n_1, n_2) for kappa in grid])]
    assert best == pytest.approx(optimal_coupling(n_1 + n_2), abs=1e-5)


def test_one_output() -> None:
    assert optimal_coupling() == 4 / 23


def test_the_exact_information_approaches_the_truncated_one() -> None:
    """At kappa2 = 0.001 the next order is a few parts in 1e5 of the whole."""
    for n_1, n_2 in ((1, 1), (2, 3)):
        exact = lognormal_mutual_information(1e-3, n_1, n_2)
        assert exact == pytest.approx(mutual_information(1e-3, n_1, n_2), rel=1e-4)
        assert exact != pytest.approx(n_1 * n_2 / 8 * 1e-6, rel=1e-3)


def test_the_exact_information_has_no_maximum() -> None:
    """The maximum belongs to the truncation: what the advice says about it."""
    couplings = np.geomspace(0.01, 4, 12)
    exact = [lognormal_mutual_information(float(kappa), 1, 1) for kappa in couplings]
    assert np.all(np.diff(exact) > 0)
    best = optimal_coupling(2)
    ratio = lognormal_mutual_information(best, 1, 1) / mutual_information(best, 1, 1)
    assert ratio == pytest.approx(1.816, abs=0.001)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: optimal_coupling(0), "outputs"),
        (lambda: optimal_coupling(True), "outputs"),
        (lambda: relative_entropy(-0.1, 2), "coupling"),
        (lambda: relative_entropy(float("nan"), 2), "coupling"),
        (lambda: mutual_information(0.1, 1, 1.5), "n_2"),
    ],
)
def test_bad_arguments_are_named(call, name: str) -> None:
    with pytest.raises(pdlt.PdltError, match=f"`{name}`"):
        call()
