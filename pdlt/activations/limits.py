"""How large an expression may be, so that no text can hang or exhaust the program that reads it."""

import math
from typing import Any

import mpmath
import sympy as sp

from pdlt.activations import program
from pdlt.activations.functions import z
from pdlt.activations.rejected import Rejected

MAX_CHARACTERS = 1000
MAX_DEPTH = 50
MAX_NODES = 400
MAX_EXPONENT = 16
MAX_EXPONENT_DENOMINATOR = 100
MAX_BITS = 256
_MAX_CONSTANT = 2.0**MAX_BITS


def check_all(expr: sp.Expr) -> None:
    """Check an expression and all its parts.

    Raises:
        Rejected: if numbers, exponents or the expression as a whole are too large.
    """
    sizes: dict[sp.Expr, int] = {}
    for part in sp.postorder_traversal(expr):
        check(part, sizes)


def check(expr: sp.Expr, sizes: dict[sp.Expr, int]) -> None:
    """Check one expression whose arguments have been checked already; `sizes` remembers their node counts.

    Raises:
        Rejected: if numbers, exponents or the expression as a whole are too large.
    """
    sizes[expr] = 1 + sum(_size(a, sizes) for a in expr.args)
    if sizes[expr] > MAX_NODES:
        raise Rejected(f"it is too large: at most {MAX_NODES} operations are accepted")
    for factor in sp.Mul.make_args(expr):
        if factor.is_Pow and factor.exp.is_Rational:
            check_exponent(factor.exp)
    if expr.is_Rational:
        _check_rational(expr)
    elif not expr.has(z):
        _check_constant(expr)


def check_exponent(exponent: sp.Expr) -> None:
    """Check that an exponent is a simple number.

    Raises:
        Rejected: if it is not.
    """
    if not exponent.is_Rational or abs(exponent) > MAX_EXPONENT or exponent.q > MAX_EXPONENT_DENOMINATOR:
        raise Rejected(
            f"exponents must be numbers between -{MAX_EXPONENT} and {MAX_EXPONENT} with a denominator of at "
            f"most {MAX_EXPONENT_DENOMINATOR}; write exp(u*log(2)) for 2**u"
        )


def _size(expr: sp.Expr, sizes: dict[sp.Expr, int]) -> int:
    """Count the nodes of a tree without walking a shared subtree twice."""
    if expr not in sizes:
        sizes[expr] = 1 + sum(_size(a, sizes) for a in expr.args)
    return sizes[expr]


def _check_rational(value: sp.Rational) -> None:
    if max(abs(value.p).bit_length(), value.q.bit_length()) > MAX_BITS:
        raise Rejected(f"numbers must have at most {MAX_BITS} binary digits")


def _check_constant(expr: sp.Expr) -> None:
    try:
        # Plain floats overflow where arbitrary precision would compute astronomically large numbers.
        value: Any = program.run_mpmath(program.compile_expression(expr), 0.0, mpmath.fp)
        fine = isinstance(value, float | int) and math.isfinite(value) and abs(value) <= _MAX_CONSTANT
    except (ArithmeticError, ValueError, TypeError):
        fine = False
    if not fine:
        raise Rejected(f"the constant {expr} is not a real number of moderate size")
