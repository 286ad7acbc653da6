"""Depth to width: relative sizes of tensors at large depth, from the recursions by dominant balance.

An activation has a critical point (`criticality`), along whose flow expectations are series (`flows`). With these the
recursions give every tensor as a series in 1/l and log l (`pdlt.symbolic.dominant_balance`); divided by K and Theta
these are the relative sizes (`couplings`).
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import sympy as sp
from sympy.polys.rings import PolyRing

from pdlt._progress import progress
from pdlt.activations import Activation
from pdlt.activations import activation as read_activation
from pdlt.equations import Equation, Theory, driving_order, variable
from pdlt.errors import PdltError
from pdlt.observables import Observable, identify, observable
from pdlt.pipeline import derive
from pdlt.predict import flows
from pdlt.predict.couplings import DIGITS, Contribution, Coupling, Scaling
from pdlt.predict.criticality import Criticality, criticality
from pdlt.symbolic import dominant_balance
from pdlt.symbolic.dominant_balance import Flow, Key
from pdlt.symbolic.double_scaling import double_scaling
from pdlt.symbolic.double_scaling import w as share
from pdlt.symbolic.power_log import PowerLog

LEARNING_RATES = ("equivalent", "constant", "weights")

#: Relative orders of 1/l that are kept beyond the leading one.
_CORRECTIONS = 1


def scaling(
    activation: Any,
    observables: Sequence[str | Observable] | None = None,
    order: int = 1,
    regime: str | None = None,
    learning_rates: str = "equivalent",
) -> Scaling:
    """Return relative sizes of tensors at large depth: powers of depth, coefficients, first corrections.

    One input, all hidden widths equal, C_b and C_W critical (`pdlt.criticality`).

    Args:
        activation: a name, a string in the expression grammar, a sympy expression or an `Activation`.
        observables: names or specs; None for every named one.
        order: power of 1/n, see `pdlt.derive`.
        regime: "at rest", for a kernel that starts at its fixed point (scale-invariant and half-stable class), or
            "approach", for one that flows there (half-stable and K*=0). None: "at rest" where there is the choice.
        learning_rates: "equivalent" lets all layers contribute equally to Theta, lambda_b ~ l^-p_perp and
            lambda_W ~ l^(p_0 - p_perp) (PDLT, arXiv:2106.10165, chapter 9; `pdlt.equivalent_learning_rates`), with the
            weights' share w of Theta left open. "constant": the same lambda_b and lambda_W in all layers; where the
            biases' part of Theta outgrows that of the weights, the symbol u stands for lambda_W/(C_W lambda_b).
            "weights": constant, with lambda_b = 0. At rest the first two are the same.

    Raises:
        PdltError: if the activation has no critical initialisation (the message says why), for bad arguments, or
            where tensors are not powers of depth.
    """
    if learning_rates not in LEARNING_RATES:
        raise PdltError(
            f"Argument `learning_rates` must be one of {', '.join(LEARNING_RATES)}, but got {learning_rates!r}."
        )
    theory = derive(observables, order=order)
    if order == 0:
        raise PdltError("Argument `order` must be at least 1, but got 0: K and Theta have no size in 1/n.")
    found = _known(read_activation(activation))
    found.require()
    chosen = _regime(found, regime)
    try:
        with progress("solving") as tick:
            return _solve(found, theory, chosen, learning_rates, tick)
    except ArithmeticError as problem:
        raise PdltError(
            f"Argument `activation`: the couplings of {found.activation.to_text()} are not powers of depth ({problem})."
        ) from None


@lru_cache(maxsize=32)
def _known(activation: Activation) -> Criticality:
    return criticality(activation, digits=45)


def _regime(c: Criticality, regime: str | None) -> str:
    available = {"scale-invariant": ("at rest",), "K*=0": ("approach",)}
    accepted = available.get(c.universality_class, ("at rest", "approach"))
    if regime is not None and regime not in accepted:
        raise PdltError(
            f"Argument `regime` must be {' or '.join(map(repr, accepted))} for the class {c.universality_class} "
            f"of {c.activation.to_text()}, but got {regime!r}."
        )
    return regime or accepted[0]


def _solve(c: Criticality, theory: Theory, regime: str, learning_rates: str, tick: Callable[[str], None]) -> Scaling:
    point = flows.at_rest(c) if regime == "at rest" else flows.approach(c, theory.order)
    equations = driving_order(dict.fromkeys([*theory.equations, *derive(["Theta"], order=0).equations]))
    keys: list[Key] = [(e.name, e.order) for e in equations]

    def solve(equation: Equation, along: Flow, solved: dict[Key, PowerLog]) -> dict[Key, PowerLog]:
        tick(equation.key)
        return dominant_balance.solve([equation], along, solved)

    def kernel(along: Flow) -> dict[Key, PowerLog]:
        return {("K", 0): point.series(along.ring, list(point.kernel))}

    if learning_rates == "equivalent":
        along, theta = flows.with_equal_contributions(flows.flow(point, keys, 1, 1))
        solved = {**kernel(along), ("Theta", 0): theta}
    else:
        # First Theta alone, to learn its leading coefficient; then everything in units in which that is one.
        first = flows.flow(point, keys, 0 if learning_rates == "weights" else flows.lambda_b, flows.lambda_W)
        (theta_equation,) = (e for e in equations if (e.name, e.order) == ("Theta", 0))
        lead = _lead(solve(theta_equation, first, kernel(first))["Theta", 0])
        along = flows.flow(point, keys, *_units(*lead, first.ring))
        solved = kernel(along)
    for equation in equations:
        solved = solve(equation, along, solved)
    return _collect(c, theory, regime, learning_rates, along, solved)


def _lead(theta: PowerLog) -> tuple[Any, Any]:
    """Return the coefficients of lambda_b and lambda_W in the leading term of Theta."""
    (_, logs), lead = theta.leading
    biases, weights = (lead.coeff(theta.ring(symbol)) for symbol in (flows.lambda_b, flows.lambda_W))
    if logs or not (biases or weights):
        raise ArithmeticError("Theta is dominated by a logarithm of depth, or by what the first layers leave of it")
    return biases, weights


def _units(biases: Any, weights: Any, over: PolyRing) -> tuple[Any, Any]:
    """Return lambda_b and lambda_W for which the leading coefficient of Theta is one."""
    one = over.domain.one
    if biases and weights:
        return (1 - over(share)) * (one / biases), over(share) * (one / weights)
    return (one / biases, over(flows.ratio) * (one / biases)) if biases else (0, one / weights)


def _collect(
    c: Criticality, theory: Theory, regime: str, learning_rates: str, flow: Flow, solved: dict[Key, PowerLog]
) -> Scaling:
    """Return the tensors relative to their natural sizes, as functions of depth."""
    rest = regime == "at rest"
    change = None if rest else dominant_balance.clock(flow, flow.change.cut)

    def at_depth(series: PowerLog) -> PowerLog:
        return series if change is None else series.substitute(change)

    kernel, theta = solved["K", 0], solved["Theta", 0]
    couplings = {}
    for name in theory.requested:
        item = observable(name)
        base = identify(item.slots)[0].name
        alpha = sum((Fraction(1 - len(slot), 2) for slot in item.slots), Fraction(0))
        beta = sum((Fraction(len(slot), 2) for slot in item.slots), Fraction(0))
        for j in range(theory.order - item.leading_order + 1):
            tensor, key = solved[base, j], variable(name, j)
            if key in ("K", "Theta"):
                continue
            relative = at_depth(tensor * kernel.power(-alpha) * theta.power(-beta))
            if not rest:
                relative = relative.cut_at(relative.lead + _CORRECTIONS * flow.m + Fraction(1, 10**6))
            exponent = -tensor.lead / flow.m if tensor.terms else Fraction(0)
            terms = _terms(relative, flow.m)
            couplings[key] = Coupling(key, (alpha, beta), item.leading_order + j, exponent, terms, rest or not terms)
    # l against beta log(l) in the depth as a function of the clock.
    slope = flow.ring.zero if change is None else change.terms.get((Fraction(flow.m), 1), flow.ring.zero)
    begins = max(1.0, abs(float(flow.ring.domain.to_sympy(slope.coeff(1)))))
    kernel_terms, theta_terms = (_terms(at_depth(series), flow.m) for series in (kernel, theta))
    matters = any(t.coefficient.has(share) for coupling in couplings.values() for t in coupling.terms)
    weights = share if matters else None
    limits = {}
    if c.universality_class == "scale-invariant":
        names = [name for name in theory.requested if name in couplings]
        limits = double_scaling(names, c.activation) if names else {}
        if learning_rates == "weights":
            limits = {name: limit.xreplace({share: sp.Integer(1)}) for name, limit in limits.items()}
    return Scaling(c, regime, learning_rates, kernel_terms, theta_terms, couplings, begins, weights, limits)


def _terms(series: PowerLog, m: int) -> tuple[Contribution, ...]:
    """Return a series in t = l^(-1/m), dominant terms first."""
    powers = sorted(series.terms, key=lambda p: (p[0], -p[1]))
    return tuple(
        Contribution(-e / m, k, _number(series.terms[e, k].as_expr() * sp.Rational(-1, m) ** k)) for e, k in powers
    )


def _number(value: sp.Expr) -> sp.Expr:
    """Return a coefficient in a form to read: exact where it is rational, else to double precision."""
    if not value.has(sp.Float):
        return sp.factor(value)
    return value.xreplace({number: sp.Float(number, DIGITS) for number in value.atoms(sp.Float)})
