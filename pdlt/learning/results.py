"""What results of inference and training have in common: their moments as variables, and what made them."""

import json
from typing import Any

import numpy as np

from pdlt._version import __version__
from pdlt.learning.data import TrainingData
from pdlt.networks import MLP, sha256

#: Variances below this share of the prior's are rounding, and set to zero.
_ROUNDING = 16 * float(np.finfo(float).eps)


def moments(
    means: list[np.ndarray], spreads: list[Any], prior: Any, covariance: str, leading: tuple[str, ...]
) -> dict[str, tuple]:
    """Return `mean` and `covariance` or `variance` as xarray variables.

    Args:
        means: one array (P, n_L) each.
        spreads: the covariance of one output, (P, P) each, or its diagonal, (P,); outputs are independent and alike.
        prior: the same at initialisation.
        covariance: "full", "variance" or "none".
        leading: ("time",) for one entry per time, () for a single entry.
    """
    pick: Any = slice(None) if leading else 0
    outputs = means[0].shape[1]
    found: dict[str, tuple] = {"mean": ((*leading, "point", "output"), np.stack(means)[pick])}
    if covariance == "variance":
        values = np.repeat(_resolved(np.stack(spreads), prior)[..., None], outputs, axis=-1)
        found["variance"] = ((*leading, "point", "output"), values[pick])
    elif covariance == "full":
        stacked = np.stack(spreads)
        stacked = (stacked + stacked.swapaxes(1, 2)) / 2
        diagonal = np.einsum("tpp->tp", stacked)
        diagonal[...] = _resolved(diagonal, np.diagonal(prior))
        values = np.einsum("tpq,ij->tpqij", stacked, np.eye(outputs))
        found["covariance"] = ((*leading, "point", "point_", "output", "output_"), values[pick])
    return found


def _resolved(variances: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return variances without those that rounding left on either side of zero."""
    return np.where(variances > _ROUNDING * prior, variances, 0.0)


def provenance(net: MLP, data: TrainingData, points: np.ndarray, error: float) -> dict[str, Any]:
    """Return the attributes that say what made a result."""
    return {
        "network": json.dumps(net.describe()),
        "training_inputs": data.rows,
        "distinct_inputs": len(data.x),
        "train_sha256": data.sha256,
        "test_sha256": sha256(points),
        "kernel_error": error,
        "pdlt": __version__,
    }
