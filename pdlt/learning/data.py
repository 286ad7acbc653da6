"""Training data: checked, with equal inputs merged, and what fits into memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt._arguments import real_array
from pdlt._machine import machine_memory
from pdlt.errors import PdltError
from pdlt.networks import check_inputs, sha256

#: Labels beyond this have squares, or sums of squares, beyond floating-point numbers.
LARGEST = 1e150


@dataclass(frozen=True)
class TrainingData:
    """Distinct training inputs, the mean of their labels, and how often each occurs.

    Training on inputs that occur m_a times each is, exactly, training on the distinct ones with the mean of their
    labels and the sum of squares weighted by m_a: outputs on equal inputs are equal, and
    sum_j (z - y_j)^2 = m (z - mean y)^2 + const. Likewise m observations of one value with independent noise of
    variance s are one observation of their mean with variance s/m. Gram matrices are therefore formed on the distinct
    inputs, where duplicates do not make them singular.

    Attributes:
        x: distinct inputs in the order of their first occurrence, shape (D, n_0).
        y: mean labels, shape (D, n_L).
        counts: multiplicities m_a, shape (D,).
        rows: number of rows given, N.
        conflict: the first two rows with equal inputs and different labels, or None.
        sha256: the hash of all rows, inputs and labels, by which results know their data.
    """

    x: np.ndarray
    y: np.ndarray
    counts: np.ndarray
    rows: int
    conflict: tuple[int, int] | None
    sha256: str

    @classmethod
    def of(cls, x: Any, y: Any) -> "TrainingData":
        """Check and merge training inputs (N, n_0) and labels (N, n_L) or (N,).

        Raises:
            PdltError: if they are no finite numbers or do not fit together.
        """
        inputs = check_inputs(x, "x_train")
        labels = check_labels(y, len(inputs), "y_train")
        places, inverse = merged(inputs)
        counts = np.bincount(inverse)
        # Differences from the first label of each input, so that the mean of equal labels is exactly that label.
        apart = labels - labels[places][inverse]
        mean = labels[places]
        np.add.at(mean, inverse, apart / counts[inverse, None])
        differing = np.flatnonzero(apart.any(1))
        conflict = (int(places[inverse[differing[0]]]), int(differing[0])) if len(differing) else None
        digest = sha256(np.concatenate([inputs, labels], axis=1))
        return cls(inputs[places], mean, counts, len(inputs), conflict, digest)

    @property
    def roots(self) -> np.ndarray:
        """Square roots of the multiplicities, shape (D, 1)."""
        return np.sqrt(self.counts)[:, None]


def merged(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows at which the distinct rows of x occur first, and for every row the number of its distinct one."""
    _, first, inverse = np.unique(x + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[inverse.reshape(-1)]


def check_labels(y: Any, rows: int, name: str, outputs: int | None = None) -> np.ndarray:
    """Return labels as a float64 array of shape (rows, n_L); a vector is taken as n_L = 1.

    Raises:
        PdltError: if they are no finite numbers, too large to be squared, or of another length, or n_L is not
            `outputs`.
    """
    shapes = f"({rows},) or ({rows}, {outputs or 'n_L'})" if outputs in (None, 1) else f"({rows}, {outputs})"
    wanted = f"an array of finite numbers of shape {shapes}, one row per input"
    raw = real_array(name, y, wanted)
    if raw.ndim not in (1, 2) or len(raw) != rows or raw.size == 0:
        raise PdltError(f"Argument `{name}` must be {wanted}, but got shape {raw.shape}.")
    labels = raw.astype(np.float64).reshape(rows, -1)
    if outputs not in (None, labels.shape[1]):
        raise PdltError(f"Argument `{name}` must be {wanted}, but got shape {raw.shape}.")
    if not np.isfinite(labels).all():
        row, column = np.argwhere(~np.isfinite(labels))[0]
        place = f"{row}, {column}" if raw.ndim == 2 else f"{row}"
        raise PdltError(f"Argument `{name}` must be {wanted}, but {name}[{place}] is {labels[row, column]}.")
    if np.abs(labels).max() > LARGEST:
        raise PdltError(
            f"Argument `{name}` must be {wanted}, none beyond {LARGEST:g} (squares overflow), but the largest is "
            f"{np.abs(labels).max():g}."
        )
    return labels


def check_points(x: Any, n_0: int, name: str) -> np.ndarray:
    """Return inputs of shape (P, n_0), of the dimension of the training inputs.

    Raises:
        PdltError: if they are not.
    """
    points = check_inputs(x, name)
    if points.shape[1] != n_0:
        raise PdltError(f"Argument `{name}` must have the {n_0} columns of `x_train`, but has {points.shape[1]}.")
    return points


def require_memory(numbers: float, what: str, advice: str) -> None:
    """Refuse what does not fit into 80 % of this machine's memory, before anything is allocated.

    Args:
        numbers: how many double-precision numbers are needed.
        what, advice: for the message.

    Raises:
        PdltError: if it does not fit.
    """
    available = machine_memory()
    if 8 * numbers > 0.8 * available:
        raise PdltError(
            f"{what} need about {8 * numbers / 2**30:.0f} GiB, but this machine has {available / 2**30:.0f} GiB. "
            f"{advice}"
        )
