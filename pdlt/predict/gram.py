"""Gram matrices at infinite width: the derived recursions of K and Theta on all pairs of inputs, block by block."""

import json
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt._machine import machine_memory
from pdlt._progress import progress
from pdlt._version import __version__
from pdlt.codegen.execute import step
from pdlt.codegen.program import lower
from pdlt.errors import PdltError
from pdlt.networks import MLP, check_inputs, check_network, sha256
from pdlt.observables import NAMED
from pdlt.pipeline import derive
from pdlt.predict.initialisation import AccuracyWarning, layer_parameters

if TYPE_CHECKING:
    import xarray

OBSERVABLES = ("K", "Theta")

#: Inputs along each side of a block: what is worked on stays in the caches.
BLOCK = 256

#: Inputs on which the level of the rule is chosen, spread over the range of norms, and the variances in all layers that
#: are looked at one by one.
PROBE = 48
VARIANCES = 256

#: Sides of blocks, so that at most a quarter of what is computed is thrown away along each side.
_SIZES = sorted(n * 2**k for n in (2, 3) for k in range(8) if n * 2**k <= BLOCK)

#: Where 1 - |cos(angle)| is below this, it comes from the difference of the unit vectors.
_NEAR = 1e-3


def kernel(
    net: MLP,
    x: Any,
    x2: Any = None,
    observables: Sequence[str] = OBSERVABLES,
    layers: int | Sequence[int] | None = None,
    rtol: float = 1e-10,
) -> "xarray.Dataset":
    """Return the Gram matrices of the NNGP kernel K and the neural tangent kernel Theta at infinite width.

    The same numbers as `predict(net, x, order=0)`, for thousands of inputs. Memory beyond the results is that of one
    block of pairs. Besides K_12, sqrt(K_11 K_22) - |K_12| is carried through the layers, so that nearly parallel
    and nearly opposite inputs keep the digits of their angle (`pdlt.numerics.pairs`).

    Args:
        net: the network; its widths do not matter.
        x: inputs of the rows, shape (N, n_0).
        x2: inputs of the columns, shape (M, n_0); None: those of the rows, and the matrices are exactly symmetric.
        observables: "K", "Theta" or both.
        layers: which layer or layers to return, numbered from 1; None: the last.
        rtol: accuracy wanted relative to the largest entry of a layer. It is estimated on 48 inputs that span the range
            of norms: the difference between the last two refinements, and what they may both miss.

    Returns:
        One variable per observable with dims ("layer", "alpha_1", "alpha_2"), shape (layers, N, M). The attribute
        `relative_error` is the estimated error.

    Raises:
        PdltError: for bad arguments, results beyond the memory of this machine, or a kernel that overflows (the message
            names the layer).

    Warns:
        AccuracyWarning: if `rtol` was not reached.
    """
    check_network(net)
    rows = check_inputs(x)
    columns = rows if x2 is None else check_inputs(x2, "x2")
    if columns.shape[1] != rows.shape[1]:
        raise PdltError(
            f"Argument `x2` must have inputs of the same dimension as `x`, {rows.shape[1]}, but got {columns.shape[1]}."
        )
    names = _names(observables)
    chosen = _layers(layers, net.depth)
    if isinstance(rtol, bool) or not (isinstance(rtol, int | float | np.floating) and 0 < rtol < 1):
        raise PdltError(f"Argument `rtol` must be a number between 0 and 1, but got {rtol!r}.")
    _check_memory(len(rows), len(columns), len(names) * len(chosen))

    from pdlt._jax import x64
    from pdlt.numerics.pairs import choose

    rule = choose(net.activation)
    with x64(), progress("Gram matrices") as tick:
        level, error = _level(net, rule, rows, columns, names, chosen, rtol, tick)
        values = _all_blocks(net, rule, level, rows, None if x2 is None else columns, names, chosen, tick)
        _check_finite(net, rule, level, rows, columns, values)
    if error > rtol:
        warnings.warn(
            f"The requested accuracy rtol={rtol:g} was not reached with {rule.levels} levels of the {rule.name}; "
            f"the estimated relative error is {error:.1e}.",
            AccuracyWarning,
            stacklevel=2,
        )
    return _dataset(net, rows, columns, dict(zip(names, values, strict=True)), chosen, rule.name, error, rtol)


def _names(observables: Any) -> tuple[str, ...]:
    given = tuple(observables) if isinstance(observables, list | tuple) else (observables,)
    if not given or any(name not in OBSERVABLES for name in given) or len(set(given)) < len(given):
        raise PdltError(f"Argument `observables` must be K, Theta or both, each once, but got {observables!r}.")
    return given


def _layers(layers: Any, depth: int) -> tuple[int, ...]:
    if layers is None:
        return (depth,)
    chosen = tuple(layers) if isinstance(layers, Sequence | np.ndarray | range) else (layers,)
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in chosen)
    if not chosen or not whole or any(not 1 <= n <= depth for n in chosen) or list(chosen) != sorted(set(chosen)):
        raise PdltError(f"Argument `layers` must be increasing integers from 1 to {depth}, but got {layers!r}.")
    return tuple(int(n) for n in chosen)


def _check_memory(rows: int, columns: int, matrices: int) -> None:
    needed = 8 * rows * columns * matrices
    available = machine_memory()
    if needed > 0.8 * available:
        raise PdltError(
            f"Argument `x`: {matrices} matrices of {rows} x {columns} entries need {needed / 2**30:.1f} GiB, but this "
            f"machine has {available / 2**30:.1f} GiB. Ask for fewer layers or observables, or for some rows (`x2`)."
        )


def _level(
    net: MLP,
    rule: Any,
    rows: np.ndarray,
    columns: np.ndarray,
    names: tuple[str, ...],
    chosen: tuple[int, ...],
    rtol: float,
    tick: Any,
) -> tuple[int, float]:
    """Return the first level that agrees with the one before to `rtol` on a few inputs, and the disagreement.

    Besides, the level must resolve <sigma sigma> and, for Theta, <sigma' sigma'> at the variances of these inputs.
    """
    from pdlt.numerics.backends import relative_error

    if rule.levels == 1:
        return 0, float(np.finfo(float).eps)
    inputs = np.concatenate([rows, columns])
    by_norm = np.argsort((inputs**2).sum(1), kind="stable")
    probe = inputs[by_norm[_spread(len(inputs), PROBE)]]
    every = tuple(range(1, max(chosen) + 1))
    before: list[np.ndarray] = []
    missed: list[float] = []
    error = np.inf
    for level in range(rule.levels):
        found = _all_blocks(net, rule, level, probe, None, OBSERVABLES, every, lambda text: None)
        tick(f"level {level + 1} of at most {rule.levels} on {len(probe)} inputs")
        _check_finite(net, rule, level, probe, probe, found)
        values = [found[OBSERVABLES.index(name)][np.array(chosen) - 1] for name in names]
        variances = np.unique(found[0][:-1].diagonal(axis1=1, axis2=2))
        variances = variances[_spread(len(variances), VARIANCES)]
        orders = (0, 1) if "Theta" in names else (0,)
        missed.append(max(float(rule.unresolved(k, variances, level).max(initial=0.0)) for k in orders))
        if before:
            pairs = zip(values, before, strict=True)
            error = max(relative_error(new, np.abs(new - old), layered=True) for new, old in pairs)
            if level == rule.levels - 1 and missed[-2] > 0:
                error *= min(1.0, missed[-1] / missed[-2])  # no level is left to show the error of this one
            error = max(error, missed[-1], float(np.finfo(float).eps))
            if error <= rtol:
                break
        before = values
    return level, error


def _spread(count: int, most: int) -> np.ndarray:
    """Return at most `most` places out of `count`, evenly, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, max(count, 1))).round().astype(int))[:count]


def _all_blocks(
    net: MLP,
    rule: Any,
    level: int,
    rows: np.ndarray,
    columns: np.ndarray | None,
    names: tuple[str, ...],
    chosen: tuple[int, ...],
    tick: Any,
) -> list[np.ndarray]:
    """Return one array (layers, N, M) per name; without columns the matrices are symmetric, and half is computed."""
    symmetric = columns is None
    first, height = _padded(rows)
    second, breadth = (first, height) if columns is None else _padded(columns)
    count = len(rows), len(rows if columns is None else columns)
    values = [np.empty((len(chosen), *count)) for _ in names]
    run, data = _compiled(rule, names, chosen), rule.data(level)
    first_layer = {name: getattr(net, name)[0] for name in ("C_b", "C_W", "lambda_b", "lambda_W")}
    rest = {name: values[: max(chosen) - 1] for name, values in layer_parameters(net, rows.shape[1]).items()}
    for i in range(0, len(first), height):
        here = slice(i, min(i + height, count[0]))
        for j in range(i if symmetric else 0, len(second), breadth):
            there = slice(j, min(j + breadth, count[1]))
            block = run(_first_layer(first[i : i + height], second[j : j + breadth]), first_layer, rest, data)
            for value, part in zip(values, block, strict=True):
                part = np.asarray(part)[:, : here.stop - i, : there.stop - j]
                value[:, here, there] = part
                if symmetric:
                    part = np.triu(part) + np.triu(part, 1).swapaxes(1, 2) if i == j else part
                    value[:, here, there] = part
                    value[:, there, here] = part.swapaxes(1, 2)
        tick(f"{here.stop} of {count[0]} rows")
    return values


def _padded(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the inputs in equal groups of few sizes, the last one filled up, so that calls share compiled code."""
    groups = -(-len(x) // BLOCK)
    size = next(n for n in _SIZES if n >= -(-len(x) // groups))
    return np.concatenate([x, np.repeat(x[-1:], groups * size - len(x), axis=0)]), size


def _first_layer(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return x.x/n_0 and y.y/n_0, and for the pairs x.y/n_0 and |x||y|/n_0 - |x.y|/n_0."""
    n_0 = x.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):  # reported with the layer, like every overflow
        gram = x @ y.T
        row, column = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
        scale = row[:, None] * column[None, :]
        excess = scale - np.abs(gram)
        i, j = np.nonzero((excess < _NEAR * scale) & (scale > 0))
        opposite = np.sign(gram[i, j])[:, None] * (y[j] / column[j, None])
        excess[i, j] = scale[i, j] * ((x[i] / row[i, None] - opposite) ** 2).sum(1) / 2
        return row**2 / n_0, column**2 / n_0, gram / n_0, excess / n_0


def _check_finite(
    net: MLP, rule: Any, level: int, rows: np.ndarray, columns: np.ndarray, values: list[np.ndarray]
) -> None:
    bad = [np.argwhere(~np.isfinite(value)) for value in values]
    if not any(map(len, bad)):
        return
    _, i, j = next(places[0] for places in bad if len(places))
    every = tuple(range(1, net.depth + 1))
    both = _all_blocks(net, rule, level, np.stack([rows[i], columns[j]]), None, OBSERVABLES, every, lambda text: None)
    layer = 1 + int(np.argmax([not all(np.isfinite(value[n]).all() for value in both) for n in range(net.depth)]))
    raise PdltError(
        f"The kernel overflows at layer {layer} of {net.depth} (inputs {i} and {j}). It grows with depth at these "
        "`C_b`, `C_W`; accepted are values for which it stays finite (see critical initialisation)."
    )


@lru_cache(maxsize=32)
def _compiled(rule: Any, names: tuple[str, ...], chosen: tuple[int, ...]) -> Any:
    import jax
    import jax.numpy as jnp

    from pdlt.numerics.pairs import Pairs

    program = lower(derive(OBSERVABLES, order=0), single=False, kinked=False)
    orders = [average[0][1][0] for average in program.averages]  # k of <sigma^(k) sigma^(k)>
    of_kernel = orders.index(0)
    K, Theta = (program.keys.index(name) for name in OBSERVABLES)

    def layer(state, parameters, data):  # type: ignore[no-untyped-def]
        kernel, theta = state
        averages = [rule.average(k, kernel, data) for k in orders]
        old = [theta if key == "Theta" else kernel.product for key in program.keys]
        new = step(program, jnp, old, [average.product for average in averages], parameters)
        # K is affine in <sigma sigma>; its two numbers are all that the excess needs.
        zero, one = jnp.zeros((1, 1)), jnp.ones((1, 1))
        constant = step(program, jnp, [zero, zero], [zero for _ in orders], parameters)[K]
        linear = {**parameters, "C_b": jnp.zeros(())}
        weight = step(program, jnp, [zero, zero], [one for _ in orders], linear)[K]
        return averages[of_kernel].affine(constant[0, 0], weight[0, 0]), new[Theta]

    def results(state):  # type: ignore[no-untyped-def]
        kernel, theta = state
        return tuple(theta if name == "Theta" else kernel.product for name in names)

    def run(inputs, first, parameters, data):  # type: ignore[no-untyped-def]
        pairs = Pairs(*inputs)
        kernel = pairs.affine(first["C_b"], first["C_W"])
        start = kernel, first["lambda_b"] + first["lambda_W"] * pairs.product
        if len(chosen) == 1:
            last, _ = jax.lax.scan(lambda state, p: (layer(state, p, data), None), start, parameters)
            return tuple(result[None] for result in results(last))

        def body(state, p):  # type: ignore[no-untyped-def]
            new = layer(state, p, data)
            return new, results(new)

        _, rest = jax.lax.scan(body, start, parameters)
        every = [jnp.concatenate([a[None], b]) for a, b in zip(results(start), rest, strict=True)]
        return tuple(values[np.array(chosen) - 1] for values in every)

    return jax.jit(run)


def _dataset(
    net: MLP,
    x: np.ndarray,
    x2: np.ndarray,
    values: dict[str, np.ndarray],
    chosen: tuple[int, ...],
    method: str,
    error: float,
    rtol: float,
) -> "xarray.Dataset":
    import xarray

    dims = ("layer", "alpha_1", "alpha_2")
    variables = {name: (dims, value, {"latex": NAMED[name].latex, "order": 0}) for name, value in values.items()}
    attrs = {
        "kind": "kernel",
        "order": 0,
        "network": json.dumps(net.describe()),
        **{
            f"inputs{suffix}_{what}": value
            for suffix, inputs in (("", x), ("2", x2))
            for what, value in (
                ("sha256", sha256(inputs)),
                ("shape", list(inputs.shape)),
            )
        },
        "method": method,
        "relative_error": error,
        "rtol": rtol,
        "rtol_reached": int(error <= rtol),
        "pdlt": __version__,
    }
    return xarray.Dataset(variables, coords={"layer": list(chosen)}, attrs=attrs)
