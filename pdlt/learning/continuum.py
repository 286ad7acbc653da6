"""Eigenvalues of kernels on known input distributions: circle, sphere, Boolean cube.

The kernel of a multilayer perceptron on inputs of equal length is a function f of the overlap t = x.x' / |x|^2. On each
of these distributions its eigenfunctions are known and come in degrees k, and the eigenvalue of degree k is an average
over the overlap of two independent inputs,

    eigenvalue_k = E_t[f(t) P_k(t)],        f(t) = sum_k multiplicity_k eigenvalue_k P_k(t),        P_k(1) = 1.

P_k are the Chebyshev (circle), normalised Gegenbauer (sphere; Funk and Hecke) or normalised Krawtchouk polynomials
(cube: parities of k components). At t = 1 the second equation is the sum rule sum_k multiplicity_k eigenvalue_k = f(1).
"""

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._arguments import integer
from pdlt.errors import PdltError, suggest
from pdlt.learning.arguments import kernel_name, real
from pdlt.learning.gram_blocks import evaluate
from pdlt.learning.spaces import Cube, Space, Sphere
from pdlt.networks import check_network
from pdlt.predict.gram import BLOCK

if TYPE_CHECKING:
    import xarray

    from pdlt.networks import MLP

#: Degrees beyond this need more nodes than are worth their time.
HIGHEST = 2000
#: Quadrature is refined until a level changes the kernel by less than this, relative to f(1).
TOLERANCE = 1e-13
#: Rounding errors of a kernel, relative to f(1).
ROUNDING = 16 * np.finfo(float).eps


def population_modes(
    net: "MLP",
    distribution: str,
    dimension: int | None = None,
    degrees: int = 10,
    observable: str = "Theta",
    variance: float = 1.0,
) -> "xarray.Dataset":
    """Return eigenvalues and multiplicities of a kernel's integral operator on a known input distribution.

    The operator is g -> E_x'[kernel(x, x') g(x')]. The Gram matrix of N independent inputs has eigenvalues near
    N times these, each `multiplicity` times, for degrees whose multiplicity is well below N.

    Args:
        net: the network; its inputs have n_0 = `dimension` components.
        distribution: "circle" (Fourier modes), "sphere" in `dimension` dimensions, S^(dimension-1) (spherical
            harmonics), or "cube", {-1, 1}^dimension (parities).
        dimension: n_0; may be left out for the circle, where it is 2.
        degrees: highest degree k; on the cube there are none above `dimension`.
        observable: "Theta" or "K", of the last layer at leading order.
        variance: x.x / n_0 of every input. On the cube with components -1 and 1 it is 1.

    Returns:
        Variables with dim "degree" (0 ... degrees): `eigenvalue`, its estimated `error` (difference of two levels of
        quadrature; accuracy of the kernel; rounding), `multiplicity`, and `power` = multiplicity * eigenvalue, the
        degree's share of the kernel on the diagonal. Attributes: `diagonal` = f(1); `remainder`, f(1) minus all powers,
        which is what higher degrees hold, and `remainder_error`; `nodes`, the number of overlaps used. Errors of an
        eigenvalue are about 1e-15 f(1) / multiplicity^(1/2), so that the power of a degree is lost to rounding where
        1e-15 f(1) multiplicity^(1/2) exceeds it.

    Raises:
        PdltError: for bad arguments.
    """
    import xarray

    check_network(net)
    kernel_name(observable)
    space = _space(distribution, dimension)
    highest = integer("degrees", degrees, 0, HIGHEST)
    if space.highest is not None:
        highest = min(highest, space.highest)
    multiplicities = [space.multiplicity(k) for k in range(highest + 1)]
    if max(multiplicities).bit_length() > 1000:
        raise PdltError(
            f"Argument `degrees`: degree {highest} on the {distribution} in dimension {space.dimension} has more "
            "eigenfunctions than floating-point numbers reach (about 1e301); accepted are lower degrees."
        )
    number = np.array(multiplicities, dtype=float)
    diagonal, inaccuracy, values, change, nodes = _refined(net, space, highest, number, observable, variance)
    error = change + (inaccuracy + ROUNDING) * abs(diagonal) / np.sqrt(number)
    variables = {"eigenvalue": values, "error": error, "multiplicity": number, "power": number * values}
    attrs = {
        "kind": "population modes",
        "network": json.dumps(net.describe()),
        "observable": observable,
        "distribution": distribution,
        "dimension": space.dimension,
        "variance": float(variance),
        "diagonal": diagonal,
        "remainder": diagonal - math.fsum(number * values),
        "remainder_error": math.fsum(number * error),
        "nodes": nodes,
    }
    coordinates = {"degree": np.arange(highest + 1)}
    return xarray.Dataset({key: ("degree", value) for key, value in variables.items()}, coordinates, attrs)


def _refined(
    net: "MLP", space: Space, highest: int, number: np.ndarray, observable: str, variance: float
) -> tuple[float, float, np.ndarray, np.ndarray, int]:
    """Return f(1), the kernel's relative error, eigenvalues, their change at the last level, and the nodes used."""
    values, change = np.zeros(highest + 1), np.zeros(highest + 1)
    for level in range(space.levels):
        angles, weights = space.rule(highest, level)
        diagonal, kernel, inaccuracy = overlap_kernel(net, angles, observable, variance)
        values, previous = space.polynomials(highest, angles) @ (weights * kernel), values
        if level > 0:
            change = np.abs(values - previous)
            if (change * np.sqrt(number)).max() <= TOLERANCE * abs(diagonal):
                break
    return diagonal, inaccuracy, values, change, len(angles)


def overlap_kernel(
    net: "MLP", angles: np.ndarray, observable: str = "Theta", variance: float = 1.0
) -> tuple[float, np.ndarray, float]:
    """Return a kernel as a function of the angle between two inputs of equal length.

    Args:
        net: the network.
        angles: shape (M,); the overlap is cos(angle).
        observable: "Theta" or "K", of the last layer.
        variance: x.x / n_0 of both inputs.

    Returns:
        The kernel at overlap 1, at all angles (M,), and its estimated error relative to the former.
    """
    variance = real("variance", variance, positive=True)
    # Whole blocks, so that all numbers of angles share compiled code.
    angles = np.array([0.0, *angles])
    padded = np.concatenate([angles, np.zeros(-len(angles) % BLOCK)])
    # The kernel depends on x.x'/n_0 only, whatever n_0: two components are enough.
    x = np.sqrt(2 * variance) * np.stack([np.cos(padded), np.sin(padded)], axis=1)
    kernels, error = evaluate(net, x[:1], x, [observable])
    row = kernels[observable][0, : len(angles)]
    return float(row[0]), row[1:], error


def _space(distribution: Any, dimension: Any) -> Space:
    names = ("circle", "sphere", "cube")
    if distribution not in names:
        hint = suggest(distribution, names) if isinstance(distribution, str) else ""
        raise PdltError(f"Argument `distribution` must be circle, sphere or cube, but got {distribution!r}.{hint}")
    if distribution == "circle":
        if dimension not in (None, 2):
            raise PdltError(f"Argument `dimension` must be 2 (or left out) on the circle, but got {dimension!r}.")
        return Sphere(2)
    if dimension is None:
        raise PdltError(f"Argument `dimension` must be given for the {distribution}: the number n_0 of components.")
    if distribution == "sphere":
        return Sphere(integer("dimension", dimension, 2, 10**6))
    return Cube(integer("dimension", dimension, 1, 10**4))
