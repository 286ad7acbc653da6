"""Contractions of diagrams: cumulants, kernels and labels summed over training points, by representative rates."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pdlt.learning.corrections.diagrams import TRAINING, Diagram, tensor_of
from pdlt.learning.corrections.modes import Modes

#: One array and the letters of its axes in an einsum.
Operand = tuple[Any, str]


class Cumulants(Protocol):
    """Where the order-1 cumulants of two components of the jet covariance come from.

    Axes are all inputs of the problem: training inputs and points.
    """

    @property
    def namespace(self) -> Any:
        """The array namespace, numpy or jax.numpy."""
        ...

    def operands(self, diagram: Diagram, letters: tuple[str, ...], rows: Sequence[np.ndarray]) -> list[Operand]:
        """Return arrays whose product is the cumulant; letters of slots, and the inputs that each slot runs over."""
        ...

    def kernel(self, first: str, second: str, rows: Sequence[np.ndarray]) -> list[Operand]:
        """Return arrays whose product is the leading kernel K."""
        ...


@dataclass(frozen=True)
class Problem:
    """What training data say about contractions.

    Attributes:
        modes: of the training inputs.
        labels: y, shape (N, n_L).
        train: place of every training input among all inputs, shape (N,).
        rows: places of the inputs that rows of results run over, shape (M,).
    """

    modes: Modes
    labels: np.ndarray
    train: np.ndarray
    rows: np.ndarray


def amplitude(diagram: Diagram, cumulants: Cumulants, problem: Problem) -> tuple[Any, str]:
    """Return the value of a diagram for each representative rate of its labels, and the letters of its axes.

    Axes: the rows ("I", "J"), the outputs of the rows ("i", "j"; none if the rows share one output, in which case the
    diagram is that of each output), the training labels ("a", "b", "c") as indices of rates.
    """
    operands, outputs, loops = _operands(diagram, cumulants, problem)
    target = "".join(diagram.rows) + outputs + "".join(diagram.labels)
    xp = cumulants.namespace
    script = ",".join(letters for _, letters in operands) + "->" + target
    value = xp.einsum(script, *(array for array, _ in operands), optimize="greedy" if xp is np else "optimal")
    return value * problem.labels.shape[1] ** loops, target


def _operands(diagram: Diagram, cumulants: Cumulants, problem: Problem) -> tuple[list[Operand], str, int]:
    """Return the factors, the letters of the rows' outputs, and the number of closed loops."""
    spare = iter("uvwxyzpqstUVWXYZPQST")
    ends: dict[str, list[str]] = {label: [next(spare), next(spare)] for label in diagram.labels}
    operands: list[Operand] = [
        (problem.modes.vertices, label + "".join(pair)) for label, pair in ends.items()
    ]
    unused = {label: iter(pair) for label, pair in ends.items()}

    def letter(point: str) -> str:
        return next(unused[point]) if point in TRAINING else point

    def inputs(*points: str) -> list[np.ndarray]:
        return [problem.train if point in TRAINING else problem.rows for point in points]

    slots = tuple(letter(point) for point in diagram.points)
    operands += cumulants.operands(diagram, slots, inputs(*diagram.points))
    for first, second in diagram.kernels:
        operands += cumulants.kernel(letter(first), letter(second), inputs(first, second))
    outputs, loops, extra = "", 0, iter("mno")
    for line in diagram.lines:
        rows = sorted(line - set(TRAINING))
        targets = [label for label in diagram.targets if label in line]
        if not rows and not targets:
            loops += 1
        if targets:
            index = rows[0].lower() if rows else next(extra)
            outputs += index if rows else ""
            operands += [(problem.labels, letter(label) + index) for label in targets]
    return operands, "".join(sorted(outputs)), loops


@dataclass(frozen=True)
class Tensors:
    """Cumulants as full tensors, for few inputs.

    Attributes:
        arrays: tensors of the last layer by name, shape (M, M, M, M), axes in the order of their subscripts.
        K: shape (M, M).
    """

    arrays: dict[str, np.ndarray]
    K: np.ndarray
    namespace: Any = np

    def operands(self, diagram: Diagram, letters: tuple[str, ...], rows: Sequence[np.ndarray]) -> list[Operand]:
        """See `Cumulants`."""
        name, axes = tensor_of(diagram)
        return [(self.arrays[name][np.ix_(*(rows[a] for a in axes))], "".join(letters[a] for a in axes))]

    def kernel(self, first: str, second: str, rows: Sequence[np.ndarray]) -> list[Operand]:
        """See `Cumulants`."""
        return [(self.K[np.ix_(*rows)], first + second)]


