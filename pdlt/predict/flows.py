"""Critical points as flows: what dominant balance (`pdlt.symbolic.dominant_balance`) needs to know of an activation.

    class             clock y                       expectations as series in y
    ---------------   ---------------------------   ------------------------------------------------------------
    scale-invariant   1/l                           constants: moments of the slopes, in units K = 1, C_W = 1
    half-stable, K*   1/l                           constants: integrals at K*
    half-stable       -a_1 (K - K*)                 derivatives with respect to K at K*, integrals
    K*=0              (-m a_m)^(1/m) K              Taylor coefficients of sigma/sigma'(0); in units C_W = 1

Units: with C_W = 1 a learning rate lambda_W stands for lambda_W / C_W.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from math import comb, factorial
from typing import Any

import mpmath
import sympy as sp
from sympy.polys.rings import PolyRing, ring

from pdlt.activations import Activation
from pdlt.errors import PdltError
from pdlt.predict import expansion
from pdlt.predict.criticality import Criticality
from pdlt.predict.one_input import OneInput
from pdlt.symbolic import dominant_balance
from pdlt.symbolic.dominant_balance import Flow, Key, constant
from pdlt.symbolic.double_scaling import w
from pdlt.symbolic.power_log import PowerLog

#: The weights' share of Theta at large depth, and learning rates where they are numbers of the user.
share = w
lambda_b, lambda_W = sp.symbols("lambda_b lambda_W", nonnegative=True)

#: lambda_W / (C_W lambda_b), where that matters.
ratio = sp.Symbol("u", nonnegative=True)

#: Digits of real coefficients.
_DIGITS = 34
#: Series of the flows with clock 1/l are polynomials in l of degree at most this, known exactly.
_DEGREE = 12

Series = list[Any]


def coefficients(domain: Any, keys: list[Key]) -> PolyRing:
    """Return the ring of the coefficients: share, learning rates and their ratio, and one constant per tensor."""
    names = [share, lambda_b, lambda_W, ratio, *dict.fromkeys(constant(key) for key in [("K", 0), *keys])]
    return ring(names, domain)[0]


class Point:
    """A critical point: expectations along the flow, in a domain of numbers.

    Attributes:
        domain: QQ where everything is rational, else real numbers of 34 digits.
        m: the kernel approaches its fixed point as l^(-1/m).
        kernel: K as a series in y: coefficients of y^0, y^1.
        perpendicular: exponent of the solution without source of Theta, in powers of y.
        at_rest: whether the kernel does not move, so that y = 1/l.
        C_b, C_W: in the units of the point.
    """

    def __init__(
        self,
        domain: Any,
        m: int,
        kernel: tuple[Any, Any],
        averages: Callable[[int, tuple[int, ...]], Series],
        C_b: Any,
        C_W: Any,
        perpendicular: Fraction,
        at_rest: bool,
    ) -> None:
        self.domain, self.m, self.kernel, self.C_b, self.C_W = domain, m, kernel, C_b, C_W
        self.perpendicular, self.at_rest = perpendicular, at_rest
        self.averages = cache(averages)

    @property
    def kernel_power(self) -> int:
        """The power of y with which the kernel vanishes: 1 at K* = 0, else 0."""
        return 0 if self.kernel[0] else 1

    @property
    def cut(self) -> Fraction:
        """The power of y at which the expectations are cut."""
        return Fraction(_DEGREE if self.at_rest else _powers(self.m))

    def series(self, coefficients: PolyRing, values: Series) -> PowerLog:
        """Return sum_j values[j] y^j."""
        terms = [((Fraction(j), 0), coefficients.one * value) for j, value in enumerate(values)]
        return PowerLog.of(coefficients, terms, self.cut)

    def change(self, coefficients: PolyRing) -> PowerLog:
        """Return y'/y - 1."""
        if self.at_rest:
            return self.series(coefficients, [0] + [(-1) ** j for j in range(1, _DEGREE)])
        # y is proportional to K - K*, which one layer maps to C_b + C_W <sigma sigma> - K*.
        moved = [self.C_W * value / self.kernel[1] for value in self.averages(0, (0, 0))]
        return self.series(coefficients, [moved[1] - 1, *moved[2:]]).cut_at(self.cut - 1)


def at_rest(c: Criticality) -> Point:
    """Return the fixed point itself, for the scale-invariant and the half-stable class."""
    if c.universality_class == "scale-invariant":
        return _scale_invariant(c.activation.homogeneous_slopes or ())
    domain, mean, point = _real(c)
    averages = _around(mean, domain, point.K_star, None, 1)
    one = domain.one
    return Point(
        domain, 1, (_number(domain, point.K_star), one * 0), averages,
        _number(domain, point.C_b), _number(domain, point.C_W), Fraction(0), True,
    )  # fmt: skip


def approach(c: Criticality, order: int) -> Point:
    """Return the flow towards the fixed point, for the half-stable class and K*=0, as an order in 1/n needs it."""
    if c.universality_class == "K*=0":
        return _at_zero(c, order)
    domain, mean, point = _real(c)
    with mpmath.workdps(_DIGITS + 15):
        step, perpendicular = -1 / point.series.a[0], point.series.b[0] / point.series.a[0]
    return Point(
        domain, 1, (_number(domain, point.K_star), _number(domain, step)),
        _around(mean, domain, point.K_star, step, _powers(1)),
        _number(domain, point.C_b), _number(domain, point.C_W),
        _fraction(domain, _number(domain, perpendicular)), False,
    )  # fmt: skip


def flow(point: Point, keys: list[Key], biases: Any, weights: Any) -> Flow:
    """Return the flow of a point, with constant learning rates.

    Args:
        point: the critical point.
        keys: the tensors that are to be solved for.
        biases, weights: lambda_b and lambda_W: symbols, numbers of the domain or polynomials of `coefficients`.
    """
    over = coefficients(point.domain, keys)

    @cache
    def average(derivatives: int, orders: tuple[int, ...]) -> PowerLog:
        return point.series(over, point.averages(derivatives, orders))

    rates = [point.series(over, [_element(over, value)]) for value in (biases, weights)]
    parameters = (point.series(over, [point.C_b]), rates[0], point.series(over, [point.C_W]), rates[1])
    first = None
    if point.at_rest:
        # Theta = lambda_b + lambda_W x.x/n_0 in layer 1, where K = C_b + C_W x.x/n_0 is K* already.
        square = (point.kernel[0] - point.C_b) / point.C_W
        first = {("Theta", 0): sum((rates[0] + rates[1].scaled(square)).terms.values(), over.zero)}
    return Flow(point.m, point.change(over), average, parameters, point.perpendicular, first)


def with_equal_contributions(along: Flow) -> tuple[Flow, PowerLog]:
    """Return the flow with learning rates by which all layers contribute equally to Theta, and Theta.

    What a layer contributes is passed on by chi_perp, as h(y') = chi_perp(y) h(y). So lambda_b = (1 - w) h and
    lambda_W <sigma sigma> = w h in every layer, the first one included, and Theta = l h: each layer adds one h. These
    are the rates of `equivalent_learning_rates`.
    """
    chi_perp = along.average(0, (1, 1)) * along.parameters[2]
    h = dominant_balance.transported(chi_perp, along, ("Theta", 0))
    entered = h.substitute(along.change)
    part = along.ring(share)
    weights = (entered * along.average(0, (0, 0)).power(Fraction(-1))).scaled(part)
    parameters = (along.parameters[0], entered.scaled(1 - part), along.parameters[2], weights)
    depth = PowerLog.monomial(along.ring, 1, -1, along.change.cut)
    if along.first is None:
        depth = dominant_balance.depth(along, along.change.cut)
    return replace(along, parameters=parameters), depth * h


def _element(over: PolyRing, value: Any) -> Any:
    return over(value) if isinstance(value, sp.Symbol) else over.one * value


def _scale_invariant(slopes: Iterable[sp.Expr]) -> Point:
    moments = {m: sum(slope**m for slope in slopes) / 2 for m in range(2, 13, 2)}

    def averages(derivatives: int, orders: tuple[int, ...]) -> Series:
        plain = orders.count(0)
        left = plain - derivatives
        if max(orders, default=0) > 1 or left < 0:
            return [0]
        if left % 2 or len(orders) % 2:
            raise ArithmeticError(f"the expectation {orders} with {derivatives} derivatives is not a power of K")
        # <d^p z^i> = i!/(i-p)! (i-p-1)!! at K = 1
        wick = factorial(plain) // (2 ** (left // 2) * factorial(left // 2))
        m = len(orders)
        return [sp.QQ.from_sympy(moments[m] / moments[2] ** (m // 2)) * wick]

    return Point(sp.QQ, 1, (sp.QQ(1), sp.QQ(0)), averages, sp.QQ(0), sp.QQ(1), Fraction(0), True)


def _at_zero(c: Criticality, order: int) -> Point:
    point = next(p for p in c.points if p.K_star == 0)
    m = point.series.leading or 1  # a stable point has a leading coefficient
    powers = _powers(m)
    # Factors have up to three derivatives, products up to four more for every order, and each power of K takes two.
    domain, taylor = _taylor(c.activation, 2 * (powers - 1) + 4 * order + 3, m)

    def in_kernel(derivatives: int, orders: tuple[int, ...]) -> Series:
        """Return the coefficients of <f>_K = sum_n f^(2n)(0) K^n / (2^n n!)."""
        last = 2 * (powers - 1) + derivatives
        product = [domain.one] + [domain.zero] * last
        for k in orders:
            product = [
                sum((comb(i, j) * product[j] * taylor[k + i - j] for j in range(i + 1)), domain.zero)
                for i in range(last + 1)
            ]
        return [product[2 * n + derivatives] / (2**n * factorial(n)) for n in range(powers)]

    a, b = in_kernel(0, (0, 0))[m + 1], in_kernel(0, (1, 1))[m]
    scale = -m * a if m == 1 else (-m * a) ** (domain.one / m)

    def averages(derivatives: int, orders: tuple[int, ...]) -> Series:
        return [value / scale**n for n, value in enumerate(in_kernel(derivatives, orders))]

    kernel = (domain.zero, 1 / scale)
    return Point(domain, m, kernel, averages, domain.zero, domain.one, _fraction(domain, b / a), False)


def _powers(m: int) -> int:
    """Return to how many powers of y expectations must be known for relative corrections of y^m, that is 1/l."""
    return 3 + 2 * m


def _taylor(activation: Activation, last: int, m: int) -> tuple[Any, Series]:
    """Return sigma^(k)(0)/sigma'(0), k = 0 ... last, and their domain: rational numbers if all of them are."""
    domain = _reals()
    try:
        values = [expansion.taylor(activation, k) for k in range(last + 1)]
    except PdltError:
        # Its higher derivatives are too large to be worked out, but not to be evaluated.
        with mpmath.workdps(2 * _DIGITS):
            numbers = mpmath.taylor(activation.mpmath(0), 0, last)
            return domain, [_number(domain, factorial(k) * c / numbers[1]) for k, c in enumerate(numbers)]
    exact = [sp.cancel(value / values[1][1]) for _, value in values]
    # The clock contains the m-th root of a_m.
    if m == 1 and all(value.is_Rational for value in exact):
        return sp.QQ, [sp.QQ.from_sympy(value) for value in exact]
    return domain, [_number(domain, value) / _number(domain, values[1][0]) for value, _ in values]


def _real(c: Criticality) -> tuple[Any, OneInput, Any]:
    """Return the field of real numbers, the integrals and the critical point of the half-stable class."""
    point = next(p for p in c.points if p.usable and p.K_star)
    return _reals(), OneInput(c.activation, _DIGITS), point


def _around(mean: OneInput, domain: Any, K: Any, step: Any, powers: int) -> Callable[[int, tuple[int, ...]], Series]:
    """Return expectations at K* + step y as series in y, from d/dK <f> = <f''>/2."""

    def averages(derivatives: int, orders: tuple[int, ...]) -> Series:
        if derivatives % 2:
            # One derivative is applied by hand, pairs of them are derivatives with respect to K.
            parts = [averages(derivatives - 1, _raised(orders, i)) for i in range(len(orders))]
            return [sum(values[1:], values[0]) for values in zip(*parts, strict=True)]
        with mpmath.workdps(_DIGITS + 15):
            pairs = derivatives // 2
            return [
                _number(domain, 2**pairs * mean.mean(orders, K, pairs + n) * (step or 0) ** n / factorial(n))
                for n in range(powers)
            ]

    return cache(averages)


def _raised(orders: tuple[int, ...], i: int) -> tuple[int, ...]:
    return tuple(sorted((*orders[:i], orders[i] + 1, *orders[i + 1 :])))


def _reals() -> Any:
    return sp.RealField(dps=_DIGITS + 6)


def _number(domain: Any, value: Any) -> Any:
    return domain.from_sympy(sp.Float(mpmath.nstr(value, _DIGITS + 6), _DIGITS + 6))


def _fraction(domain: Any, number: Any) -> Fraction:
    """Return a number as a fraction: itself over the rationals, else one that is the same to thirty digits."""
    if domain.is_Exact:
        return Fraction(int(number.numerator), int(number.denominator))
    value = domain.to_sympy(number)
    near = Fraction(str(sp.nsimplify(value, rational=True, tolerance=1e-25)))
    return near if near.denominator < 1000 else Fraction(str(value)).limit_denominator(10**30)
