"""Is an expression a finite real function on the whole line, with all its derivatives?"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import sympy as sp

from pdlt.activations import program
from pdlt.activations.functions import z
from pdlt.activations.rejected import Rejected

_STEP, _RANGE = 8, 30
# 0, then outwards: the first bad point reported is the one nearest to the origin.
_GRID = [0.0] + [sign * i / _STEP for i in range(1, _RANGE * _STEP + 1) for sign in (1, -1)]
_MAX_DEGREE = 32


def check(expr: sp.Expr) -> None:
    """Check a smooth expression in z on a grid and at zeros of denominators, logarithms and roots.

    Raises:
        Rejected: if it is singular, complex or overflows for |z| <= 30; the message says where.
    """
    for argument, what in _critical_arguments(expr):
        place = _zero(argument)
        if place is not None:
            raise _error(place, f"{what} is singular")
    value = _evaluator(expr)
    for x in _GRID:
        y = value(x)
        if y is None:
            raise _error(x, "it is singular, complex or too large for double precision")


def _error(place: float, problem: str) -> Rejected:
    return Rejected(f"an activation must be finite and real for all z, but at z = {place:.6g}, {problem}")


def _evaluator(expr: sp.Expr) -> Callable[[float], float | None]:
    """Return a function that gives the value, or None where there is no finite real one."""
    steps = program.compile_expression(expr)

    def value(x: float) -> float | None:
        try:
            y: Any = program.run_mpmath(steps, x, mpmath.fp)
        except (ArithmeticError, ValueError, TypeError):
            return None
        return float(y) if isinstance(y, float | int) and math.isfinite(y) else None

    return value


def _critical_arguments(expr: sp.Expr) -> Iterator[tuple[sp.Expr, str]]:
    """Yield (f, description) for every f in z whose zeros would be singularities."""
    for e in sp.preorder_traversal(expr):
        if e.is_Pow and e.base.has(z) and not (e.exp.is_Integer and e.exp > 0):
            yield e.base, f"{e}"
        elif isinstance(e, sp.log) and e.has(z):
            yield e.args[0], f"{e}"
        elif isinstance(e, sp.tan) and e.has(z):
            yield sp.cos(e.args[0]), f"{e}"


def _zero(f: sp.Expr) -> float | None:
    """Return a real zero of f: exactly decided for rational polynomials, else sought on the grid."""
    if f.is_polynomial(z):
        polynomial = sp.Poly(f, z)
        if polynomial.domain in (sp.ZZ, sp.QQ) and polynomial.degree() <= _MAX_DEGREE:
            if polynomial.count_roots() == 0:
                return None
            (low, high), _ = polynomial.intervals(eps=sp.Rational(1, 10**8))[0]
            return float((low + high) / 2)
    return _zero_on_grid(_evaluator(f))


def _zero_on_grid(value: Callable[[float], float | None]) -> float | None:
    points = sorted(_GRID)
    values = [value(x) for x in points]
    for i in sorted(range(len(points)), key=lambda i: abs(points[i])):
        x, y = points[i], values[i]
        left, right = (values[i - 1], values[i + 1]) if 0 < i < len(points) - 1 else (None, None)
        if y is None or left is None or right is None:
            continue
        if y == 0 and left != 0 and right != 0:
            return x
        if y * right < 0:
            return _bisect(value, x, points[i + 1])
        if abs(y) <= abs(left) and abs(y) <= abs(right) and abs(y) < max(abs(left), abs(right)):
            place = _minimum(value, points[i - 1], points[i + 1])
            # A zero that is touched, not crossed: |f| falls to rounding level at the bottom of a valley.
            if abs(value(place) or 0.0) <= 1e-13 * max(abs(left), abs(right)):
                return place
    return None


def _bisect(value: Callable[[float], float | None], low: float, high: float) -> float:
    rising = (value(high) or 0.0) > 0
    for _ in range(50):
        middle = (low + high) / 2
        if ((value(middle) or 0.0) > 0) == rising:
            high = middle
        else:
            low = middle
    return high


def _minimum(value: Callable[[float], float | None], low: float, high: float) -> float:
    """Return the minimum of |f| by golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(60):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        if abs(value(a) or 0.0) < abs(value(b) or 0.0):
            high = b
        else:
            low = a
    return (low + high) / 2
