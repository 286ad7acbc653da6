"""Chains of events in training: divided differences of the leading decay in its rates.

At leading order a residual along a mode of rate x decays as p(x) = exp(-x t), or (1 - eta x)^t after t steps. A product
of residuals decays at the sum of their rates: x + y for flow, x + y - eta x y for descent. Where m events at times
t > s_1 > ... > s_m > 0 change the rates to x_0 (last), x_1, ..., x_m (first), all these times are summed over:

    integral exp(-x_0 (t - s_1)) exp(-x_1 (s_1 - s_2)) ... exp(-x_m s_m) = (-1)^m p[x_0, ..., x_m]

with the divided difference p[x_0, ..., x_m] of p, and likewise eta^m times the sum over steps. It is evaluated as an
entry of a power of a bidiagonal matrix (Opitz), which coinciding rates do not disturb.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np

#: Terms of the exponential's series for an exponent of at most 1: the next one is below 1e-18.
_TERMS = 20

_Triangle = list[list[np.ndarray]]


@dataclass(frozen=True)
class Decay:
    """The leading decay at one time: exp(-x time) for learning rate 0, else (1 - learning_rate x)^time."""

    time: float
    learning_rate: float = 0.0

    def joint(self, *rates: np.ndarray) -> np.ndarray:
        """Return the rate of a product of residuals, given theirs."""
        total = np.zeros(())
        for rate in rates:
            total = total + rate - self.learning_rate * total * rate
        return total

    def chain(self, *rates: np.ndarray) -> np.ndarray:
        """Return the divided difference p[x_0, ..., x_m] at rates x >= 0 that broadcast; only the first may be 0.

        At infinite time (or what times rates makes infinite) rates must be positive, but for the first.
        """
        nodes = [np.asarray(x, dtype=np.float64) for x in np.broadcast_arrays(*rates)]
        m = len(nodes) - 1
        if not np.isfinite(self.time * max(float(x.max()) for x in nodes)) or self.time == np.inf:
            with np.errstate(divide="ignore"):
                rest = np.prod([-1.0 / x for x in nodes[1:]], axis=0)
            return np.where(nodes[0] == 0, rest, 0.0)
        power = _descent(nodes, self.learning_rate, int(self.time)) if self.learning_rate else _flow(nodes, self.time)
        return (-1) ** m * power[0][m]


def _flow(nodes: list[np.ndarray], time: float) -> _Triangle:
    """Return exp(time M), M with -x on the diagonal and 1 above it."""
    fastest = time * max(float(x.max()) for x in nodes)
    squarings = max(0, ceil(log2(fastest))) if fastest > 1 else 0
    step = time / 2**squarings
    result = _identity(nodes)
    term = _identity(nodes)
    for k in range(1, _TERMS):
        term = _times_bidiagonal(term, [-x * step / k for x in nodes], step / k)
        result = [[a + b for a, b in zip(r, s, strict=True)] for r, s in zip(result, term, strict=True)]
    for k in range(squarings + 1):
        if k:
            result = _product(result, result)
        # Rounding in the diagonal would double with every squaring.
        for i, x in enumerate(nodes):
            result[i][i] = np.exp(-x * (step * 2**k))
    return result


def _descent(nodes: list[np.ndarray], learning_rate: float, steps: int) -> _Triangle:
    """Return the power `steps` of the matrix with 1 - eta x on the diagonal and eta above it."""
    kept = [1.0 - learning_rate * x for x in nodes]
    power = _times_bidiagonal(_identity(nodes), kept, learning_rate)
    result = _identity(nodes)
    done, reached = 0, 1
    while steps:
        if steps & 1:
            result, done = _product(result, power), done + reached
            for i, q in enumerate(kept):
                result[i][i] = q**done
        steps >>= 1
        if steps:
            power, reached = _product(power, power), 2 * reached
            for i, q in enumerate(kept):
                power[i][i] = q**reached
    return result


def _identity(nodes: Sequence[np.ndarray]) -> _Triangle:
    size = len(nodes)
    return [[np.full_like(nodes[0], float(i == j)) for j in range(size)] for i in range(size)]


def _times_bidiagonal(a: _Triangle, diagonal: Sequence[np.ndarray], above: float) -> _Triangle:
    size = len(a)
    return [
        [a[i][j] * diagonal[j] + (a[i][j - 1] * above if j > i else 0.0) for j in range(size)] for i in range(size)
    ]


def _product(a: _Triangle, b: _Triangle) -> _Triangle:
    """Return the product of upper triangles."""
    size = len(a)
    zero = np.zeros_like(a[0][0])
    return [
        [sum((a[i][k] * b[k][j] for k in range(i, j + 1)), zero) for j in range(size)] for i in range(size)
    ]
