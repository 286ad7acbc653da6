"""Probabilities of labels: under the prior of a network, and of candidates given training data."""

import json
import math
import numbers
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.arguments import real
from pdlt.learning.data import LARGEST, check_labels, require_memory
from pdlt.learning.gram_blocks import evaluate
from pdlt.learning.posterior import posterior
from pdlt.learning.response import LIMIT
from pdlt.learning.spectrum import Spectrum
from pdlt.learning.training import predict_training
from pdlt.networks import check_inputs, check_network

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP

DISTRIBUTIONS = ("posterior", "trained")


def label_log_probability(net: "MLP", x: Any, y: Any, noise: float = 0.0) -> "xarray.Dataset":
    """Return the log-density of labels under the prior of an infinitely wide network, N(0, K + noise) for each output.

        log p(y) = -1/2 sum_k c_k^2 / v_k  -  1/2 sum_k log(2 pi v_k),        c_k = vector_k . y

    with the eigenvalues v_k and eigenvectors of K + noise. A density: it has units, and only densities of labels at the
    same inputs can be compared.

    Singular K without noise (equal inputs; fewer independent functions than inputs, such as a ReLU network without
    biases on one-dimensional inputs): no probability outside the support, spanned by the eigenvectors whose eigenvalue
    can be told from zero (`pdlt.learning.spectrum.Spectrum`). The log-density is -inf if the other components of y
    exceed in square what could hide there; otherwise it is the density on the support, of lower dimension. No jitter is
    added. A spectrum that fades into its rounding errors instead (a smooth activation, many close inputs) has no such
    support: it is refused unless every eigenvalue of the support is known to 1 %.

    Args:
        net: the network; its widths do not matter.
        x: inputs, shape (N, n_0).
        y: labels, shape (N, n_L) or (N,) for one output.
        noise: variance of independent Gaussian noise on the labels.

    Returns:
        Variables `log_probability` (output); its parts `quadratic` (output), the first sum, and `normalisation` (), the
        second one; `variance` (mode), v_k, largest first, and `contribution` (mode, output), -c_k^2 / (2 v_k) (for
        modes outside the support 0, or -inf). Attributes: `total`, the sum over outputs; `condition` of K + noise;
        `support`, its dimension; `rounding`, the relative error that rounding and the kernel's error may cause in the
        smallest eigenvalue of the support, and with it in `quadratic`: at most 0.01.

    Raises:
        PdltError: for bad arguments, or if the eigenvalues of K + noise are lost in rounding (the message says which
            noise would do).
    """
    import xarray

    net, noise = check_network(net), real("noise", noise)
    x = check_inputs(x)
    labels = check_labels(y, len(x), "y")
    require_memory(4 * len(x) ** 2, f"The eigenvectors of {len(x)} inputs", "Use fewer inputs.")
    kernels, error = evaluate(net, x, None, ["K"])
    with progress("eigenvectors"):
        density = _Density(Spectrum.of(kernels["K"] + noise * np.eye(len(x)), error))
    density.require_resolved()
    contribution = density.contributions(labels)
    log_probability = contribution.sum(axis=0) + density.normalisation
    variables = {
        "log_probability": ("output", log_probability),
        "quadratic": ("output", contribution.sum(axis=0)),
        "normalisation": ((), density.normalisation),
        "variance": ("mode", density.spectrum.values),
        "contribution": (("mode", "output"), contribution),
    }
    attrs = {
        "kind": "labels",
        "network": json.dumps(net.describe()),
        "noise": noise,
        "total": float(log_probability.sum()),
        "condition": density.spectrum.condition,
        "support": density.spectrum.rank,
        "rounding": density.rounding,
    }
    return xarray.Dataset(variables, attrs=attrs)


def rank_labels(
    net: "MLP",
    x_train: Any,
    y_train: Any,
    x_test: Any,
    candidates: Any,
    distribution: str = "posterior",
    noise: float = 0.0,
    time: float = math.inf,
    ridge: float = 0.0,
    unresolved: str = "error",
) -> "xarray.Dataset":
    """Return how probable candidate labels of test points are, given training data.

    Args:
        net: the network; its widths do not matter.
        x_train, y_train: training data, shapes (N, n_0) and (N, n_L) or (N,).
        x_test: shape (P, n_0).
        candidates: M sets of labels of all test points, shape (M, P, n_L); (M, P) is taken as n_L = 1, and (M,) as
            n_L = 1 and P = 1.
        distribution: "posterior", the predictive distribution of Bayesian inference with the prior of the network
            (`pdlt.posterior`), or "trained", the distribution over initialisations of what gradient flow learns
            (`pdlt.predict_training`). They differ unless only the last layer is trained.
        noise: variance of the labels' noise. Posterior: on training and candidate labels. Trained: on candidates.
        time, ridge, unresolved: for "trained", see `pdlt.predict_training`.

    Returns:
        Variables `log_probability` (candidate), the joint log-density of the labels of all test points and outputs;
        `rank` (candidate), 1 for the most probable, equal for equal ones; `quadratic` (candidate), its part that
        depends on the candidate; `mean` (point, output) and `deviation` (point), the standard deviation, of the
        distribution. Directions whose variance cannot be told from zero are treated as in `label_log_probability`
        (a test point that is also a training point, without noise). Attributes: `condition` of the covariance of the
        candidates, `support`, its dimension for one output, `training_condition`, that of the training kernel, and
        `rounding`, a (wide) bound of the relative error of the smallest variance of the support.

    Raises:
        PdltError: for bad arguments, or if the training kernel is numerically singular (the message says what helps).
    """
    import xarray
    from scipy.stats import rankdata

    net, noise = check_network(net), real("noise", noise)
    if distribution not in DISTRIBUTIONS:
        raise PdltError(f"Argument `distribution` must be posterior or trained, but got {distribution!r}.")
    if not isinstance(time, numbers.Real) or isinstance(time, bool | np.bool_):
        raise PdltError(f"Argument `time` must be a non-negative number or inf, but got {time!r}.")
    if distribution == "posterior":
        if time != math.inf or ridge != 0 or unresolved != "error":
            raise PdltError(
                "Arguments `time`, `ridge` and `unresolved` belong to distribution 'trained'; 'posterior' has `noise`."
            )
        found = posterior(net, x_train, y_train, x_test, noise=noise)
        rounding = found.attrs["rounding"]
    else:
        rules = {"ridge": ridge, "unresolved": unresolved}
        found = predict_training(net, x_train, y_train, x_test, time, order=0, **rules).isel(time=0)
        rounding = float(found.rounding)
    mean, covariance = found["mean"].values, found["covariance"].values[:, :, 0, 0]
    points, outputs = mean.shape
    labels = _candidates(candidates, points, outputs)
    # Both covariances are differences of prior ones, whose size sets the error, also where nothing is left.
    prior, _ = evaluate(net, check_inputs(x_test), None, ["K"])
    covariance = covariance + noise * np.eye(points)
    uncertainty = rounding * float(np.diagonal(prior["K"]).max())
    size = max(float(np.abs(covariance).max()), uncertainty) or 1.0
    spectrum = Spectrum.of(covariance, uncertainty / size)
    density = _Density(replace(spectrum, resolution=max(spectrum.resolution, points * uncertainty)))
    deviations = np.moveaxis(labels - mean, 0, -1).reshape(points, -1)
    quadratic = density.contributions(deviations).sum(axis=0).reshape(outputs, -1).sum(axis=0)
    log_probability = quadratic + outputs * density.normalisation
    variables = {
        "log_probability": ("candidate", log_probability),
        "rank": ("candidate", rankdata(-log_probability, method="min").astype(int)),
        "quadratic": ("candidate", quadratic),
        "mean": (("point", "output"), mean),
        "deviation": ("point", np.sqrt(np.diagonal(covariance))),
    }
    attrs = {
        "kind": "candidates",
        "network": json.dumps(net.describe()),
        "distribution": distribution,
        "noise": noise,
        **({} if distribution == "posterior" else {"time": float(time), "ridge": float(ridge)}),
        "condition": density.spectrum.condition,
        "support": density.spectrum.rank,
        "rounding": density.rounding,
        "training_condition": found.attrs["condition"],
    }
    return xarray.Dataset(variables, attrs=attrs)


@dataclass(frozen=True)
class _Density:
    """The Gaussian density with mean 0 and a covariance that may be singular."""

    spectrum: Spectrum

    @property
    def normalisation(self) -> float:
        """Return -1/2 sum log(2 pi v) over the support."""
        return -0.5 * float(np.log(2 * np.pi * self.spectrum.values[self.spectrum.resolved]).sum())

    @property
    def rounding(self) -> float:
        """Return the uncertainty of the smallest variance of the support, relative to it."""
        kept = self.spectrum.values[self.spectrum.resolved]
        return self.spectrum.resolution / float(kept[-1]) if len(kept) else 0.0

    def require_resolved(self) -> None:
        """Refuse a spectrum that fades into its rounding errors: where it ends, rank is an accident.

        A support that structure has made ends with an eigenvalue far above the errors, and is not touched.

        Raises:
            PdltError: if the smallest variance of the support is not known to `LIMIT`.
        """
        if self.rounding > LIMIT:
            spectrum = self.spectrum
            raise PdltError(
                f"The covariance matrix of the {len(spectrum.values)} labels is numerically singular: its eigenvalues "
                f"fall from {spectrum.values[0]:.4g} to below {spectrum.resolution / LIMIT:.2g}, where rounding leaves "
                f"them less than two digits. Give `noise` a variance above {1.1 * spectrum.resolution / LIMIT:.2g}, or "
                "leave out inputs whose outputs the others determine."
            )

    def contributions(self, deviations: np.ndarray) -> np.ndarray:
        """Return -c^2 / (2 v) of every mode for deviations (N, M), shape (N, M); outside the support 0 or -inf."""
        squares = self.spectrum.coordinates(deviations) ** 2
        resolved = self.spectrum.resolved[:, None]
        # A variance that cannot be told from zero is at most the resolution.
        outside = np.where(squares > self.spectrum.resolution, -np.inf, 0.0)
        variances = np.where(resolved, self.spectrum.values[:, None], 1.0)
        return np.where(resolved, -squares / (2 * variances), outside)


def _candidates(candidates: Any, points: int, outputs: int) -> np.ndarray:
    """Return candidates as an array (M, P, n_L)."""
    wanted = f"an array of finite numbers of shape (M, {points}, {outputs})"
    if outputs == 1:
        wanted += f" or (M, {points})" + (" or (M,)" if points == 1 else "")
    try:
        raw = np.asarray(candidates)
    except (TypeError, ValueError):
        raise PdltError(f"Argument `candidates` must be {wanted}, but its parts differ in length.") from None
    if raw.dtype.kind not in "iuf" or isinstance(candidates, np.ma.MaskedArray):
        raise PdltError(f"Argument `candidates` must be {wanted}, but got type {raw.dtype}.")
    shape = {3: (points, outputs), 2: (points,), 1: ()}.get(raw.ndim)
    short = raw.ndim == 3 or (outputs == 1 and (raw.ndim == 2 or points == 1))
    if raw.size == 0 or not short or raw.shape[1:] != shape:
        raise PdltError(f"Argument `candidates` must be {wanted}, but got shape {raw.shape}.")
    if not np.isfinite(raw).all() or np.abs(raw.astype(np.float64)).max() > LARGEST:
        raise PdltError(f"Argument `candidates` must be {wanted}, but some are not finite, or beyond {LARGEST:g}.")
    return raw.astype(np.float64).reshape(-1, points, outputs)
