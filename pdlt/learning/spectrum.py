"""Functions of a symmetric positive semidefinite matrix, by its eigendecomposition."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdlt.errors import PdltError


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues and eigenvectors of a Gram matrix S = V diag(values) V^T, largest eigenvalue first.

    What is numerically zero: entries of S are known to a relative error e of the largest one (rounding, or the stated
    error of the kernel, whichever is larger), so every eigenvalue is uncertain by up to N e times the largest entry,
    which is at most `resolution` = N e values[0] (Weyl's inequality). An eigenvalue at or below the resolution cannot
    be told from zero; it is kept as computed (or 0 if it came out negative), and `resolved` marks it.

    Attributes:
        values: shape (N,), descending, none negative.
        vectors: shape (N, N); column k belongs to values[k].
        resolution: uncertainty of the eigenvalues.
    """

    values: np.ndarray
    vectors: np.ndarray
    resolution: float

    @classmethod
    def of(cls, matrix: np.ndarray, error: float = 0.0) -> "Spectrum":
        """Decompose a symmetric matrix of shape (N, N).

        Args:
            matrix: only its symmetric part is used.
            error: largest error of its entries, relative to the largest entry; rounding is always counted.

        Raises:
            PdltError: if an eigenvalue is negative beyond the resolution.
        """
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        values, vectors = values[::-1], vectors[:, ::-1]
        relative = len(values) * max(float(error), float(np.finfo(float).eps))
        resolution = relative * float(np.abs(values).max())
        if values[-1] < -resolution:
            raise PdltError(
                f"The Gram matrix is not positive semidefinite: its smallest eigenvalue is {values[-1]:.2g}, its "
                f"largest {values[0]:.2g}, and errors explain no more than {resolution:.2g}."
            )
        return cls(np.maximum(values, 0.0), vectors, resolution)

    @property
    def resolved(self) -> np.ndarray:
        """Which eigenvalues can be told from zero, shape (N,)."""
        return self.values > self.resolution

    @property
    def rank(self) -> int:
        """Number of eigenvalues that can be told from zero."""
        return int(self.resolved.sum())

    @property
    def condition(self) -> float:
        """Largest over smallest eigenvalue; infinite if the smallest one cannot be told from zero."""
        return float(self.values[0] / self.values[-1]) if self.resolved[-1] else float("inf")

    def coordinates(self, b: np.ndarray) -> np.ndarray:
        """Return V^T b: the components of b, shape (N,) or (N, M), along the modes."""
        return self.vectors.T @ b

    def apply(self, function: Callable[[np.ndarray], np.ndarray], b: np.ndarray) -> np.ndarray:
        """Return f(S) b for b of shape (N,) or (N, M); f maps the eigenvalues (N,) to (N,)."""
        return (self.vectors * function(self.values)) @ self.coordinates(b)
