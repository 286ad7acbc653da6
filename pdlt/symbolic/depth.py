"""Closed forms in depth for scale-invariant activations on one input: the recursions solved exactly, at any order.

With C_b = 0 the recursions are linear, triangular and driven by sums of ell^d chi^(k ell), chi = C_W A_2
(`homogeneous`). Such a recursion has a solution of the same form (`depth_series`); for unequal widths it is a sum over
the layers that fluctuate, or, for preactivations at any order, a polynomial in power sums of inverse widths (`widths`).
Every solution is substituted back: what is returned has been checked to satisfy the recursion and the initial value
identically in ell and all parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import sympy

from pdlt._progress import progress
from pdlt._version import __version__
from pdlt.equations import Equation, driving_order, frame
from pdlt.errors import PdltError
from pdlt.observables import NAMED, Observable, identify, observable, requested_observables
from pdlt.symbolic.closed_forms import ClosedForm, ClosedForms, power_sums, widths
from pdlt.symbolic.depth_series import Series, propagate, total
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W
from pdlt.symbolic.homogeneous import (
    A_2,
    GROWTH,
    KERNEL,
    K,
    Known,
    Parameters,
    chi,
    ell,
    layer,
    normalised,
    parameters,
    power_sum,
    split,
)
from pdlt.symbolic.recursion import close

__all__ = ["A_2", "K", "closed_form", "ell", "layer", "widths"]

#: l - m.
_gap = sympy.Symbol("gap", positive=True)

#: As for `pdlt.derive`.
MAX_ORDER = 4
#: The order up to which every named observable is solved in a minute.
_ALL_OBSERVABLES = 3

_POWER_SUMS = tuple(power_sum(r) for r in range(1, MAX_ORDER + 1))


def closed_form(
    observables: Sequence[str | Observable] | str | None = None,
    activation: Any = "relu",
    order: int = 1,
    *,
    critical: bool = True,
    equal_widths: bool = True,
) -> ClosedForms:
    """Return coefficients of the 1/n expansion as functions of depth, for a scale-invariant activation and one input.

    The biases have no variance (C_b = 0); C_W, lambda_b and lambda_W are the same in every layer. Kinks are pointwise:
    Dirac atoms are dropped from products of derivatives (`kinks="pointwise"` of `pdlt.predict`), which at order 1
    matters for R, S, T and U only.

    Args:
        observables: names or specs; None for every named observable that exists at this order.
        activation: a scale-invariant activation (or linear one); None for any, whose slopes then enter as A_2 and
            a_m = A_m / A_2^(m/2) with A_m = (a_+^m + a_-^m) / 2, so that a_4 is the literature's A_4 / A_2^2.
        order: power of 1/n, see `pdlt.derive`.
        critical: C_W = 1 / A_2, where the kernel is the same in all layers. Otherwise C_W is free and the results
            are sums of powers of ell times powers of C_W A_2 to the ell.
        equal_widths: n is the same in all hidden layers. Otherwise the widths are n[1], n[2], ... and the
            coefficients, which refer to n = n[ell - 1] as everywhere, are sums over layers: for every observable at
            order 1, beyond that for plain preactivations (K, V, "1 2 | 3 4 | 5 6", ...).

    Returns:
        Key ("K", "V", "V_1", ...) -> sympy expression in `ell`, `K` (the kernel of layer 1), `lambda_b`, `lambda_W`
        and, where they are free, `C_W`, `A_2`, `a_m` and `n`; the symbols are those of this module. Valid for
        ell = 1, 2, ... (with C_W free: unless C_W A_2 = 1, where the limit is to be taken). The mapping exports
        itself: `to_latex()`, `to_mathematica()`, `to_jax()`, `to_json()`, `to_text()`.

    Raises:
        PdltError: if the activation is not scale-invariant, for unknown observables, an order that is not an
            integer from 0 to 4, or a combination that is not available (see `equal_widths`).
    """
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= MAX_ORDER:
        raise PdltError(f"Argument `order` must be an integer from 0 to {MAX_ORDER}, but got {order!r}.")
    requested = _requested(observables, order)
    for name, flag in (("critical", critical), ("equal_widths", equal_widths)):
        if not isinstance(flag, bool):
            raise PdltError(f"Argument `{name}` must be True or False, but got {flag!r}.")
    if not equal_widths and order > 1:
        _require_preactivations(requested, order)
    if order > _ALL_OBSERVABLES:
        _require_few_derivatives(requested, order)
    text, numbers = _moments(activation, order)
    with progress("solving"):
        solved = _solve(tuple(key for keys in requested.values() for key in keys), order, critical, equal_widths)
    forms = tuple(
        ClosedForm(name, j, _expression(solved[base, j], numbers, order, critical))
        for name, keys in requested.items()
        for base, j in keys
    )
    definitions = {} if critical else {chi: C_W * numbers.get(A_2, A_2)}
    return ClosedForms(
        forms=forms,
        definitions=MappingProxyType({**definitions, **power_sums(forms, order)}),
        activation=text,
        second_moment=numbers.get(A_2, A_2),
        order=order,
        critical=critical,
        equal_widths=equal_widths,
        version=__version__,
    )


def _requested(observables: Sequence[str | Observable] | str | None, order: int) -> dict[str, list[tuple[str, int]]]:
    """Return the coefficients wanted of each observable, under the names the engine knows."""
    items = requested_observables(observables, order)
    return {
        item.name: [(identify(item.slots)[0].name, j) for j in range(order - item.leading_order + 1)] for item in items
    }


def _require_preactivations(names: dict[str, Any], order: int) -> None:
    for name in names:
        if observable(name).derivatives:
            raise PdltError(
                "Argument `equal_widths` must be True, or `order` at most 1, unless every observable is a cumulant "
                f'of plain preactivations (K, V, "1 2 | 3 4 | 5 6"), but got False with {name!r} at order {order}.'
            )


def _require_few_derivatives(names: dict[str, Any], order: int) -> None:
    for name in names:
        if observable(name).derivatives > 1:
            raise PdltError(
                f"Argument `order` must be at most {_ALL_OBSERVABLES} for {name!r}, but got {order}: its closed form "
                "at this order takes hours. K, V, Theta, D, F, A and B are available."
            )


def _moments(spec: Any, order: int) -> tuple[str | None, dict[sympy.Symbol, sympy.Expr]]:
    """Return the activation as text and the values of A_2 and the a_m; nothing for an arbitrary activation."""
    if spec is None:
        return None, {}
    from pdlt.activations import activation as resolve

    activation = resolve(spec)
    slopes = activation.homogeneous_slopes
    if slopes is None:
        raise PdltError(
            "Argument `activation` must be scale-invariant (linear, relu, abs, leaky_relu(0.2) or any other with two "
            f"slopes, not both zero), but got {activation.name!r}. For the asymptotic series of other activations "
            "see `pdlt scaling ACTIVATION`."
        )
    second = (slopes[0] ** 2 + slopes[1] ** 2) / 2
    ratios = {a_m: (slopes[0] ** m + slopes[1] ** m) / 2 / second ** (m // 2) for m, a_m in normalised(order).items()}
    return activation.to_text(), {A_2: second, **ratios}


@dataclass(frozen=True)
class _Solution:
    """A coefficient as a function of depth.

    Attributes:
        series: its value at equal widths; the response at depth l to the fluctuations of layer m; or the cumulant's
            coefficient as a polynomial in power sums.
        kind: "local", "response" (still to be summed over m with weight n_(l-1) / n_m) or "power sums".
        weight: power of n_(l-1) by which power sums are multiplied.
    """

    series: Series
    kind: str = "local"
    weight: int = 0


@lru_cache(maxsize=32)
def _solve(
    wanted: tuple[tuple[str, int], ...], order: int, critical: bool, equal_widths: bool
) -> dict[tuple[str, int], _Solution]:
    """Return the solutions of all recursions that the wanted coefficients need."""
    p = parameters(order, critical)
    # Theta(1) = lambda_b + lambda_W x.x / n_0, and K(1) = C_W x.x / n_0 with C_W = chi / A_2.
    start = {KERNEL: p.kernel, ("Theta", 0): p.bias + p.weight * p.kernel * (1 / p.chi)}
    equations = close([KERNEL, *wanted], {**NAMED, **{name: frame(name) for name, _ in wanted}})
    solved: dict[tuple[str, int], _Solution] = {}
    local: dict[tuple[str, int], Series] = {}
    responses: dict[tuple[str, int], Series] = {}
    for equation in driving_order(equations):
        key = (equation.name, equation.order)
        if equal_widths or key in start:
            own, source = split(equation, local, p, equation.terms)
            local[key] = propagate(own, source, p.chi, start.get(key, p.ring.zero), p.ring.one)
            responses[key] = _seen_from(local[key], p)
            solved[key] = _Solution(local[key])
        elif order > 1:
            weight = observable(equation.name).leading_order + equation.order
            own, source = split(equation, local, p, equation.terms, weight)
            local[key] = p.widths.propagate(own, source, p.chi, weight)
            solved[key] = _Solution(local[key], "power sums", weight)
        else:
            responses[key] = _response(equation, local, responses, p)
            solved[key] = _Solution(responses[key], "response")
    return solved


def _response(equation: Equation, local: Known, responses: Known, p: Parameters) -> Series:
    """Return the value at depth l caused by the fluctuations of the n_m neurons of layer m < l, times n_m/n_(l-1)."""
    _, caused = split(equation, local, p, [term for term in equation.terms if not term.powers[4]])
    own, source = split(equation, responses, p, [term for term in equation.terms if term.powers[4]])
    at_layer = total([{(0, 0): value * p.layer**d} for (d, _), value in _seen_from(caused, p).items()])
    return propagate(own, source, p.chi, at_layer.get((0, 0), p.ring.zero), p.layer + 1)


def _seen_from(series: Series, p: Parameters) -> Series:
    """Return a series in chi^ell as one in chi^(ell - m); chi^m is chi times `growth`."""
    return {(d, k): value * (p.growth * p.chi) ** k for (d, k), value in series.items()}


def _expression(solution: _Solution, numbers: dict[sympy.Symbol, sympy.Expr], order: int, critical: bool) -> sympy.Expr:
    """Return a solution as an expression in which chi and the power sums are symbols."""
    p = parameters(order, critical)
    response = solution.kind == "response"
    values = {symbol: numbers.get(symbol, symbol) for symbol in p.ring.symbols}
    values[lambda_W] = lambda_W * numbers.get(A_2, A_2)
    # A response is a polynomial in l - m and m with few minus signs.
    depth = _gap + layer if response else ell
    parts: dict[sympy.Expr, dict[sympy.Expr, list[sympy.Expr]]] = {}
    for (d, k), polynomial in solution.series.items():
        for monomial, number in polynomial.terms():
            powers = dict(zip(p.ring.symbols, monomial, strict=True))
            exponent = k * (ell - layer if response else ell) + powers.pop(GROWTH) * (layer - 1)
            scale = sympy.Mul(*(values[s] ** powers.pop(s) for s in (K, lambda_b, lambda_W)))
            rest = [values[s] ** power for s, power in powers.items()]
            term = sympy.Mul(p.ring.domain.to_sympy(number), depth**d, *rest)
            if critical:
                scale, exponent, term = sympy.S.One, sympy.S.Zero, term * scale
            parts.setdefault(scale, {}).setdefault(sympy.expand(exponent), []).append(term)
    total = sympy.Add(*(scale * _collected(powers) for scale, powers in parts.items()))
    if not response:
        return total * widths[ell - 1] ** solution.weight
    outside, inside = total.as_independent(layer, as_Add=False)
    return outside * widths[ell - 1] * sympy.Sum(inside / widths[layer], (layer, 1, ell - 1)) if total else total


def _collected(parts: dict[sympy.Expr, list[sympy.Expr]]) -> sympy.Expr:
    """Return the sum of c chi^e for e -> terms of c: each c factored, common factors in front."""
    terms = []
    for exponent, summands in parts.items():
        factored = sympy.factor(sympy.Add(*summands)).replace(_in_power_sums, _by_monomials)
        power = factored.as_powers_dict().get(chi, sympy.S.Zero)
        term = sympy.Mul(factored, chi**-power, chi ** (exponent + power))
        terms.append(term.xreplace({_gap: ell - layer}))
    return sympy.gcd_terms(sympy.Add(*terms)) if len(terms) > 1 else sympy.Add(*terms)


def _in_power_sums(expression: sympy.Expr) -> bool:
    return expression.is_Add and not expression.free_symbols.isdisjoint(_POWER_SUMS)


def _by_monomials(polynomial: sympy.Expr) -> sympy.Expr:
    """Return a polynomial in power sums with its coefficients factored."""
    sums = [p for p in _POWER_SUMS if p in polynomial.free_symbols]
    terms = sympy.Poly(polynomial, *sums).terms()
    return sympy.Add(*(sympy.factor(c) * sympy.Mul(*map(sympy.Pow, sums, powers)) for powers, c in terms))
