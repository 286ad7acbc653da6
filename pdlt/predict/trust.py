"""How far an order in 1/width can be trusted: the size of what it leaves out, and a warning where that is large.

What decides is the relative variance between seeds, V/(n K^2) for preactivations, A/(n Theta^2) and B/(n Theta^2) for
the tangent kernel. It grows with depth and falls with width, and every further order of the series costs about one
more power of it.
"""

import warnings
from dataclasses import dataclass
from math import ceil, log10
from typing import TYPE_CHECKING

import numpy as np

from pdlt.observables import observable
from pdlt.predict.scales import largest, natural_size
from pdlt.predict.series import coefficients, observables_of, summed

if TYPE_CHECKING:
    import xarray

#: Estimated relative size of the first neglected order beyond which `predict` warns. The estimate errs on the large
#: side: at 0.5 the true error of V, D, F, A, B is 13 to 26 percent at order 1 and 8 to 20 percent at order 2 (exact
#: ReLU and linear networks of finite width, depth 6 to 40; tests/predict/test_trust.py).
THRESHOLD = 0.5

#: A tensor is small by accident below this fraction of its natural size.
_ACCIDENT = 0.1


class TruncationWarning(UserWarning):
    """The network is too deep for its width for the requested order in 1/width to be trusted."""


@dataclass(frozen=True)
class Neglect:
    """Where a prediction leaves the domain in which its order can be trusted.

    Attributes:
        first: the first layer at which an observable exceeds the threshold.
        name: the observable that exceeds it most there.
        worst: the layer where it does so most.
        size: estimated size of the first neglected order at that layer, relative to the observable.
    """

    first: int
    name: str
    worst: int
    size: float


def neglected_order(prediction: "xarray.Dataset", name: str) -> "xarray.DataArray":
    """Return the estimated size of the first neglected order of an observable's series at the network's width.

    Two estimates, the larger of which is returned. The last known coefficient times what one more power of 1/n costs at
    that layer: the largest of the relative variances V/(n K^2), A/(n Theta^2), B/(n Theta^2), as far as they were
    computed, and of the number of hidden layers over the width. And, since a coefficient can be small by accident or
    symmetry, the observable's natural size (powers of K and Theta by dimension) times the typical relative size of
    order-1 tensors to the power of the neglected order. Orders of magnitude, not bounds. Up to layer 2 nothing is
    neglected: the kernel before it does not fluctuate.
    """
    import xarray

    ratios = _ratios(prediction)
    cost = np.max([ratios[t] for t in "VAB" if t in ratios] + [prediction.layer.values - 1.0], axis=0)
    typical = np.median(list(ratios.values()), axis=0) if ratios else np.zeros(prediction.sizes["layer"])
    j, key = coefficients(prediction, name)[-1]
    values = np.abs(prediction[key].values)
    floor = natural_size(name, prediction.attrs["scales"]) * typical ** (observable(name).leading_order + j + 1)
    column = (-1,) + (1,) * (values.ndim - 1)
    size = np.maximum(values * cost.reshape(column), floor.reshape(column))
    size = size / (_fan_in(prediction) ** (j + 1)).reshape(column)
    exact = (prediction.layer.values <= 2).reshape(column)
    return xarray.DataArray(np.where(exact, 0.0, size), dims=prediction[key].dims, coords={"layer": prediction.layer})


def relative_neglect(prediction: "xarray.Dataset", name: str, n: np.ndarray) -> np.ndarray:
    """Return the estimated size of the first neglected order relative to an observable summed to its order.

    As `neglected_order`, with two differences: an error bar should rather be too large, a warning should not. What a
    power of 1/n costs is taken from the relative variances alone where they are known (V for observables without
    derivatives, V, A and B for others), not from the number of layers: in a network whose kernel forgets its
    fluctuations depth does no harm. And the natural size replaces a tensor or coefficient only where that is small by
    accident or symmetry: the domain of trust is not left because D changes its sign.

    Args:
        prediction: from `predict`.
        name: an observable in it.
        n: width before each layer, shape (depth,).

    Returns:
        Shape (depth,); zero up to layer 2.
    """
    import xarray

    item = observable(name)
    ratios = _ratios(prediction, item.derivatives)
    variances = [ratios[t] for t in "VAB" if t in ratios]
    cost = np.max(variances, axis=0) if variances else prediction.layer.values - 1.0
    typical = np.median(list(ratios.values()), axis=0) if ratios else np.zeros_like(n)
    natural = natural_size(name, prediction.attrs["scales"])
    j, key = coefficients(prediction, name)[-1]
    power = item.leading_order + j
    last = largest(prediction[key].values)
    whole = largest(summed(prediction, name, xarray.DataArray(n, dims="layer")).values)
    with np.errstate(over="ignore", invalid="ignore"):
        next_one = last * cost
        # Means need no such care: they are never small, and their corrections are where fluctuations average out.
        if item.leading_order:
            small = last < _ACCIDENT * natural * typical**power
            next_one = np.where(small, natural * typical ** (power + 1), next_one)
            expected = natural * typical**item.leading_order
            whole = np.where(whole < _ACCIDENT * expected, expected, whole)
        relative = np.divide(next_one / n ** (j + 1), whole, out=np.zeros_like(whole), where=whole > 0)
    return np.where(prediction.layer.values <= 2, 0.0, np.nan_to_num(relative))


def neglect(prediction: "xarray.Dataset", n: np.ndarray) -> Neglect | None:
    """Return where a prediction cannot be trusted at widths n (shape (depth,)); None if it can."""
    sizes = {name: relative_neglect(prediction, name, n) for name in observables_of(prediction)}
    bad = np.max(list(sizes.values()), axis=0) > THRESHOLD
    if not bad.any():
        return None
    first = int(np.argmax(bad))
    name = max(sizes, key=lambda key: sizes[key][first])
    worst = int(np.argmax(sizes[name]))
    layers = prediction.layer.values
    return Neglect(int(layers[first]), name, int(layers[worst]), float(sizes[name][worst]))


def warn_if_untrusted(prediction: "xarray.Dataset", n: np.ndarray | None = None, stacklevel: int = 2) -> bool:
    """Warn, once, where a prediction leaves the domain in which its order can be trusted.

    Args:
        prediction: from `predict`.
        n: width before each layer, shape (depth,); None for the network's own.
        stacklevel: as of `warnings.warn`, counted from the caller.

    Returns:
        Whether the prediction can be trusted at all layers.

    Warns:
        TruncationWarning: where the first neglected order is estimated to exceed half of an observable.
    """
    widths = _fan_in(prediction) if n is None else n
    found = neglect(prediction, widths)
    if found is not None:
        warnings.warn(_message(prediction, found, widths), TruncationWarning, stacklevel=stacklevel + 1)
    return found is None


def _message(prediction: "xarray.Dataset", found: Neglect, n: np.ndarray) -> str:
    hidden, factor = n[1:], _widening(prediction, n)
    if hidden.min() == hidden.max():
        at, wider = f"width {hidden[0]:.0f}", f"width {_round_up(factor * hidden[0])} or more"
    else:
        at = f"widths from {hidden.min():.0f} to {hidden.max():.0f}"
        wider = f"widths {_round_up(10 * factor) / 10:g} times as large"
    size = f"about {found.size:.0%} of {found.name}" if found.size < 1 else f"larger than {found.name} itself"
    return (
        f"At depth {prediction.sizes['layer']} and {at} this network is too deep for its width: the expansion in "
        f"1/width to order {prediction.attrs['order']} cannot be trusted from layer {found.first} on. What it leaves "
        f"out is estimated to be {size} at layer {found.worst}.{_fluctuation(prediction, found, n)} Use {wider} at "
        f"this depth, depth {found.first - 1} or less at this width, or measure it "
        "(pdlt.simulate, which warns where it cannot)."
    )


def _fluctuation(prediction: "xarray.Dataset", found: Neglect, n: np.ndarray) -> str:
    """Return what the size means: how much networks differ that should be alike."""
    place = found.worst - 1
    ratios = _ratios(prediction, observable(found.name).derivatives)
    variances = {tensor: ratios[tensor][place] / n[place] for tensor in "VAB" if tensor in ratios}
    if not variances:
        return ""
    tensor = max(variances, key=lambda key: variances[key])
    what = "kernel" if tensor == "V" else "tangent kernel"
    return (
        f" Between networks that differ in nothing but their random initial weights, the {what} there has a relative "
        f"variance of about {variances[tensor]:.2g}."
    )


def _widening(prediction: "xarray.Dataset", n: np.ndarray) -> float:
    """Return by what factor all hidden widths must grow for the prediction to be trusted, a million at most.

    Coefficients depend on ratios of widths only, so that they need not be computed again.
    """
    low, high = 1.0, 2.0
    while high < 1e6 and neglect(prediction, high * n) is not None:
        low, high = high, 2 * high
    while high / low > 1.05:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if neglect(prediction, middle * n) is None else (middle, high)
    return high


def _round_up(number: float) -> int:
    """Return the next integer with two digits followed by zeros."""
    unit = 10 ** max(0, int(log10(number)) - 1)
    return ceil(number / unit) * unit


def _ratios(prediction: "xarray.Dataset", derivatives: int = 1) -> dict[str, np.ndarray]:
    """Return n times the relative size of each order-1 tensor, per layer; of V alone for preactivations."""
    found = {tensor: np.asarray(ratio) for tensor, ratio in prediction.attrs["couplings"].items()}
    return found if derivatives else {tensor: ratio for tensor, ratio in found.items() if tensor == "V"}


def _fan_in(prediction: "xarray.Dataset") -> np.ndarray:
    return np.asarray(prediction.attrs["fan_in"], dtype=float)
