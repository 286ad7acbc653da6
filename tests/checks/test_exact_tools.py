"""The witnesses of the derivations against things that can be checked by hand."""

from fractions import Fraction
from itertools import product

import mpmath
import pytest
import sympy

from pdlt.checks.gaussian import homogeneous_average, polynomial_averages, quadrature
from pdlt.checks.moments import PolynomialNetwork, activation
from pdlt.checks.textbook import C_W, Theta, d, derived, mean, relabelled, sigma, sum_over
from pdlt.errors import PdltError
from pdlt.symbolic.expressions import Expectation, canonical

LINEAR = (Fraction(0), Fraction(1))
CUBIC = (Fraction(1), Fraction(2), Fraction(3), Fraction(5))


def network(sigma=LINEAR, **change) -> PolynomialNetwork:
    zero, one = Fraction(0), Fraction(1)
    fields = {
        "gram": ((Fraction(1),),),
        "ratios": (Fraction(2), Fraction(3), one),
        **{"C_b": zero, "C_W": one, "lambda_b": zero, "lambda_W": one},
    }
    return PolynomialNetwork(sigma, **{**fields, **change})


def test_multiplying_out_gives_the_chain_rule() -> None:
    # sigma'' z_a z_b + sigma' z_ab for sigma = 1 + 2z + 3z^2 + 5z^3
    z, a, b, ab = (("", 0),), (("a", 0),), (("b", 0),), (("ab", 0),)
    expected = {
        a + b: 6,
        tuple(sorted(z + a + b)): 30,
        ab: 2,
        tuple(sorted(z + ab)): 6,
        tuple(sorted(z + z + ab)): 15,
    }
    assert activation(CUBIC, "ab", 0) == expected


def test_deep_linear_moments_are_the_product_formula() -> None:
    # Var G / E[G]^2 = prod (1 + 2/n_l) - 1, in powers of 1/n with n = n_3.
    ratios = (Fraction(2), Fraction(3), Fraction(1))
    first = sum(2 / r for r in ratios)
    second = sum(4 / (ratios[i] * ratios[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    place = dict.fromkeys((1, 2, 3, 4), 0)
    found = network().coefficients("1 2 | 3 4", place, layer=4, terms=2)
    assert found == (first * ratios[2], second * ratios[2] ** 2)


def test_deep_linear_tangent_kernel_by_hand() -> None:
    # At layer 2 Ghat_aa is the average of z^2 + z_a^2, independent standard normals, and Ghat_bb that of z^2 + z_b^2.
    found = network().coefficients("a1 a2 | b3 b4", dict.fromkeys((1, 2, 3, 4), 0), layer=2, terms=1)
    assert found == (Fraction(2),)


def test_a_cumulant_at_layer_two_has_no_corrections() -> None:
    found = network(CUBIC).coefficients("1 2 | 3 4", dict.fromkeys((1, 2, 3, 4), 0), layer=2, terms=3)
    assert found[0] > 0
    assert found[1:] == (0, 0)


def test_cumulants_that_are_odd_in_a_direction_vanish() -> None:
    assert network(CUBIC).coefficients("1 a2", {1: 0, 2: 0}, layer=3, terms=2) == (0, 0)
    with pytest.raises(PdltError, match="`spec`"):
        network().coefficients("1 a", {1: 0}, layer=2, terms=1)


def test_polynomial_averages_are_isserlis() -> None:
    kernel = {(0, 0): Fraction(2), (0, 1): Fraction(1), (1, 0): Fraction(1), (1, 1): Fraction(3)}
    average = polynomial_averages((0, 0, 1))(kernel)  # sigma = z^2
    assert average(((0, 0), (1, 0))) == 2 * 3 + 2 * 1
    assert average(((0, 1), (1, 1))) == 4 * 1
    assert average(((0, 2),)) == 2
    assert average(((0, 3), (1, 0))) == 0


@pytest.mark.parametrize("slope", [1, 0])
def test_homogeneous_averages_move_derivatives_onto_the_gaussian(slope: int) -> None:
    kernel = Fraction(3)
    average = homogeneous_average(lambda m: Fraction(1 + slope, 2), kernel)
    half = Fraction(1 + slope, 2)
    assert average((0, 0), 0) == half * kernel
    assert average((0, 0), 2) == 2 * half  # d^2 (z^2) = 2
    assert average((0, 0), 4) == 0
    assert average((0, 1), 1) == half
    assert average((0, 0, 0, 0), 0) == half * 3 * kernel**2
    assert average((1, 2), 1) == 0
    with pytest.raises(ArithmeticError):
        average((0,), 0)


def test_quadrature_knows_gaussian_moments_in_two_dimensions() -> None:
    kernel = [[mpmath.mpf(2), mpmath.mpf(1)], [mpmath.mpf(1), mpmath.mpf(3)]]
    one, xx, xy, xxyy = quadrature(kernel, 25, reach=11, step=0.4)(lambda x, y: (1, x * x, x * y, x * x * y * y))
    for value, exact in ((one, 1), (xx, 2), (xy, 1), (xxyy, 8)):
        assert abs(value - exact) < mpmath.mpf(10) ** -22


def test_mean_is_linear_where_a_bare_expectation_is_not_differentiated() -> None:
    beta = sympy.Symbol("beta")
    assert canonical(sum_over([1], mean(3 * C_W * sigma(1) + d(1), beta), beta)) == canonical(
        3 * C_W * mean(d(1)) + mean(d(1, 2))
    )


@pytest.mark.parametrize("f", [sigma(1) ** 2, C_W, 1 + sigma(1), 1 / sigma(1)])
def test_mean_refuses_what_it_cannot_differentiate(f) -> None:
    with pytest.raises(PdltError, match="`f`"):
        mean(f)


def test_relabelling_is_simultaneous() -> None:
    expression = mean(sigma(1) * d(2)) * Theta(1, 2) * Theta(1, 1)
    swapped = mean(sigma(2) * d(1)) * Theta(2, 1) * Theta(2, 2)
    assert relabelled(expression, {1: 2, 2: 1}) == swapped
    assert derived("K").has(Expectation)


def test_sum_over_runs_through_all_stated_inputs() -> None:
    beta = sympy.Symbol("beta")
    values = product((1, 2, 3))
    assert sum_over([1, 2, 3], Theta(beta, 1), beta) == sum(Theta(i, 1) for (i,) in values)
