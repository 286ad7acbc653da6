"""Mehler's series for smooth activations: <f(z_1) f(z_2)> = sum_k rho^k a_k(K_11) a_k(K_22).

a_k(K) = E f(sqrt(K) x) h_k(x) with h_k the normalised Hermite polynomials, x ~ N(0, 1). With f of unit norm for each
input, and rearranged,

    1 - <f_1 f_2> = sum_k (a_k - b_k)^2/2 + (1 - rho) sum_j rho^j sum_{k > j} a_k b_k ,

nothing cancels for nearly equal inputs. Opposite inputs of even and odd functions are equal inputs but for a sign. What
is left out after M terms, t = 1 - sum a_k^2 for each input, counts as one term of power M: exact for equal inputs, and
wrong by at most 2 sqrt(t_1 t_2). The coefficients fall off geometrically or like exp(-c sqrt(k/K)), with c set by the
nearest singularity of f in the complex plane. One matrix product makes the coefficients of an input, and a pair costs
six operations per term.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.activations import Activation
from pdlt.numerics import rules
from pdlt.numerics.pairs.geometry import Pairs

#: Terms of the series at each level. The nodes grow along, up to the finest rule there is.
TERMS = (32, 64, 128, 256, 512, 1024, 2048)
_COARSEST = 1  # of rules.trapezoid
_FINEST = len(rules.TRAPEZOID_POINTS[1]) - 1

#: Of a rest: the root of rounding would not be small.
_ROUNDING = 64 * np.finfo(float).eps

_UNROLL = 32  # terms per pass over the pairs: fewer passes, less traffic to memory


class Nodes(NamedTuple):
    """Quadrature in one dimension: nodes and weights (M,), and the weights times h_k at the nodes, (terms, M)."""

    nodes: np.ndarray
    weights: np.ndarray
    hermite: np.ndarray


@dataclass(frozen=True)
class Mehler:
    """Any smooth activation."""

    activation: Activation
    name: str = "Mehler series"
    levels: int = len(TERMS)

    def data(self, level: int) -> Nodes:
        return _nodes(level)

    def average(self, k: int, kernel: Pairs, data: Any) -> Pairs:
        (row, a, left), (column, b, right) = (self._expansion(k, v, data) for v in (kernel.row, kernel.column))
        parity = (self.activation.parity or 0) * (-1) ** k
        same = kernel.product >= 0
        near = kernel.nearness if parity else jnp.where(same, kernel.nearness, 2 - kernel.nearness)
        distance = _series((a, b), (left, right), near)
        sign = jnp.where(same, 1.0, -1.0) if parity < 0 else 1.0
        scale = jnp.sqrt(row)[:, None] * jnp.sqrt(column)[None, :]
        return Pairs(row, column, sign * scale * (1 - distance), scale * jnp.minimum(distance, 2 - distance))

    def unresolved(self, k: int, kernel: jax.Array, level: int) -> np.ndarray:
        fine, coarse = _nodes(level), rules.trapezoid(1, _finest_of(level) - 1)
        variance, _, left = self._expansion(k, kernel, fine)
        other = (self._values(k, kernel, coarse.nodes[:, 0]) ** 2) @ coarse.weights
        apart = jnp.where(variance > 0, jnp.abs(other / jnp.where(variance > 0, variance, 1.0) - 1), 0.0)
        # At rho = -1 the one term may have the wrong sign, unless f is even or odd. Else rho^M - rho^k is what is wrong
        # with it, at most 1/4 for k up to 2 M.
        share = 0.25 if self.activation.parity else 2.0
        return np.asarray(jnp.maximum(share * left**2, apart))

    def _expansion(self, k: int, kernel: jax.Array, data: Nodes) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return <f^2>, the coefficients of f of unit norm, and the one that stands for all that are left out."""
        values = self._values(k, kernel, data.nodes)
        variance = (values**2) @ data.weights
        norm = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
        coefficients = (values / norm[:, None]) @ data.hermite.T
        left = jnp.where(variance > 0, 1 - (coefficients**2).sum(1), 0.0)
        return variance, coefficients, jnp.where(left > _ROUNDING, jnp.sqrt(jnp.maximum(left, 0.0)), 0.0)

    def _values(self, k: int, kernel: jax.Array, nodes: Any) -> jax.Array:
        return self.activation.jax(k)(jnp.sqrt(kernel)[:, None] * nodes[None, :])


def _series(coefficients: Sequence[jax.Array], rests: Sequence[jax.Array], separation: jax.Array) -> jax.Array:
    """Return the right-hand side of the module's docstring, (R, C).

    Args:
        coefficients: of rows and columns, (R, terms) and (C, terms).
        rests: the one that stands for all that are left out, (R,) and (C,).
        separation: 1 - rho, (R, C).
    """
    rho = 1 - separation
    groups = coefficients[0].shape[1] // _UNROLL
    # Highest terms first, in groups: Horner's scheme for the powers of rho, with the tails of sum a_k b_k on the way.
    a, b = (jnp.flip(c, 1).reshape(len(c), groups, _UNROLL).transpose(1, 2, 0) for c in coefficients)

    def add(state: tuple, terms: tuple) -> tuple:
        value, tail, same = state
        for x, y in zip(*terms, strict=True):
            # The last of all terms is k = 0: it adds to `same` alone.
            value = value * rho + tail
            tail = tail + x[:, None] * y[None, :]
            same = same + (x[:, None] - y[None, :]) ** 2
        return (value, tail, same), None

    x, y = rests[0][:, None], rests[1][None, :]
    (value, _, same), _ = jax.lax.scan(add, (jnp.zeros_like(rho), x * y, (x - y) ** 2), (a, b))
    return same / 2 + separation * value


def _finest_of(level: int) -> int:
    """Return the level of the quadrature that goes with a level of the series."""
    return min(_COARSEST + level, _FINEST)


@lru_cache(maxsize=len(TERMS))
def _nodes(level: int) -> Nodes:
    rule = rules.trapezoid(1, _finest_of(level))
    x = rule.nodes[:, 0]
    # Times exp(-x^2/4), which keeps every h_k of order one.
    table = np.empty((TERMS[level], len(x)))
    table[0] = np.exp(-(x**2) / 4)
    table[1] = x * table[0]
    for k in range(1, TERMS[level] - 1):
        table[k + 1] = (x * table[k] - np.sqrt(k) * table[k - 1]) / np.sqrt(k + 1)
    return Nodes(x, rule.weights, table * (rule.weights * np.exp(x**2 / 4)))
