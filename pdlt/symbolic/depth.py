"""Closed forms in depth for scale-invariant activations on one input: the recursions solved exactly, at any order.

For sigma(z) = a_+ z (z > 0), a_- z (z < 0) and C_b = 0 every expectation of the one-input recursions is a number
times a power of the kernel,

    <d^p (sigma^i sigma'^j)>_K = A_(i+j) i!/(i-p)! (i-p-1)!! K^((i-p)/2),   A_m = (a_+^m + a_-^m) / 2,

so with chi = C_W A_2 the recursions are linear, triangular and driven by sums of ell^d chi^(k ell). Such a recursion
has a solution of the same form, which is found degree by degree and then substituted back: what is returned has been
checked to satisfy the recursion and the initial value identically in ell and all parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import comb, factorial
from typing import Any

import sympy
from sympy.polys.rings import PolyElement, PolyRing, ring

from pdlt.equations import Equation, Term, variable
from pdlt.errors import PdltError
from pdlt.observables import NAMED, Observable, identify, observable
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W
from pdlt.symbolic.recursion import close

#: Depth, the index of summation over layers, the kernel of layer 1, and A_2 = (a_+^2 + a_-^2) / 2.
ell, layer = sympy.symbols("ell m", integer=True, positive=True)
K, A_2 = sympy.symbols("K A_2", positive=True)
#: The widths, when they are not equal: n[l] neurons in layer l.
widths = sympy.IndexedBase("n", positive=True)

#: (d, k) -> coefficient of ell^d chi^(k ell).
Series = dict[tuple[int, int], PolyElement]

#: As for `pdlt.derive`.
MAX_ORDER = 4

_KERNEL = ("K", 0)


def closed_form(
    observables: Sequence[str | Observable] | str | None = None,
    activation: Any = "relu",
    order: int = 1,
    *,
    critical: bool = True,
    equal_widths: bool = True,
) -> dict[str, sympy.Expr]:
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
            coefficients, which refer to n = n[ell - 1] as everywhere, are sums over layers; order 1 and critical only.

    Returns:
        Key ("K", "V", "V_1", ...) -> sympy expression in `ell`, `K` (the kernel of layer 1), `lambda_b`, `lambda_W`
        and, where they are free, `C_W`, `A_2`, `a_m` and `n`; the symbols are those of this module. Valid for
        ell = 1, 2, ... (with C_W free: unless C_W A_2 is a root of unity, where the limit is to be taken).

    Raises:
        PdltError: if the activation is not scale-invariant, for unknown observables, an order that is not an
            integer from 0 to 4, or a combination that is not available (see `equal_widths`).
    """
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= MAX_ORDER:
        raise PdltError(f"Argument `order` must be an integer from 0 to {MAX_ORDER}, but got {order!r}.")
    if not equal_widths and (order > 1 or not critical):
        raise PdltError(
            "Argument `equal_widths` must be True unless `order` is at most 1 and `critical` is True, "
            f"but got {equal_widths!r} with order={order!r}, critical={critical!r}."
        )
    requested = _requested(observables, order)
    solved = _solve(tuple(key for keys in requested.values() for key in keys), order, critical, equal_widths)
    numbers = _moments(activation, order)
    return {
        variable(name, j): _expression(solved[base, j], solved, numbers, critical)
        for name, keys in requested.items()
        for base, j in keys
    }


def _requested(observables: Sequence[str | Observable] | str | None, order: int) -> dict[str, list[tuple[str, int]]]:
    """Return the coefficients wanted of each observable, under the names the engine knows."""
    if observables is None:
        items = [o for o in NAMED.values() if o.leading_order <= order]
    else:
        items = [observable(o) for o in ([observables] if isinstance(observables, str | Observable) else observables)]
    if not items:
        raise PdltError("Argument `observables` must name at least one observable, but is empty.")
    for item in items:
        if item.leading_order > order:
            raise PdltError(
                f"Argument `observables`: {item.name!r} first appears at order {item.leading_order}, "
                f"but `order` is {order}."
            )
    return {
        item.name: [(identify(item.slots)[0].name, j) for j in range(order - item.leading_order + 1)] for item in items
    }


def _moments(spec: Any, order: int) -> dict[sympy.Symbol, sympy.Expr]:
    """Return the values of A_2 and the a_m; nothing for an arbitrary activation."""
    if spec is None:
        return {}
    from pdlt.activations import activation as resolve
    from pdlt.activations import z

    activation = resolve(spec)
    slope = activation.expr.coeff(z)
    slopes = activation.slopes or ((slope, slope) if sympy.expand(activation.expr - slope * z) == 0 else None)
    if slopes is None or slopes == (0, 0):
        raise PdltError(
            f"Argument `activation` must be scale-invariant (two slopes, not both zero), but got {activation.name!r}."
        )
    second = (slopes[0] ** 2 + slopes[1] ** 2) / 2
    return {
        A_2: second,
        **{a_m: (slopes[0] ** m + slopes[1] ** m) / 2 / second ** (m // 2) for m, a_m in _normalised(order).items()},
    }


def _normalised(order: int) -> dict[int, sympy.Symbol]:
    """Return m -> the symbol a_m, as many as occur: order + 1 components bring 2 (order + 1) activations."""
    return {m: sympy.Symbol(f"a_{m}", positive=True) for m in range(4, 2 * order + 3, 2)}


@dataclass(frozen=True)
class _Parameters:
    """The ring of the coefficients and its elements: K, lambda_b, lambda_W A_2, the a_m, and m of `layer`."""

    ring: PolyRing
    kernel: PolyElement
    bias: PolyElement
    weight: PolyElement
    layer: PolyElement
    moments: dict[int, PolyElement]
    chi: Any  # an element of the ring's domain: 1 at criticality

    def power(self, k: int) -> int:
        """Return the exponent under which chi^(k ell) is filed: all of them are 1 at criticality."""
        return 0 if self.chi == 1 else k


@lru_cache(maxsize=16)
def _parameters(order: int, critical: bool) -> _Parameters:
    field = sympy.QQ if critical else sympy.QQ.frac_field(sympy.Symbol("chi"))
    names = _normalised(order)
    coefficients, kernel, bias, weight, m, *others = ring([K, lambda_b, lambda_W, layer, *names.values()], field)
    moments = {2: coefficients.one, **dict(zip(names, others, strict=True))}
    chi = field.one if critical else field.gens[0]
    return _Parameters(coefficients, kernel, bias, weight, m, moments, chi)


@dataclass(frozen=True)
class _Solution:
    """A coefficient as a function of depth; `summed` if it is still to be summed over layers m with weight 1/n_m."""

    series: Series
    summed: bool = False


_State = dict[tuple[str, int], _Solution]


@lru_cache(maxsize=32)
def _solve(wanted: tuple[tuple[str, int], ...], order: int, critical: bool, equal_widths: bool) -> _State:
    """Return the solutions of all recursions that the wanted coefficients need."""
    p = _parameters(order, critical)
    # Theta(1) = lambda_b + lambda_W x.x / n_0, and K(1) = C_W x.x / n_0 with C_W = chi / A_2.
    start = {_KERNEL: p.kernel, ("Theta", 0): p.bias + p.weight * p.kernel * (1 / p.chi)}
    equations = {(e.name, e.order): e for e in close([_KERNEL, *wanted], dict(NAMED))}
    solved: _State = {}
    for key in _sorted(equations):
        equation, first = equations[key], start.get(key, p.ring.zero)
        if equal_widths or key in start:
            solved[key] = _Solution(_driven(equation, solved, p, first))
        else:
            solved[key] = _Solution(_response(equation, solved, p), summed=True)
    return solved


def _sorted(equations: dict[tuple[str, int], Equation]) -> list[tuple[str, int]]:
    """Return the keys such that each recursion comes after those that drive it."""
    needs = {k: {(t.name, t.order) for term in e.terms for t in term.tensors} for k, e in equations.items()}
    edges = [(other, key) for key, others in needs.items() for other in {_KERNEL, *others} - {key}]
    return sympy.topological_sort((list(equations), edges))  # type: ignore[no-any-return]


def _driven(equation: Equation, solved: _State, p: _Parameters, first: PolyElement) -> Series:
    """Return X with X(1) = `first`."""
    own, source = _split(equation, solved, p, equation.terms)
    return _propagate(own, source, p, first, p.ring.one)


def _response(equation: Equation, solved: _State, p: _Parameters) -> Series:
    """Return the value at depth l caused by the fluctuations of the n_m neurons of layer m < l, times n_m/n_(l-1)."""
    _, caused = _split(equation, solved, p, [term for term in equation.terms if not term.powers[4]])
    own, source = _split(equation, solved, p, [term for term in equation.terms if term.powers[4]])
    return _propagate(own, source, p, _at(caused, p, p.layer), p.layer + 1)


def _split(equation: Equation, solved: _State, p: _Parameters, terms: Sequence[Term]) -> tuple[Any, Series]:
    """Return the coefficient of the unknown itself, a number, and the sum of all other terms as a function of l."""
    unknown = (equation.name, equation.order)
    if unknown == _KERNEL:
        # C_W <sigma sigma> = C_W A_2 K is the only term.
        return p.chi, {}
    own: list[Series] = []
    others: list[Series] = []
    for term in terms:
        value = _prefactor(term, p, solved)
        if not value:
            continue
        tensors = [(t.name, t.order) for t in term.tensors]
        for key in tensors:
            if key != unknown:
                value = _product(value, solved[key].series)
        (own if unknown in tensors else others).append(value)
    coefficient = _sum(own)
    number = coefficient.pop((0, 0), p.ring.zero)
    if coefficient or not number.is_ground:
        raise ArithmeticError(f"the recursion of {equation.key} is not linear with constant coefficients")
    return number.coeff(1), _sum(others)


def _prefactor(term: Term, p: _Parameters, solved: _State) -> Series:
    """Return a term without its tensors: parameters and expectations."""
    c_b, biases, c_w, weights, _ = term.powers
    if c_b:
        return {}
    acting = [0] * len(term.expectations)
    for tensor in term.tensors:
        for arg in tensor.args:
            if arg < 0:
                acting[-1 - arg] += 1
    # C_W A_2 = chi; the generator called lambda_W stands for lambda_W A_2, and A_m = a_m A_2^(m/2).
    number = p.ring.domain.convert(sympy.QQ(term.coefficient.numerator, term.coefficient.denominator), sympy.QQ)
    value: Series = {(0, 0): p.bias**biases * p.weight**weights * (number * p.chi**c_w)}
    for factors, derivatives in zip(term.expectations, acting, strict=True):
        orders = [k for _, k in factors]
        power = orders.count(0)
        if max(orders) > 1 or derivatives > power:
            return {}
        remaining = power - derivatives
        if remaining % 2 or len(orders) % 2:
            raise ArithmeticError(f"the expectation {factors} with {derivatives} derivatives is not a power of K")
        half = remaining // 2
        moment = factorial(power) // (2**half * factorial(half))
        value = _product(value, {(0, 0): p.moments[len(orders)] * moment})
        for _ in range(half):
            value = _product(value, solved["K", 0].series)
    return value


def _propagate(own: Any, source: Series, p: _Parameters, first: PolyElement, start: PolyElement) -> Series:
    """Return X with X(l+1) = own X(l) + source(l) and X(start) = first, and prove it by substitution."""
    exponent = next((k for k in range(64) if p.chi**k == own), None)
    if exponent is None:
        raise ArithmeticError(f"the homogeneous solution {own}^ell is not a power of chi^ell")

    def operate(series: Series) -> Series:
        return _difference(_shifted(series, p), _scaled(series, own))

    # Degree by degree from the top: what a monomial leaves over is of lower degree.
    solution: Series = {}
    left = source
    while left:
        degree, k = max(left)
        step = p.chi**k
        if step == own:
            piece = {(degree + 1, k): left[degree, k] * (1 / (step * (degree + 1)))}
        else:
            piece = {(degree, k): left[degree, k] * (1 / (step - own))}
        solution = _sum([solution, piece])
        left = _difference(left, operate(piece))
    # The initial value is met by the homogeneous solution chi^(exponent l), which at `start` is worth own^start.
    missing = first - _at(solution, p, start)
    solution = _sum([solution, {(0, p.power(exponent)): missing * (1 / own)}])
    if _difference(operate(solution), source) or _at(solution, p, start) != first:
        raise ArithmeticError("a solution does not satisfy its recursion; this is an error in pdlt")
    return solution


def _sum(parts: Sequence[Series]) -> Series:
    total: Series = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total[key] + value if key in total else value
    return {key: value for key, value in total.items() if value}


def _difference(left: Series, right: Series) -> Series:
    return _sum([left, {key: -value for key, value in right.items()}])


def _product(left: Series, right: Series) -> Series:
    return _sum([{(d + e, j + k): x * y} for (d, j), x in left.items() for (e, k), y in right.items()])


def _scaled(series: Series, factor: Any) -> Series:
    return {key: value * factor for key, value in series.items()}


def _shifted(series: Series, p: _Parameters) -> Series:
    """Return the function of l + 1."""
    return _sum([{(e, k): value * (p.chi**k * comb(d, e))} for (d, k), value in series.items() for e in range(d + 1)])


def _at(series: Series, p: _Parameters, depth: PolyElement) -> PolyElement:
    """Return the value at a depth, which is 1 unless chi is."""
    total = p.ring.zero
    for (d, k), value in series.items():
        total += value * depth**d * p.chi**k
    return total


def _expression(
    solution: _Solution, solved: _State, numbers: dict[sympy.Symbol, sympy.Expr], critical: bool
) -> sympy.Expr:
    a_2 = numbers.get(A_2, A_2)
    values = {lambda_W: lambda_W * a_2, **numbers}
    if not critical:
        values[sympy.Symbol("chi")] = C_W * a_2
    parts: dict[int, sympy.Expr] = {}
    for (d, k), value in solution.series.items():
        parts[k] = parts.get(k, sympy.S.Zero) + value.as_expr().subs(values, simultaneous=True) * ell**d
    total = sympy.Add(*(sympy.factor(part) * (C_W * a_2) ** (k * ell) for k, part in sorted(parts.items())))
    if not solution.summed:
        return total
    return sympy.Sum(total * widths[ell - 1] / widths[layer], (layer, 1, ell - 1)) if total else total
