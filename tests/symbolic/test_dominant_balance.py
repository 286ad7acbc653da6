"""Dominant balance on recursions with known solutions."""

from fractions import Fraction
from math import comb

import mpmath
import pytest
import sympy as sp
from sympy.polys.rings import ring

from pdlt.symbolic.dominant_balance import Flow, balance, clock, constant, depth
from pdlt.symbolic.power_log import PowerLog

KEY = ("Theta", 0)
COEFFICIENTS = ring([constant(("K", 0)), constant(KEY)], sp.QQ)[0]
CUT = Fraction(8)


def series(*terms, cut=CUT):
    return PowerLog.of(COEFFICIENTS, [((Fraction(e), k), COEFFICIENTS(v)) for e, k, v in terms], Fraction(cut))


def flow(change, perpendicular=0, m=1, first=None):
    unused = series((0, 0, 1))
    return Flow(m, change, lambda *_: unused, (unused,) * 4, Fraction(perpendicular), first)


#: y' = y/(1 + y): y is 1/l up to a shift.
HARMONIC = flow(series(*((j, 0, (-1) ** j) for j in range(1, 8))), first={})


def values(s, symbols=None):
    """Return the series as a function of y."""
    terms = [(e, k, v.as_expr().subs(symbols or {})) for (e, k), v in s.terms.items()]
    return lambda y: sum(mpmath.mpf(float(v)) * mpmath.mpf(y) ** float(e) * mpmath.log(y) ** k for e, k, v in terms)


@pytest.mark.parametrize("power", [0, 1, 2, 5])
def test_sums_of_powers_end(power):
    # X' = X + l^p, X(1) = 0: sums of powers, polynomials in l known since Faulhaber.
    found = balance(series((0, 0, 1)), series((-power, 0, 1)), HARMONIC, KEY)
    polynomial = sp.Poly(
        sum(v.as_expr() * sp.Symbol("l") ** int(-e) for (e, _), v in found.terms.items()), sp.Symbol("l")
    )
    assert all(k == 0 for _, k in found.terms)
    for layer in range(1, 9):
        assert polynomial.eval(layer) == sum(j**power for j in range(1, layer))


@pytest.mark.parametrize(("exponent", "source"), [(1, 0), (2, 0), (1, 1), (3, 2)])
def test_solutions_of_a_slow_recursion(exponent, source):
    # X' = (1 - e y + ...) X + y^s along y' = y - y^2: compare with iteration, the constant taken from the start.
    moving = flow(series((1, 0, -1)))
    own, drive = series((0, 0, 1), (1, 0, -exponent), (2, 0, 2)), series((source, 0, 1))
    found = balance(own, drive, moving, KEY)
    with mpmath.workdps(30):
        y, X = mpmath.mpf("0.01"), mpmath.mpf(1)
        start, symbol = y, constant(KEY)
        at_zero, at_one = (values(found, {symbol: c})(start) for c in (0, 1))
        c = (X - at_zero) / (at_one - at_zero)
        for _ in range(2000):
            y, X = y - y**2, (1 - exponent * y + 2 * y**2) * X + y**source
        # Known to y^cut at y = 0.01, relative to the solution without source if that is the smaller one.
        tolerance = 1e3 * mpmath.mpf("0.01") ** float(found.cut - max(found.lead, exponent))
        assert abs(values(found, {symbol: sp.Float(str(c), 30)})(y) / X - 1) < tolerance


def test_a_resonance_makes_a_logarithm():
    # A source y^2 drives y^1, which is the solution without source.
    found = balance(series((0, 0, 1), (1, 0, -1)), series((2, 0, 3)), flow(series((1, 0, -1))), KEY)
    assert found.terms[Fraction(1), 1] == COEFFICIENTS(-3)


def test_depth_and_clock_are_inverse():
    moving = flow(series((1, 0, -1), (2, 0, sp.Rational(17, 12))))
    v = clock(moving, moving.change.cut)
    shift = {constant(("K", 0)): 0}
    with mpmath.workdps(20):
        for layers in (200, 2000):
            y = (1 + values(v, shift)(mpmath.mpf(1) / layers)) / layers
            assert abs(values(depth(moving, moving.change.cut), shift)(y) - layers) < 1e7 * mpmath.mpf(layers) ** -5


def test_depth_counts_layers():
    moving = flow(series((1, 0, -1), (2, 0, sp.Rational(17, 12))))
    count = values(depth(moving, moving.change.cut), {constant(("K", 0)): 0})
    with mpmath.workdps(20):
        y = mpmath.mpf("0.01")
        after = y - y**2 + sp.Rational(17, 12) * y**3
        assert abs(count(after) - count(y) - 1) < 1e-9


def test_a_factor_that_is_not_critical_is_refused():
    with pytest.raises(ArithmeticError, match="does not grow as a power"):
        balance(series((0, 0, 2)), series((0, 0, 1)), HARMONIC, KEY)
    with pytest.raises(ArithmeticError, match="not a sum of critical exponents"):
        balance(series((0, 0, 1), (1, 0, sp.Rational(1, 7))), series((0, 0, 1)), HARMONIC, KEY)


def test_binomials_of_the_harmonic_clock_are_exact():
    # One layer takes l^d to (l + 1)^d; that nothing is left over beyond the cut is what makes polynomials exact.
    monomial = series((-4, 0, 1), cut=4).substitute(HARMONIC.change)
    assert {e: int(v.coeff(1)) for (e, _), v in monomial.terms.items()} == {
        Fraction(j - 4): comb(4, j) for j in range(5)
    }
