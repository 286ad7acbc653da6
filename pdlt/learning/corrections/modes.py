"""Eigenmodes of the leading tangent kernel, and fewer of them that stand for all.

Weights of diagrams are smooth functions of the rates of their labels. With many training points the functions' values
at few of the eigenvalues determine those at all others to a given accuracy (an interpolative decomposition), so that
contractions run over 10 to 20 representative rates per label instead of N modes.
"""

from dataclasses import dataclass

import numpy as np

from pdlt.learning.corrections.chains import Decay

#: Accuracy of the interpolation between rates, relative to the largest value of a decay: far below sampling errors.
TOLERANCE = 1e-4

#: Up to this many modes each stands for itself.
FEW = 8

_TIMES = 200


@dataclass(frozen=True)
class Modes:
    """Representative rates, and the matrices through which a function of the tangent kernel is one of these rates.

    f(Theta) = sum_k f(rates[k]) vertices[k] in the space of training points, multiplicities included:
    vertices[k] = M^1/2 U C_k U^T M^1/2.

    Attributes:
        rates: shape (k,).
        all_rates: of all modes, shape (N,).
        vertices: shape (k, N, N).
    """

    rates: np.ndarray
    all_rates: np.ndarray
    vertices: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, vectors: np.ndarray, roots: np.ndarray, learning_rate: float) -> "Modes":
        """Choose representative rates.

        Args:
            values, vectors: eigenvalues (N,), positive, and eigenvectors (N, N) of M^1/2 Theta M^1/2.
            roots: square roots of multiplicities, shape (N, 1).
            learning_rate: of descent, 0 for flow.
        """
        scaled = roots * vectors
        chosen, weights = _representatives(values, learning_rate)
        vertices = np.einsum("ae,ek,be->kab", scaled, weights, scaled, optimize=True)
        return cls(values[chosen], values, vertices)


def _representatives(values: np.ndarray, learning_rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return places (k,) of rates and weights C (N, k) with f(values) = C f(values[places]) for all decays f."""
    if len(values) <= FEW:
        return np.arange(len(values)), np.eye(len(values))
    from scipy.linalg import qr, solve_triangular

    times = np.geomspace(0.01 / values.max(), 30 / values.min(), _TIMES)
    if learning_rate:
        times = np.unique(np.ceil(times / learning_rate))
    decays = np.stack([np.ones_like(values), *(Decay(t, learning_rate).chain(values) for t in times)])
    # The integral of a decay over time is 1/rate: errors count in units of that, too.
    integrals = np.stack([t * Decay(t, learning_rate).chain(values) for t in times]) * values.min()
    _, r, order = qr(np.concatenate([decays, integrals]), mode="economic", pivoting=True)
    rank = int((np.abs(np.diag(r)) > TOLERANCE * abs(r[0, 0])).sum())
    weights = np.zeros((len(values), rank))
    weights[order[:rank]] = np.eye(rank)
    weights[order[rank:]] = solve_triangular(r[:rank, :rank], r[:rank, rank:]).T
    return order[:rank], weights
