"""Run a Program: one layer, on any array namespace (jax.numpy for speed, numpy objects for the slow twin)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pdlt.codegen.program import Program, View
from pdlt.equations import PARAMETERS


def step(
    program: Program, xp: Any, state: Sequence[Any], averages: Sequence[Any], parameters: dict[str, Any]
) -> tuple[Any, ...]:
    """Return all tensors at layer l+1.

    Args:
        program: the operations.
        xp: array namespace, `jax.numpy` or `numpy`.
        state: the tensors at layer l in the order of `program.updates`, of shape (N,) * rank each.
        averages: the Gaussian expectations under K^(l) in the order of `program.averages`.
        parameters: C_b, lambda_b, C_W, lambda_W of layer l+1, and rho = n_l / n_{l-1}.
    """
    if program.single:
        return _step_single(program, xp, state, averages, parameters)
    cache: dict[tuple[View, int], Any] = {}

    def seen(view: View, rank: int) -> Any:
        key = (view, rank)
        if key not in cache:
            source = averages if view.kind == "average" else state
            cache[key] = along(xp, source[view.index], view.axes, rank)
        return cache[key]

    new = []
    for update, old in zip(program.updates, state, strict=True):
        total = xp.zeros_like(old)
        for product in update.products:
            value = product.coefficient
            for name, power in zip(PARAMETERS, product.powers, strict=True):
                if power:
                    value = value * parameters[name] ** power
            for view in product.views:
                value = value * seen(view, update.rank)
            total = total + value
        new.append(total)
    return tuple(new)


def along(xp: Any, array: Any, axes: tuple[int, ...], rank: int) -> Any:
    """Return `array` with dimension d laid along axis axes[d] of an output of the given rank.

    Repeated axes take the diagonal; axes that do not occur have length one and broadcast.
    """
    if not axes:
        return array
    distinct = sorted(set(axes))
    if len(distinct) < len(axes) or list(axes) != distinct:
        letters = "abcdefghijklmnop"
        array = xp.einsum("".join(letters[a] for a in axes) + "->" + "".join(letters[a] for a in distinct), array)
    sizes = dict(zip(distinct, array.shape, strict=True))  # rows and columns of a Gram block may differ in number
    return array.reshape(tuple(sizes.get(a, 1) for a in range(rank)))


def _step_single(
    program: Program, xp: Any, state: Sequence[Any], averages: Sequence[Any], parameters: dict[str, Any]
) -> tuple[Any, ...]:
    """Evaluate all products of scalars at once, so that the compiled code does not grow with their number."""
    factors, coefficients, bounds = _factor_table(program)
    one = xp.ones_like(state[0])
    scalars = xp.stack([one, *(one * parameters[name] for name in PARAMETERS), *averages, *state])
    values = coefficients * xp.prod(scalars[factors], axis=1)
    return tuple(values[start:stop].sum() for start, stop in bounds)


@lru_cache(maxsize=32)
def _factor_table(program: Program) -> tuple[np.ndarray, np.ndarray, tuple[tuple[int, int], ...]]:
    """Return the factors of every product as places in (1, parameters, averages, state), padded with the one."""
    first_average = 1 + len(PARAMETERS)
    first_tensor = first_average + len(program.averages)
    rows: list[list[int]] = []
    coefficients: list[float] = []
    bounds: list[tuple[int, int]] = []
    for update in program.updates:
        start = len(rows)
        for product in update.products:
            row = [1 + i for i, power in enumerate(product.powers) for _ in range(power)]
            for view in product.views:
                row.append(view.index + (first_average if view.kind == "average" else first_tensor))
            rows.append(row)
            coefficients.append(product.coefficient)
        bounds.append((start, len(rows)))
    width = max(len(row) for row in rows)
    factors = np.array([row + [0] * (width - len(row)) for row in rows])
    return factors, np.array(coefficients), tuple(bounds)
