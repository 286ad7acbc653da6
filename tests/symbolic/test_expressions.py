"""The canonical form of formulas that people type."""

import pytest
import sympy

from pdlt.errors import PdltError
from pdlt.symbolic.expressions import Expectation, InputSum, Sigma, canonical, tensor_symbol

a, b = sympy.symbols("beta_1 beta_2")
c = sympy.Symbol("c")


def test_derivative_of_a_sum_and_of_a_constant_multiple():
    typed = Expectation(c * Sigma(0, 1) + Sigma(1, 1), 1)
    assert canonical(typed) == c * Expectation(Sigma(1, 1)) + Expectation(Sigma(2, 1))


def test_derivative_of_a_power_and_of_repeated_labels():
    assert canonical(Expectation(Sigma(0, 1) ** 2, 1)) == 2 * Expectation(Sigma(0, 1) * Sigma(1, 1))
    twice = canonical(Expectation(Sigma(0, 1) * Sigma(1, 1), 1, 1))
    expected = (
        Expectation(Sigma(2, 1) * Sigma(1, 1))
        + 2 * Expectation(Sigma(1, 1) * Sigma(2, 1))
        + Expectation(Sigma(0, 1) * Sigma(3, 1))
    )
    assert sympy.expand(twice - expected) == 0


def test_constants_leave_an_expectation():
    assert canonical(Expectation(2 * c * Sigma(0, 1) * Sigma(0, 2))) == 2 * c * Expectation(Sigma(0, 1) * Sigma(0, 2))
    assert canonical(Expectation(Sigma(0, 2), 1)) == 0


def test_tensor_indices_use_the_symmetries():
    assert canonical(tensor_symbol("V", 0, (4, 3, 2, 1))) == tensor_symbol("V", 0, (1, 2, 3, 4))
    assert canonical(tensor_symbol("B", 0, (1, 2, 3, 4))) != canonical(tensor_symbol("B", 0, (1, 3, 2, 4)))


def test_a_sum_runs_over_the_labels_it_differentiates():
    typed = InputSum(Expectation(Sigma(0, 1) * Sigma(0, 2), a, b) * tensor_symbol("K", 1, (a, b)), a, b)
    assert len(canonical(typed).args) == 3  # K_1[1,1], K_1[1,2] twice, K_1[2,2]


def test_wrong_number_of_indices_is_refused():
    with pytest.raises(PdltError, match="takes 4"):
        canonical(tensor_symbol("V", 0, (1, 2, 3, 4, 5)))
