"""From means over blocks of samples to joint cumulants with standard errors.

Block means are summed in groups of blocks. A joint cumulant is a polynomial in moments; blocks are independent, so a
product of moments is estimated without bias, at any number of samples and to all orders, by products of means of
*different* groups. The standard error comes from deleting one group at a time (jackknife). Groups may differ in size:
Busing, Meijer and van der Leeden, Statistics and Computing 9 (1999) 3.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pdlt.ensemble.specs import Cumulant, Moment, moments, set_partitions
from pdlt.errors import PdltError

#: Largest number of groups of blocks that the jackknife deletes one by one.
GROUPS = 200
#: How large a standard error can get by rounding alone, relative to the largest moment.
ROUNDING = {"float64": 1e-13, "float32": 1e-7}

Averages = Mapping[Moment, np.ndarray]


class Accumulator:
    """Sums of block means, which can be merged: equal sets of blocks give equal bits, in whatever order they came.

    The sums form a binary tree over block numbers: node i of level k is the sum over the blocks from i 2^k to
    (i+1) 2^k - 1, that is of its two children. A node is kept as soon as it is complete and until its parent is, so
    every sum is pairwise, in an order fixed by the numbers alone. The largest nodes are the groups of the jackknife:
    their level is the lowest at which at most `groups` of them reach up to the last block. So memory does not grow
    with the number of blocks, if they form a few ranges.

    Args:
        size: length of the vector of moments of one block.
        groups: largest number of groups that the jackknife deletes one by one.
    """

    def __init__(self, size: int, groups: int = GROUPS) -> None:
        self._size, self._groups = size, groups
        self._level = 0
        self._ranges: list[tuple[int, int]] = []
        self._nodes: dict[tuple[int, int], np.ndarray] = {}

    @property
    def blocks(self) -> int:
        """Number of blocks in the sums."""
        return sum(stop - start for start, stop in self._ranges)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """The blocks in the sums as (start, stop), increasing and with gaps between them."""
        return tuple(self._ranges)

    @property
    def nodes(self) -> int:
        """Number of vectors kept."""
        return len(self._nodes)

    def add(self, means: np.ndarray, number: int | None = None) -> None:
        """Add the means of a block; without a number it is the one after the last.

        Raises:
            PdltError: if the block is there already.
        """
        if number is None:
            number = self._ranges[-1][1] if self._ranges else 0
        self._take([(number, number + 1)], {(0, number): np.array(means, dtype=float)})

    def merge(self, other: "Accumulator") -> None:
        """Add the blocks of another accumulator, which is left as it is.

        Raises:
            PdltError: if a block is in both, or their vectors or numbers of groups differ.
        """
        if (other._size, other._groups) != (self._size, self._groups):
            raise PdltError("Argument `other` must have vectors of the same length and as many groups.")
        self._take(other._ranges, other._nodes)

    def grouped(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of blocks in every group, (groups in use,), and the sums, (groups in use, size)."""
        counts: dict[int, float] = {}
        sums: dict[int, np.ndarray] = {}
        for level, index in sorted(self._nodes, key=lambda node: node[1] << node[0]):
            group = index >> (self._level - level)
            counts[group] = counts.get(group, 0.0) + 2.0**level
            node = self._nodes[level, index]
            sums[group] = sums[group] + node if group in sums else node
        return np.array(list(counts.values())), np.array(list(sums.values())).reshape(-1, self._size)

    def _take(self, ranges: Iterable[tuple[int, int]], nodes: Mapping[tuple[int, int], np.ndarray]) -> None:
        self._ranges = _union(self._ranges, ranges)
        level = 0
        while self._ranges and self._ranges[-1][1] > self._groups << level:
            level += 1
        if level > self._level:  # larger groups: all nodes find their siblings anew
            nodes, self._nodes, self._level = {**self._nodes, **nodes}, {}, level
        with np.errstate(over="ignore", invalid="ignore"):
            for (level, index), total in nodes.items():
                while level < self._level and (level, index ^ 1) in self._nodes:
                    total = total + self._nodes.pop((level, index ^ 1))
                    level, index = level + 1, index >> 1
                self._nodes[level, index] = total


def _union(first: list[tuple[int, int]], second: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return disjoint ranges in order, neighbours joined."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted([*first, *second]):
        if joined and start < joined[-1][1]:
            raise PdltError(f"Block {start} is in the sums already; it must not be counted twice.")
        if joined and start == joined[-1][1]:
            start = joined.pop()[0]
        joined.append((start, stop))
    return joined


def sum_lanes(numbers: Iterable[int], means: Iterable[np.ndarray], size: int, lanes: int) -> list[Accumulator]:
    """Return sums over the blocks of each lane: block k is number k // lanes of lane k % lanes."""
    sums = [Accumulator(size) for _ in range(lanes)]
    for number, mean in zip(numbers, means, strict=True):
        sums[number % lanes].add(mean, number // lanes)
    return sums


@dataclass(frozen=True, eq=False)
class Estimate:
    """A cumulant in the measured layers, layers first, multiplied by n^(k-1).

    Attributes:
        value: unbiased estimate.
        stderr: its standard error.
        rounding: per layer, how large a standard error can get by rounding alone.
        moment: per layer, the largest |moment| of the product of the components, times n^(k-1).
        share: how much of the sum of squares behind the standard error comes from one group, the largest one.
        groups: how many groups there are.
    """

    value: np.ndarray
    stderr: np.ndarray
    rounding: np.ndarray
    moment: np.ndarray
    share: np.ndarray
    groups: int


def estimates(
    measured: Sequence[Cumulant],
    total: Accumulator,
    shapes: Mapping[Moment, tuple[int, ...]],
    fan_in: np.ndarray,
    rounding: float = ROUNDING["float64"],
) -> dict[str, Estimate]:
    """Return the estimate of each cumulant by name.

    Args:
        measured: the cumulants.
        total: block means, of as many blocks as the largest cumulant has components, and of two at least; the moments
            one after the other.
        shapes: shape of each moment in that order, (layers, N, ..., N).
        fan_in: n_{l-1} of each layer, shape (layers,).
        rounding: how large a standard error can get by rounding alone, relative to the largest moment.
    """
    cuts = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    counts, groups = total.grouped()
    parts = np.split(groups, cuts, axis=1)
    sums = {m: part.reshape(-1, *shape) for (m, shape), part in zip(shapes.items(), parts, strict=True)}
    results = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for c in measured:
            own = {moment: sums[moment] for moment in moments([c])}
            scale = (fan_in ** (c.order - 1)).reshape(-1, *(1,) * (2 * c.order))
            value, (error, share) = unbiased(c, own, counts), jackknife(own, counts, partial(cumulant, c))
            largest = np.abs(sums[c.pairs].sum(axis=0) / total.blocks * scale).reshape(len(fan_in), -1).max(axis=1)
            results[c.name] = Estimate(value * scale, error * scale, rounding * largest, largest, share, len(counts))
    return results


def cumulant(spec: Cumulant, averages: Averages) -> np.ndarray:
    """Return the joint cumulant given moments.

    Args:
        spec: which cumulant.
        averages: moments, arrays of shape (..., N, ..., N), one axis per slot after any leading axes.

    Returns:
        Array of shape (..., N, ..., N) with the axes of `spec`.
    """
    total: np.ndarray | float = 0.0
    for coefficient, factors in spec.terms():
        total = total + coefficient * _product([(averages[moment], slots) for moment, slots in factors], spec.axes)
    return np.asarray(total)


def unbiased(spec: Cumulant, sums: Averages, counts: np.ndarray) -> np.ndarray:
    """Return the estimate of a joint cumulant whose expectation is the cumulant, exactly.

    A product of k moments is the sum over k different groups of the products of their sums, divided by that of the
    products of their counts. The sum over different groups is one over partitions p of the k factors: of

        prod_(b in p) (-1)^(|b|-1) (|b|-1)! sum_g prod_(i in b) S_i^(g).

    Args:
        spec: which cumulant.
        sums: for each moment the sum of block means in every group, shape (groups, ..., N, ..., N).
        counts: number of blocks in every group, shape (groups,); at least as many as the spec has components.
    """
    total: np.ndarray | float = 0.0
    for coefficient, factors in spec.terms():
        product: np.ndarray | float = 0.0
        weight = 0.0
        for partition in set_partitions(factors):
            sign = math.prod((-1) ** (len(b) - 1) * math.factorial(len(b) - 1) for b in partition)
            pieces = []
            for part in partition:
                slots = tuple(slot for _, own in part for slot in own)
                pieces.append((_product([(sums[moment], own) for moment, own in part], slots).sum(axis=0), slots))
            product = product + sign * _product(pieces, spec.axes)
            weight += sign * math.prod(float((counts ** len(part)).sum()) for part in partition)
        total = total + coefficient * product / weight
    return np.asarray(total)


def jackknife(
    sums: Mapping[Any, np.ndarray], counts: np.ndarray, estimator: Callable[[Any], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the standard error of an estimate, from deleting one group at a time, and the share of one group in it.

    Args:
        sums: for each moment the sum of block means in every group, shape (groups, ...).
        counts: number of blocks in every group, shape (groups,).
        estimator: function of moments of shape (..., same), broadcasting over leading axes.

    Returns:
        Two arrays of the estimator's shape: standard errors, and how much of the sum of squares behind each comes from
        the group that contributes most.
    """
    number = counts.sum()
    totals = {moment: values.sum(axis=0) for moment, values in sums.items()}
    full = estimator({moment: total / number for moment, total in totals.items()})

    def weight(values: np.ndarray, rank: int) -> np.ndarray:
        return values.reshape((-1,) + (1,) * rank)

    without = estimator(
        {moment: (totals[moment] - sums[moment]) / weight(number - counts, totals[moment].ndim) for moment in sums}
    )
    groups = len(counts)
    corrected = groups * full - (weight(1 - counts / number, full.ndim) * without).sum(axis=0)
    ratio = weight(number / counts, full.ndim)
    pseudo = ratio * full - (ratio - 1) * without
    squares = (pseudo - corrected) ** 2 / (ratio - 1)
    total = squares.sum(axis=0)
    return np.sqrt(total / groups), squares.max(axis=0) / np.where(total > 0, total, 1.0)


def _product(factors: Sequence[tuple[np.ndarray, Sequence[int]]], axes: Sequence[int]) -> np.ndarray:
    """Return the product of arrays whose last axes are slots, with the slots `axes` as last axes."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    operands = ["..." + "".join(letters[slot] for slot in slots) for _, slots in factors]
    output = "..." + "".join(letters[slot] for slot in axes)
    return np.einsum(f"{','.join(operands)}->{output}", *(array for array, _ in factors))
