"""Gaussian expectations for `pdlt.checks.arithmetic`: rationals for polynomials, mpmath for anything smooth.

These share no code with `pdlt.numerics`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import factorial
from typing import Any

from pdlt.checks.arithmetic import Average, Values

#: Exponents of z_0, z_1, ... -> coefficient.
Polynomial = dict[tuple[int, ...], Any]


def polynomial_averages(coefficients: Sequence[Any]) -> Callable[[Values], Average]:
    """Return the expectations of products of derivatives of sigma(z) = sum_m coefficients[m] z^m.

    Exact in the arithmetic of the coefficients and of the kernel (Isserlis' theorem).
    """

    def under(kernel: Values) -> Average:
        size = 1 + max(i for pair in kernel for i in pair)

        @cache
        def moment(exponents: tuple[int, ...]) -> Any:
            if not any(exponents):
                return 1
            first = next(i for i, e in enumerate(exponents) if e)
            rest = list(exponents)
            rest[first] -= 1
            # E[z_i f] = sum_j K_ij E[d_j f]
            total: Any = 0
            for j, e in enumerate(rest):
                if e:
                    lower = tuple(x - (i == j) for i, x in enumerate(rest))
                    total = total + kernel[first, j] * e * moment(lower)
            return total

        def average(factors: tuple[tuple[int, int], ...]) -> Any:
            total: Polynomial = {(0,) * size: 1}
            for label, k in factors:
                new: Polynomial = {}
                for m in range(k, len(coefficients)):
                    weight = coefficients[m] * (factorial(m) // factorial(m - k))
                    for exponents, value in total.items():
                        raised = tuple(e + (m - k) * (i == label) for i, e in enumerate(exponents))
                        new[raised] = new.get(raised, 0) + weight * value
                total = new
            return sum((value * moment(exponents) for exponents, value in total.items()), 0)

        return average

    return under


def homogeneous_average(moments: Callable[[int], Any], kernel: Any) -> Callable[[tuple[int, ...], int], Any]:
    """Return the single-input expectations of a scale-invariant activation, sigma(z) = a_+ z or a_- z.

    The p derivatives of a product are moved onto the Gaussian: <d^p f> = K^(-p/2) <f He_p(z / sqrt K)>.

    Args:
        moments: m -> (a_+^m + a_-^m) / 2 for even m.
        kernel: the variance K.

    Returns:
        (orders, p) -> expectation; second and higher pointwise derivatives of sigma are zero. A product of sigma
        and sigma' with an odd number of factors, or odd in z after the derivatives, does not occur in the theory.
    """

    def average(orders: tuple[int, ...], p: int) -> Any:
        if any(k > 1 for k in orders):
            return 0
        power = orders.count(0)
        if len(orders) % 2 or (power + p) % 2:
            raise ArithmeticError(f"the expectation {orders}, {p} is not rational")
        # He_p(x) = sum_j (-1)^j p! / (j! (p - 2j)! 2^j) x^(p - 2j)
        hermite = sum(
            (-1) ** j * factorial(p) // (factorial(j) * factorial(p - 2 * j) * 2**j) * _odd_factorial(power + p - 2 * j)
            for j in range(p // 2 + 1)
        )
        exponent = (power - p) // 2
        scale = kernel**exponent if exponent >= 0 else 1 / kernel ** (-exponent)
        return moments(len(orders)) * hermite * scale

    return average


def quadrature(kernel: Sequence[Sequence[Any]], digits: int, reach: float, step: float) -> Callable:
    """Return an integrator under a Gaussian of one or two variables, by the trapezoidal rule in mpmath.

    For functions that are analytic in a strip of half-width w (in units of the standard deviation) the error is
    about exp(-2 pi w / step) from the step and exp(-reach^2 / 2) from the ends.

    Args:
        kernel: the covariance, 1 by 1 or 2 by 2.
        digits: working precision.
        reach: where the line is cut, in standard deviations.
        step: distance of the nodes, in standard deviations.

    Returns:
        A function that takes f, a function of z_0 or of (z_0, z_1) that returns several values, and returns the list of
        their averages.
    """
    import mpmath

    with mpmath.workdps(digits):
        h = mpmath.mpf(step)
        count = int(reach / step)
        line = [h * i for i in range(-count, count + 1)]
        weight = [h * mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi) for x in line]
        factor = mpmath.cholesky(mpmath.matrix([list(row) for row in kernel]))
        if len(kernel) == 1:
            nodes: list[tuple] = [((factor[0, 0] * x,), w) for x, w in zip(line, weight, strict=True)]
        else:
            tiny = mpmath.mpf(10) ** (-digits - 10)
            nodes = [
                ((factor[0, 0] * x, factor[1, 0] * x + factor[1, 1] * y), w * v)
                for x, w in zip(line, weight, strict=True)
                for y, v in zip(line, weight, strict=True)
                if w * v > tiny
            ]

    def integrate(f: Callable[..., Sequence[Any]]) -> list:
        with mpmath.workdps(digits):
            rows = [[w * value for value in f(*node)] for node, w in nodes]
            return [mpmath.fsum(column) for column in zip(*rows, strict=True)]

    return integrate


def _odd_factorial(power: int) -> int:
    """Return E x^power for a standard Gaussian x and even power."""
    return factorial(power) // (2 ** (power // 2) * factorial(power // 2))
