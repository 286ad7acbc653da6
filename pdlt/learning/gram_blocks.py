"""Kernels on training and test inputs, as the blocks that inference and training ask for."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt.learning.data import require_memory
from pdlt.networks import MLP
from pdlt.predict import AccuracyWarning
from pdlt.predict.gram import BLOCK, kernel

#: What is wanted of the test inputs among themselves.
COVARIANCES = ("full", "variance", "none")

#: Wanted of kernels, relative to their largest entry: ill-conditioned matrices amplify every error.
RTOL = 1e-13


@dataclass(frozen=True)
class GramBlocks:
    """Kernels of the last layer, by name ("K", "Theta"), for N training and P test inputs.

    Attributes:
        train: shape (N, N).
        cross: shape (P, N).
        test: K only: shape (P, P) for "full", (P,) for "variance", absent for "none".
        error: largest error of their entries, relative to the largest entry.
    """

    train: dict[str, np.ndarray]
    cross: dict[str, np.ndarray]
    test: np.ndarray | None
    error: float


def gram_blocks(
    net: MLP, x_train: np.ndarray, x_test: np.ndarray, observables: Sequence[str], covariance: str
) -> GramBlocks:
    """Evaluate the kernels of a network on training inputs (N, n_0) and test inputs (P, n_0).

    Raises:
        PdltError: if they do not fit into memory (estimated first), or overflow.
    """
    n, p = len(x_train), len(x_test)
    # Each kernel, the eigenvectors with their work space, and the products that make a covariance.
    numbers = (len(observables) + 6) * n**2 + (len(observables) + 4) * n * p + 5 * p**2 * (covariance == "full")
    require_memory(numbers, f"Kernels of {n} training and {p} test inputs", "Use fewer, or no full covariance.")
    if n + p <= BLOCK:
        return _in_one(net, x_train, x_test, observables, covariance)
    train, error = evaluate(net, x_train, None, observables)
    cross, other = evaluate(net, x_test, x_train, observables)
    error = max(error, other)
    test = None
    if covariance == "full":
        kernels, other = evaluate(net, x_test, None, observables)
        test, error = kernels["K"], max(error, other)
    elif covariance == "variance":
        # Of square blocks along the diagonal; all have one size, and share compiled code.
        parts = [evaluate(net, part, None, observables) for part in np.array_split(x_test, -(-p // BLOCK))]
        test, error = np.concatenate([np.diagonal(k["K"]) for k, _ in parts]), max(error, *(e for _, e in parts))
    return GramBlocks(train, cross, test, error)


def _in_one(
    net: MLP, x_train: np.ndarray, x_test: np.ndarray, observables: Sequence[str], covariance: str
) -> GramBlocks:
    """Return the blocks of few inputs out of one matrix, which is one compilation instead of three."""
    n = len(x_train)
    both, error = evaluate(net, np.concatenate([x_train, x_test]), None, ["K", "Theta"])
    test = both["K"][n:, n:] if covariance == "full" else np.diagonal(both["K"])[n:]
    train, cross = ({name: both[name][rows, :n] for name in observables} for rows in (slice(0, n), slice(n, None)))
    return GramBlocks(train, cross, None if covariance == "none" else test, error)


def evaluate(
    net: MLP, x: np.ndarray, x2: np.ndarray | None, observables: Sequence[str]
) -> tuple[dict[str, np.ndarray], float]:
    """Return kernels of the last layer, shape (N, M) each, and their largest relative error."""
    with warnings.catch_warnings():
        # The error is passed on: it decides which eigenvalues are told from zero, and is part of `rounding`.
        warnings.simplefilter("ignore", AccuracyWarning)
        found: Any = kernel(net, x, x2, observables, rtol=RTOL)
    return {name: found[name].values[-1] for name in observables}, float(found.attrs["relative_error"])
