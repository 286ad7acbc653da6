"""Canonical forms and derivatives that stay accurate far out.

The k-th derivative of an activation is kept as a polynomial in its building blocks (tanh and sech, sigmoid
of u and of -u, exp, ...), arranged as a nested Horner form. The blocks are chosen so that in the tails every
term carries the decaying factor explicitly: 1 - tanh(u)^2 is always written sech(u)^2.
"""

import functools
import math
from collections import Counter

import sympy as sp

from pdlt.activations.functions import z
from pdlt.errors import PdltError

# Some seconds of work: the first bounds differentiating (a term of m factors has m derivatives of m factors),
# the second multiplying out.
_MAX_PRODUCTS = 20_000
_MAX_TERMS = 5_000


class _tanh(sp.Function):  # type: ignore[misc]
    """tanh with the derivative sech(u)^2; stands in for sympy's tanh while differentiating."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.sech(self.args[0]) ** 2


@functools.lru_cache(maxsize=1024)
def derivative(expr: sp.Expr, order: int) -> sp.Expr:
    """Return the derivative of a smooth expression in z, as a nested polynomial in its building blocks.

    Raises:
        PdltError: if the derivative is too large to be worked out in some seconds.
    """
    return expr if order == 0 else nested(_expanded_derivative(expr, order))


@functools.lru_cache(maxsize=1024)
def _expanded_derivative(expr: sp.Expr, order: int) -> sp.Expr:
    if order == 0:
        return expr
    previous = _expanded_derivative(expr, order - 1)
    _check_cost(
        sum(len(sp.Mul.make_args(t)) ** 2 for t in sp.Add.make_args(previous)) <= _MAX_PRODUCTS, order
    )
    slope = sp.diff(previous.replace(sp.tanh, _tanh), z).replace(_tanh, sp.tanh)
    _check_cost(_term_count(slope) <= _MAX_TERMS, order)
    # Products of sums are multiplied out, but neither powers of sums nor the arguments of functions.
    return _reduce_tanh(sp.expand_mul(slope, deep=False))


def _check_cost(fine: bool, order: int) -> None:
    if not fine:
        raise PdltError(
            f"Argument `activation` is too complicated: its derivative of order {order} has many thousands of "
            "factors. Write it with fewer nested functions."
        )


def _term_count(expr: sp.Expr) -> int:
    if expr.is_Add:
        return sum(_term_count(a) for a in expr.args)
    return math.prod(_term_count(a) for a in expr.args) if expr.is_Mul else 1


def _reduce_tanh(expr: sp.Expr) -> sp.Expr:
    """Replace tanh(u)^m by tanh(u)^(m mod 2) (1 - sech(u)^2)^(m div 2) and multiply out."""

    def rule(power: sp.Pow) -> sp.Expr:
        odd, base = power.exp % 2, power.base
        squares = sp.expand((1 - sp.sech(base.args[0]) ** 2) ** ((power.exp - odd) // 2))
        return base**odd * squares

    terms = []
    for term in sp.Add.make_args(expr):
        factors = [
            rule(f) if f.is_Pow and isinstance(f.base, sp.tanh) and f.exp.is_Integer and f.exp > 1 else f
            for f in sp.Mul.make_args(term)
        ]
        terms.append(sp.expand_mul(sp.Mul(*factors), deep=False))
    return sp.Add(*terms)


def nested(expr: sp.Expr) -> sp.Expr:
    """Return a sum of products as a nested form: the most frequent factor is taken out, recursively."""
    terms = []
    for term in sp.Add.make_args(expr):
        constant, rest = term.as_independent(z, as_Add=False)
        powers: dict[sp.Expr, sp.Rational] = {}
        for factor in sp.Mul.make_args(rest):
            base, exponent = (factor.base, factor.exp) if factor.is_Pow else (factor, sp.Integer(1))
            if base != 1:
                powers[base] = powers.get(base, sp.Integer(0)) + exponent
        terms.append((constant, powers))
    return _nest(terms)


def _nest(terms: list[tuple[sp.Expr, dict[sp.Expr, sp.Rational]]]) -> sp.Expr:
    counts = Counter(base for _, powers in terms for base in powers)
    base = max(counts, key=lambda b: (counts[b], sp.default_sort_key(b)), default=None)
    if counts[base] < 2:
        return sp.Add(*(c * sp.Mul(*(b**e for b, e in powers.items())) for c, powers in terms))
    lowest = min(powers[base] for _, powers in terms if base in powers)
    inside, outside = [], []
    for constant, powers in terms:
        if base in powers:
            left = {b: e - lowest if b == base else e for b, e in powers.items() if b != base or e != lowest}
            inside.append((constant, left))
        else:
            outside.append((constant, powers))
    return base**lowest * _nest(inside) + (_nest(outside) if outside else 0)
