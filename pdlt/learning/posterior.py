"""Bayesian inference at infinite width: the posterior of the NNGP."""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.arguments import real
from pdlt.learning.data import TrainingData, check_points, require_memory
from pdlt.learning.gram_blocks import COVARIANCES, gram_blocks
from pdlt.learning.response import LIMIT
from pdlt.learning.results import moments, provenance
from pdlt.networks import check_network

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP


def posterior(
    net: "MLP", x_train: Any, y_train: Any, x_test: Any, noise: float = 0.0, covariance: str = "full"
) -> "xarray.Dataset":
    """Return the Bayesian posterior of an infinitely wide network given training data.

    The prior over functions is the Gaussian process with covariance K of the last layer, independent outputs alike
    (Lee et al. 2018, arXiv:1711.00165). The labels are values of the function plus independent Gaussian noise.

    Args:
        net: the network; its widths do not matter.
        x_train, y_train: inputs (N, n_0) and labels (N, n_L); a vector of N labels is taken as n_L = 1.
        x_test: any points, shape (P, n_0), training points included.
        noise: variance of the noise; 0 for exact labels.
        covariance: "full", or "variance" for its diagonal only, or "none".

    Returns:
        Variables `mean` with dims ("point", "output"), and `covariance` ("point", "point_", "output", "output_") or
        `variance` ("point", "output"): of the function, without noise. Attributes: `condition`, the 1-norm condition
        number (LAPACK's estimate) of the covariance matrix of the labels at distinct inputs, scaled to unit diagonal;
        `rounding`, the relative error that rounding and the kernel's error may cause in its inverse.

    Raises:
        PdltError: for bad arguments; equal inputs with different labels and no noise (the message names two rows); a
            numerically singular covariance matrix; what does not fit into memory.
    """
    net, noise = check_network(net), real("noise", noise)
    if covariance not in COVARIANCES:
        raise PdltError(f"Argument `covariance` must be one of {', '.join(COVARIANCES)}, but got {covariance!r}.")
    data = TrainingData.of(x_train, y_train)
    require_consistent(data, noise)
    points = check_points(x_test, data.x.shape[1], "x_test")
    outputs = data.y.shape[1]
    if covariance == "full":
        advice = "Use covariance='variance' or fewer points."
        size = (len(points) * outputs) ** 2
        require_memory(size, f"Covariances of {outputs} outputs on {len(points)} points", advice)
    blocks = gram_blocks(net, data.x, points, ("K",), covariance)
    with progress("posterior"):
        factor = Factor(blocks.train["K"] + np.diag(noise / data.counts), blocks.error)
        cross = factor.whiten(blocks.cross["K"].T)
        mean = cross.T @ factor.whiten(data.y)
        spread: Any = None
        if covariance == "full":
            spread = blocks.test - cross.T @ cross
        elif covariance == "variance":
            spread = blocks.test - (cross**2).sum(0)
    import xarray

    attrs = {
        "kind": "posterior",
        "order": 0,
        "noise": noise,
        "condition": factor.condition,
        "rounding": factor.rounding,
        **provenance(net, data, points, blocks.error),
    }
    return xarray.Dataset(moments([mean], [spread], blocks.test, covariance, ()), attrs=attrs)


def require_consistent(data: TrainingData, noise: float) -> None:
    """Refuse labels that no function has.

    Raises:
        PdltError: if equal inputs have different labels and there is no noise.
    """
    if data.conflict is not None and noise == 0:
        i, j = data.conflict
        raise PdltError(
            f"Argument `y_train` must have equal labels for equal inputs when `noise` is 0, but rows {i} and {j} have "
            "the same input and different labels. Give `noise` a positive variance."
        )


class Factor:
    """The Cholesky factor F of a covariance matrix C (D, D), and whether it can be trusted.

    The matrix is scaled to unit diagonal first: scaling changes nothing in Cholesky's errors, so that the condition
    number of the scaled matrix is the one that counts (Higham, Accuracy and Stability of Numerical Algorithms, 10.1).

    Raises:
        PdltError: if the matrix is numerically singular.
    """

    def __init__(self, matrix: np.ndarray, error: float) -> None:
        self._scale = np.sqrt(np.diagonal(matrix))[:, None]
        relative = len(matrix) * max(error, float(np.finfo(float).eps))
        self.condition = np.inf
        if not self._scale.all():
            raise PdltError(
                "The covariance matrix of the training inputs is singular: at one of them the output has no variance "
                "and is 0 in every network, whatever the label. Give `noise` a positive variance, or leave it out."
            )
        scaled = matrix / self._scale / self._scale.T
        try:
            self._lower = scipy.linalg.cholesky(scaled, lower=True)
        except scipy.linalg.LinAlgError:
            pass
        else:
            reciprocal, _ = scipy.linalg.lapack.dpocon(self._lower, np.abs(scaled).sum(0).max(), uplo="L")
            self.condition = 1 / reciprocal if reciprocal else np.inf
        self.rounding = relative * self.condition
        if not self.rounding <= LIMIT:
            raise PdltError(
                f"The covariance matrix of the {len(matrix)} distinct training inputs is numerically singular: its "
                f"condition number is {self.condition:.2g}, accepted is up to {LIMIT / relative:.2g}. Give `noise` a "
                "(larger) positive variance, or leave out inputs whose outputs the others determine."
            )

    def whiten(self, b: np.ndarray) -> np.ndarray:
        """Return F^-1 b with C = F F^T, for b of shape (D, M)."""
        return scipy.linalg.solve_triangular(self._lower, b / self._scale, lower=True)

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return C^-1 b, for b of shape (D, M)."""
        white = self.whiten(b)
        return scipy.linalg.solve_triangular(self._lower, white, lower=True, trans="T") / self._scale
