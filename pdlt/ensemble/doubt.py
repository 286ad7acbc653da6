"""When a standard error is not to be believed: a few rare networks carry the average.

In deep and narrow networks observables are nearly log-normal, and an average over networks belongs to rare ones. If
these are in the ensemble, one group of blocks makes up much of the standard error; if they are not, the average and its
error are both too small, and nothing in the data says so. Hence two signs:

* From the data. One group has a large share of the sum of squares behind the error, and the error is not small beside
  the moment (where tails are heavy, that is the cumulant). Of G normal groups the largest has a share of about
  2 ln G / G; skewed cumulants easily reach 0.5, but as long as their relative error is small, z-scores remain normal
  (tests/ensemble/test_doubt.py has the rates).
* A priori, where the law is known: for an activation with sigma(c z) = c sigma(z), c > 0, and without biases the
  diagonal of G in a layer is that of the layer before times the mean of n independent neurons, so all its moments are
  products over layers. For ReLU and wide layers E[G^2]/E[G]^2 is about exp(5 sum 1/n).
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pdlt.ensemble.specs import Cumulant
from pdlt.ensemble.statistics import Estimate
from pdlt.networks import MLP

#: Share of one group in a squared error, and error over the moment, that are suspicious together.
SHARE = 0.25
RELATIVE = 0.15
#: With G groups the share must exceed this / G as well: chance gives that to none of 10^5 normal samples.
FEW = 30.0
#: Relative standard error, known a priori, that is beyond belief; asked of this many networks at least, because with
#: fewer all errors are rough, and known to be (docs/ensembles.md).
HOPELESS = 0.5
ENOUGH = 2000


class DoubtfulErrorsWarning(UserWarning):
    """Averages over the ensemble are carried by rare networks; their standard errors are not to be believed."""


def doubtful(
    net: MLP, measured: Sequence[Cumulant], results: Mapping[str, Estimate], layers: Sequence[int], samples: int
) -> dict[str, int]:
    """Return the observables whose errors are doubtful, and the first layer where they are.

    Args:
        net: the network.
        measured: the cumulants.
        results: their estimates.
        layers: measured layers, all above 1.
        samples: networks behind the estimates.
    """
    found = {}
    for c in measured:
        expected = expected_error(net, c.order, layers, max(samples, ENOUGH))
        bad = concentrated(results[c.name]) | (expected > HOPELESS)
        if bad.any():
            found[c.name] = int(layers[int(np.argmax(bad))])
    return found


def attributes(doubts: Mapping[str, int]) -> dict[str, Any]:
    """Return what a dataset says about its doubtful errors: nothing if there are none."""
    return {"errors_doubtful": list(doubts), "errors_doubtful_from": list(doubts.values())} if doubts else {}


def sentence(attrs: Mapping[str, Any]) -> str:
    """Return which errors of a dataset with these attributes are doubtful, in words; "" if none is."""
    if "errors_doubtful" not in attrs:
        return ""
    where = zip(attrs["errors_doubtful"], attrs["errors_doubtful_from"], strict=True)
    names = ", ".join(f"{name} (from layer {layer} on)" for name, layer in where)
    return (
        f"The standard errors of {names} are not to be believed: the average is carried by rare networks, few or none "
        "of which were drawn. Values may be too small by any factor."
    )


def warn(
    net: MLP, measured: Sequence[Cumulant], layers: Sequence[int], doubts: Mapping[str, int], samples: int
) -> None:
    """Warn of doubtful errors, if there are any, and say how many networks would do where that is known.

    Warns:
        DoubtfulErrorsWarning: see `doubtful`.
    """
    if not doubts:
        return
    order = min(c.order for c in measured if c.name in doubts)
    name = next(name for name in doubts if any(c.name == name and c.order == order for c in measured))
    error = float(expected_error(net, order, layers, samples)[-1])
    many = ""
    if 0 < error:
        power = math.log10(samples) + 2 * math.log10(error / 0.1)
        needed = f"10^{power:.0f}" if power > 6 else f"{10**power:.2g}"
        many = f" A standard error of 10 % of {name} at layer {layers[-1]} takes about {needed} networks."
    text = f"{sentence(attributes(doubts))}{many} Use wider or shallower networks, or more of them (docs/ensembles.md)."
    warnings.warn(text, DoubtfulErrorsWarning, stacklevel=3)


def expected_error(net: MLP, order: int, layers: Sequence[int], samples: int) -> np.ndarray:
    """Return the relative standard error of a mean of G^order over so many networks; 0 where it is not known.

    G is a diagonal entry of the covariance in a layer. For a cumulant of `order` components it is an order of
    magnitude: the fluctuations of the mean of their product.

    Returns:
        Shape (layers,).
    """
    slopes = net.activation.homogeneous_slopes
    if slopes is None or any(net.C_b[: max(layers)]) or net.depth < 2:
        return np.zeros(len(layers))
    squares = [float(slope) ** 2 for slope in slopes]
    widths, which = np.unique(np.array(net.width, dtype=float), return_inverse=True)
    each = []
    for n in widths:
        moments = _mean_moments(squares, n, 2 * order)
        each.append(math.log(moments[2 * order]) - 2 * math.log(moments[order]))
    total = np.cumsum(np.array(each)[which])[np.array(layers) - 2]
    return np.exp(np.minimum((total - math.log(samples)) / 2, 700.0)) * (total > 0)


def concentrated(estimate: Estimate) -> np.ndarray:
    """Return in which layers one group dominates the largest standard error, and that is large."""
    layers = len(estimate.value)
    stderr, share = (array.reshape(layers, -1) for array in (estimate.stderr, estimate.share))
    worst = stderr.argmax(axis=1)[:, None]
    error, most = (np.take_along_axis(array, worst, axis=1)[:, 0] for array in (stderr, share))
    large = error > np.maximum(RELATIVE * estimate.moment, estimate.rounding)
    return large & (most > max(SHARE, FEW / estimate.groups))


def _mean_moments(squares: Sequence[float], n: float, most: int) -> list[float]:
    """Return the moments 0 ... `most` of the mean of n independent neurons sigma(u)^2 / E[sigma(u)^2], u normal.

    Args:
        squares: the squared slopes of sigma on the two sides.
        n: number of neurons.
        most: order of the last one.
    """
    mean = sum(squares) / 2
    one = [1.0]
    for k in range(1, most + 1):  # E[u^(2k)] = (2k - 1)!!, half of it on each side
        one.append(math.prod(range(1, 2 * k, 2)) * sum((s / mean) ** k for s in squares) / 2)
    cumulants = [0.0]
    for k in range(1, most + 1):
        lower = sum(math.comb(k - 1, j - 1) * cumulants[j] * one[k - j] for j in range(1, k))
        cumulants.append(one[k] - lower)
    found = [1.0]
    for k in range(1, most + 1):
        parts = (math.comb(k - 1, j - 1) * cumulants[j] / n ** (j - 1) * found[k - j] for j in range(1, k + 1))
        found.append(sum(parts))
    return found
