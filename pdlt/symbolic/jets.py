"""The layer map of a perceptron, acting on jets.

A jet component z_(S, alpha) is the derivative of a preactivation on input alpha along the auxiliary Gaussian
directions in S. One layer turns the jets of a neuron into a sum of *monomials*

    C_W^i lambda_W^j  *  prod sigma^(k)(z_alpha)  *  prod z_(B, alpha)        (every B non-empty)

and everything the package derives is bookkeeping on such monomials.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

#: (direction letters, data label): a component of the jet of a neuron.
Jet = tuple[str, int]


@dataclass(frozen=True, order=True)
class Monomial:
    """C_W^powers[0] lambda_W^powers[1] * prod sigma^(k)(z_label) * prod jets; factors are kept sorted."""

    powers: tuple[int, int]
    sigmas: tuple[tuple[int, int], ...]  # (data label, number of derivatives k)
    jets: tuple[Jet, ...]

    def __mul__(self, other: "Monomial") -> "Monomial":
        return Monomial(
            (self.powers[0] + other.powers[0], self.powers[1] + other.powers[1]),
            tuple(sorted(self.sigmas + other.sigmas)),
            tuple(sorted(self.jets + other.jets)),
        )


ONE = Monomial((0, 0), (), ())

#: A polynomial in jets: monomial -> rational coefficient.
Polynomial = dict[Monomial, Fraction]


def set_partitions(items: tuple) -> Iterator[tuple[tuple, ...]]:
    """Yield all set partitions of `items` as tuples of blocks."""
    if not items:
        yield ()
        return
    head, rest = items[0], items[1:]
    for partition in set_partitions(rest):
        yield ((head,), *partition)
        for i, block in enumerate(partition):
            yield (*partition[:i], (head, *block), *partition[i + 1 :])


@cache
def activation_jet(directions: str, label: int) -> tuple[Monomial, ...]:
    """Return the terms of the derivative of sigma(z_label) along `directions` (Faa di Bruno's formula)."""
    return tuple(
        Monomial((0, 0), ((label, len(blocks)),), tuple(sorted(("".join(sorted(b)), label) for b in blocks)))
        for blocks in set_partitions(tuple(directions))
    )


@cache
def layer_map(first: Jet, second: Jet) -> tuple[tuple[Monomial, Fraction], ...]:
    """Return Phi(first, second): what one neuron adds to the covariance of two jets of the next layer.

    Phi = C_W phi_S phi_T + lambda_W sum over the shared directions s of phi_(S minus s) phi_(T minus s).
    """
    (S, alpha), (T, beta) = first, second
    result: Counter[Monomial] = Counter()
    pieces = [(S, T, (1, 0))] + [(S.replace(s, ""), T.replace(s, ""), (0, 1)) for s in S if s in T]
    for left, right, powers in pieces:
        for p in activation_jet(left, alpha):
            for q in activation_jet(right, beta):
                result[Monomial(powers, (), ()) * p * q] += 1
    return tuple((monomial, Fraction(count)) for monomial, count in result.items())


def product(factors: tuple[tuple[tuple[Monomial, Fraction], ...], ...]) -> Polynomial:
    """Return the product of polynomials given as (monomial, coefficient) pairs."""
    result: Polynomial = {ONE: Fraction(1)}
    for factor in factors:
        new: Polynomial = {}
        for left, a in result.items():
            for right, b in factor:
                monomial = left * right
                new[monomial] = new.get(monomial, Fraction(0)) + a * b
        result = new
    return result
