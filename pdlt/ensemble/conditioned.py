"""Sampler `conditioned`: tangent kernels of real networks, exact in law, without their weight matrices.

A matrix W of independent entries N(0, s^2) that has been asked for products with some vectors only is known on their
span, and nothing else is decided about it. With orthonormal rows P (right vectors, W P^T known) and Q (left vectors,
Q W known)

    W = W P^T P + Q^T Q W (1 - P^T P) + (1 - Q^T Q) W' (1 - P^T P),      W' a fresh copy of W,

in law, given the answers; also when later questions depend on earlier answers, because W' is independent of both. So
a product with a new vector is its part in the span, answered from memory, plus a Gaussian projected to agree with the
products on the other side. The `sweeps` ask each matrix for a few products per input: a layer costs
O(n) random numbers instead of O(n^2), and every moment of H, dH, ddH is that of the finite network.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.ensemble import structured
from pdlt.ensemble.jets import Sample
from pdlt.ensemble.network import OUTPUTS
from pdlt.ensemble.specs import Moment
from pdlt.networks import MLP

Array = Any

#: A vector whose part outside the span is shorter than this counts as inside; in units of the square root of the
#: rounding error, so 1e-7 of its length in double precision, which is then the relative error of the product.
RELATIVE = 8.0
UNROLLED = 4  # up to so many vectors are orthogonalised without a loop


class Memory(NamedTuple):
    """What is known of W of shape (m, n), entries N(0, scale^2). Rows are orthonormal or zero.

    Attributes:
        scale: standard deviation of the entries, (1, 1).
        right, right_images: P, (r, n), and P W^T, (r, m).
        left, left_images: Q, (s, m), and Q W, (s, n).
    """

    scale: Array
    right: Array
    right_images: Array
    left: Array
    left_images: Array


class Conditioned:
    """Oracle that draws of W what it is asked for."""

    def start(self, shape: tuple[int, ...], scale: Array, key: Array) -> Memory:
        """Return an empty memory."""
        *stack, m, n = shape
        return Memory(jnp.broadcast_to(scale, (*stack, 1, 1)), *(jnp.zeros((*stack, 0, size)) for size in (n, m, m, n)))

    def right(self, memory: Memory, v: Array, noise: Array) -> tuple[Array, Memory]:
        """Return v W^T and the memory then."""
        scale, right, right_images, left, left_images = memory
        product, new, images = _product(v, right, right_images, left, left_images, scale * noise)
        right, right_images = jnp.concatenate([right, new]), jnp.concatenate([right_images, images])
        return product, Memory(scale, right, right_images, left, left_images)

    def left(self, memory: Memory, u: Array, noise: Array) -> tuple[Array, Memory]:
        """Return u W and the memory then."""
        scale, right, right_images, left, left_images = memory
        product, new, images = _product(u, left, left_images, right, right_images, scale * noise)
        left, left_images = jnp.concatenate([left, new]), jnp.concatenate([left_images, images])
        return product, Memory(scale, right, right_images, left, left_images)


def sampler(
    net: MLP, x: np.ndarray, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int = OUTPUTS
) -> Sample:
    """Return a function (key, samples) -> (means, finite); arguments and result as in the sampler `network`.

    Raises:
        PdltError: for a moment that only the sampler `jets` measures.
    """
    return structured.sampler_from(Conditioned(), net, x, moments, layers, outputs)


def workload(
    net: MLP, n_inputs: int, n_0: int, moments: tuple[Moment, ...], layers: tuple[int, ...], outputs: int = OUTPUTS
) -> float:
    """Return a rough number of bytes that one network needs."""
    products, entries = structured.sizes(n_inputs, moments, outputs)
    return 8.0 * (6 * products * sum(net.width[: max(layers) - 1]) + entries)


def _product(
    v: Array, asked: Array, images: Array, other: Array, other_images: Array, noise: Array
) -> tuple[Array, Array, Array]:
    """Return products with the rows of v, new orthonormal rows, and the products with those.

    Args:
        v: vectors, (k, n).
        asked, images: orthonormal rows asked before on this side, (r, n), and their products, (r, m).
        other, other_images: those of the other side, (s, m) and (s, n).
        noise: independent numbers with the variance of the entries, (k, m).
    """
    inside, outside, new = _orthonormal(v, asked)
    fresh = noise + (new @ other_images.T - noise @ other.T) @ other
    return inside @ images + outside @ fresh, new, fresh


def _orthonormal(v: Array, basis: Array) -> tuple[Array, Array, Array]:
    """Return coefficients (k, r) and (k, k) and rows (k, n) with v = first @ basis + second @ rows.

    The rows are orthonormal and orthogonal to the basis, or zero where v brings nothing new. Gram-Schmidt by blocks,
    twice: the first pass leaves errors of one percent in the worst case, the second removes them.
    """
    floor = (RELATIVE**2 * jnp.finfo(v.dtype).eps) * jnp.sum(v * v, axis=1)
    inside = v @ basis.T
    rest = v - inside @ basis
    first, outside = _frame(rest @ rest.T, floor)
    rest = first @ rest
    again = rest @ basis.T
    rest = rest - again @ basis
    second, repeated = _frame(rest @ rest.T, jnp.full_like(floor, 0.25))
    return inside + outside @ again, outside @ repeated, second @ rest


def _frame(gram: Array, floor: Array) -> tuple[Array, Array]:
    """Return lower triangular T and R such that T v is orthonormal or zero, and v = R T v, for v v^T = gram.

    A row of T is zero if the square of what is left of its vector is at most its floor.
    """
    k = len(gram)

    def row(j: Array, frame: tuple[Array, Array]) -> tuple[Array, Array]:
        T, R = frame
        known = T @ gram[j]
        rest = (jnp.arange(k) == j) - known @ T
        square = gram[j, j] - known @ known
        regular = square > floor[j]
        norm = jnp.sqrt(jnp.where(regular, square, 1.0))
        T = T.at[j].set(jnp.where(regular, rest / norm, 0.0))
        return T, R.at[j].set(known).at[j, j].set(jnp.where(regular, norm, 0.0))

    start = jnp.zeros_like(gram)
    return jax.lax.fori_loop(0, k, row, (start, start), unroll=k <= UNROLLED)
