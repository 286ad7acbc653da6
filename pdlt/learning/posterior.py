"""Bayesian inference: the posterior of the NNGP, and of finite networks at order 1/n."""

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.linalg

from pdlt._arguments import integer
from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.arguments import real
from pdlt.learning.data import TrainingData, check_points, merged, require_memory
from pdlt.learning.finite_width import Expansion, coefficients, warn_of_change
from pdlt.learning.gram_blocks import COVARIANCES, gram_blocks
from pdlt.learning.kernel_fluctuations import SAMPLES, kernel_fluctuations
from pdlt.learning.response import LIMIT
from pdlt.learning.results import moments, provenance
from pdlt.networks import check_network

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP

#: Dims of the coefficients of 1/n.
DIMS = {
    "log_evidence_1": (),
    "mean_1": ("point", "output"),
    "hidden_kernel_change_1": ("point", "point_"),
    "covariance_1": ("point", "point_", "output", "output_"),
    "variance_1": ("point", "output"),
}


def posterior(
    net: "MLP",
    x_train: Any,
    y_train: Any,
    x_test: Any,
    noise: float = 0.0,
    covariance: str = "full",
    order: int = 0,
    method: str = "auto",
    samples: int = SAMPLES,
    seed: int = 0,
) -> "xarray.Dataset":
    """Return the Bayesian posterior of a network given training data.

    The prior over functions is that of networks at initialisation: at infinite width the Gaussian process with
    covariance K of the last layer, independent outputs alike (Lee et al. 2018, arXiv:1711.00165); at order 1/n with the
    fluctuations of the kernel (`pdlt.learning.finite_width`). The labels are values of the function plus independent
    Gaussian noise.

    Args:
        net: the network; at order 0 its widths do not matter, at order 1 only their ratios do.
        x_train, y_train: inputs (N, n_0) and labels (N, n_L); a vector of N labels is taken as n_L = 1.
        x_test: any points, shape (P, n_0), training points included.
        noise: variance of the noise; 0 for exact labels.
        covariance: "full", or "variance" for its diagonal only, or "none".
        order: power of 1/n, 0 or 1.
        method: how the fluctuations of the kernel are found at order 1: "exact", a tensor with M^4 entries for M
            training and test inputs; "sampled", neurons drawn and propagated, for hundreds of inputs and smooth
            activations; "auto": sampled for more than four inputs if the activation is smooth.
        samples, seed: of "sampled"; standard errors are then among the results, `mean_1_stderr` and so on.

    Returns:
        Variables `mean` with dims ("point", "output"), and `covariance` ("point", "point_", "output", "output_") or
        `variance` ("point", "output"): of the function, without noise. Attributes: `condition`, the 1-norm condition
        number (LAPACK's estimate) of the covariance matrix of the labels at distinct inputs, scaled to unit diagonal;
        `rounding`, the relative error that rounding and the kernel's error may cause in its inverse.

        At order 1 also the coefficients of 1/n, n = n_{L-1} (attribute `width`): `mean_1`, and `covariance_1` or
        `variance_1`; outputs are then correlated. `log_evidence` and `log_evidence_1` (no dims): the log-density of the
        labels, as `pdlt.log_evidence` has it. `hidden_kernel_change_1` ("point", "point_"): how far the labels move the
        mean of the kernel Ghat = C_b + C_W/n sum_j sigma sigma of the last hidden layer, E[Ghat | labels] - E[Ghat].

    Raises:
        PdltError: for bad arguments; equal inputs with different labels and no noise (the message names two rows); a
            numerically singular covariance matrix; what does not fit into memory.
    """
    net, noise, order = check_network(net), real("noise", noise), integer("order", order, 0, 1)
    if covariance not in COVARIANCES:
        raise PdltError(f"Argument `covariance` must be one of {', '.join(COVARIANCES)}, but got {covariance!r}.")
    data = TrainingData.of(x_train, y_train)
    require_consistent(data, noise)
    points = check_points(x_test, data.x.shape[1], "x_test")
    outputs = data.y.shape[1]
    if covariance == "full":
        advice = "Use covariance='variance' or fewer points."
        # Sampled corrections are kept replica by replica.
        size = (len(points) * outputs) ** 2 * (20 if order else 1)
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
        "order": order,
        "noise": noise,
        "condition": factor.condition,
        "rounding": factor.rounding,
        **provenance(net, data, points, blocks.error),
    }
    found = xarray.Dataset(moments([mean], [spread], blocks.test, covariance, ()), attrs=attrs)
    if order == 0:
        return found
    require_resolved(factor)
    n = net.fan_in(net.depth, data.x.shape[1])
    with progress("posterior at order 1/n"):
        expansion = Expansion.of(factor, blocks.cross["K"], data.y, covariance)
        everywhere = np.concatenate([data.x, points])
        fluctuations = kernel_fluctuations(net, everywhere, [net.depth], method, samples, seed)
        corrections = coefficients({net.depth: expansion}, fluctuations)[net.depth]
    warn_of_change(float(corrections["log_evidence_1"][0]) / n, net.depth, n)
    evidence = factor.log_density(data.y) + log_density_of_repeats(data, x_train, y_train, noise)
    added: dict[str, Any] = {"log_evidence": ((), evidence)}
    for name, (value, stderr) in corrections.items():
        added[name] = (DIMS[name], value)
        if stderr is not None:
            added[f"{name}_stderr"] = (DIMS[name], stderr)
    drawn = {"samples": samples, "seed": seed} if "mean_1_stderr" in added else {}
    return found.assign(added).assign_attrs(width=n, **drawn)


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


def log_density_of_repeats(data: TrainingData, x: Any, y: Any, noise: float) -> float:
    """Return log p(all labels) - log p(mean labels of the distinct inputs), which does not depend on the network.

    m labels of one input with noise s are their mean, with noise s/m, and their scatter around it. Without noise it is
    the density on the support, the labels that are equal where inputs are, as in `pdlt.label_log_probability`.
    """
    outputs, repeats = data.y.shape[1], data.counts - 1
    found = -outputs / 2 * float(np.log(data.counts).sum())
    if noise:
        _, inverse = merged(np.asarray(x, dtype=np.float64))
        apart = np.asarray(y, dtype=np.float64).reshape(data.rows, outputs) - data.y[inverse]
        found -= outputs / 2 * float(repeats.sum()) * np.log(2 * np.pi * noise) + float((apart**2).sum()) / (2 * noise)
    return found


def require_resolved(factor: "Factor") -> None:
    """Refuse order 1 where rounding of the four-point vertex, amplified twice by C^-1, spoils its second digit.

    Raises:
        PdltError: if it does.
    """
    amplified = float(np.finfo(float).eps) * factor.condition**2
    if not amplified <= LIMIT:
        raise PdltError(
            f"Argument `order` must be 0 for training inputs this near to each other, but got 1: the condition number "
            f"of their covariance matrix is {factor.condition:.2g}, and order 1 is lost in rounding beyond "
            f"{(LIMIT / np.finfo(float).eps) ** 0.5:.2g}. Give `noise` a larger variance, or take inputs farther apart."
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

    @property
    def log_determinant(self) -> float:
        """Return log det C."""
        return 2 * float(np.log(self._scale).sum() + np.log(np.diagonal(self._lower)).sum())

    def log_density(self, y: np.ndarray) -> float:
        """Return the log-density of labels y (D, n_L) under N(0, C), outputs independent and alike."""
        d, outputs = y.shape
        square = float((self.whiten(y) ** 2).sum())
        return -(square + outputs * (self.log_determinant + d * np.log(2 * np.pi))) / 2

    def whiten(self, b: np.ndarray) -> np.ndarray:
        """Return F^-1 b with C = F F^T, for b of shape (D, M)."""
        return scipy.linalg.solve_triangular(self._lower, b / self._scale, lower=True)

    def solve(self, b: np.ndarray) -> np.ndarray:
        """Return C^-1 b, for b of shape (D, M)."""
        white = self.whiten(b)
        return scipy.linalg.solve_triangular(self._lower, white, lower=True, trans="T") / self._scale
