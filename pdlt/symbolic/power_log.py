"""Truncated series in powers and logarithms: what recursions in depth are solved with at large depth.

A series in a small positive variable y is

    sum over (e, k) of  c_(e,k) y^e (log y)^k  +  O(y^cut),

with real exponents e, kept as fractions, and coefficients in a polynomial ring over the rationals or over real numbers
of many digits. Exponents that are not rational (critical exponents of a general activation) are replaced by nearby
fractions once, where they first occur; after that the arithmetic of exponents is exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import sympy
from sympy.polys.rings import PolyElement, PolyRing

#: (e, k): the monomial y^e (log y)^k.
Power = tuple[Fraction, int]

#: Coefficients of real numbers below this are zero: sums of a few dozen terms, given to at least 35 digits.
_NEGLIGIBLE = sympy.Float("1e-22", 60)


@dataclass(frozen=True)
class PowerLog:
    """A truncated series; see the module's docstring. Immutable.

    Attributes:
        ring: the ring of the coefficients.
        terms: (e, k) -> coefficient, every e < cut.
        cut: the exponent from which on nothing is known.
    """

    ring: PolyRing
    terms: dict[Power, PolyElement]
    cut: Fraction

    @classmethod
    def of(cls, ring: PolyRing, terms: Iterable[tuple[Power, Any]], cut: Fraction) -> "PowerLog":
        """Return the sum of the terms given, without those that vanish or lie beyond the cut."""
        total: dict[Power, PolyElement] = {}
        for power, value in terms:
            if power[0] < cut:
                total[power] = total.get(power, ring.zero) + value
        cleaned = {power: clean(value) for power, value in total.items()}
        return cls(ring, {power: value for power, value in cleaned.items() if value}, cut)

    @classmethod
    def monomial(cls, ring: PolyRing, value: Any, exponent: Fraction | int, cut: Fraction, logs: int = 0) -> "PowerLog":
        """Return value * y^exponent * (log y)^logs."""
        return cls.of(ring, [((Fraction(exponent), logs), ring.one * value)], cut)

    @cached_property
    def lead(self) -> Fraction:
        """The smallest exponent that occurs; the cut if there is no term."""
        return min((e for e, _ in self.terms), default=self.cut)

    @property
    def leading(self) -> tuple[Power, PolyElement]:
        """The dominant term for y -> 0: the smallest exponent, with the highest power of log y."""
        power = min(self.terms, key=lambda p: (p[0], -p[1]))
        return power, self.terms[power]

    def __add__(self, other: "PowerLog") -> "PowerLog":
        return PowerLog.of(self.ring, [*self.terms.items(), *other.terms.items()], min(self.cut, other.cut))

    def __sub__(self, other: "PowerLog") -> "PowerLog":
        return self + other.scaled(-1)

    def __mul__(self, other: "PowerLog") -> "PowerLog":
        cut = min(self.lead + other.cut, other.lead + self.cut)
        pairs = (((e + f, j + k), x * y) for (e, j), x in self.terms.items() for (f, k), y in other.terms.items())
        return PowerLog.of(self.ring, pairs, cut)

    def scaled(self, factor: Any) -> "PowerLog":
        """Return the series times a number or an element of the ring."""
        return PowerLog.of(self.ring, [(power, value * factor) for power, value in self.terms.items()], self.cut)

    def shifted(self, exponent: Fraction) -> "PowerLog":
        """Return the series times y^exponent."""
        terms = [((e + exponent, k), value) for (e, k), value in self.terms.items()]
        return PowerLog.of(self.ring, terms, self.cut + exponent)

    def cut_at(self, cut: Fraction) -> "PowerLog":
        """Return the series known to a lower power."""
        return PowerLog.of(self.ring, self.terms.items(), min(cut, self.cut))

    def power(self, exponent: Fraction) -> "PowerLog":
        """Return self^exponent for a series whose leading term is a number times a power of y, without logarithm.

        Raises:
            ArithmeticError: if it is not.
        """
        (e, k), value = self.leading
        if k or not value.is_ground:
            raise ArithmeticError("the leading term is not a number times a power")
        number = value.coeff(1)
        others = [((f - e, j), c * (1 / number)) for (f, j), c in self.terms.items() if (f, j) != (e, k)]
        series = binomial(PowerLog.of(self.ring, others, self.cut - e), exponent)
        return series.scaled(_number_power(self.ring.domain, number, exponent)).shifted(e * exponent)

    def substitute(self, change: "PowerLog") -> "PowerLog":
        """Return the series with y replaced by y (1 + change), where `change` vanishes at y = 0."""
        # log y becomes log y + log(1 + change).
        log = PowerLog.monomial(self.ring, 1, 0, change.cut, logs=1)
        if any(k for _, k in self.terms):
            log = log + logarithm(change)
        total = PowerLog.of(self.ring, (), self.cut)
        for (e, k), value in self.terms.items():
            factor = binomial(change, e)
            for _ in range(k):
                factor = factor * log
            total = total + factor.scaled(value).shifted(e)
        return total


def binomial(change: PowerLog, exponent: Fraction) -> PowerLog:
    """Return (1 + change)^exponent, where `change` vanishes at y = 0."""
    domain = change.ring.domain
    total = term = PowerLog.monomial(change.ring, 1, 0, change.cut)
    j = 0
    while term.terms and j * change.lead < change.cut:
        factor = (exponent - j) / (j + 1)
        term = (term * change).scaled(rational(domain, factor))
        total = total + term
        j += 1
    return total


def logarithm(change: PowerLog) -> PowerLog:
    """Return log(1 + change), where `change` vanishes at y = 0."""
    domain = change.ring.domain
    total = PowerLog.of(change.ring, (), change.cut)
    power = PowerLog.monomial(change.ring, 1, 0, change.cut)
    j = 1
    while power.terms and (j - 1) * change.lead < change.cut:
        power = power * change
        total = total + power.scaled(rational(domain, Fraction((-1) ** (j + 1), j)))
        j += 1
    return total


def rational(domain: Any, number: Fraction) -> Any:
    """Return a fraction as an element of the coefficients' domain."""
    return domain.convert(sympy.QQ(number.numerator, number.denominator), sympy.QQ)


def clean(value: PolyElement) -> PolyElement:
    """Return a coefficient without what is rounding noise; nothing changes over the rationals."""
    if value.ring.domain.is_Exact:
        return value
    return value.ring.from_dict({m: c for m, c in value.terms() if abs(c) > _NEGLIGIBLE})


def _number_power(domain: Any, number: Any, exponent: Fraction) -> Any:
    if exponent.denominator == 1:
        return number**exponent.numerator if exponent >= 0 else (domain.one / number) ** -exponent.numerator
    if number == 1:
        return number
    if domain.is_Exact:
        raise ArithmeticError(f"{number} to the power {exponent} is not rational")
    return number ** rational(domain, exponent)
