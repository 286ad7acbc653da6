"""Sums of c ell^d chi^(k ell), and the linear recursions in depth that they solve.

A recursion X(l+1) = own X(l) + source(l), with a source of this form and `own` a power of chi, has a solution of
this form. It is found degree by degree and substituted back before it is returned. The coefficients c are
polynomials over the field of chi; at criticality chi is 1, and every k is 0.
"""

from collections.abc import Sequence
from math import comb
from typing import Any

from sympy.polys.rings import PolyElement

#: (d, k) -> coefficient of ell^d chi^(k ell), or, for a response to layer m, of ell^d chi^(k (ell - m)). The algebra is
#: that of any powers times exponentials; `jet_diffusion` uses it for t^j exp(mu t), with exponents mu of a field.
Series = dict[tuple[int, Any], PolyElement]

#: No recursion has a homogeneous solution with a higher power of chi: five components at the most.
_POWERS = range(16)


def total(parts: Sequence[Series]) -> Series:
    """Return the sum of several series, without the terms that cancel."""
    result: Series = {}
    for part in parts:
        for key, value in part.items():
            result[key] = result[key] + value if key in result else value
    return {key: value for key, value in result.items() if value}


def difference(left: Series, right: Series) -> Series:
    """Return left - right."""
    return total([left, {key: -value for key, value in right.items()}])


def product(left: Series, right: Series) -> Series:
    """Return left times right."""
    return total([{(d + e, j + k): x * y} for (d, j), x in left.items() for (e, k), y in right.items()])


def scaled(series: Series, factor: Any) -> Series:
    """Return a series times a number that is not zero."""
    return {key: value * factor for key, value in series.items()}


def shifted(series: Series, chi: Any) -> Series:
    """Return the function of l + 1."""
    return total([{(e, k): value * (chi**k * comb(d, e))} for (d, k), value in series.items() for e in range(d + 1)])


def first_value(series: Series, chi: Any, depth: PolyElement) -> PolyElement:
    """Return the value at the depth one step after the origin of the exponents: layer 1, or m + 1 in a response."""
    result = depth.ring.zero
    for (d, k), value in series.items():
        result += value * depth**d * chi**k
    return result


def exponent_of(own: Any, chi: Any) -> int:
    """Return the k under which own^ell = chi^(k ell) is filed: 0 at criticality.

    Raises:
        ArithmeticError: if `own` is not a power of chi.
    """
    for k in _POWERS:
        if chi**k == own:
            return k
    raise ArithmeticError(f"the homogeneous solution {own}^ell is not a power of chi^ell")


def propagate(own: Any, source: Series, chi: Any, first: PolyElement, start: PolyElement) -> Series:
    """Return X with X(l+1) = own X(l) + source(l) and X(start) = first, substituted back.

    Args:
        own: an element of the ring's field, a power of chi.
        source: the inhomogeneity.
        chi: the field's element; one at criticality.
        first: the value at `start`.
        start: the depth one step after the origin of the exponents.

    Raises:
        ArithmeticError: if `own` is not a power of chi, or the solution fails; either is an error in pdlt.
    """
    exponent = exponent_of(own, chi)

    def operate(series: Series) -> Series:
        return difference(shifted(series, chi), scaled(series, own))

    # Degree by degree from the top: what a monomial leaves over is of lower degree.
    solution: Series = {}
    left = source
    while left:
        degree, k = max(left)
        step = chi**k
        if step == own:
            piece = {(degree + 1, k): left[degree, k] * (1 / (step * (degree + 1)))}
        else:
            piece = {(degree, k): left[degree, k] * (1 / (step - own))}
        solution = total([solution, piece])
        left = difference(left, operate(piece))
    # The initial value is met by the homogeneous solution chi^(exponent l), which at `start` is worth `own`.
    missing = first - first_value(solution, chi, start)
    solution = total([solution, {(0, exponent): missing * (1 / own)}])
    if difference(operate(solution), source) or first_value(solution, chi, start) != first:
        raise ArithmeticError("a solution does not satisfy its recursion; this is an error in pdlt")
    return solution
