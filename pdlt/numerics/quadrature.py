"""Gaussian expectations of products of activation derivatives by summation over nodes.

The inputs are covered by subsets of as many inputs as an expectation can involve; on each subset the product rule
integrates jointly, and the N^r entries are gathered from the subsets.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: k -> the k-th derivative of the activation as a function on arrays.
Derivatives = Callable[[int], Callable[[Any], Any]]


def dimensions(wanted: Sequence[tuple], inputs: int, joint: bool) -> tuple[int, ...]:
    """Return the dimensions in which `averages` integrates for these expectations."""
    return tuple(sorted({_dimension(average, inputs, joint) for average in wanted}))


def _dimension(average: tuple, inputs: int, joint: bool) -> int:
    return inputs if joint else min(len(average), inputs)


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
    result: dict[tuple, jax.Array] = {}
    for dimension in dimensions(wanted, inputs, joint):
        group = [average for average in wanted if _dimension(average, inputs, joint) == dimension]
        subsets = np.array(list(itertools.combinations(range(inputs), dimension)))
        blocks = kernel[subsets[:, :, None], subsets[:, None, :]]
        nodes, weights = rules[dimension]

        def one_subset(block, group=group, nodes=nodes, weights=weights):  # type: ignore[no-untyped-def]
            z = square_root(block) @ nodes.T
            return [_product_average(derivatives, z, weights, average) for average in group]

        values = jax.lax.map(one_subset, blocks)
        for average, value in zip(group, values, strict=True):
            index = _gather_index(inputs, dimension, len(average))
            result[average] = value.reshape(-1)[index]
    return tuple(result[average] for average in wanted)


def square_root(matrix: jax.Array) -> jax.Array:
    """Return a root R with R R^T = matrix; zero eigenvalues (equal or dependent inputs) are fine."""
    if matrix.shape[0] == 1:
        return jnp.sqrt(jnp.maximum(matrix, 0.0))
    values, vectors = jnp.linalg.eigh(matrix)
    return vectors * jnp.sqrt(jnp.maximum(values, 0.0))[None, :]


def _product_average(derivatives: Derivatives, z: jax.Array, weights: jax.Array, average: tuple) -> jax.Array:
    """Return <prod_axes prod_k sigma^(k)(z_axis)> for all assignments of the d inputs to the axes, flattened."""
    columns = [_axis_values(derivatives, z, factors) for factors in average]
    half = (len(columns) + 1) // 2
    left = _outer(columns[:half]) * weights[None, :]
    if len(columns) == 1:
        return left.sum(-1)
    return (left @ _outer(columns[half:]).T).reshape(-1)


def _axis_values(derivatives: Derivatives, z: jax.Array, factors: tuple[int, tuple[int, ...]]) -> jax.Array:
    value = jnp.ones_like(z)
    for k in factors[1]:
        value = value * derivatives(k)(z)
    return value


def _outer(columns: list[jax.Array]) -> jax.Array:
    """Return the products over nodes of one entry of every column, shape (d ** len(columns), M)."""
    product = columns[0]
    for column in columns[1:]:
        product = (product[:, None, :] * column[None, :, :]).reshape(-1, column.shape[-1])
    return product


def _gather_index(inputs: int, dimension: int, rank: int) -> np.ndarray:
    """Return where entry (i_1 ... i_rank) stands among the (subset, local indices), shape (N,) * rank."""
    subsets = list(itertools.combinations(range(inputs), dimension))
    place = {subset: i for i, subset in enumerate(subsets)}
    index = np.empty((inputs,) * rank, dtype=np.int64)
    for entry in np.ndindex(*index.shape):
        members = sorted(set(entry))
        fill = [i for i in range(inputs) if i not in members][: dimension - len(members)]
        subset = tuple(sorted(members + fill))
        local = 0
        for i in entry:
            local = local * dimension + subset.index(i)
        index[entry] = place[subset] * dimension**rank + local
    return index
