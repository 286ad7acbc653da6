"""Arc-cosine kernels (Cho and Saul 2009) of sigma(z) = s_plus z for z > 0, s_minus z for z < 0.

With sigma(z) = mean z + half |z| and phi the angle between the lines of z_1 and z_2 (not more than a right angle),

    <|z_1| |z_2|> = |<z_1 z_2>| + (2/pi) sqrt(K_11 K_22) (sin phi - phi cos phi)

and z_1 and z_2 have the same sign with probability 1 - phi/pi, or phi/pi if their correlation is negative. As functions
of u = sin(phi/2) the two are u^3 and u times power series in u^2 <= 1/2, which are evaluated as polynomials. (The
compiler's own arcsine is a call for every element, several times slower.)
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

from pdlt.numerics.pairs.geometry import Pairs

#: In u^2. The functions are analytic up to u^2 = 1, and 22 terms leave 5.8^-22 = 2e-17 (the ellipse of [0, 1/2] at 1).
_DEGREE = 22


@dataclass(frozen=True)
class PiecewiseLinear:
    """Exact for activations with one kink at the origin. Only sigma and sigma' are functions; sigma'' is an atom."""

    minus: float
    plus: float
    name: str = "closed"
    levels: int = 1

    def data(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        return _polynomials()

    def average(self, k: int, kernel: Pairs, data: Any) -> Pairs:
        mean, half = (self.plus + self.minus) / 2, (self.plus - self.minus) / 2
        angle, lens = data
        s = kernel.nearness / 2
        same = kernel.product >= 0
        if k == 0:
            row, column = ((mean**2 + half**2) * variance for variance in (kernel.row, kernel.column))
            scale, excess = kernel.scale, kernel.excess
            curved = 4 / jnp.pi * scale * s * _times_root(_horner(lens, s), s)
            product = mean**2 * kernel.product + half**2 * (jnp.abs(kernel.product) + curved)
            kept = mean**2 * excess + half**2 * (excess - curved)
            opposite = 2 * half**2 * scale + (mean**2 - half**2) * excess + half**2 * curved
            folded = 2 * mean**2 * scale + (half**2 - mean**2) * excess - half**2 * curved
            return Pairs(row, column, product, jnp.where(same, kept, jnp.where(product < 0, opposite, folded)))
        # A variable at rest has the mean slope, whatever the other one does.
        row, column = (jnp.where(v > 0, mean**2 + half**2, mean**2) for v in (kernel.row, kernel.column))
        turned = 4 / jnp.pi * half**2 * _times_root(_horner(angle, s), s)
        signs = jnp.where(same, half**2 - turned, turned - half**2)
        product = mean**2 + jnp.where(kernel.scale > 0, signs, 0.0)
        return Pairs(row, column, product, Pairs(row, column, product, product).scale - jnp.abs(product))

    def unresolved(self, k: int, kernel: jax.Array, level: int) -> np.ndarray:
        return np.zeros(kernel.shape)


def _times_root(value: jax.Array, s: jax.Array) -> jax.Array:
    """Return value sqrt(s) of a positive value: the compiler computes roots once, and all else wherever it is used."""
    return jnp.sqrt(s * value**2)


def _horner(coefficients: Any, x: jax.Array) -> jax.Array:
    """Return the polynomial, highest coefficient first; unrolled, so that it becomes one loop over elements."""
    value = jnp.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        value = value * x + c
    return value


@lru_cache(maxsize=1)
def _polynomials() -> tuple[np.ndarray, np.ndarray]:
    """Return arcsin(u)/u and (sin phi - phi cos phi)/(2 u^3), phi = 2 arcsin(u), as polynomials in s = u^2."""

    def angle(s: Any) -> Any:
        u = mpmath.sqrt(s)
        return mpmath.asin(u) / u

    def lens(s: Any) -> Any:
        return (mpmath.sqrt(1 - s) - (1 - 2 * s) * angle(s)) / s

    with mpmath.workdps(60):
        interval = [mpmath.mpf(10) ** -20, mpmath.mpf(1) / 2]
        angles, lenses = (mpmath.chebyfit(f, interval, _DEGREE + 1) for f in (angle, lens))
    return np.array([float(c) for c in angles]), np.array([float(c) for c in lenses])
