"""The double-scaling limit of scale-invariant networks: depth L and width n to infinity at fixed r = L / n.

The leading power of the depth at every order in 1/n, summed. `jet_diffusion` has the moments; this module makes joint
cumulants of them, and tells how far a truncation of the expansion in 1/n follows the limit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy

from pdlt.errors import PdltError
from pdlt.observables import NAMED, Observable
from pdlt.observables import observable as find
from pdlt.symbolic.cumulants import partitions_of
from pdlt.symbolic.depth_series import Series, product, total
from pdlt.symbolic.jet_diffusion import Field, a_4, canonical, solve, w

__all__ = ["a_4", "double_scaling", "r", "reliable_ratio", "truncations", "w"]

#: Depth over width.
r = sympy.Symbol("r", positive=True)

#: Truncations are Taylor polynomials, known far beyond the orders that `pdlt.derive` reaches.
MAX_ORDER = 50
#: The ratios that are returned have about as many digits.
MIN_TOLERANCE = 1e-12


def double_scaling(
    observables: Sequence[str | Observable] | str | None = None, activation: Any = "relu"
) -> dict[str, sympy.Expr]:
    """Return joint cumulants in the limit of large depth and width at fixed ratio r = L / n, to all orders in r.

    One input, C_b = 0, C_W = 1 / A_2, the same width in every hidden layer. Kinks are pointwise, as in
    `pdlt.closed_form`.

    Args:
        observables: names or specs; None for every named observable.
        activation: a scale-invariant activation (or linear one); None for any, whose slopes then enter as
            a_4 = A_4 / A_2^2 with A_m = (a_+^m + a_-^m) / 2. From three components on, that formula is 0/0 at values of
            a_4 where exponents coincide (ReLU's 2 is one); naming the activation avoids it.

    Returns:
        Name -> limit of (X + X_1/n + X_2/n^2 + ...) / (n^(m-1) N) for a cumulant of m components, in `r` and, where
        it matters, the share of the weights in the mean NTK, w = lambda_W A_2 K / (lambda_b + lambda_W A_2 K). The
        symbols are those of this module. N is the natural size, K^((1-d)/2) Theta^(d/2) for every slot with d
        directions, with Theta = (lambda_b + lambda_W A_2 K) L. So the limits are those of V / (n K^2),
        F / (n K Theta), A / (n Theta^2), R K / (n Theta^3).

    Raises:
        PdltError: if the activation is not scale-invariant, for unknown observables, or cumulants that are too large.
    """
    if observables is None:
        items = list(NAMED.values())
    else:
        items = [find(o) for o in ([observables] if isinstance(observables, str | Observable) else observables)]
    if not items:
        raise PdltError("Argument `observables` must name at least one observable, but is empty.")
    field = _field(activation)
    return {item.name: _limit(item, field).expression() for item in items}


def truncations(observable: str | Observable, activation: Any, order: int) -> sympy.Expr:
    """Return what the 1/n expansion up to `order` keeps of the limit: its Taylor polynomial in r of this degree.

    The term r^k is the leading power of the depth at order k of the expansion (`order` as in `pdlt.derive`).

    Raises:
        PdltError: as `double_scaling`, or for an order that is not an integer or at which the observable is absent.
    """
    return _limit(_at_order(observable, order), _field(activation)).taylor(order)


def reliable_ratio(
    observable: str | Observable,
    activation: Any,
    order: int,
    tolerance: float = 0.1,
    w: Fraction | float = 1,
) -> float:
    """Return the ratio of depth to width up to which the 1/n expansion at `order` is accurate.

    Args:
        observable: name or spec.
        activation: a scale-invariant activation.
        order: as in `pdlt.derive`.
        tolerance: the relative error allowed, at least 1e-12 and less than 1.
        w: the share of the weights in the mean NTK, from 0 to 1; it is 1 if lambda_b = 0.

    Returns:
        The smallest r with |truncation - limit| = tolerance |limit|. 0 if the expansion keeps nothing of the limit at
        small r (P at order 1), infinity if it is exact (K).

    Raises:
        PdltError: as `truncations`, for a number out of range, or an activation that is None.
    """
    item = _at_order(observable, order)
    if activation is None:
        raise PdltError("Argument `activation` must be a scale-invariant activation, but got None.")
    if not _is_number(tolerance) or not MIN_TOLERANCE <= tolerance < 1:
        raise PdltError(
            f"Argument `tolerance` must be a number from {MIN_TOLERANCE:g} to below 1, but got {tolerance!r}."
        )
    if not _is_number(w) or not 0 <= w <= 1:
        raise PdltError(f"Argument `w` must be a number from 0 to 1, but got {w!r}.")
    exact, kept = _limit(item, _field(activation)).compared(order, sympy.Rational(w))
    if sympy.expand(exact - kept) == 0:
        return math.inf
    if kept == 0:
        return 0.0

    def accurate(ratio: float) -> bool:
        # At small r the exponentials cancel down to a high power of r: a rational r, and digits to spare.
        value, approximation = (e.evalf(20, subs={r: sympy.Rational(ratio)}, maxn=3000) for e in (exact, kept))
        return bool(abs(approximation - value) <= tolerance * abs(value))

    return _first_failure(accurate)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Fraction) and not isinstance(value, bool)


def _first_failure(accurate: Callable[[float], bool]) -> float:
    """Return the ratio up to which `accurate` holds without interruption, given that it does for small ones."""
    low = 1.0
    while not all(accurate(low / 2**k) for k in range(4)):
        low /= 2
    low, step = low / 8, 2 ** (1 / 32)
    # A limit that grows exponentially is soon missed; the bound is for one that does not.
    while accurate(low * step):
        low *= step
        if low > 1000:
            return math.inf
    high = low * step
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if accurate(middle) else (low, middle)
    return low


def _at_order(observable: str | Observable, order: int) -> Observable:
    item = find(observable)
    if isinstance(order, bool) or not isinstance(order, int) or not item.leading_order <= order <= MAX_ORDER:
        raise PdltError(
            f"Argument `order` must be an integer from {item.leading_order}, where {item.name!r} first appears, "
            f"to {MAX_ORDER}, but got {order!r}."
        )
    return item


def _field(spec: Any) -> Field:
    """Return the field of calculation for an activation; None is any."""
    if spec is None:
        return Field(a_4)
    from pdlt.activations import activation as resolve

    activation = resolve(spec)
    if activation.homogeneous_slopes is None:
        raise PdltError(
            "Argument `activation` must be scale-invariant (linear, relu, abs, leaky_relu(0.2) or any other with two "
            f"slopes, not both zero), but got {activation.name!r}."
        )
    minus, plus = activation.homogeneous_slopes
    return Field(sympy.simplify(2 * (minus**4 + plus**4) / (minus**2 + plus**2) ** 2))


@dataclass(frozen=True)
class _Limit:
    """sum c r^j exp(mu r) / r^power."""

    series: Series
    power: int
    field: Field

    def expression(self) -> sympy.Expr:
        """Return the closed form, collected in exponentials."""
        parts: dict[Any, sympy.Expr] = {}
        for (j, mu), c in self.series.items():
            parts[mu] = parts.get(mu, sympy.S.Zero) + self.field.to_sympy(c) * r ** (j - self.power)
        return sympy.Add(*(sympy.factor(part) * sympy.exp(self.field.to_sympy(mu) * r) for mu, part in parts.items()))

    def taylor(self, order: int) -> sympy.Expr:
        """Return the Taylor polynomial in r."""
        coefficients = [self.field.ring.zero] * (order + 1)
        for (j, mu), c in self.series.items():
            # c mu^m / m!, the coefficient of r^(j - power + m)
            for m in range(order + self.power - j + 1):
                if j - self.power + m >= 0:
                    coefficients[j - self.power + m] += c
                c = c * mu * (1 / self.field.domain(m + 1))
        return sympy.Add(*(sympy.factor(self.field.to_sympy(c)) * r**k for k, c in enumerate(coefficients)))

    def compared(self, order: int, share: sympy.Rational) -> tuple[sympy.Expr, sympy.Expr]:
        """Return the closed form and the Taylor polynomial at a value of w."""
        return self.expression().subs(w, share), self.taylor(order).subs(w, share)


def _limit(item: Observable, field: Field) -> _Limit:
    """Return the joint cumulant as a signed sum of products of moments."""
    components = list(zip(item.slots[::2], item.slots[1::2], strict=True))
    cells = [[[components[i] for i in cell] for cell in partition] for partition in partitions_of(len(components))]
    partitions = [[canonical(tuple(cell)) for cell in partition] for partition in cells]
    moments = solve(frozenset(moment for partition in partitions for moment in partition), field)
    parts: list[Series] = []
    for partition in partitions:
        sign = (-1) ** (len(partition) - 1) * math.factorial(len(partition) - 1)
        part: Series = {(0, field.domain.zero): field.ring(sign)}
        for moment in partition:
            part = product(part, moments[moment])
        parts.append(part)
    return _Limit(total(parts), sum(map(len, item.slots)) // 2, field)
