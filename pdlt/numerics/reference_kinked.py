"""Slow twin for activations with a kink: direct integration over half lines and quadrants.

All derivatives, those of the Dirac atoms included, are moved to the Gaussian density, so that neither Stein's
identity nor orthant probabilities are used; the atoms themselves are found by sharpening smooth activations.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import Any

import mpmath

#: The factors of one input: p derivatives of the product of sigma^(k) for k in the tuple.
Block = tuple[int, tuple[int, ...]]


class Kinked:
    """E prod_i d^p_i f_i(z_i) where f_i is z^a on each half line plus Dirac atoms.

    All derivatives, those of the atoms included, are moved to the Gaussian density: what is left are moments of a
    polynomial times the density over the origin, half lines and quadrants.
    """

    def __init__(self, slopes: tuple[float, float], kernel: list[list[Any]], pointwise: bool) -> None:
        self._slopes = slopes
        self._kernel = kernel
        self._pointwise = pointwise

    def __call__(self, blocks: dict[int, Block]) -> Any:
        """Return the expectation of a product given as {input: its factors}; nan if it has no meaning."""
        inputs = sorted(blocks)
        covariance = mpmath.matrix([[self._kernel[i][j] for j in inputs] for i in inputs])
        total: Any = 0
        for choice in itertools.product(*(self._pieces(*blocks[i]) for i in inputs)):
            weight = prod(piece[0] for piece in choice)
            derivatives = [piece[1] for piece in choice]
            if mpmath.isnan(weight):
                return weight
            polynomial = _density_derivative(covariance, derivatives)
            signed = (-1) ** sum(derivatives) * weight
            total += signed * _moment(covariance, polynomial, [piece[2] for piece in choice])
        return total

    def _pieces(self, p: int, orders: tuple[int, ...]) -> Iterator[tuple[Any, int, tuple[int, int]]]:
        """Yield (weight, derivatives on the density, (side, power)); side 0 is the origin."""
        if max(orders) < 2:
            values = orders.count(0)
            for side, slope in zip((-1, 1), self._slopes, strict=True):
                if slope:
                    yield slope ** len(orders), p, (side, values)
        elif not self._pointwise:
            for m, weight in enumerate(atoms(self._slopes, orders)):
                if weight:
                    yield weight, p + m, (0, 0)


@lru_cache(maxsize=256)
def atoms(slopes: tuple[float, float], orders: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the weights of delta, delta', ... in prod_k sigma^(k) as the limit of smooth activations.

    With sigma_b(z) = h(b z) / b and b -> infinity, the m-th moment of the product is b^e times that of h, with
    e = sum_k (k - 1) - m - 1. Two different functions h must agree on the limit; if they do not, or if a moment
    diverges, the product has no meaning and the weight is nan. `orders` contains a k >= 2.
    """
    excess = sum(k - 1 for k in orders)
    found: list[Any] = []
    with mpmath.workdps(30):
        for m in range(excess):
            moments = [_moment_of_product(slopes, orders, m, smoothing) for smoothing in _SMOOTHINGS]
            target = moments[0] if m == excess - 1 else mpmath.mpf(0)
            universal = all(abs(moment - target) < _TINY for moment in moments)
            if not universal:
                return (mpmath.nan,)
            weight = (-1) ** m * target / mpmath.factorial(m)
            found.append(weight if abs(weight) > _TINY else mpmath.mpf(0))
    return tuple(found)


_TINY = mpmath.mpf(10) ** -20

#: Mixtures of normal densities (weight, mean, deviation) that smooth the kink; neither is even about its mean.
_SMOOTHINGS = (((0.25, -0.5, 1.0), (0.75, 0.25, 0.5)), ((0.5, 0.75, 1.0), (0.5, -0.25, 0.75)))


def _moment_of_product(slopes: tuple[float, float], orders: tuple[int, ...], m: int, smoothing: tuple) -> Any:
    """Integrate x^m prod_k h^(k)(x), where h is the kinked function convolved with the smoothing density."""
    # The trapezoidal rule on the line converges faster than any power of the step for these entire functions.
    factors = zip(*(_smoothed(slopes, k, smoothing) for k in orders), strict=True)
    return _STEP * sum((i * _STEP) ** m * prod(values) for i, values in zip(_POINTS, factors, strict=True))


_STEP = mpmath.mpf(1) / 8
_POINTS = range(-96, 97)


@lru_cache(maxsize=64)
def _smoothed(slopes: tuple[float, float], k: int, smoothing: tuple) -> list[Any]:
    """Return the k-th derivative of the kinked function convolved with normal densities, on a line of points."""
    with mpmath.workdps(30):
        return [_convolution(slopes, k, i * _STEP, smoothing) for i in _POINTS]


def _convolution(slopes: tuple[float, float], k: int, x: Any, smoothing: tuple) -> Any:
    total = mpmath.mpf(0)
    for weight, mean, deviation in smoothing:
        u = (x - mean) / mpmath.mpf(deviation)
        if k == 0:
            part = slopes[0] * (x - mean) + (slopes[1] - slopes[0]) * deviation * (u * mpmath.ncdf(u) + mpmath.npdf(u))
        elif k == 1:
            part = slopes[0] + (slopes[1] - slopes[0]) * mpmath.ncdf(u)
        else:
            bell = (-1) ** k * _hermite(k - 2, u) * mpmath.npdf(u)
            part = (slopes[1] - slopes[0]) * mpmath.mpf(deviation) ** (1 - k) * bell
        total += weight * part
    return total


def _hermite(n: int, x: Any) -> Any:
    """Return He_n(x)."""
    before, now = mpmath.mpf(0), mpmath.mpf(1)
    for k in range(n):
        before, now = now, x * now - k * before
    return now


def _density_derivative(covariance: Any, derivatives: list[int]) -> dict[tuple[int, ...], Any]:
    """Return the polynomial in front of the density after the given numbers of derivatives, {powers: coefficient}."""
    precision = covariance**-1
    size = len(derivatives)
    polynomial: dict[tuple[int, ...], Any] = {(0,) * size: mpmath.mpf(1)}
    for i, count in enumerate(derivatives):
        for _ in range(count):
            following: Counter[tuple[int, ...]] = Counter()
            for powers, coefficient in polynomial.items():
                if powers[i]:
                    following[_raised(powers, i, -1)] += powers[i] * coefficient
                for j in range(size):
                    following[_raised(powers, j, 1)] -= precision[i, j] * coefficient
            polynomial = following
    return polynomial


def _raised(powers: tuple[int, ...], i: int, by: int) -> tuple[int, ...]:
    return (*powers[:i], powers[i] + by, *powers[i + 1 :])


def _moment(covariance: Any, polynomial: dict[tuple[int, ...], Any], places: list[tuple[int, int]]) -> Any:
    """Integrate polynomial * prod z_i^power_i * density over half lines (side -1 or 1); side 0 sets z_i = 0."""
    free = [i for i, (side, _) in enumerate(places) if side]
    density = 1 / mpmath.sqrt((2 * mpmath.pi) ** len(places) * mpmath.det(covariance))
    precision = covariance**-1
    total: Any = 0
    for powers, coefficient in polynomial.items():
        if any(powers[i] for i in range(len(places)) if i not in free):
            continue
        raised = [(places[i][0], powers[i] + places[i][1]) for i in free]
        sign = prod(side**power for side, power in raised)
        total += sign * coefficient * _positive_moment(precision, free, raised)
    return density * total


def _positive_moment(precision: Any, free: list[int], raised: list[tuple[int, int]]) -> Any:
    """Return the integral over z_i > 0 of prod z_i^power_i exp(-q/2), signs of the sides moved into q."""
    if not free:
        return mpmath.mpf(1)
    power = sum(n for _, n in raised)
    radial = mpmath.mpf(2) ** (mpmath.mpf(power + len(free)) / 2 - 1) * mpmath.gamma(mpmath.mpf(power + len(free)) / 2)
    if len(free) == 1:
        return radial / precision[free[0], free[0]] ** (mpmath.mpf(power + 1) / 2)
    (i, j), ((s, a), (t, b)) = free, raised
    cross = s * t * precision[i, j]

    def angular(angle: Any) -> Any:
        c, d = mpmath.cos(angle), mpmath.sin(angle)
        form = precision[i, i] * c**2 + 2 * cross * c * d + precision[j, j] * d**2
        return c**a * d**b / form ** (mpmath.mpf(power + 2) / 2)

    # The form is smallest, and the integrand largest, in the direction of the density's ridge.
    ridge = mpmath.atan2(-2 * cross, precision[j, j] - precision[i, i]) / 2
    inside = [angle for angle in (ridge, ridge + mpmath.pi / 2, ridge - mpmath.pi / 2) if 0 < angle < mpmath.pi / 2]
    return radial * mpmath.quad(angular, [0, *sorted(inside), mpmath.pi / 2])
