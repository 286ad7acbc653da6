"""Closed-form Gaussian expectations for sin and cos: sums of exponentials of the kernel."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp


def averages(phase: float, kernel: jax.Array, wanted: Sequence[tuple]) -> tuple[jax.Array, ...]:
    """Return <prod sigma^(k)(z)> for sigma(z) = sin(z + phase * pi / 2).

    Each factor is a sum of two exponentials, sin(z + a) = sum_s s exp(i s (z + a)) / 2i, and
    E exp(i sum_a s_a z_a) = exp(-s K s / 2).

    Args:
        phase: 0 for sin, 1 for cos, in quarter turns.
        kernel: covariance K, shape (N, N).
        wanted: expectations as in `pdlt.codegen.program.Average`, without derivatives outside the product.
    """
    return tuple(_average(phase, kernel, average) for average in wanted)


def _average(phase: float, kernel: jax.Array, average: tuple) -> jax.Array:
    inputs, rank = kernel.shape[0], len(average)
    owners = [axis for axis, (_, ks) in enumerate(average) for _ in ks]
    turns = [k + phase for _, ks in average for k in ks]
    total = jnp.zeros((inputs,) * rank, dtype=kernel.dtype)
    # The sign of the first factor is fixed; the other half is the complex conjugate.
    for signs in itertools.product((1,), *[(1, -1)] * (len(turns) - 1)):
        amplitude = 2 * _quarter_turns(sum(s * t for s, t in zip(signs, turns, strict=True)) - len(turns))
        for s in signs:
            amplitude *= s / 2
        if amplitude:
            charge = [sum(s for s, owner in zip(signs, owners, strict=True) if owner == a) for a in range(rank)]
            total = total + amplitude * jnp.exp(-_quadratic_form(kernel, charge) / 2)
    return total


def _quarter_turns(turns: int) -> float:
    """Return the real part of i ** turns."""
    return (1.0, 0.0, -1.0, 0.0)[turns % 4]


def _quadratic_form(kernel: jax.Array, charge: list[int]) -> jax.Array:
    """Return sum_ab s_a s_b K[i_a, i_b] as an array over (i_1 ... i_rank)."""
    rank, inputs = len(charge), kernel.shape[0]
    form = jnp.zeros((inputs,) * rank, dtype=kernel.dtype)
    for a in range(rank):
        along_a = [1] * rank
        along_a[a] = inputs
        form = form + charge[a] ** 2 * jnp.diagonal(kernel).reshape(along_a)
        for b in range(a + 1, rank):
            shape = [1] * rank
            shape[a] = shape[b] = inputs
            form = form + 2 * charge[a] * charge[b] * kernel.reshape(shape)
    return form
