"""The trained function of a linearised network, as a linear function of labels and of the initial function."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.data import TrainingData
from pdlt.learning.gram_blocks import GramBlocks, gram_blocks
from pdlt.learning.relaxation import Relaxation
from pdlt.learning.spectrum import Spectrum
from pdlt.networks import MLP

UNRESOLVED = ("error", "freeze")

#: Largest error, relative to the labels, that the uncertainty of small eigenvalues may cause.
LIMIT = 1e-2


@dataclass(frozen=True)
class Response:
    """z_t(x) = z_0(x) + R_t (y - z_0(X)) on P points, R_t = Theta(x, X) M^1/2 a_t(S) M^1/2 (docs/regression.md).

    X are the D distinct training inputs, y the means of their labels, M = diag(counts), S = M^1/2 Theta(X, X) M^1/2,
    and a_t is `Relaxation.progress`.

    Attributes:
        data: the training data.
        blocks: kernels of training and test inputs.
        spectrum: of S.
        relaxation: the rule of training.
        learned: which modes are trained, shape (D,); the others are frozen.
    """

    data: TrainingData
    blocks: GramBlocks
    spectrum: Spectrum
    relaxation: Relaxation
    learned: np.ndarray

    @classmethod
    def of(
        cls,
        net: MLP,
        data: TrainingData,
        points: np.ndarray,
        relaxation: Relaxation,
        observables: tuple[str, ...],
        covariance: str,
        unresolved: Any,
    ) -> "Response":
        """Evaluate the kernels that are asked for and decompose the tangent kernel of the training inputs.

        Raises:
            PdltError: if `unresolved` is unknown, memory does not suffice, or gradient descent diverges.
        """
        if unresolved not in UNRESOLVED:
            raise PdltError(f"Argument `unresolved` must be error or freeze, but got {unresolved!r}.")
        blocks = gram_blocks(net, data.x, points, observables, covariance)
        with progress("eigenvalues of the tangent kernel"):
            scaled = data.roots * blocks.train["Theta"] * data.roots.T
            spectrum = Spectrum.of(scaled, blocks.error)
        relaxation.require_stable(spectrum.values[0])
        learned = np.ones(len(scaled), dtype=bool)
        if unresolved == "freeze":
            learned = LIMIT * (spectrum.values + relaxation.ridge) > spectrum.resolution
        return cls(data, blocks, spectrum, relaxation, learned)

    def progress(self, time: float) -> np.ndarray:
        """Return a_t of every mode, shape (D,); 0 for frozen ones."""
        return np.where(self.learned, self.relaxation.progress(self.spectrum.values, time), 0.0)

    def rounding(self, time: float) -> float:
        """Return how much the uncertainty of the eigenvalues changes what has been learned, relative to the labels."""
        moved = self.progress(time).max() + self.relaxation.overshoot(self.spectrum.values, time).max()
        with np.errstate(invalid="ignore"):
            return float(self.spectrum.resolution * moved)

    def require_resolved(self, times: np.ndarray) -> np.ndarray:
        """Return `rounding` of all times, shape (T,).

        Raises:
            PdltError: if it exceeds `LIMIT` at one of them.
        """
        found = np.array([self.rounding(time) for time in times])
        bad = ~(found <= LIMIT)
        if bad.any():
            raise PdltError(self._complaint(times[bad].min()))
        return found

    def _complaint(self, time: float) -> str:
        spectrum, rate = self.spectrum, self.relaxation.learning_rate
        if spectrum.values[0] == 0:
            return (
                f"The tangent kernel of the {len(spectrum.values)} distinct training inputs is zero: training cannot "
                f"move their outputs, and at time {time:g} a limit does not exist. Accepted are finite `times`, a "
                "positive `ridge`, or unresolved='freeze', which leave the network at its initial values."
            )
        doubtful = int((LIMIT * (spectrum.values + self.relaxation.ridge) <= spectrum.resolution).sum())
        with np.errstate(divide="ignore", over="ignore"):
            longest = np.float64(LIMIT) / (spectrum.resolution * (rate or 1.0))
        smallest = f"{spectrum.values[-1]:.2g}" if spectrum.resolved[-1] else f"below {spectrum.resolution:.2g}"
        condition = f"{spectrum.condition:.2g}" if spectrum.resolved[-1] else "beyond double precision"
        return (
            f"The tangent kernel of the {len(spectrum.values)} distinct training inputs is numerically singular: its "
            f"eigenvalues range from {smallest} to {spectrum.values[0]:.4g} (condition number {condition}), and at "
            f"time {time:g} the result depends on {doubtful} of them that are not known to two digits. Accepted are "
            f"`times` up to {longest:.2g}, a `ridge` above {spectrum.resolution / LIMIT:.2g}, or "
            "unresolved='freeze', which leaves those modes at their initial values."
        )

    def at(self, time: float) -> np.ndarray:
        """Return R_t, shape (P, D)."""
        return (self._onto_points * self.progress(time)) @ self._from_labels

    @cached_property
    def _onto_points(self) -> np.ndarray:
        return (self.blocks.cross["Theta"] * self.data.roots.T) @ self.spectrum.vectors

    @cached_property
    def _from_labels(self) -> np.ndarray:
        return self.spectrum.vectors.T * self.data.roots.T
