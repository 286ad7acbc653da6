"""Slow twin of `predict`: the same equations, run as a plain loop on numpy arrays with directly integrated averages."""

from collections.abc import Sequence
from typing import Any

import mpmath
import numpy as np

from pdlt.codegen.execute import step
from pdlt.codegen.program import Program, lower
from pdlt.equations import PARAMETERS, variable
from pdlt.networks import MLP, check_inputs
from pdlt.numerics.reference import MACHINE_DIGITS, averages, context
from pdlt.observables import Observable, identify, observable
from pdlt.pipeline import derive


def predict_reference(
    net: MLP,
    x: Any,
    observables: Sequence[str | Observable] | None = None,
    order: int = 1,
    digits: int = 15,
    kinks: str = "atoms",
) -> dict[str, np.ndarray]:
    """Return what `predict` returns, slowly, from a different integration rule at any precision.

    Equal inputs are not merged, layers are a Python loop, nothing is compiled. It takes seconds for one or two
    inputs in machine precision, minutes for three inputs or for two at 25 digits.

    Args:
        net, x, observables, order, kinks: as for `predict`.
        digits: significant digits of the integrals; up to 15 means machine numbers.

    Returns:
        {"K": array of shape (depth, N, N), "K_1": ..., "V": ...}, float64, or mpmath numbers if `digits` exceeds 15.

    Raises:
        PdltError: for bad arguments, or more than three inputs (two for a kinked activation).
    """
    with mpmath.workdps(digits + 10):
        inputs = check_inputs(x)
        theory = derive(observables, order=order)
        program = lower(theory, single=len(inputs) == 1, kinked=net.activation.slopes is not None)
        layers = _run(program, net, inputs, digits, kinks == "pointwise")
        result = {}
        for name in theory.requested:
            item = observable(name)
            base, feed = identify(item.slots)
            for j in range(theory.order - item.leading_order + 1):
                index = program.keys.index(variable(base.name, j))
                stack = [_reordered(np.asarray(state[index]), item, base, feed, len(inputs)) for state in layers]
                result[variable(name, j)] = np.stack(stack)
        return result


def _run(program: Program, net: MLP, x: np.ndarray, digits: int, pointwise: bool) -> list[tuple[Any, ...]]:
    number = context(digits).mpf
    gram = _array([[sum(number(a) * number(b) for a, b in zip(u, v)) / number(len(u)) for v in x] for u in x], digits)
    start = {
        "K": number(net.C_b[0]) + number(net.C_W[0]) * gram,
        "Theta": number(net.lambda_b[0]) + number(net.lambda_W[0]) * gram,
    }
    state: tuple[Any, ...] = tuple(
        start.get(update.key, 0 * gram).reshape(-1)[0]
        if program.single
        else start.get(update.key, _array(np.zeros((len(x),) * update.rank), digits))
        for update in program.updates
    )
    layers = [state]
    for layer in range(1, net.depth):
        kernel = np.asarray(state[program.keys.index("K")]).reshape(len(x), len(x))
        found = averages(net.activation, kernel.tolist(), program.averages, digits, pointwise)
        parameters = {name: number(getattr(net, name)[layer]) for name in PARAMETERS[:-1]}
        parameters["rho"] = number(net.fan_in(layer + 1, x.shape[1])) / number(net.fan_in(layer, x.shape[1]))
        if program.single:
            found = [average.reshape(-1)[0] for average in found]
        state = step(program, np, state, found, parameters)
        layers.append(state)
    return layers


def _array(values: Any, digits: int) -> np.ndarray:
    return np.array(values, dtype=float if digits <= MACHINE_DIGITS else object)


def _reordered(array: np.ndarray, item: Observable, base: Observable, feed: tuple[int, ...], inputs: int) -> np.ndarray:
    """Return a tensor with one axis per input, in the order of the requested observable, entry by entry."""
    rank = len(base.slots)
    array = array.reshape((inputs,) * rank)
    if item.name == base.name:
        return array
    result = np.empty_like(array)
    for entry in np.ndindex(*array.shape):
        result[entry] = array[tuple(entry[slot] for slot in feed)]
    return result
