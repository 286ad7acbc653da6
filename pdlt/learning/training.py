"""Training, to order 1/n: mean and covariance, over initialisations, of what a network has learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._arguments import integer
from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.corrections.dataset import Request, check, corrections
from pdlt.learning.data import TrainingData, check_labels, check_points, require_memory
from pdlt.learning.gram_blocks import COVARIANCES
from pdlt.learning.relaxation import Relaxation
from pdlt.learning.response import Response
from pdlt.learning.results import moments, provenance
from pdlt.networks import check_network

#: Up to so many inputs order 1 takes less than a minute.
_FEW = 32

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP


def predict_training(
    net: "MLP",
    x_train: Any,
    y_train: Any,
    x_test: Any,
    times: Sequence[float] | float,
    order: int | None = None,
    rule: str = "flow",
    learning_rate: float | None = None,
    ridge: float = 0.0,
    covariance: str = "full",
    unresolved: str = "error",
    kernels: str = "none",
    method: str = "auto",
    samples: int = 2**16,
    seed: int = 0,
) -> "xarray.Dataset":
    """Predict what networks have learned from data by gradient flow or full-batch gradient descent.

    Training minimises 1/2 sum (z - y)^2 over the training points, by theta' = -lambda grad (flow) or by steps
    -eta lambda grad (gd). At infinite width (order 0) the network is linear in its parameters, outputs are independent,
    and over initialisations the trained function is a Gaussian process (Lee et al. 2019, arXiv:1902.06720; with ridge,
    repeated inputs and finite steps: docs/regression.md). Order 1 adds the coefficients of 1/n, n = n_{L-1}: tangent
    kernels differ between networks and move while they learn (docs/training.md; derived in
    derivations/16_training_at_finite_width.py).

    Args:
        net: the network; at order 0 its widths do not matter, at order 1 the activation must be smooth.
        x_train, y_train: inputs (N, n_0) and labels (N, n_L); a vector of N labels is taken as n_L = 1. Equal inputs
            may have different labels: the network then learns their mean.
        x_test: any points, shape (P, n_0), training points included.
        times: when: times t for flow, numbers of steps for gd; inf is the end of training.
        order: power of 1/n, 0 or 1; None for 1 where it is to be had at little cost: for smooth activations, no ridge,
            nothing frozen, and up to 32 training inputs and points.
        rule: "flow" or "gd".
        learning_rate: eta of gd, below 2/(lambda_max + ridge); left out for flow.
        ridge: r of the penalty (r/2) sum_mu (theta_mu - theta_mu(0))^2 / lambda_mu, which draws the parameters back to
            their initial values and makes training end at Theta (Theta + r)^-1 (y - z_0). Order 0 only.
        covariance: "full", or "variance" for its diagonal only, or "none".
        unresolved: "error" refuses times at which modes count whose eigenvalues are lost in rounding; "freeze" leaves
            these modes at their initial values, which is exact for eigenvalues that are exactly 0. Order 0 only.
        kernels: at order 1, what to say about kernels: "none", "tangent" for the change of the tangent kernel, or "all"
            for those of the hidden layers, too.
        method: how tensors of order 1 are contracted: "exact" makes them by quadrature, with N + P indices on four axes
            (few inputs only); "sampled" sums over random single neurons, with standard errors, and never makes an array
            with more than three axes of N; "auto" is exact for up to four distinct inputs.
        samples: neurons per hidden layer of "sampled", 16 times a power of two.
        seed: of their random numbers.

    Returns:
        Variables `mean` with dims ("time", "point", "output"), and `covariance` ("time", "point", "point_", "output",
        "output_") or `variance` ("time", "point", "output"). Further `eigenvalue` ("mode"), descending, of the tangent
        kernel on the distinct training inputs, weighted by multiplicity (for inputs that occur once: of Theta);
        `learning_time` ("mode"), the time in which what a mode has yet to learn falls by a factor e, infinite for
        frozen modes; `rounding` ("time"), the error that the uncertainty of eigenvalues may cause, relative to the
        labels. Attributes: `learning_rate_bound`, `condition` (of the tangent kernel), `frozen` (number of modes).

        At order 1 in addition `mean_1`, and `covariance_1` or `variance_1`, so that at width n the mean is
        mean + mean_1/n; `mean_1_parts` ("part", ...), its decomposition: the mean tangent kernel's correction, the
        fluctuations of the tangent kernel, what the dNTK does and what the ddNTKs do. With `kernels`:
        `kernel_change_1` ("time", "point", "point_", "output", "output_"), n E[H(t) - H(0)]; `alignment` ("time") and
        `alignment_1`, of the mean tangent kernel on the training set with the labels, y.H.y / (|y|^2 |H|_F) over inputs
        and outputs; `hidden_kernel_change_1` ("layer", "time", "point", "point_"), n E[G(t) - G(0)] for
        G = C_b + C_W/n_l sum_j sigma sigma of hidden layer l = 1 ... L-1, with the C's of layer l + 1. If sampled, each
        has a companion `_stderr`.

    Raises:
        PdltError: for bad arguments; a learning rate beyond the bound; a numerically singular tangent kernel (see
            `unresolved`); what does not fit into memory; at order 1 for activations with a kink, where the change of
            the tangent kernel is of order n^(-1/2), and at times at which rounding is amplified too much.

    Warns:
        TruncationWarning: if order 1 changes mean outputs by more than half of labels and initial outputs.
    """
    net = check_network(net)
    if order is not None:
        integer("order", order, 0, 1)
    if covariance not in COVARIANCES:
        raise PdltError(f"Argument `covariance` must be one of {', '.join(COVARIANCES)}, but got {covariance!r}.")
    relaxation = Relaxation.of(rule, learning_rate, ridge)
    when = relaxation.times(times)
    data = TrainingData.of(x_train, y_train)
    points = check_points(x_test, data.x.shape[1], "x_test")
    outputs = data.y.shape[1]
    request = Request(covariance, kernels, method, samples, seed)
    if order is None:
        few = len(data.x) + len(points) <= _FEW
        order = int(few and net.activation.is_smooth and not relaxation.ridge and unresolved == "error")
    if order == 0 and kernels != "none":
        raise PdltError(f"Argument `kernels` must be none at order 0, where kernels do not move, but got {kernels!r}.")
    if order == 1:
        check(net, data.y, relaxation.ridge, request)
    if covariance == "full":
        size = len(when) * (len(points) * outputs) ** 2
        advice = "Use covariance='variance', fewer points or fewer times."
        require_memory(size, f"Covariances of {outputs} outputs on {len(points)} points at {len(when)} times", advice)
    needed = ("Theta",) if covariance == "none" else ("Theta", "K")
    response = Response.of(net, data, points, relaxation, needed, covariance, unresolved)
    rounding = response.require_resolved(when)
    with progress("training") as tick:
        found = []
        for time in when:
            found.append(_moments(response, time, covariance))
            tick(f"time {time:g}")
    spectrum = response.spectrum
    bound = relaxation.bound(spectrum.values[0])
    variables = {
        **moments(
            [mean for mean, _ in found], [spread for _, spread in found], response.blocks.test, covariance, ("time",)
        ),
        "eigenvalue": ("mode", spectrum.values),
        "learning_time": ("mode", np.where(response.learned, relaxation.learning_times(spectrum.values), np.inf)),
        "rounding": ("time", rounding),
    }
    if order == 1:
        norm = float(np.linalg.norm(check_labels(y_train, data.rows, "y_train")))
        variables |= corrections(net, response, points, when, norm, request)
    import xarray

    attrs = {
        "kind": "training",
        "order": order,
        **({"samples": samples, "seed": seed} if "mean_1_stderr" in variables else {}),
        "rule": rule,
        **({} if relaxation.learning_rate is None else {"learning_rate": relaxation.learning_rate}),
        "ridge": relaxation.ridge,
        "learning_rate_bound": bound,
        "condition": spectrum.condition,
        "unresolved": unresolved,
        "frozen": int((~response.learned).sum()),
        **provenance(net, data, points, response.blocks.error),
    }
    return xarray.Dataset(variables, coords={"time": when}, attrs=attrs)


def _moments(response: Response, time: float, covariance: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the mean (P, n_L) at a time, and the covariance of one output, (P, P) or its diagonal (P,)."""
    learned, blocks = response.at(time), response.blocks
    mean = learned @ response.data.y
    if covariance == "none":
        return mean, None
    # z_t(x) = R y + (z_0(x) - R z_0(X))
    spread = learned @ blocks.train["K"]
    if covariance == "variance":
        return mean, blocks.test + ((spread - 2 * blocks.cross["K"]) * learned).sum(1)
    mixed = blocks.cross["K"] @ learned.T
    return mean, blocks.test - mixed - mixed.T + spread @ learned.T
