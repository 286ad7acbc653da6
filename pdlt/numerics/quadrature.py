"""Gaussian expectations of products of activation derivatives by summation over nodes.

An entry that involves b distinct inputs is an integral in b dimensions. For every b the inputs are covered by subsets
of that size; on each subset the product rule integrates jointly, and the N^r entries are gathered from the subsets.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: k -> the k-th derivative of the activation as a function on arrays.
Derivatives = Callable[[int], Callable[[Any], Any]]


#: Nodes are summed in chunks of this size, which bounds memory and keeps the working set in cache.
CHUNK = 1 << 14


def dimensions(wanted: Sequence[tuple], inputs: int, joint: bool) -> tuple[int, ...]:
    """Return the dimensions in which `averages` integrates for these expectations."""
    return (inputs,) if joint else tuple(range(1, min(inputs, max(len(average) for average in wanted)) + 1))


def averages(
    derivatives: Derivatives,
    kernel: jax.Array,
    wanted: Sequence[tuple],
    rules: dict[int, tuple[jax.Array, jax.Array]],
    joint: bool = False,
) -> tuple[jax.Array, ...]:
    """Return Gaussian expectations as arrays, one axis of length N per distinct label.

    Args:
        derivatives: the activation's derivatives.
        kernel: covariance K, shape (N, N), positive semidefinite; it may be singular.
        wanted: expectations as in `pdlt.codegen.program.Average`, without derivatives outside the product.
        rules: nodes (M, d) and weights (M,) for each dimension d in `dimensions(wanted, N, joint)`.
        joint: integrate over all N inputs at once instead of over subsets (for quasi-Monte Carlo rules).
    """
    inputs = kernel.shape[0]
    result = {average: jnp.zeros(inputs ** len(average), dtype=kernel.dtype) for average in wanted}
    for dimension in dimensions(wanted, inputs, joint):
        group = [average for average in wanted if joint or len(average) >= dimension]
        subsets = np.array(list(itertools.combinations(range(inputs), dimension)))
        blocks = kernel[subsets[:, :, None], subsets[:, None, :]]
        values = jax.lax.map(lambda block, d=dimension, g=group: _subset(derivatives, block, g, rules[d]), blocks)
        for average, value in zip(group, values, strict=True):
            entries, sources = _gather(inputs, dimension, len(average), joint)
            result[average] = result[average].at[entries].set(value.reshape(-1)[sources])
    return tuple(result[average].reshape((inputs,) * len(average)) for average in wanted)


def _subset(
    derivatives: Derivatives, block: jax.Array, group: Sequence[tuple], rule: tuple[jax.Array, jax.Array]
) -> list[jax.Array]:
    """Return the expectations of a group for the inputs with covariance `block`, all assignments to axes flattened."""
    dimension, root = block.shape[0], square_root(block)
    nodes, weights = rule
    size = min(CHUNK, nodes.shape[0])
    extra = -nodes.shape[0] % size
    chunks = (
        jnp.pad(nodes, ((0, extra), (0, 0))).reshape(-1, size, dimension),
        jnp.pad(weights, (0, extra)).reshape(-1, size),
    )

    def add(total: list[jax.Array], chunk: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], None]:
        part = _product_averages(derivatives, root @ chunk[0].T, chunk[1], group)
        return [t + p for t, p in zip(total, part, strict=True)], None

    zero = [jnp.zeros(dimension ** len(average), dtype=block.dtype) for average in group]
    return jax.lax.scan(add, zero, chunks)[0]


def square_root(matrix: jax.Array) -> jax.Array:
    """Return a root R with R R^T = matrix; zero eigenvalues (equal or dependent inputs) are fine."""
    if matrix.shape[0] == 1:
        return jnp.sqrt(jnp.maximum(matrix, 0.0))
    values, vectors = jnp.linalg.eigh(matrix)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]


def _product_averages(
    derivatives: Derivatives, z: jax.Array, weights: jax.Array, group: Sequence[tuple]
) -> list[jax.Array]:
    """Return sum_m w_m prod_axes prod_k sigma^(k)(z_axis,m) for all assignments of inputs to axes, flattened."""
    products: dict[tuple, jax.Array] = {}

    def outer(axes: tuple) -> jax.Array:
        """Return the products over nodes of one input per axis, shape (d ** len(axes), M), each computed once."""
        if axes not in products:
            if len(axes) == 1:
                products[axes] = math.prod((derivatives(k)(z) for k in axes[0][1]), start=jnp.ones_like(z))
            else:
                left, right = outer(axes[:-1]), outer(axes[-1:])
                products[axes] = (left[:, None, :] * right[None, :, :]).reshape(-1, z.shape[-1])
        return products[axes]

    half = [(len(average) + 1) // 2 for average in group]
    return [
        (outer(average[:h]) @ (outer(average[h:]) * weights[None, :]).T).reshape(-1)
        if len(average) > 1
        else outer(average) @ weights
        for average, h in zip(group, half, strict=True)
    ]


def _gather(inputs: int, dimension: int, rank: int, joint: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return where the entries with `dimension` distinct inputs (all, if joint) are, and where their values come from.

    Places are flat: in the array with one axis of length `inputs` per label, and among the (subset, assignment)
    results.
    """
    place = {subset: i for i, subset in enumerate(itertools.combinations(range(inputs), dimension))}
    entries, sources = [], []
    for flat, entry in enumerate(np.ndindex(*(inputs,) * rank)):
        subset = tuple(range(inputs)) if joint else tuple(sorted(set(entry)))
        if len(subset) == dimension:
            assignment = 0
            for i in entry:
                assignment = assignment * dimension + subset.index(i)
            entries.append(flat)
            sources.append(place[subset] * dimension**rank + assignment)
    return np.array(entries), np.array(sources)
