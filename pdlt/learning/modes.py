"""Eigenmodes of a kernel on a dataset: what is learned at which rate, and how much of the labels it is."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._arguments import integer
from pdlt._progress import progress
from pdlt.learning.arguments import kernel_name, real
from pdlt.learning.data import check_labels, check_points, require_memory
from pdlt.learning.gram_blocks import evaluate
from pdlt.learning.spectrum import Spectrum
from pdlt.networks import check_inputs, check_network

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP


def modes(net: "MLP", x: Any, y: Any = None, observable: str = "Theta", ridge: float = 0.0) -> "xarray.Dataset":
    """Return the eigenmodes of a network's infinite-width kernel on a dataset.

    Gradient flow on the loss 1/2 sum (z - y)^2 changes the outputs by z' = -Theta (z - y): the component of z - y along
    mode k decays as exp(-eigenvalue_k t). The modes of K are those of the Bayesian posterior (and of training the last
    layer alone, with lambda_b = C_b and lambda_W = C_W).

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        y: labels, shape (N, n_L) or (N,) for one output; None for the modes alone.
        observable: "Theta" or "K", of the last layer at leading order.
        ridge: variance of the labels' noise (for K) or coefficient of the ridge penalty, in the effective dimension.

    Returns:
        Variables, largest eigenvalue first:
        * `eigenvalue` (mode) of the Gram matrix, which is the rate of gradient flow, and `time` = 1 / eigenvalue;
        * `per_sample` (mode) = eigenvalue / N, which tends to the spectrum of the integral operator
          (`pdlt.population_modes`);
        * `resolved` (mode): whether the eigenvalue can be told from zero, see `pdlt.learning.spectrum.Spectrum`; the
          `time` of the others is infinite;
        * `vector` (point, mode), orthonormal; the largest component of each is positive. Within a degenerate eigenvalue
          the choice is arbitrary;
        * with labels, `projection` (mode, output) = vector . y, `label_power` (mode), the share of sum y^2 in a mode,
          and `cumulative_power` (mode).
        Attributes: `rank`, `condition`, `resolution` of the Gram matrix, `trace`, `effective_dimension` = sum
        eigenvalue / (eigenvalue + ridge) (the rank at ridge 0), `participation_ratio` = (sum eigenvalue)^2 / sum
        eigenvalue^2, and with labels `unresolved_power`, the share of sum y^2 that is never learned.

    Raises:
        PdltError: for bad arguments.
    """
    import xarray

    check_network(net)
    x = check_inputs(x)
    ridge = real("ridge", ridge)
    labels = None if y is None else check_labels(y, len(x), "y")
    spectrum = _spectrum(net, x, kernel_name(observable))
    values, resolved = spectrum.values, spectrum.resolved
    inverse = np.divide(1.0, values, where=resolved, out=np.full_like(values, np.inf))
    vectors = _signed(spectrum.vectors)
    variables: dict[str, Any] = {
        "eigenvalue": ("mode", values),
        "per_sample": ("mode", values / len(x)),
        "time": ("mode", inverse),
        "resolved": ("mode", resolved),
        "vector": (("point", "mode"), vectors),
    }
    attrs = {
        "kind": "modes",
        "network": json.dumps(net.describe()),
        "observable": observable,
        "inputs_shape": list(x.shape),
        "rank": spectrum.rank,
        "condition": spectrum.condition,
        "resolution": spectrum.resolution,
        "trace": float(values.sum()),
        "ridge": ridge,
        "effective_dimension": float((values[resolved] / (values[resolved] + ridge)).sum()),
        "participation_ratio": float(values.sum() ** 2 / (values**2).sum()) if spectrum.rank else 0.0,
    }
    if labels is not None:
        projection = vectors.T @ labels
        # Relative to the largest label, so that squares of small ones do not vanish.
        unit = float(np.abs(labels).max()) or 1.0
        power = ((projection / unit) ** 2).sum(axis=1) / (((labels / unit) ** 2).sum() or 1.0)
        variables["projection"] = (("mode", "output"), projection)
        variables["label_power"] = ("mode", power)
        variables["cumulative_power"] = ("mode", power.cumsum())
        attrs["unresolved_power"] = float(power[~resolved].sum())
    if x.shape[1] == 1:
        variables["x"] = ("point", x[:, 0])
    return xarray.Dataset(variables, attrs=attrs)


def eigenfunctions(net: "MLP", x: Any, at: Any, count: int = 4, observable: str = "Theta") -> np.ndarray:
    """Return the leading eigenfunctions of the kernel on a dataset, continued to other points.

    phi_k(x') = N^(1/2) / eigenvalue_k sum_i kernel(x', x_i) vector_ik (Nystroem): on the data N^(1/2) times the vector,
    with the sign of `modes`, so that the mean of phi_k^2 over the data is 1.

    Args:
        net, observable: as in `modes`.
        x: the dataset, shape (N, n_0).
        at: where the functions are wanted, shape (P, n_0).
        count: how many; fewer are returned if fewer eigenvalues can be told from zero.

    Returns:
        Shape (P, count).

    Raises:
        PdltError: for bad arguments.
    """
    check_network(net)
    x = check_inputs(x)
    at = check_points(at, x.shape[1], "at")
    count = integer("count", count, 1, len(x))
    spectrum = _spectrum(net, x, kernel_name(observable))
    count = min(count, spectrum.rank)
    cross, _ = evaluate(net, at, x, [observable])
    weights = _signed(spectrum.vectors)[:, :count] / spectrum.values[:count]
    return np.sqrt(len(x)) * cross[observable] @ weights


def _spectrum(net: "MLP", x: np.ndarray, observable: str) -> Spectrum:
    require_memory(4 * len(x) ** 2, f"The eigenvectors of {len(x)} inputs", "Use fewer inputs.")
    kernels, error = evaluate(net, x, None, [observable])
    with progress("eigenvectors"):
        return Spectrum.of(kernels[observable], error)


def _signed(vectors: np.ndarray) -> np.ndarray:
    """Return vectors whose largest component is positive."""
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])])
