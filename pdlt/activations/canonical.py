"""One spelling for each function: patterns that overflow or cancel become the stable functions."""

from fractions import Fraction

import sympy as sp

from pdlt.activations.functions import normal_cdf, sigmoid, softplus


def canonical(expr: sp.Expr) -> sp.Expr:
    """Return the same function with exact numbers and with overflowing patterns replaced.

    1/(1 + exp(u)) becomes sigmoid(-u), log(1 + exp(u)) softplus(u), 1 + erf(u) twice the normal distribution
    function, 1 + tanh(u) twice a sigmoid, exp(u) + exp(-u) twice cosh(u), exp(u) - exp(-u) twice sinh(u),
    1/cosh(u) sech(u), and decimals the rationals they denote.
    """
    if expr.is_Float:
        ratio = Fraction(repr(float(expr)))
        return sp.Rational(ratio.numerator, ratio.denominator)
    if not expr.args:
        return expr
    expr = expr.func(*(canonical(a) for a in expr.args))
    if expr.is_Add:
        return _sum(expr)
    if expr.is_Mul:
        return _product(expr)
    if expr.is_Pow:
        return _power(expr)
    if isinstance(expr, sp.log) and (u := _one_plus_exp(expr.args[0])) is not None:
        return softplus(u)
    if isinstance(expr, sp.erfc):
        return 2 * normal_cdf(-sp.sqrt(2) * expr.args[0])
    return expr


def _one_plus_exp(expr: sp.Expr) -> sp.Expr | None:
    """Return u if `expr` is 1 + exp(u)."""
    if expr.is_Add and len(expr.args) == 2 and sp.S.One in expr.args:
        other = next(a for a in expr.args if a != 1)
        if isinstance(other, sp.exp):
            return other.args[0]
    return None


def _power(expr: sp.Pow) -> sp.Expr:
    base, exponent = expr.base, expr.exp
    if base.is_number and base.is_positive and not exponent.is_number:
        return sp.exp(exponent * sp.log(base))
    if exponent.is_Integer and exponent < 0:
        if (u := _one_plus_exp(base)) is not None:
            return sigmoid(-u) ** (-exponent)
        if isinstance(base, sp.cosh):
            return sp.sech(base.args[0]) ** (-exponent)
    return expr


def _product(expr: sp.Mul) -> sp.Expr:
    """Rewrite exp(u) sigmoid(-u) = sigmoid(u) and sinh(u) sech(u) = tanh(u)."""
    factors = expr.args
    for factor in factors:
        base = factor.base if factor.is_Pow else factor
        if isinstance(base, sigmoid):
            partner, merged = sp.exp(-base.args[0]), sigmoid(-base.args[0])
        elif isinstance(base, sp.sech):
            partner, merged = sp.sinh(base.args[0]), sp.tanh(base.args[0])
        else:
            continue
        if partner in factors:
            rest = [f for f in factors if f not in (factor, partner)]
            return canonical(sp.Mul(factor / base, merged, *rest))
    return expr


def _sum(expr: sp.Add) -> sp.Expr:
    """Rewrite pairs of terms c g + c h whose sum is one stable function."""
    terms = expr.args
    for term in terms:
        for factor in sp.Mul.make_args(term):
            for partner, merged in _pairs(factor):
                other = term / factor * partner
                if other in terms:
                    rest = [t for t in terms if t not in (term, other)]
                    return canonical(sp.Add(2 * term / factor * merged, *rest))
    return expr


def _pairs(f: sp.Expr) -> list[tuple[sp.Expr, sp.Expr]]:
    """Return (g, h) for which f + g = 2 h, with h free of cancellation and overflow."""
    if not isinstance(f, sp.erf | sp.tanh | sp.exp):
        return []
    u, one = f.args[0], sp.S.One
    if isinstance(f, sp.erf):
        return [(one, normal_cdf(sp.sqrt(2) * u)), (-one, -normal_cdf(-sp.sqrt(2) * u))]
    if isinstance(f, sp.tanh):
        return [(one, sigmoid(2 * u)), (-one, -sigmoid(-2 * u))]
    return [(sp.exp(-u), sp.cosh(u)), (-sp.exp(-u), sp.sinh(u))]
