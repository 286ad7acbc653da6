"""Evidence judges itself: it holds, is refuted, or could not have told (void)."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy

from pdlt.checks import Agreement, Identity, Scores
from pdlt.checks.textbook import F, V, b1, b2, d, mean, sigma, sum_inputs
from pdlt.errors import PdltError

x, y = sympy.symbols("x y")


def status(evidence) -> str:
    return evidence.verdict().status


def test_identity_is_equality_after_expansion() -> None:
    assert status(Identity((x + y) ** 2, x**2 + 2 * x * y + y**2)) == "holds"
    assert status(Identity((x + y) ** 2, x**2 + y**2)) == "refuted"
    assert "2*x*y" in Identity((x + y) ** 2, x**2 + y**2).verdict().message


def test_identity_uses_the_symmetries_of_tensors() -> None:
    assert status(Identity(V(1, 2, 3, 4), V(4, 3, 1, 2))) == "holds"
    assert status(Identity(V(1, 2, 3, 4), V(1, 3, 2, 4))) == "refuted"


def test_identity_carries_out_sums_and_derivatives() -> None:
    left = sum_inputs(mean(sigma(1) * d(3), b1) * mean(sigma(2), b2) * F(b1, 3, b2, 4), b1, b2)
    right = mean(d(1)) * 0 + F(1, 3, 2, 4) * mean(d(1) * d(3)) * mean(d(2))
    right += F(3, 3, 2, 4) * mean(sigma(1) * d(3, 2)) * mean(d(2))
    assert status(Identity(left, right)) == "holds"


@pytest.mark.parametrize("sides", [(0, 0), ([0, 0], [0, 0]), ([], []), (sympy.nan, sympy.nan), (sympy.oo, sympy.oo)])
def test_identity_of_nothing_is_void(sides) -> None:
    assert status(Identity(*sides)) == "void"


def test_identity_compares_sequences_one_by_one() -> None:
    assert status(Identity([x, 0], [x, 0])) == "holds"
    assert status(Identity([x, y], [y, x])) == "refuted"
    assert status(Identity([x], [x, y])) == "refuted"


def test_agreement_is_relative_and_entry_by_entry() -> None:
    with mpmath.workdps(40):
        near = mpmath.mpf(1) + mpmath.mpf(10) ** -30
        assert status(Agreement([near, 1e9], [1, 1e9], 1e-25, "why")) == "holds"
        assert status(Agreement([near, 1e9], [1, 1e9], 1e-31, "why")) == "refuted"
        # A small entry is not hidden by a large one.
        assert status(Agreement([2e-30, 1e9], [1e-30, 1e9], 1e-10, "why")) == "refuted"


def test_agreement_sees_more_digits_than_the_working_precision() -> None:
    third = Fraction(1, 3)
    assert status(Agreement([third], [third + Fraction(1, 10**60)], 1e-50, "why")) == "holds"
    assert status(Agreement([third], [third + Fraction(1, 10**60)], 0, "rationals")) == "refuted"


def test_agreement_of_rationals_is_exact_across_types() -> None:
    assert status(Agreement([Fraction(31, 3), 2], [sympy.Rational(31, 3), 2], 0, "rationals")) == "holds"


@pytest.mark.parametrize("numbers", [[], [0, 0], [float("nan")], [float("inf")]])
def test_agreement_of_nothing_is_void(numbers) -> None:
    assert status(Agreement(numbers, numbers, 0, "why")) == "void"


def test_agreement_needs_equal_lengths() -> None:
    assert status(Agreement([1, 2], [1], 0, "why")) == "refuted"


@pytest.mark.parametrize(
    ("rtol", "why", "message"), [(1e-3, "why", "rtol"), (-1, "why", "rtol"), ("0", "why", "rtol"), (0, " ", "why")]
)
def test_agreement_must_be_precise_and_explained(rtol, why, message) -> None:
    with pytest.raises(PdltError, match=f"`{message}`"):
        Agreement([1], [1], rtol, why)


def test_scores_hold_within_z_max_and_with_power() -> None:
    assert status(Scores([1.0, 2.0], [1.02, 1.98], [0.01, 0.01], z_max=3, seed=0)) == "holds"
    assert status(Scores([1.0, 2.0], [1.04, 1.98], [0.01, 0.01], z_max=3, seed=0)) == "refuted"


def test_scores_without_power_are_void() -> None:
    assert status(Scores([1.0], [1.1], [0.5], z_max=3, seed=0)) == "void"
    assert status(Scores([100.0], [100.1], [0.5], z_max=3, seed=0, effect=[1.0])) == "void"
    assert status(Scores([100.0], [100.1], [0.5], z_max=3, seed=0, effect=[10.0])) == "holds"
    # Half of the entries need not show it, more than half must.
    assert status(Scores([0.0, 1.0], [0.0, 1.0], [0.1, 0.1], z_max=3, seed=0)) == "void"
    assert status(Scores([0.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.1, 0.1, 0.1], z_max=3, seed=0)) == "holds"


def test_a_wrong_prediction_is_refuted_even_without_power() -> None:
    assert status(Scores([0.0], [10.0], [1.0], z_max=3, seed=0)) == "refuted"


@pytest.mark.parametrize(
    "numbers", [([], [], []), ([1.0], [1.0], [0.0]), ([np.nan], [1.0], [0.1]), ([1.0], [1.0], [np.inf])]
)
def test_scores_of_nothing_are_void(numbers) -> None:
    assert status(Scores(*numbers, z_max=3, seed=0)) == "void"


def test_scores_take_arrays() -> None:
    ones = np.ones((2, 2))
    assert status(Scores([ones, ones], [ones, ones], [0.1 * ones] * 2, z_max=3, seed=0)) == "holds"
    assert status(Scores(ones, np.ones(3), ones, z_max=3, seed=0)) == "refuted"


@pytest.mark.parametrize(
    "bad", [{"seed": -1}, {"seed": True}, {"seed": None}, {"z_max": 0}, {"z_max": np.inf}, {"power": 1.0}]
)
def test_scores_need_a_seed_and_thresholds(bad) -> None:
    with pytest.raises(PdltError, match=f"`{next(iter(bad))}`"):
        Scores([1.0], [1.0], [0.1], **{"z_max": 3, "seed": 0, **bad})
