"""What rounding of tensors does to order 1, where small eigenvalues of the tangent kernel amplify it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt.learning.corrections import averages
from pdlt.learning.corrections.amplitudes import Operand, Problem, amplitude
from pdlt.learning.corrections.averages import Rows, weigh
from pdlt.learning.corrections.chains import Decay
from pdlt.learning.corrections.diagrams import Diagram
from pdlt.learning.corrections.modes import Modes


@dataclass(frozen=True)
class _Noise:
    """Tensors of which nothing is known but that their components along modes are wrong by up to 1.

    Kernels and labels keep what they are along the modes: for labels that do not excite a mode its rate is harmless.
    """

    kernels: np.ndarray
    namespace: Any = np

    def operands(self, diagram: Diagram, letters: tuple[str, ...], rows: Sequence[np.ndarray]) -> list[Operand]:
        return [(np.ones([len(row) for row in rows]), "".join(letters))]

    def kernel(self, first: str, second: str, rows: Sequence[np.ndarray]) -> list[Operand]:
        return [(self.kernels, first + second)]


def amplification(
    problem: Problem, K: np.ndarray, rows: Rows, axes: np.ndarray, decays: Sequence[Decay]
) -> list[float]:
    """Return how much errors of tensors along modes are amplified in the mean outputs, a bound for each time.

    Args:
        problem: training data.
        K: leading kernel on training inputs, shape (N, N).
        rows: of the results.
        axes: the modes, M^1/2 U, shape (N, N), in the order of their rates.
        decays: times.
    """
    k, n = len(problem.modes.rates), len(axes)
    # With fewer rates than modes a mode belongs to the nearest rate; all that counts is a bound.
    group = np.zeros((k, n))
    group[np.argmin(np.abs(np.log(problem.modes.rates[:, None] / problem.modes.all_rates)), axis=0), np.arange(n)] = 1.0
    labels = group @ np.abs(axes.T @ problem.labels)
    kernels = group @ np.abs(axes.T @ K @ axes) @ group.T
    unit = np.zeros((k, k, k))
    unit[np.arange(k), np.arange(k), np.arange(k)] = 1.0
    there = Problem(Modes(problem.modes.rates, problem.modes.rates, unit), labels, np.arange(k), problem.rows)
    found = {}
    for diagram in {c.diagram for c in averages.mean()}:
        value, letters = amplitude(diagram, _Noise(kernels), there)
        found[diagram] = value[None], "r" + letters
    parts = [weigh(averages.mean(), found, rows, decay, labels.shape[1], sizes=True) for decay in decays]
    return [float(np.sum(list(part.values()), axis=0).max()) for part in parts]
