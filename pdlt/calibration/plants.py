"""Errors that can be planted in a comparison. A suite that does not find them is worth nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pdlt.networks import MLP


@dataclass(frozen=True)
class Plant:
    """An error in the second side of every comparison.

    Attributes:
        says: what is wrong, for reports.
        network: what the second side takes for the network.
        value: what it makes of its values, given n_{L-1}.
        errors: factor on the standard errors of both sides.
    """

    says: str
    network: Callable[[MLP], MLP] = lambda net: net
    value: Callable[[np.ndarray, int], np.ndarray] = lambda value, n: value
    errors: float = 1.0


def _with(net: MLP, **changed: tuple[float, ...]) -> MLP:
    scales = {name: getattr(net, name) for name in ("C_b", "C_W", "lambda_b", "lambda_W")}
    return MLP(net.depth, net.width, net.activation, **{**scales, **changed})


def _faster(net: MLP) -> MLP:
    """Change lambda_W of one layer, the last one in which it is not 0."""
    layer = max(k for k, rate in enumerate(net.lambda_W) if rate > 0)
    return _with(net, lambda_W=tuple(1.1 * r if k == layer else r for k, r in enumerate(net.lambda_W)))


def _swapped(value: np.ndarray, n: int) -> np.ndarray:
    """Exchange the second and the third index: A_(13)(24) in place of A_(12)(34)."""
    return np.swapaxes(value, 1, 2) if value.ndim == 4 else value


PLANTS = {
    "factor": Plant("joint cumulants multiplied by 1 + 1/n", value=lambda v, n: v * (1 + 1 / n) if v.ndim > 2 else v),
    "index": Plant("the second and the third index exchanged", value=_swapped),
    "lambda_W": Plant("lambda_W of one layer 10 % too large", network=_faster),
    "lambda_b": Plant("lambda_b forgotten", network=lambda net: _with(net, lambda_b=(0.0,) * net.depth)),
    "errors": Plant("standard errors 20 % too small", errors=0.8),
}
