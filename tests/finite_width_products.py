r"""Exact cumulants of the covariance of a scale-invariant network without bias, one input, at any width.

Nothing here uses pdlt. Given layer l, every preactivation is Gaussian with variance G_l, so G_{l+1} is G_l times
C_W A_2 times an independent average of n_l terms s = sigma(z)^2 / (A_2 G_l), whose moments are numbers:

    E s^q = a_{2q} (2q - 1)!!,    a_m = A_m / A_2^{m/2},    A_m = (a_+^m + a_-^m) / 2.

An average of n independent terms has cumulants kappa_q(s) / n^{q-1}, hence moments that are polynomials in 1/n, and
E G^k is the product of the k-th moments over the hidden layers. Cumulants of G follow from its moments.
"""

from collections.abc import Sequence
from math import comb, prod
from typing import Any

Series = list  # coefficients of 1, 1/N, 1/N^2, ...


def term_moment(q: int, a: dict[int, Any]) -> Any:
    """Return E s^q; `a` holds a_4, a_6, ... (all 1 for a linear network)."""
    return a.get(2 * q, 1) * prod(range(1, 2 * q, 2))


def cumulants(moments: Sequence[Any]) -> list[Any]:
    """Return kappa_1, kappa_2, ... from E x, E x^2, ...; numbers or anything with products."""
    found: list[Any] = []
    for q, moment in enumerate(moments, start=1):
        found.append(moment - sum((comb(q - 1, j - 1) * found[j - 1] * moments[q - j - 1] for j in range(1, q)), 0))
    return found


def average_moments(highest: int, a: dict[int, Any], ratio: Any, terms: int) -> list[Series]:
    """Return E (average of ratio * N terms s)^k for k = 1 ... highest, as series in 1/N."""
    single = cumulants([term_moment(q, a) for q in range(1, highest + 1)])
    zero = [0] * terms
    kappa = [[*zero[: q - 1], c / ratio ** (q - 1), *zero][:terms] for q, c in enumerate(single, start=1)]
    moments: list[Series] = []
    for k in range(1, highest + 1):
        total = list(kappa[k - 1])
        for j in range(1, k):
            total = [x + comb(k - 1, j - 1) * y for x, y in zip(total, times(kappa[j - 1], moments[k - j - 1]))]
        moments.append(total)
    return moments


def covariance_cumulants(highest: int, a: dict[int, Any], ratios: Sequence[Any], kernel: Any, terms: int) -> list:
    """Return kappa_1 ... kappa_highest of G after hidden layers of widths ratio * N, as series in 1/n.

    n is the last width, `kernel` the mean of G. The k-th entry is [X, X_1, ...], kappa_k = n^{1-k} (X + X_1/n + ...).
    """
    length = highest - 1 + terms
    total = [[1] + [0] * (length - 1) for _ in range(highest)]
    for ratio in ratios:
        layer = average_moments(highest, a, ratio, length)
        total = [times(x, y) for x, y in zip(total, layer)]
    result = []
    for k, series in enumerate(cumulants([_Series(t) for t in total]), start=1):
        assert not any(series.c[: k - 1]), "a cumulant of k components is of order n^(1-k)"
        result.append([kernel**k * c * ratios[-1] ** p for p, c in enumerate(series.c)][k - 1 : k - 1 + terms])
    return result


def times(left: Series, right: Series) -> Series:
    """Return the product of two series, cut after as many terms as they have."""
    return [sum(left[i] * right[p - i] for i in range(p + 1)) for p in range(len(left))]


class _Series:
    """A series with the operations that `cumulants` needs."""

    def __init__(self, coefficients: Series) -> None:
        self.c = coefficients

    def __mul__(self, other: "_Series") -> "_Series":
        return _Series(times(self.c, other.c))

    def __rmul__(self, number: int) -> "_Series":
        return _Series([number * x for x in self.c])

    def __radd__(self, _zero: int) -> "_Series":
        return self

    def __add__(self, other: "_Series") -> "_Series":
        return _Series([x + y for x, y in zip(self.c, other.c)])

    def __sub__(self, other: "_Series | int") -> "_Series":
        return self if isinstance(other, int) else _Series([x - y for x, y in zip(self.c, other.c)])
