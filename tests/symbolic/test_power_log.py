"""Series in powers and logarithms against sympy's own expansions."""

from fractions import Fraction

import pytest
import sympy as sp
from sympy.polys.rings import ring

from pdlt.symbolic.power_log import PowerLog, binomial, logarithm

COEFFICIENTS, C = ring("c", sp.QQ)
y, c = sp.Symbol("y", positive=True), sp.Symbol("c")


def series(terms, cut=6):
    return PowerLog.of(COEFFICIENTS, [((Fraction(e), k), COEFFICIENTS.one * v) for (e, k), v in terms], Fraction(cut))


def expression(s):
    return sum(
        v.as_expr() * y ** sp.Rational(e.numerator, e.denominator) * sp.log(y) ** k for (e, k), v in s.terms.items()
    )


def agrees(s, exact):
    """Whether a series without logarithms is the Taylor series of `exact` up to its cut."""
    known = sp.series(exact, y, 0, int(s.cut)).removeO()
    return sp.expand(expression(s) - known) == 0


CHANGE = series([((1, 0), 2), ((2, 0), -C), ((3, 0), 1)], 5)


def test_sums_and_products_keep_track_of_what_is_known():
    left, right = series([((-1, 0), 1), ((0, 1), 3)], 2), series([((1, 0), C)], 4)
    assert (left + right).cut == 2
    assert (left * right).cut == 3  # y^-1 times O(y^4), y times O(y^2)
    assert (left * right).terms == {(Fraction(0), 0): C, (Fraction(1), 1): 3 * C}
    assert (left - left).terms == {}


def test_terms_beyond_the_cut_are_dropped():
    assert series([((7, 0), 1), ((5, 0), 1)], 6).terms == {(Fraction(5), 0): COEFFICIENTS.one}


@pytest.mark.parametrize("exponent", [Fraction(-2), Fraction(1, 2), Fraction(-7, 3), Fraction(3)])
def test_binomial_is_the_power(exponent):
    p = sp.Rational(exponent.numerator, exponent.denominator)
    assert agrees(binomial(CHANGE, exponent), (1 + 2 * y - c * y**2 + y**3) ** p)


def test_logarithm():
    assert agrees(logarithm(CHANGE), sp.log(1 + 2 * y - c * y**2 + y**3))


def test_substitution_moves_powers_and_logarithms():
    moved = series([((2, 1), 1)], 6).substitute(CHANGE)
    factor = 1 + 2 * y - c * y**2 + y**3
    exact = y**2 * factor**2 * (sp.Symbol("L") + sp.log(factor))
    known = sp.series(exact, y, 0, int(moved.cut)).removeO()
    assert sp.expand(expression(moved).subs(sp.log(y), sp.Symbol("L")) - known) == 0


def test_powers_of_series_start_at_their_leading_term():
    inverse = series([((-1, 0), 2), ((0, 0), C)], 3).power(Fraction(-1))
    assert inverse.leading == ((Fraction(1), 0), COEFFICIENTS(sp.Rational(1, 2)))
    assert ((series([((-1, 0), 2), ((0, 0), C)], 3) * inverse) - series([((0, 0), 1)], 3)).terms == {}


def test_powers_of_symbols_and_logarithms_are_refused():
    with pytest.raises(ArithmeticError, match="not a number times a power"):
        series([((0, 0), C)]).power(Fraction(-1))
    with pytest.raises(ArithmeticError, match="not a number times a power"):
        series([((0, 1), 1)]).power(Fraction(-1))
    with pytest.raises(ArithmeticError, match="not rational"):
        series([((0, 0), 2)]).power(Fraction(1, 2))


def test_noise_of_real_numbers_is_dropped():
    reals, _ = ring("c", sp.RealField(dps=40))
    tiny = sp.RealField(dps=40)(10) ** -30
    kept = PowerLog.of(reals, [((Fraction(0), 0), reals.one * tiny), ((Fraction(1), 0), reals.one)], Fraction(2))
    assert list(kept.terms) == [(Fraction(1), 0)]
