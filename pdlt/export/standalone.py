"""What an exported module runs on: layers, tables and a command line, whatever the theory.

This module is copied into the exported one, so it imports nothing but jax, numpy and what is copied with it.
"""

import argparse
import functools
import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdlt._jax import x64
from pdlt.codegen.execute import along
from pdlt.numerics import quadrature, rules
from pdlt.numerics.backends import Quadrature, refine, relative_error


class Axes:
    """Lays arrays along the axes of an output: one character names the data label of each axis."""

    def __init__(self, labels: str) -> None:
        self._labels = labels
        self._seen: dict[tuple[int, str], Any] = {}

    def __call__(self, array: Any, labels: str) -> Any:
        """Return `array` with its dimensions along the axes called `labels`; repeated ones take the diagonal."""
        key = (id(array), labels)
        if key not in self._seen:
            axes = tuple(self._labels.index(label) for label in labels)
            self._seen[key] = along(jnp, array, axes, len(self._labels))
        return self._seen[key]


@dataclass(frozen=True)
class System:
    """A closed system of recursions.

    Attributes:
        layer: (tensors, expectations, C_b, lambda_b, C_W, lambda_W, rho) -> tensors of the next layer.
        averages: the expectations, each a tuple with one entry (outer derivatives, orders of sigma) per data label.
        tensors: (name, rank) in the order of `layer`'s first argument and result.
        outputs: (name, tensor, axes): the axes put the tensor's data indices in the order asked for.
    """

    layer: Callable[..., tuple[Any, ...]]
    averages: tuple[tuple, ...]
    tensors: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]


def smooth(activation: Any, system: System, inputs: int) -> Quadrature:
    """Return the trapezoidal rule for a number of distinct inputs, with as many levels as the largest grid has."""
    grids = quadrature.dimensions(system.averages, inputs, joint=False)
    levels = min(len(rules.TRAPEZOID_POINTS[d]) for d in grids)
    return Quadrature(activation, levels=levels)


def evaluate(
    system: System,
    method: Callable[[int], Any],
    x: Any,
    depth: int,
    width: int | Sequence[int],
    scales: dict[str, float | Sequence[float]],
    rtol: float,
) -> dict[str, np.ndarray]:
    """Run a system through the layers of a network.

    Args:
        system: the recursions.
        method: number of distinct inputs -> backend that evaluates expectations.
        x, depth, width, rtol: see `predict`.
        scales: C_b, C_W, lambda_b, lambda_W by name.
    """
    inputs = numbers("x", x)
    if inputs.ndim != 2 or inputs.size == 0:
        raise ValueError(f"Argument `x` must have shape (N, n_0), but has shape {inputs.shape}.")
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise ValueError(f"Argument `depth` must be a positive integer, but got {depth!r}.")
    widths = per_layer("width", width, depth - 1)
    layers = {name: per_layer(name, value, depth) for name, value in scales.items()}
    if (widths < 1).any():
        raise ValueError(f"Argument `width` must be positive, but got {width!r}.")
    # Equal inputs are one input: the kernel of the distinct ones is what expectations are taken under.
    distinct, inverse = np.unique(inputs, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    joint = min(len(distinct), max(len(average) for average in system.averages))
    if joint > 4:
        raise ValueError(f"Argument `x`: expectations over {joint} distinct inputs at once are not supported, only 4.")
    fan_in = np.array([inputs.shape[1], *widths])
    steps = {name: values[1:] for name, values in layers.items()} | {"rho": fan_in[1:] / fan_in[:-1]}
    gram = distinct @ distinct.T / inputs.shape[1]
    start = {
        "K": layers["C_b"][0] + layers["C_W"][0] * gram,
        "Theta": layers["lambda_b"][0] + layers["lambda_W"][0] * gram,
    }
    first = tuple(start.get(name, np.zeros((len(distinct),) * rank)) for name, rank in system.tensors)

    backend = method(len(distinct))

    def at(level: int) -> list[np.ndarray]:
        data = backend.data(level, len(distinct), system.averages)
        return [np.asarray(a) for a in compiled(system, backend)(first, steps, data)]

    with x64():
        values, errors = refine(at, backend, rtol, layered=True)
    place = {name: i for i, (name, _) in enumerate(system.tensors)}
    finite = np.isfinite(values[place["K"]]).all(axis=(1, 2))
    if not finite.all():
        raise ValueError(f"The kernel overflows at layer {int(np.argmin(finite)) + 1}; choose smaller `C_b`, `C_W`.")
    result = {}
    for name, tensor, axes in system.outputs:
        array, error = values[place[tensor]], errors[place[tensor]]
        if relative_error(array, error, layered=True) > rtol:
            warnings.warn(f"The requested accuracy rtol={rtol:g} was not reached for {name}.", stacklevel=3)
        array = array[np.ix_(np.arange(depth), *[inverse] * len(axes))]
        result[name] = array.transpose(0, *(1 + axis for axis in axes))
    return result


@functools.lru_cache(maxsize=16)
def compiled(system: System, backend: Any) -> Callable[..., tuple[Any, ...]]:
    """Return the compiled scan over layers; compile time does not depend on depth."""
    kernel = [name for name, _ in system.tensors].index("K")

    def run(first: tuple[Any, ...], steps: dict[str, Any], data: Any) -> tuple[Any, ...]:
        def body(state: tuple[Any, ...], step: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            new = system.layer(state, backend.averages(state[kernel], system.averages, data), **step)
            return new, new

        _, rest = jax.lax.scan(body, first, steps)
        return tuple(jnp.concatenate([jnp.asarray(a)[None], b]) for a, b in zip(first, rest, strict=True))

    return jax.jit(run)


def per_layer(name: str, value: float | Sequence[float], count: int) -> np.ndarray:
    """Return one number per layer from a number or a sequence."""
    array = numbers(name, value)
    if array.shape not in ((), (count,)) or (array < 0).any():
        raise ValueError(f"Argument `{name}` must be a non-negative number or {count} of them, but got {value!r}.")
    return np.broadcast_to(array, (count,))


def numbers(name: str, value: Any) -> np.ndarray:
    """Return an array of finite numbers."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"Argument `{name}` must be numbers, not ragged, but got {value!r}.") from None
    if not np.isfinite(array).all():
        raise ValueError(f"Argument `{name}` must be finite, but got {value!r}.")
    return array


def values(text: str) -> Any:
    """Return a number, or the list behind "64,128" or "[64, 128]"."""
    return json.loads(f"[{text}]" if "," in text and not text.lstrip().startswith("[") else text)


def command_line(predict: Callable[..., dict[str, np.ndarray]], provenance: dict[str, Any], **extra: Any) -> None:
    """Print predictions for the network given on the command line, the example network by default."""
    parser = argparse.ArgumentParser(
        description=f"Predictions at order {provenance['order']} in 1/width: {', '.join(provenance['observables'])}."
    )
    parser.add_argument("--depth", type=int, default=4, help="number of weight layers (default: 4)")
    parser.add_argument("--width", type=values, default=64, help="hidden width, or depth-1 of them: 64,128")
    for name, default in {"C_b": 0.0, "C_W": 1.0, "lambda_b": 0.0, "lambda_W": 1.0}.items():
        text = f"number, or one per layer: 1,2,1 (default: {default})"
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=values, default=default, help=text)
    parser.add_argument("--x", type=json.loads, default=[[0.9, -0.4, 1.1]], help="JSON list of inputs")
    parser.add_argument("--rtol", type=float, default=1e-8, help="relative accuracy of expectations (default: 1e-8)")
    parser.add_argument("--json", action="store_true", help="print every entry as JSON")
    arguments = vars(parser.parse_args())
    as_json = arguments.pop("json")
    try:
        result = predict(**arguments, **extra)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    if as_json:
        print(json.dumps(as_data(result, provenance), allow_nan=False))
        return
    print(f"Coefficients of the 1/n expansion, n = n_(layer-1), activation {provenance['activation'] or 'tanh'}.")
    print("The last layers, all data indices the first input; --json prints everything.\n")
    shown = range(max(0, arguments["depth"] - 5), arguments["depth"])
    size = max(len("layer"), *map(len, result))
    print(" ".join(["layer".ljust(size), *(f"{layer + 1:>16}" for layer in shown)]))
    for name, array in result.items():
        first = array.reshape(len(array), -1)[:, 0]
        print(" ".join([name.ljust(size), *(f"{first[layer]:>16.9g}" for layer in shown)]))


def as_data(result: dict[str, np.ndarray], provenance: dict[str, Any]) -> dict[str, Any]:
    """Return results as plain data in the layout of pdlt's datasets; undefined numbers are None."""

    def plain(value: Any) -> Any:
        return [plain(v) for v in value] if isinstance(value, list) else value if math.isfinite(value) else None

    data = {
        name: {"dims": ["layer", *(f"alpha_{i}" for i in range(1, array.ndim))], "values": plain(array.tolist())}
        for name, array in result.items()
    }
    depth = len(next(iter(result.values())))
    return {
        "schema": "pdlt.dataset/1",
        "attrs": {"kind": "prediction", **provenance},
        "coords": {"layer": list(range(1, depth + 1))},
        "data": data,
    }
