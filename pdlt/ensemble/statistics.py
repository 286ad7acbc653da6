"""From means over blocks of samples to joint cumulants with standard errors.

A joint cumulant is a polynomial in moments, so the plug-in estimate is biased by one over the number of
samples. The delete-one-group jackknife removes this exactly for cumulants of two components (for more, up to
the next power) and gives the standard error. Groups may differ in size: Busing, Meijer and van der Leeden,
Statistics and Computing 9 (1999) 3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from pdlt.ensemble.specs import Cumulant, Moment, moments

#: Largest number of groups of blocks that the jackknife deletes one by one.
GROUPS = 200

Averages = Mapping[Moment, np.ndarray]


class Accumulator:
    """Sums of block means over at most `groups` runs of consecutive blocks; memory does not grow with blocks.

    The groups hold 1, 2, 4, ... blocks each: when all are full, neighbours are joined. So the sums depend on the
    number of blocks alone, need not know it beforehand, and are added up pairwise, which keeps rounding small.

    Args:
        size: length of the vector of moments of one block.
        groups: largest number of groups that the jackknife deletes one by one; even.

    Attributes:
        blocks: number of blocks so far.
    """

    def __init__(self, size: int, groups: int = GROUPS) -> None:
        self.blocks = 0
        self._span = 1
        self._sums = np.zeros((groups, size))

    def add(self, means: np.ndarray) -> None:
        """Add the moments of the next block; blocks must come in order for equal bits."""
        groups = len(self._sums)
        if self.blocks == groups * self._span:
            self._sums[: groups // 2] = self._sums[0::2] + self._sums[1::2]
            self._sums[groups // 2 :] = 0.0
            self._span *= 2
        self._sums[self.blocks // self._span] += means
        self.blocks += 1

    @property
    def counts(self) -> np.ndarray:
        """Number of blocks in every group; only the last group may be smaller."""
        used = -(-self.blocks // self._span)
        counts = np.full(used, float(self._span))
        counts[-1:] = self.blocks - (used - 1) * self._span
        return counts

    @property
    def sums(self) -> np.ndarray:
        """Sums of means in every group, shape (groups in use, size)."""
        return self._sums[: len(self.counts)]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A cumulant in the measured layers, layers first, multiplied by n^(k-1).

    Attributes:
        value: bias-corrected estimate.
        stderr: its standard error.
        rounding: per layer, how large a standard error can get by rounding alone.
    """

    value: np.ndarray
    stderr: np.ndarray
    rounding: np.ndarray


def estimates(
    measured: Sequence[Cumulant], total: Accumulator, shapes: Mapping[Moment, tuple[int, ...]], fan_in: np.ndarray
) -> dict[str, Estimate]:
    """Return the estimate of each cumulant by name.

    Args:
        measured: the cumulants.
        total: block means; the moments one after the other.
        shapes: shape of each moment in that order, (layers, N, ..., N).
        fan_in: n_{l-1} of each layer, shape (layers,).
    """
    cuts = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    parts = np.split(total.sums, cuts, axis=1)
    sums = {m: part.reshape(-1, *shape) for (m, shape), part in zip(shapes.items(), parts, strict=True)}
    results = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for c in measured:
            own = {moment: sums[moment] for moment in moments([c])}
            scale = (fan_in ** (c.order - 1)).reshape(-1, *(1,) * (2 * c.order))
            value, error = jackknife(own, total.counts, partial(cumulant, c))
            largest = np.abs(sums[c.pairs].sum(axis=0) / total.blocks * scale).reshape(len(fan_in), -1).max(axis=1)
            results[c.name] = Estimate(value * scale, error * scale, 1e-13 * largest)
    return results


def cumulant(spec: Cumulant, averages: Averages) -> np.ndarray:
    """Return the joint cumulant given moments.

    Args:
        spec: which cumulant.
        averages: moments, arrays of shape (..., N, ..., N), one axis per slot after any leading axes.

    Returns:
        Array of shape (..., N, ..., N) with the axes of `spec`.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    output = "..." + "".join(letters[slot] for slot in spec.axes)
    total: np.ndarray | float = 0.0
    for coefficient, factors in spec.terms():
        operands = ["..." + "".join(letters[slot] for slot in slots) for _, slots in factors]
        arrays = [averages[moment] for moment, _ in factors]
        total = total + coefficient * np.einsum(f"{','.join(operands)}->{output}", *arrays)
    return np.asarray(total)


def jackknife(
    sums: Averages, counts: np.ndarray, estimator: Callable[[Averages], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bias-corrected estimate and its standard error by deleting one group at a time.

    Args:
        sums: for each moment the sum of block means in every group, shape (groups, ...).
        counts: number of blocks in every group, shape (groups,).
        estimator: function of moments of shape (..., same), broadcasting over leading axes.

    Returns:
        Estimate and standard error, both of the estimator's shape.
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
    kept = weight(1 - counts / number, full.ndim)
    corrected = groups * full - (kept * without).sum(axis=0)
    ratio = weight(number / counts, full.ndim)
    pseudo = ratio * full - (ratio - 1) * without
    variance = ((pseudo - corrected) ** 2 / (ratio - 1)).sum(axis=0) / groups
    return corrected, np.sqrt(variance)
