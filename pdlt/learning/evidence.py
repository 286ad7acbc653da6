"""Model comparison: the evidence of networks of any depth and width, at order 1/n."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._arguments import integer
from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.arguments import real
from pdlt.learning.data import TrainingData, require_memory
from pdlt.learning.finite_width import Expansion, coefficients, warn_of_change
from pdlt.learning.gram_blocks import RTOL
from pdlt.learning.kernel_fluctuations import SAMPLES, kernel_fluctuations
from pdlt.learning.posterior import Factor, log_density_of_repeats, require_consistent, require_resolved
from pdlt.learning.results import provenance
from pdlt.networks import check_network
from pdlt.predict import AccuracyWarning
from pdlt.predict.gram import kernel

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP


def log_evidence(
    net: "MLP",
    x: Any,
    y: Any,
    noise: float = 0.0,
    order: int = 1,
    depths: Sequence[int] | None = None,
    method: str = "auto",
    samples: int = SAMPLES,
    seed: int = 0,
) -> "xarray.Dataset":
    """Return the log-density of labels under the prior of networks, log p(y | x, network): what models are compared by.

    At width n it is log_evidence + log_evidence_1/n + O(1/n^2): at infinite width a Gaussian density with covariance
    K + noise for each output; at order 1/n the kernel's mean K_1 and its fluctuations V change it, and outputs are no
    longer independent (`pdlt.learning.finite_width`).

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        y: labels, shape (N, n_L) or (N,) for one output.
        noise: variance of independent Gaussian noise on the labels.
        order: power of 1/n, 0 or 1.
        depths: numbers of layers after which to cut the network, 1 ... L: the evidence of each; None for the network
            itself. A cut network has the first widths and scales of `net`.
        method, samples, seed: how the fluctuations of the kernel are found, see `pdlt.posterior`.

    Returns:
        Variables `log_evidence` and, at order 1, `log_evidence_1`, with `log_evidence_1_stderr` if V was sampled; and
        `width`, n. They have the dim "depth" if `depths` are given. Repeated inputs without noise: the density on the
        support, see `pdlt.label_log_probability`, which also takes singular kernels, at order 0.

    Raises:
        PdltError: for bad arguments; equal inputs with different labels and no noise; a numerically singular covariance
            matrix; what does not fit into memory.

    Warns:
        TruncationWarning: if order 1 changes a log-evidence by more than 1.
    """
    import xarray

    net, noise, order = check_network(net), real("noise", noise), integer("order", order, 0, 1)
    data = TrainingData.of(x, y)
    require_consistent(data, noise)
    layers = _depths(depths, net.depth)
    require_memory(3 * net.depth * len(data.x) ** 2, f"Kernels of {len(data.x)} inputs", "Use fewer inputs.")
    with warnings.catch_warnings():
        # The error decides whether a covariance matrix is told from a singular one.
        warnings.simplefilter("ignore", AccuracyWarning)
        found: Any = kernel(net, data.x, None, ["K"], layers, RTOL)
    error = float(found.attrs["relative_error"])
    constant = log_density_of_repeats(data, x, y, noise)
    with progress("evidence"):
        every = found["K"].values + np.diag(noise / data.counts)
        factors = {layer: Factor(matrix, error) for layer, matrix in zip(layers, every, strict=True)}
        leading = [factor.log_density(data.y) + constant for factor in factors.values()]
        variables: dict[str, Any] = {"log_evidence": ("depth", leading)}
        if order:
            for factor in factors.values():
                require_resolved(factor)
            nowhere = np.zeros((0, len(data.x)))
            expansions = {k: Expansion.of(factor, nowhere, data.y, "none") for k, factor in factors.items()}
            fluctuations = kernel_fluctuations(net, data.x, layers, method, samples, seed)
            first = [one["log_evidence_1"] for one in coefficients(expansions, fluctuations).values()]
            variables["log_evidence_1"] = ("depth", [float(value) for value, _ in first])
            stderr = [float(error) for _, error in first if error is not None]
            if stderr:
                variables["log_evidence_1_stderr"] = ("depth", stderr)
    widths = [net.fan_in(layer, data.x.shape[1]) for layer in layers]
    if order:
        changes = np.array(variables["log_evidence_1"][1]) / widths
        worst = int(np.abs(changes).argmax())
        warn_of_change(float(changes[worst]), layers[worst], widths[worst])
    attrs = {
        "kind": "evidence",
        "order": order,
        "noise": noise,
        **({"samples": samples, "seed": seed} if "log_evidence_1_stderr" in variables else {}),
        **provenance(net, data, data.x, error),
    }
    result = xarray.Dataset({**variables, "width": ("depth", widths)}, {"depth": layers}, attrs)
    return result.isel(depth=0, drop=True) if depths is None else result


def _depths(depths: Any, L: int) -> list[int]:
    """Return the numbers of layers after which the network is cut.

    Raises:
        PdltError: if they are no numbers of layers of it.
    """
    if depths is None:
        return [L]
    try:
        given = list(depths)
    except TypeError:
        given = []
    layers = [integer("depths", depth, 1, L) for depth in given]
    if not layers or layers != sorted(set(layers)):
        raise PdltError(f"Argument `depths` must be increasing integers from 1 to {L}, but got {depths!r:.60}.")
    return layers
