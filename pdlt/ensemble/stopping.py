"""When a run has measured enough: `until_stderr` and `until_time`.

The relative standard error of an observable at a layer is its largest standard error divided by its largest
entry in absolute value, there; a run is as good as its worst observable and layer.

Stopping when the data look precise enough biases an estimate: for a skewed distribution, samples that happen to
have a small variance also have a small mean, and optimistic errors on top. Here neither happens, because no datum has
a say in its own stopping. Even and odd blocks are two independent halves of the run. At checkpoints fixed beforehand
each half looks at its own relative error, and if that is small enough, the *other* half stops: its number of
blocks is independent of its blocks, so its estimate and its standard error are those of a sample of fixed size. The
result is the mean of the two halves, with equal weights. What one half draws while it still decides for the other is
left out of the estimate; the two rarely differ by more than a checkpoint or two.

Checkpoints and decisions are functions of block means alone: the stopping point depends on the spec and the seed, and
not on the machine's speed, the batch or the executor. A run with `until_time` stops at a number of blocks that does
not depend on their values, which is unbiased too, but another number each time.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pdlt.ensemble.statistics import Accumulator, Estimate

PILOT = 80  # blocks before the first checkpoint
STEPS = 4  # checkpoints while the number of blocks doubles
MARGIN = 0.9  # of the target, asked of the halves: then their mean reaches it nearly always, even if they stop apart

Estimator = Callable[[Accumulator], dict[str, Estimate]]


@dataclass(frozen=True)
class Limits:
    """What ends a run, whichever comes first.

    Attributes:
        blocks: number of blocks.
        until_stderr: relative standard error.
        until_time: seconds.
        fewest: number of blocks that estimates need, whatever the time.
    """

    blocks: int
    until_stderr: float | None
    until_time: float | None
    fewest: int

    @property
    def sequential(self) -> bool:
        """Whether the number of blocks is not the only limit."""
        return self.until_stderr is not None or self.until_time is not None


@dataclass(frozen=True)
class Precision:
    """The largest relative standard error of a run, and where it occurs."""

    relative: float
    observable: str
    layer: int


def precision(results: Mapping[str, Estimate], layers: Sequence[int]) -> Precision:
    """Return the largest relative standard error over observables and layers.

    What does not fluctuate beyond rounding counts as exact; an observable that is 0 within its error has a large
    relative error, however many samples are drawn.
    """
    found = []
    for name, estimate in results.items():
        for k, layer in enumerate(layers):
            error, size = float(estimate.stderr[k].max()), float(np.abs(estimate.value[k]).max())
            relative = 0.0 if error <= estimate.rounding[k] else error / size if size > 0 else math.inf
            found.append(Precision(relative, name, layer))
    return max(found, key=lambda p: p.relative)


def next_checkpoint(blocks: int) -> int:
    """Return the first checkpoint after `blocks`: 80, 96, 114, 136, 160, ..., even numbers."""
    step = 0 if blocks < PILOT else math.floor(STEPS * math.log2(blocks / PILOT) + 1e-9)
    grid = (2 * math.ceil(PILOT / 2 * 2 ** (k / STEPS)) for k in (step, step + 1, step + 2))
    return next(point for point in grid if point > blocks)


class Halves:
    """Even and odd blocks of a run, each of which stops when the other one says so.

    Args:
        halves: sums over the even and over the odd blocks; they are looked at, and grow elsewhere.
        estimator: what turns sums into estimates.
        layers: measured layers.
        target: relative standard error wanted of the mean of both halves.
    """

    def __init__(
        self, halves: Sequence[Accumulator], estimator: Estimator, layers: Sequence[int], target: float
    ) -> None:
        self._halves, self._estimator, self._layers = halves, estimator, layers
        self._threshold = MARGIN * math.sqrt(2) * target
        self._stopped: list[tuple[int, dict[str, Estimate]] | None] = [None, None]

    def stopped(self) -> bool:
        """Look at the errors, to be called at checkpoints; return whether both halves have stopped."""
        now = [self._estimator(half) for half in self._halves]
        for mine, others in ((0, 1), (1, 0)):
            if self._stopped[mine] is None and precision(now[others], self._layers).relative <= self._threshold:
                self._stopped[mine] = (self._halves[mine].blocks, now[mine])
        return None not in self._stopped

    def result(self) -> tuple[dict[str, Estimate], int]:
        """Return the mean of both halves, each up to where it stopped or now, and the number of blocks in it."""
        ends = [
            stopped or (half.blocks, self._estimator(half))
            for stopped, half in zip(self._stopped, self._halves, strict=True)
        ]
        (blocks_0, first), (blocks_1, second) = ends
        mean = {
            name: Estimate(
                (first[name].value + second[name].value) / 2,
                np.hypot(first[name].stderr, second[name].stderr) / 2,
                np.maximum(first[name].rounding, second[name].rounding),
                np.maximum(first[name].moment, second[name].moment),
                _share(first[name], second[name]),
                first[name].groups + second[name].groups,
            )
            for name in first
        }
        return mean, blocks_0 + blocks_1


def _share(first: Estimate, second: Estimate) -> np.ndarray:
    """Return the largest share of one group in the squared error of the mean of two independent estimates."""
    largest = np.maximum(first.share * first.stderr**2, second.share * second.stderr**2)
    total = first.stderr**2 + second.stderr**2
    return largest / np.where(total > 0, total, 1.0)
