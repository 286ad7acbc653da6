"""Closed-form Gaussian expectations for erf, which is a step function of z plus independent noise.

erf(z) = E sign(sqrt(2) z + xi) with xi ~ N(0, 1) independent for every factor, so a product of erf's and their
derivatives is an expectation of signs and deltas under the covariance 2 K + 1.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt.numerics.orthant import Atoms, expectations


def averages(kernel: jax.Array, wanted: Sequence[tuple], rule: tuple[Any, Any]) -> tuple[jax.Array, ...]:
    """Return expectations as arrays, one axis of length N per label.

    Args:
        kernel: covariance K, shape (N, N).
        wanted: expectations as in `pdlt.codegen.program.Average`, without derivatives outside the product.
        rule: see `pdlt.numerics.orthant.expectations`; used by products of four erf's.
    """
    return tuple(_average(kernel, average, rule) for average in wanted)


def _average(kernel: jax.Array, average: tuple, rule: tuple[Any, Any]) -> jax.Array:
    inputs, rank = kernel.shape[0], len(average)
    owners = np.array([axis for axis, (_, ks) in enumerate(average) for _ in ks])
    factors = tuple(_sign_derivative(k) for _, ks in average for k in ks)
    entries = np.array(list(np.ndindex(*(inputs,) * rank)))[:, owners]
    noise = jnp.eye(len(factors), dtype=kernel.dtype)[None]
    covariances = 2 * kernel[entries[:, :, None], entries[:, None, :]] + noise
    values = jax.vmap(lambda c: expectations([factors], c, rule)[0])(covariances)
    return values.reshape((inputs,) * rank)


def _sign_derivative(k: int) -> Atoms:
    """Return the k-th derivative of sign(sqrt(2) z + xi) with respect to z, in the variable sqrt(2) z + xi."""
    if k == 0:
        return {("one", 0): -1.0, ("step", 0): 2.0}
    return {("delta", k - 1): 2.0 * 2 ** (k / 2)}
