"""Gaussian expectations of products of sigma^(k)(z_1) and sigma^(k)(z_2) on all pairs of inputs.

Mehler's series, <f(z_1) g(z_2)> = sum_t rho^t a_t(K_11) b_t(K_22), with the nodes of
`pdlt.numerics.pairs.mehler`; here f and g may be any products of derivatives of the activation.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.activations import Activation
from pdlt.numerics.pairs.mehler import Mehler

#: A product of derivatives of the activation on one input: their orders, sorted.
Orders = tuple[int, ...]

#: What the terms left out of a series may be, relative to the root of <f^2> <g^2>.
RTOL = 1e-11

#: The first level that is tried, of 128 terms.
_FIRST = 2

_UNROLL = 16


class PairAverages:
    """Expectations under one kernel.

    Args:
        activation: a smooth one.
        kernel: K, shape (M, M).
        products: all f and g that will be asked for.

    Attributes:
        missed: what the series leaves out, relative to the root of <f^2> <g^2>. By Cauchy and Schwarz it is at most the
            larger one of <f^2> and <g^2>, each minus the squares of the coefficients.
    """

    def __init__(self, activation: Activation, kernel: np.ndarray, products: Iterable[Orders]) -> None:
        variances = np.maximum(kernel.diagonal(), 0.0)
        scale = np.sqrt(variances)[:, None] * np.sqrt(variances)[None, :]
        self._rho = jnp.asarray(np.clip(kernel / np.where(scale > 0, scale, 1.0), -1.0, 1.0))
        self._found: dict[tuple[Orders, Orders], jax.Array] = {}
        with np.errstate(over="ignore", invalid="ignore"):  # the caller knows the layer
            for level in range(_FIRST, Mehler(activation).levels):
                self._coefficients, self.missed = _expansions(activation, variances, sorted(set(products)), level)
                if self.missed <= RTOL:
                    break

    def __call__(self, first: Orders, second: Orders) -> jax.Array:
        """Return <prod sigma^(k)(z_1) prod sigma^(k)(z_2)>, shape (M, M), input 1 along the rows."""
        if first > second:
            return self(second, first).T
        if (first, second) not in self._found:
            self._found[first, second] = _series(self._coefficients[first], self._coefficients[second], self._rho)
        return self._found[first, second]


def _expansions(
    activation: Activation, variances: np.ndarray, products: list[Orders], level: int
) -> tuple[dict[Orders, jax.Array], float]:
    """Return the coefficients of each product, (M, terms), and the largest part of a square that they leave out."""
    rule = Mehler(activation).data(level)
    z = np.sqrt(variances)[:, None] * rule.nodes[None, :]
    sigma = {k: np.asarray(jax.jit(activation.jax(k))(z)) for k in {k for orders in products for k in orders}}
    found, missed = {}, 0.0
    for orders in products:
        values = np.ones_like(z)
        for k in orders:
            values = values * sigma[k]
        coefficients = values @ rule.hermite.T
        square = (values**2) @ rule.weights
        rest = 1 - (coefficients**2).sum(1) / np.where(square > 0, square, 1.0)
        missed = max(missed, float(np.where(square > 0, rest, 0.0).max()))
        found[orders] = jnp.asarray(coefficients)
    return found, missed


@jax.jit
def _series(a: jax.Array, b: jax.Array, rho: jax.Array) -> jax.Array:
    """Return sum_t rho^t a_t b_t by Horner's scheme: a and b have shape (M, terms)."""

    def add(value: jax.Array, terms: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return value * rho + terms[0][:, None] * terms[1][None, :], None

    return jax.lax.scan(add, jnp.zeros_like(rho), (a.T, b.T), reverse=True, unroll=_UNROLL)[0]
