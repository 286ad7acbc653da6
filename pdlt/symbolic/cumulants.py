"""The law of total cumulance for one layer, to any order in 1/width.

Given the covariance G of the jets at layer l, the covariance at layer l+1 is an average of n_l independent terms
Phi(u_j). Its joint cumulants are therefore

    kappa(G'_1 ... G'_m) = sum over set partitions pi of {1..m} of kappa( n_l^(1-|B|) kappa_iid_B(G) : B in pi ).

Every kappa_iid_B is a polynomial in Gaussian expectations <.>_G. Those are expanded around the leading kernel in
delta = G - K with the heat equation, d<f>_G/dG_EF = <d_E d_F f>_G / (1 + [E=F]), and the outer cumulant of products
of deltas is expanded in joint cumulants of the deltas (Leonov and Shiryaev). This file holds those two expansions;
`recursion` runs them.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from math import factorial

from pdlt.observables import vanishes
from pdlt.symbolic.jets import Jet, Monomial, Polynomial, layer_map, product, set_partitions

#: A slot of a delta: a derivative jet, or None for a plain preactivation on some input, which is summed over.
Slot = Jet | None


@dataclass(frozen=True)
class Variation:
    """A Gaussian expectation after derivatives with respect to the covariance: what is left, and what they pair with.

    `deltas` lists, for each derivative, the two slots of the delta it multiplies; None is the plain preactivation
    of an input that is summed over, with d/dz of that input acting inside the expectation.
    """

    monomial: Monomial
    deltas: tuple[tuple[Slot, Slot], ...]


def single_neuron_cumulant(components: tuple[tuple[Jet, Jet], ...]) -> Iterator[tuple[int, tuple[Polynomial, ...]]]:
    """Yield kappa_iid of the Phi's as a signed sum of products of expectations of polynomials."""
    for partition in set_partitions(components):
        sign = (-1) ** (len(partition) - 1) * factorial(len(partition) - 1)
        yield sign, tuple(product(tuple(layer_map(*c) for c in block)) for block in partition)


@lru_cache(maxsize=1 << 16)
def variations(monomial: Monomial, count: int) -> Mapping[Variation, Fraction]:
    """Return the `count`-th Taylor term of <monomial>_G in delta: 1/count! prod (1/2 delta_EF d_E d_F)."""
    found = {Variation(monomial, ()): Fraction(1)}
    for _ in range(count):
        step: dict[Variation, Fraction] = {}
        for variation, weight in found.items():
            for new, factor in _differentiate(variation):
                step[new] = step.get(new, Fraction(0)) + weight * factor
        found = step
    return {variation: weight / factorial(count) for variation, weight in found.items()}


def _differentiate(variation: Variation) -> Iterator[tuple[Variation, Fraction]]:
    """Yield 1/2 sum_EF delta_EF d_E d_F of an expectation, each unordered pair {E, F} once."""
    m = variation.monomial
    yield Variation(m, (*variation.deltas, (None, None))), Fraction(1, 2)
    for i, jet in enumerate(m.jets):
        rest = m.jets[:i] + m.jets[i + 1 :]
        yield Variation(Monomial(m.powers, m.sigmas, rest), (*variation.deltas, (None, jet))), Fraction(1)
        for j in range(i, len(rest)):
            final = rest[:j] + rest[j + 1 :]
            yield Variation(Monomial(m.powers, m.sigmas, final), (*variation.deltas, (jet, rest[j]))), Fraction(1)


def wick(jets: tuple[Jet, ...]) -> Iterator[tuple[tuple[Jet, Jet], ...]]:
    """Yield the complete pairings of derivative jets; at leading order only equal directions are correlated."""
    if not jets:
        yield ()
        return
    head, rest = jets[0], jets[1:]
    for i, other in enumerate(rest):
        if head[0] == other[0]:
            for pairing in wick(rest[:i] + rest[i + 1 :]):
                yield ((head, other), *pairing)


def outer_cumulants(
    deltas: tuple[tuple[int, tuple[Jet, Jet]], ...], blocks: int, total: int
) -> Mapping[tuple[tuple[tuple[tuple[Jet, Jet], ...], int], ...], int]:
    """Return the terms of kappa(prod deltas in block 1, ..., prod deltas in block k) at one order in 1/n.

    Args:
        deltas: (block, slots) of each delta, summed plain slots given names by the caller.
        blocks: the number k of arguments of the outer cumulant.
        total: the power of 1/n wanted; a cumulant of c deltas with j corrections counts c - 1 + j.

    Returns:
        Tuples of (deltas of a cell, j), the product of these cumulants' coefficients being one term, and how often
        each occurs: deltas with equal slots are interchangeable, and there are many.
    """
    @cache
    def content(cell: tuple[int, ...]) -> tuple[tuple[Jet, Jet], ...]:
        inside = tuple(sorted(deltas[i][1] for i in cell))
        return () if vanishes(slot_directions(inside)) else inside

    # Partitions that differ by interchangeable deltas are counted before the corrections are shared out.
    alike: Counter = Counter()
    for cells in _linking_partitions(tuple(block for block, _ in deltas), blocks, total):
        contents = [content(cell) for cell in cells]
        if all(contents):
            alike[tuple(sorted(contents))] += 1
    found: Counter = Counter()
    for contents, times in alike.items():
        least = [_least_order(len(cell)) for cell in contents]
        for extra in _compositions(total - sum(least), len(contents)):
            orders = [low + more - (len(cell) - 1) for cell, low, more in zip(contents, least, extra, strict=True)]
            found[tuple(sorted(zip(contents, orders, strict=True)))] += times
    return found


def _least_order(size: int) -> int:
    """Return the power of 1/n at which a cumulant of `size` deltas begins; a lone one has no leading part."""
    return max(1, size - 1)


@cache
def _linking_partitions(owners: tuple[int, ...], blocks: int, total: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return the set partitions of the deltas that link all blocks and begin at order `total` or lower."""
    return tuple(
        cells
        for cells in _affordable_partitions(len(owners), total)
        if _connected([sum({1 << owners[i] for i in cell}) for cell in cells], blocks)
    )


@cache
def _affordable_partitions(count: int, total: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return the set partitions of range(count) into cells that begin at orders of 1/n with sum `total` or lower.

    One more delta never lowers that sum, so partitions that exceed it are dropped while they grow.
    """
    if count == 0:
        return ((),)
    found: list[tuple[tuple[int, ...], ...]] = []
    for cells in _affordable_partitions(count - 1, total):
        spent = sum(_least_order(len(cell)) for cell in cells)
        if spent < total:
            found.append((*cells, (count - 1,)))
        for i, cell in enumerate(cells):
            if spent - _least_order(len(cell)) + _least_order(len(cell) + 1) <= total:
                found.append((*cells[:i], (*cell, count - 1), *cells[i + 1 :]))
    return tuple(found)


def slot_directions(deltas: tuple[tuple[Jet, Jet], ...]) -> tuple[str, ...]:
    """Return the direction letters of each slot of a product of deltas."""
    return tuple(slot[0] for delta in deltas for slot in delta)


def _connected(cells: list[int], blocks: int) -> bool:
    """Return whether cells, given as bit sets of blocks, link all of them: only then is a term in the cumulant."""
    linked: list[int] = []
    for cell in cells:
        apart = []
        for group in linked:
            if group & cell:
                cell |= group
            else:
                apart.append(group)
        linked = [*apart, cell]
    return blocks == 1 or linked == [(1 << blocks) - 1]


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to write `total` as an ordered sum of `parts` non-negative integers."""
    if parts == 0:
        if total == 0:
            yield ()
        return
    for first in range(total + 1) if total >= 0 else ():
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def partitions_of(count: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """Return all set partitions of range(count)."""
    return tuple(set_partitions(tuple(range(count))))


def tuples_up_to(limit: int, length: int) -> Iterator[tuple[int, ...]]:
    """Yield all tuples of `length` non-negative integers with sum at most `limit`."""
    if length == 0:
        yield ()
        return
    for first in range(limit + 1):
        for rest in tuples_up_to(limit - first, length - 1):
            yield (first, *rest)
