"""Large depth by dominant balance: the recursions of one input solved as series around a critical point.

Near a critical point the kernel moves slowly, K' - K* = x + a_m x^(m+1) + ... with x = K - K*, and serves as the clock:
with y = (-m a_m)^(1/m) |x|, every tensor X is a series in y and log y. One layer replaces y by

    y' = y (1 - y^m/m + ...),

so that y^e changes by -(e/m) y^(e+m): a step in depth is a small derivative. In X' = own X + source with
own = 1 - (e_h/m) y^m + ..., a source s y^e is therefore balanced by the term

    X = -m s/(e - m - e_h) y^(e-m),

and what this leaves over is of higher order and is balanced next. Where e - m = e_h the source drives the solution
y^(e_h) of the equation without source, and a logarithm appears. That solution comes with a constant which only the
first layers know. Depth itself obeys l' = l + 1, which gives l as a series in y, hence y as a series in 1/l and log l.

A kernel that starts at K* stays there. Then all expectations are constants, y = 1/l is the clock (y' = y/(1 + y)), and
the series end: they are polynomials in depth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property

import sympy
from sympy.polys.rings import PolyElement, PolyRing

from pdlt.equations import Equation, Term
from pdlt.symbolic.power_log import PowerLog, clean, rational

Key = tuple[str, int]

#: Exponents of solutions without source are sums of few critical exponents: recognised among these multiples.
_MULTIPLES = range(-1, 13)


@dataclass(frozen=True)
class Flow:
    """The neighbourhood of a critical point, as seen by the recursions.

    Attributes:
        m: the kernel approaches its fixed point as l^(-1/m).
        change: y'/y - 1 as a series in y.
        average: (number of derivatives p, orders k of the factors sigma^(k)) -> <d^p prod sigma^(k)> as a series in y.
        parameters: C_b, lambda_b, C_W, lambda_W as series in y, lambda's of the layer that is entered.
        perpendicular: the exponent of the solution without source of Theta in powers of y.
        first: values at layer 1, for a clock that shows the depth exactly (y = 1/l); None otherwise.
    """

    m: int
    change: PowerLog
    average: Callable[[int, tuple[int, ...]], PowerLog]
    parameters: tuple[PowerLog, PowerLog, PowerLog, PowerLog]
    perpendicular: Fraction
    first: dict[Key, PolyElement] | None = None

    @property
    def ring(self) -> PolyRing:
        """The ring of all coefficients; `constant` gives its generators."""
        return self.change.ring

    @cached_property
    def shift(self) -> Callable[[Fraction, int], PowerLog]:
        """What one layer makes of a monomial: (exponent e, logs k) -> y^e (log y)^k at y' = y (1 + change)."""

        @cache
        def moved(exponent: Fraction, logs: int) -> PowerLog:
            monomial = PowerLog.monomial(self.ring, 1, exponent, exponent + self.change.cut, logs)
            return monomial.substitute(self.change)

        return moved


def constant(key: Key) -> sympy.Symbol:
    """Return the symbol of the constant that the first layers determine."""
    name, order = key
    return sympy.Symbol(f"c_{name}" + (f"_{order}" if order else ""))


def solve(equations: Sequence[Equation], flow: Flow, solved: dict[Key, PowerLog]) -> dict[Key, PowerLog]:
    """Return the series of every tensor.

    Args:
        equations: each after those that drive it.
        flow: the critical point.
        solved: what is known already: the kernel, at least.

    Raises:
        ArithmeticError: if a tensor grows or decays faster than any power of the depth.
    """
    solved = dict(solved)
    for equation in equations:
        key = (equation.name, equation.order)
        if key not in solved:
            own, source = _split(equation, flow, solved)
            solved[key] = balance(own, source, flow, key)
    return solved


def depth(flow: Flow, cut: Fraction) -> PowerLog:
    """Return the depth l as a series in y; its constant is that of the kernel."""
    one = PowerLog.monomial(flow.ring, 1, 0, cut)
    return balance(one, one, flow, ("K", 0))


def clock(flow: Flow, cut: Fraction) -> PowerLog:
    """Return v(t) with y = t (1 + v), t = l^(-1/m): the kernel as a series in 1/l and log l (log t = -log(l)/m)."""
    series = depth(flow, cut)
    m = Fraction(flow.m)
    rest = PowerLog.of(flow.ring, [(p, c) for p, c in series.terms.items() if p != (-m, 0)], series.cut)
    one = PowerLog.monomial(flow.ring, 1, 0, series.cut + m)
    found = PowerLog.of(flow.ring, (), series.cut + m)
    while True:
        # (1 + v)^-m = 1 - t^m rest(t (1 + v)): each round makes one more power of t right.
        new = (one - rest.substitute(found).shifted(m)).power(Fraction(-1, flow.m)) - one
        if new.terms == found.terms:
            return new
        found = new


def transported(own: PowerLog, flow: Flow, key: Key) -> PowerLog:
    """Return the solution of X(y') = own X(y) that begins with the coefficient one."""
    nothing = PowerLog.of(flow.ring, (), _free_exponent(own, flow, key) + own.cut)
    solution = balance(own, nothing, replace(flow, first=None), key)
    one = [(power, value.compose(flow.ring(constant(key)), flow.ring.one)) for power, value in solution.terms.items()]
    return PowerLog.of(flow.ring, one, solution.cut)


def balance(own: PowerLog, source: PowerLog, flow: Flow, key: Key) -> PowerLog:
    """Return X with X(y') = own X(y) + source, with the constant of `key` if it is within reach."""
    ring, m = flow.ring, flow.m
    free = _free_exponent(own, flow, key)
    # It is one at y = 0, up to the digits of the integrals.
    own = PowerLog.of(ring, [*((p, c) for p, c in own.terms.items() if p[0]), ((Fraction(0), 0), ring.one)], own.cut)
    cut, left = source.cut, source
    solution: list[tuple[tuple[Fraction, int], PolyElement]] = []

    def add(exponent: Fraction, logs: int, value: PolyElement) -> None:
        nonlocal cut, left
        solution.append(((exponent, logs), value))
        # The factor of the unknown and the step of y are known up to some power only.
        cut = min(cut, exponent + min(own.cut, flow.change.cut))
        piece = PowerLog.of(ring, [((exponent, logs), value)], exponent + own.cut)
        left = (left - (flow.shift(exponent, logs).scaled(value) - own * piece)).cut_at(cut)

    if free < source.cut - m:
        add(free, 0, ring(constant(key)))
    while left.terms:
        (e, k), value = left.leading
        target = e - m
        if target == free:
            add(target, k + 1, value * rational(ring.domain, Fraction(-m, k + 1)))
        else:
            add(target, k, value * rational(ring.domain, -m / (target - free)))
        # What was balanced is gone exactly; with real coefficients the difference leaves rounding noise.
        left = PowerLog.of(ring, [(p, c) for p, c in left.terms.items() if p != (e, k)], left.cut)
    series = PowerLog.of(ring, solution, cut - m)
    return series if flow.first is None else _started(series, flow.first.get(key, ring.zero), key)


def _started(series: PowerLog, first: PolyElement, key: Key) -> PowerLog:
    """Return the polynomial in depth with its constant chosen such that layer 1 has the value `first`."""
    ring = series.ring
    symbol = constant(key)
    at_one = sum(series.terms.values(), ring.zero)
    value = first - (at_one - ring(symbol))
    terms = [(power, c.compose(ring(symbol), value)) for power, c in series.terms.items()]
    return PowerLog.of(ring, terms, series.cut)


def _free_exponent(own: PowerLog, flow: Flow, key: Key) -> Fraction:
    """Return e_h of own = 1 - (e_h/m) y^m + ..., recognised as a sum of critical exponents."""
    domain, m = flow.ring.domain, flow.m
    low = {e: c for (e, k), c in own.terms.items() if e <= m}
    one = low.pop(Fraction(0), flow.ring.zero)
    slope = low.pop(Fraction(m), flow.ring.zero)
    if clean(one - 1) or low or not slope.is_ground or any(k for _, k in own.terms):
        raise ArithmeticError(f"{key[0]} does not grow as a power of depth at this critical point")
    wanted = slope.coeff(1) * (-m)
    for j in range(9):
        for i in _MULTIPLES:
            exponent = i + j * flow.perpendicular
            if not clean(flow.ring.one * (wanted - rational(domain, exponent))):
                return exponent
    raise ArithmeticError(f"{wanted} is not a sum of critical exponents")


def _split(equation: Equation, flow: Flow, solved: dict[Key, PowerLog]) -> tuple[PowerLog, PowerLog]:
    """Return the factor of the unknown itself, and the sum of all other terms."""
    unknown = (equation.name, equation.order)
    own: PowerLog | None = None
    source: PowerLog | None = None
    for term in equation.terms:
        value = _prefactor(term, flow)
        tensors = [(t.name, t.order) for t in term.tensors]
        for key in tensors:
            if key != unknown:
                value = value * solved[key]
        if unknown in tensors:
            own = value if own is None else own + value
        else:
            source = value if source is None else source + value
    if own is None:
        raise ArithmeticError(f"the recursion of {equation.key} does not contain {equation.key}")
    if source is None:
        source = PowerLog.of(flow.ring, (), own.cut)
    return own, source


def _prefactor(term: Term, flow: Flow) -> PowerLog:
    """Return a term without its tensors; all widths are equal."""
    acting = [0] * len(term.expectations)
    for tensor in term.tensors:
        for arg in tensor.args:
            if arg < 0:
                acting[-1 - arg] += 1
    value = PowerLog.monomial(flow.ring, rational(flow.ring.domain, term.coefficient), 0, flow.change.cut)
    for parameter, power in zip(flow.parameters, term.powers, strict=False):
        for _ in range(power):
            value = value * parameter
    for factors, derivatives in zip(term.expectations, acting, strict=True):
        value = value * flow.average(derivatives, tuple(sorted(k for _, k in factors)))
    return value
