"""From means over blocks of samples to joint cumulants with standard errors.

A joint cumulant is a polynomial in moments, so the plug-in estimate is biased by one over the number of
samples. The delete-one-group jackknife removes this exactly for cumulants of two components (for more, up to
the next power) and gives the standard error. Groups may differ in size: Busing, Meijer and van der Leeden,
Statistics and Computing 9 (1999) 3.
"""

from collections.abc import Callable, Mapping

import numpy as np

from pdlt.ensemble.specs import Cumulant, Moment

#: Largest number of groups of blocks that the jackknife deletes one by one.
GROUPS = 200

Moments = Mapping[Moment, np.ndarray]


class Accumulator:
    """Sums of block means over at most `groups` runs of consecutive blocks; memory does not grow with blocks.

    Args:
        blocks: total number of blocks, at least 2.
        size: length of the vector of moments of one block.
        groups: largest number of groups that the jackknife deletes one by one.
    """

    def __init__(self, blocks: int, size: int, groups: int = GROUPS) -> None:
        self.groups = min(blocks, groups)
        self.counts = np.zeros(self.groups)
        self.sums = np.zeros((self.groups, size))
        self._blocks = blocks

    def add(self, block: int, means: np.ndarray) -> None:
        """Add the moments of block number `block`; blocks must come in order for equal bits."""
        group = block * self.groups // self._blocks
        self.counts[group] += 1
        self.sums[group] += means


def cumulant(spec: Cumulant, moments: Moments) -> np.ndarray:
    """Return the joint cumulant given moments.

    Args:
        spec: which cumulant.
        moments: arrays of shape (..., N, ..., N), one axis per slot after any leading axes.

    Returns:
        Array of shape (..., N, ..., N) with the axes of `spec`.
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    output = "..." + "".join(letters[slot] for slot in spec.axes)
    total: np.ndarray | float = 0.0
    for coefficient, factors in spec.terms():
        operands = ["..." + "".join(letters[slot] for slot in slots) for _, slots in factors]
        arrays = [moments[moment] for moment, _ in factors]
        total = total + coefficient * np.einsum(f"{','.join(operands)}->{output}", *arrays)
    return np.asarray(total)


def jackknife(
    sums: Moments, counts: np.ndarray, estimator: Callable[[Moments], np.ndarray]
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
