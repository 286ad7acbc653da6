"""Inputs so small that kernels become 0: said, because a 0 looks like a result."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from pdlt.ensemble.specs import NAMED, Cumulant
from pdlt.ensemble.statistics import Estimate
from pdlt.networks import MLP


def warn_of_underflow(
    net: MLP,
    x: np.ndarray,
    measured: Sequence[Cumulant],
    results: Mapping[str, Estimate],
    layers: Sequence[int],
    precision: str,
) -> None:
    """Warn if an input that is not 0 has a kernel below the smallest number, in layer 1 or, if measured, above.

    Args:
        net, x: network and inputs, shape (N, n_0).
        measured: the cumulants; moments of their order must be representable, too.
        results: estimates in `layers`, by name.
        layers: measured layers, all above 1.
        precision: "float64" or "float32", of the networks.

    Warns:
        UserWarning: naming the input and the layer.
    """
    tiny = float(np.finfo(precision).tiny)
    order = max(c.order for c in measured)
    with np.errstate(under="ignore", over="ignore"):
        first = net.C_b[0] + net.C_W[0] * (x**2).mean(axis=1)
        lost = (first**order < tiny) & x.any(axis=1) & (net.C_W[0] > 0)
    layer = 1
    if not lost.any() and NAMED["K"].name in results:
        kernels = np.diagonal(results[NAMED["K"].name].value, axis1=1, axis2=2)
        driven = np.cumprod(np.array(net.C_W) > 0)[np.array(layers) - 1].astype(bool)
        zero = (kernels == 0) & x.any(axis=1) & driven[:, None]
        if zero.any():
            row, lost = int(zero.any(axis=1).argmax()), zero[zero.any(axis=1).argmax()]
            layer = int(layers[row])
    if lost.any():
        what = "K" if order == 1 else f"a product of {order} kernels"
        remedy = ' or precision="float64"' if precision == "float32" else ""
        warnings.warn(
            f"Argument `x`: input {int(lost.argmax())} is not 0, but {what} is below the smallest number of "
            f"{precision}, {tiny:.1g}, at layer {layer}, and became 0; use larger inputs or C_W, fewer layers{remedy}.",
            stacklevel=3,
        )
