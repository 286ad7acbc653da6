"""Recursions whose solutions are polynomials in the power sums of the inverse widths.

With widths n_1, n_2, ... let x = 1 / n_l and p_r = n_1^-r + ... + n_(l-1)^-r. One layer takes p_r to p_r + x^r, so
X(l+1) = own X(l) + source, with a source that is a polynomial in x and the p_r, homogeneous of weight w (x counts 1,
p_r counts r), is solved by undetermined coefficients over the partitions of w, if it is solved by power sums at all.
The preactivations of scale-invariant networks are: their covariance is a product over layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sympy.polys.rings import PolyElement

from pdlt.symbolic.depth_series import Series, difference, exponent_of, scaled, total


@dataclass(frozen=True)
class PowerSums:
    """Generators of a ring: x = 1 / n_l and the power sums p_1, p_2, ... of the layers before l."""

    inverse: PolyElement
    sums: tuple[PolyElement, ...]

    def next_layer(self, series: Series, chi: Any) -> Series:
        """Return the function of l + 1; no power of l may occur."""
        steps = [(p, p + self.inverse**r) for r, p in enumerate(self.sums, start=1)]
        return total([{(0, k): value.compose(steps) * chi**k} for (_, k), value in series.items()])

    def monomial(self, partition: tuple[int, ...]) -> PolyElement:
        """Return p_a p_b ... for the partition (a, b, ...)."""
        result = self.inverse.ring.one
        for part in partition:
            result *= self.sums[part - 1]
        return result

    def coefficient(self, polynomial: PolyElement, power: int, partition: tuple[int, ...]) -> PolyElement:
        """Return the coefficient of x^power p_a p_b ..., a polynomial in the other generators."""
        ring = polynomial.ring
        wanted = {ring.index(self.inverse): power}
        wanted |= {ring.index(p): partition.count(r) for r, p in enumerate(self.sums, start=1)}
        found = ring.zero
        for monomial, number in polynomial.terms():
            if all(monomial[i] == e for i, e in wanted.items()):
                rest = tuple(0 if i in wanted else e for i, e in enumerate(monomial))
                found[rest] = number
        return found

    def propagate(self, own: Any, source: Series, chi: Any, weight: int) -> Series:
        """Return X with X(l+1) = own X(l) + source(l) and X = 0 at layer 1, where all p_r vanish; substituted back.

        Args:
            own: an element of the ring's field, a power of chi.
            source: polynomials in x and the power sums, homogeneous of weight `weight`, times powers of chi^l.
            chi: the field's element; one at criticality.
            weight: a positive integer.

        Raises:
            ArithmeticError: if power sums do not solve the recursion.
        """

        def operate(series: Series) -> Series:
            return difference(self.next_layer(series, chi), scaled(series, own))

        key = (0, exponent_of(own, chi))
        solution: Series = {}
        left = source
        # Of all p_lambda, only p_r p_mu itself and products with more factors leave over x^r p_mu.
        for part, *rest in sorted(partitions(weight), key=len, reverse=True):
            remaining = tuple(rest)
            number = self.coefficient(left.get(key, self.inverse.ring.zero), part, remaining)
            if number:
                number *= 1 / (own * (1 + remaining.count(part)))
                piece = {key: number * self.monomial((part, *remaining))}
                solution = total([solution, piece])
                left = difference(left, operate(piece))
        if left or difference(operate(solution), source):
            raise ArithmeticError("a recursion is not solved by power sums of the inverse widths")
        return solution


def partitions(number: int, largest: int | None = None) -> Iterator[tuple[int, ...]]:
    """Yield the partitions of a non-negative integer, parts in descending order."""
    if number == 0:
        yield ()
    for part in range(min(number, largest or number), 0, -1):
        for rest in partitions(number - part, part):
            yield part, *rest
