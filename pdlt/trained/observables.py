"""What is measured: the averages over networks that an observable is made of, and how it is made of them.

Some averages come with a control: the average of what linearised networks contribute, minus the same of other
linearised networks (`pdlt.trained.linearised`). Its expectation is zero, so any multiple of it may be subtracted. The
multiple that leaves the least noise is fitted to groups of blocks; that of even groups is applied to odd ones and vice
versa, so that it never depends on what it multiplies, and nothing is biased.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pdlt.ensemble.statistics import ROUNDING, Accumulator, Estimate, jackknife
from pdlt.errors import PdltError, suggest
from pdlt.trained.problem import Problem

DEFAULT = ("mean", "covariance")
#: With fewer groups in each half the multiple is not fitted, but 1.
FEW = 8

_KERNEL = ("time", "point", "point_", "output", "output_")


@dataclass(frozen=True)
class Observable:
    """An observable.

    Attributes:
        dims: of the variable.
        moments: the averages over networks that it is made of, all with time as their first axis.
        meaning: in words.
    """

    dims: tuple[str, ...]
    moments: tuple[str, ...]
    meaning: str


OBSERVABLES = {
    "mean": Observable(("time", "point", "output"), ("first",), "E z(t)"),
    "covariance": Observable(_KERNEL, ("first", "second"), "E z(t) z(t) - E z(t) E z(t)"),
    "kernel": Observable(_KERNEL, ("kernel",), "E H(t)"),
    "kernel_change": Observable(_KERNEL, ("kernel_change",), "E[H(t) - H(0)]"),
    "kernel_velocity": Observable(_KERNEL, ("kernel_velocity",), "E dH/dt along -lambda grad, at the parameters of t"),
    "alignment": Observable(("time",), ("train_kernel",), "y.E[H(t)].y / (|y|^2 |E[H(t)]|) on the training set"),
    "hidden_kernel_change": Observable(
        ("time", "layer", "point", "point_"), ("hidden_change",), "E of the change of C_b + C_W/n_l sum sigma sigma"
    ),
}


def chosen(observables: Any, problem: Problem) -> tuple[str, ...]:
    """Return the names of observables, in the order of the table; None is all that the problem has.

    Raises:
        PdltError: if one is unknown or not defined for this problem, or there is none.
    """
    reasons = {}
    if not problem.y_train.any():
        reasons["alignment"] = "Argument `y_train` must not be zero everywhere for the alignment of a kernel with it."
    if problem.net.depth == 1:
        reasons["hidden_kernel_change"] = "Argument `net` must have hidden layers for hidden_kernel_change."
    if observables is None:
        return tuple(name for name in OBSERVABLES if name not in reasons)
    names = [observables] if isinstance(observables, str) or not isinstance(observables, Iterable) else [*observables]
    for name in names:
        if not isinstance(name, str) or name not in OBSERVABLES:
            raise PdltError(
                f"Argument `observables`: {name!r:.60} is not known.{suggest(str(name), OBSERVABLES)} Trained networks "
                f"are measured by {', '.join(OBSERVABLES)}."
            )
        if name in reasons:
            raise PdltError(reasons[name])
    if not names:
        raise PdltError("Argument `observables` must name at least one observable, but got an empty list.")
    return tuple(name for name in OBSERVABLES if name in names)


def moment_shapes(names: Iterable[str], problem: Problem) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the averages over networks that the observables are made of."""
    points, (train, outputs), times = len(problem.x_test), problem.y_train.shape, len(problem.times)
    kernel = (times, points, points, outputs, outputs)
    shapes = {
        "first": (times, points * outputs),
        "second": (times, points * outputs, points * outputs),
        "kernel": kernel,
        "kernel_change": kernel,
        "kernel_velocity": kernel,
        "train_kernel": (times, train, train, outputs, outputs),
        "hidden_change": (times, problem.net.depth - 1, points, points),
    }
    needed = {moment for name in names for moment in OBSERVABLES[name].moments}
    return {moment: shape for moment, shape in shapes.items() if moment in needed}


def vector_shapes(names: Iterable[str], problem: Problem, linearised: int) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the shapes of what a block's vector is made of, in its order: averages, and their controls if any."""
    shapes = moment_shapes(names, problem)
    parts = {("average", moment): shape for moment, shape in shapes.items()}
    if linearised:
        parts |= {("control", moment): shape for moment, shape in shapes.items()}
    return parts


def estimates(names: Iterable[str], problem: Problem, linearised: int, total: Accumulator) -> dict[str, Estimate]:
    """Return the estimate of each observable, with time as the first axis and the dims of the table.

    Args:
        names: the observables.
        problem: what was trained.
        linearised: whether averages have controls.
        total: block means, of two blocks at least; what `vector_shapes` says one after the other.
    """
    shapes = vector_shapes(names, problem, linearised)
    counts, groups = total.grouped()
    cuts = np.cumsum([math.prod(shape) for shape in shapes.values()])[:-1]
    parts = dict(zip(shapes, np.split(groups, cuts, axis=1), strict=True))
    sums = {
        moment: _controlled(part, parts.get(("control", moment)), counts).reshape(-1, *shapes[kind, moment])
        for (kind, moment), part in parts.items()
        if kind == "average"
    }
    return {name: _estimate(name, problem, sums, counts) for name in names}


def _controlled(sums: np.ndarray, controls: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
    """Return the sums of every group, (groups, size), less what their controls account for."""
    if controls is None:
        return sums
    halves = [np.arange(len(counts)) % 2 == k for k in (0, 1)]
    multiples = [_multiple(sums[half], controls[half], counts[half]) for half in halves]
    return sums - np.where(halves[0][:, None], multiples[1], multiples[0]) * controls


def _multiple(sums: np.ndarray, controls: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the multiple of the controls that sums contain, by regression over groups, shape (size,)."""
    if len(counts) < FEW:
        return np.ones(sums.shape[1])
    apart = [part / counts[:, None] - part.sum(axis=0) / counts.sum() for part in (sums, controls)]
    both, square = (np.einsum("g,gi,gi->i", counts, apart[1], other) for other in apart)
    return np.where(square > 0, both / np.where(square > 0, square, 1.0), 1.0)


def _estimate(name: str, problem: Problem, sums: dict[str, np.ndarray], counts: np.ndarray) -> Estimate:
    own = {moment: sums[moment] for moment in OBSERVABLES[name].moments}
    made = {
        "mean": partial(_mean, problem),
        "covariance": partial(_covariance, problem),
        "alignment": partial(_alignment, problem),
    }.get(name, lambda averages: next(iter(averages.values())))
    error, share = jackknife(own, counts, made)
    value = made({moment: values.sum(axis=0) / counts.sum() for moment, values in own.items()})
    if name == "covariance":
        value = _kernel_axes(problem, _unbiased_covariance(own, counts))
    times = len(problem.times)
    sizes = [np.abs(values.sum(axis=0) / counts.sum()).reshape(times, -1).max(axis=1) for values in own.values()]
    largest = np.ones(times) if name == "alignment" else sizes[-1]
    return Estimate(value, error, ROUNDING["float64"] * largest, largest, share, len(counts))


def _mean(problem: Problem, averages: Mapping[Any, np.ndarray]) -> np.ndarray:
    return averages["first"].reshape(*averages["first"].shape[:-1], -1, problem.y_train.shape[1])


def _covariance(problem: Problem, averages: Mapping[Any, np.ndarray]) -> np.ndarray:
    first = averages["first"]
    return _kernel_axes(problem, averages["second"] - first[..., :, None] * first[..., None, :])


def _unbiased_covariance(sums: Mapping[Any, np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Return E z z - E z E z, the product of means taken from different groups of blocks only, shape (T, PO, PO)."""
    first, number = sums["first"], counts.sum()
    whole = first.sum(axis=0)
    products = whole[:, :, None] * whole[:, None, :] - np.einsum("gti,gtj->tij", first, first)
    return sums["second"].sum(axis=0) / number - products / (number**2 - (counts**2).sum())


def _alignment(problem: Problem, averages: Mapping[Any, np.ndarray]) -> np.ndarray:
    H, y = averages["train_kernel"], problem.y_train
    along = np.einsum("ai,...abij,bj->...", y, H, y)
    return along / ((y**2).sum() * np.sqrt((H**2).sum(axis=(-4, -3, -2, -1))))


def _kernel_axes(problem: Problem, matrix: np.ndarray) -> np.ndarray:
    """Return an array over pairs of (point, output) as one over points and outputs: (..., P, P, n_L, n_L)."""
    points, outputs = len(problem.x_test), problem.y_train.shape[1]
    split = matrix.reshape(*matrix.shape[:-2], points, outputs, points, outputs)
    return split.swapaxes(-3, -2)
