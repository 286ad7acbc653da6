"""Predictions at initialisation: run the derived recursions through the layers of a concrete network."""

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
from pdlt.codegen.program import Program, lower
from pdlt.equations import Theory, variable
from pdlt.errors import PdltError
from pdlt.networks import MLP, check_inputs, check_network, sha256
from pdlt.observables import NAMED, Observable, identify, observable
from pdlt.pipeline import derive
from pdlt.predict.scales import couplings, largest
from pdlt.predict.trust import warn_if_untrusted

if TYPE_CHECKING:
    import xarray

KINKS = ("atoms", "pointwise")


class AccuracyWarning(UserWarning):
    """The requested numerical accuracy was not reached; the message says what was."""


def predict(
    net: MLP,
    x: Any,
    observables: Sequence[str | Observable] | None = None,
    order: int = 1,
    rtol: float = 1e-8,
    method: str = "auto",
    kinks: str = "atoms",
) -> "xarray.Dataset":
    """Evaluate the theory of a network at initialisation, layer by layer.

    Args:
        net: the network.
        x: inputs, shape (N, n_0).
        observables: names or specs; None for every named observable of this order.
        order: power of 1/n, see `pdlt.derive`.
        rtol: relative accuracy wanted of the Gaussian expectations' effect on every result.
        method: how expectations are evaluated: "auto", "closed", "quadrature" or "qmc".
        kinks: for activations with a kink: "atoms" keeps the Dirac atoms of the second derivative (what a finite
            step of learning sees on average), "pointwise" drops them from the derivatives of the network's output
            (what automatic differentiation of a sampled network gives). Derivatives with respect to the kernel
            are the same in both.

    Returns:
        One variable per coefficient ("K", "K_1", "V", ...) with dims ("layer", "alpha_1", ...), axes in the order of
        the observable's subscripts. The kernel at width n is K + K_1/n + ..., the cumulant behind V is
        (V + V_1/n + ...)/n, n = n_{layer-1}. Each variable's attribute `relative_error` is the estimated numerical
        error relative to its largest entry, and the dataset's `rtol_reached` says whether all met `rtol`.

    Raises:
        PdltError: for bad arguments, or if a tensor overflows (the message names the layer).

    Warns:
        AccuracyWarning: if `rtol` was not reached, or if an entry is undefined for a kinked activation.
        TruncationWarning: if the network is too deep for its width for this order to be trusted (the first neglected
            order is estimated to exceed half of an observable); the attribute `trusted` is then 0.
    """
    inputs = check_inputs(x)
    check_network(net)
    if kinks not in KINKS:
        raise PdltError(f"Argument `kinks` must be one of {', '.join(KINKS)}, but got {kinks!r}.")
    if not (isinstance(rtol, int | float) and 0 < rtol < 1):
        raise PdltError(f"Argument `rtol` must be a number between 0 and 1, but got {rtol!r}.")
    theory = _theory(observables, order)
    # Equal inputs are one input: the kernel of the distinct ones is what expectations are taken under.
    distinct, inverse = np.unique(inputs, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    program = lower(theory, single=len(distinct) == 1, kinked=net.activation.slopes is not None)
    values, errors, backend = _run(program, net, distinct, rtol, method, kinks == "pointwise")
    _check_finite(program, values, net, kinks)
    prediction = _dataset(theory, program, net, inputs, inverse, values, errors, backend, rtol, kinks)
    prediction.attrs["trusted"] = int(warn_if_untrusted(prediction))
    return prediction


def evaluate_program(program: Program, net: MLP, x: np.ndarray, backend: Any, level: int) -> list[np.ndarray]:
    """Run a program through all layers.

    Returns:
        One array per tensor of the program, shape (depth, N, ..., N) ((depth,) if the program is for one input).
    """
    from pdlt._jax import x64

    with x64():
        data = backend.data(level, len(x), program.averages)
        outputs = _compiled(program, backend)(_first_layer(program, net, x), layer_parameters(net, x.shape[1]), data)
        return [np.asarray(output) for output in outputs]


@lru_cache(maxsize=32)
def _compiled(program: Program, backend: Any) -> Any:
    import jax
    import jax.numpy as jnp

    kernel_place = program.keys.index("K")

    def layer(state, parameters, data):  # type: ignore[no-untyped-def]
        kernel = state[kernel_place]
        if program.single:
            averages = backend.averages(kernel.reshape(1, 1), program.averages, data)
            averages = [a.reshape(()) for a in averages]
        else:
            averages = backend.averages(kernel, program.averages, data)
        return step(program, jnp, state, averages, parameters)

    def run(first, parameters, data):  # type: ignore[no-untyped-def]
        def body(state, layer_parameters):  # type: ignore[no-untyped-def]
            new = layer(state, layer_parameters, data)
            return new, new

        _, rest = jax.lax.scan(body, first, parameters)
        return tuple(jnp.concatenate([a[None], b]) for a, b in zip(first, rest, strict=True))

    return jax.jit(run)


def _first_layer(program: Program, net: MLP, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the tensors at layer 1, where the covariance does not fluctuate: only K and Theta are not zero."""
    with np.errstate(over="ignore", invalid="ignore"):  # reported with the layer, like every overflow
        gram = x @ x.T / x.shape[1]
    start = {"K": net.C_b[0] + net.C_W[0] * gram, "Theta": net.lambda_b[0] + net.lambda_W[0] * gram}
    tensors = []
    for update in program.updates:
        value = start.get(update.key, np.zeros((len(x),) * update.rank))
        tensors.append(value[0, 0] if program.single and update.key in start else value)
    return tuple(np.asarray(t, dtype=np.float64) for t in tensors)


def layer_parameters(net: MLP, n_0: int) -> dict[str, np.ndarray]:
    """Return the parameters of each step from layer l to l+1, l = 1 ... depth-1, as `step` wants them."""
    widths = np.array([n_0, *net.width], dtype=np.float64)
    per_layer = {name: np.array(getattr(net, name)[1:]) for name in ("C_b", "lambda_b", "C_W", "lambda_W")}
    return {**per_layer, "rho": widths[1:] / widths[:-1]}


def _run(program: Program, net: MLP, x: np.ndarray, rtol: float, method: str, pointwise: bool) -> tuple:
    from pdlt.numerics.backends import choose, refine

    _check_memory(program, net, len(x))
    backend = choose(net.activation, len(x), program.averages, method, pointwise)

    with progress("integrating") as tick:

        def at(level: int) -> list[np.ndarray]:
            results = evaluate_program(program, net, x, backend, level)
            tick(f"level {level + 1} of at most {backend.levels}, method {backend.name}")
            return results

        values, errors = refine(at, backend, rtol, layered=True)
    return values, errors, backend


def _theory(observables: Any, order: Any) -> Theory:
    """Return the derived theory, remembered; what cannot be remembered is what `derive` rejects."""
    names = (
        tuple(observables) if isinstance(observables, Sequence) and not isinstance(observables, str) else observables
    )
    try:
        return _derived(names, order)
    except TypeError:
        return derive(observables, order=order)


@lru_cache(maxsize=64, typed=True)
def _derived(names: Any, order: int) -> Theory:
    return derive(names, order=order)


def _check_memory(program: Program, net: MLP, inputs: int) -> None:
    """Refuse what does not fit, before anything is allocated: a tensor with r indices has inputs^r entries."""
    per_layer = sum(inputs**update.rank for update in program.updates)
    expectations = sum(inputs ** len(average) for average in program.averages)
    # Results and their two levels per layer, the layer being computed, and its intermediate products.
    needed = 8 * (expectations + (2 * net.depth + 8) * per_layer)
    available = machine_memory()
    if needed > 0.8 * available:
        raise PdltError(
            f"Argument `x`: these observables for {inputs} different inputs at depth {net.depth} need about "
            f"{needed / 2**30:.0f} GiB, but this machine has {available / 2**30:.0f} GiB. Ask for fewer inputs, or for "
            "observables with fewer indices (K and Theta at order 0 need two)."
        )


def _check_finite(program: Program, values: list[np.ndarray], net: MLP, kinks: str) -> None:
    bad = _first_layers(program, [~np.isfinite(array) for array in values])
    if not bad:
        return
    kernel = values[program.keys.index("K")]
    if "K" in bad or net.activation.slopes is None or _diverges(kernel):
        # What a kink leaves undefined is nan from the start; what overflows is infinite first.
        bad = _first_layers(program, [np.isinf(array) for array in values]) or bad
        key = min(bad, key=lambda k: bad[k])
        raise PdltError(
            f"The prediction overflows: {key} is not finite at layer {bad[key]} of {net.depth}. The kernel grows with "
            "depth at these `C_b`, `C_W`; accepted are values for which it stays finite (see critical initialisation)."
        )
    warnings.warn(
        f"{', '.join(bad)}: some entries are undefined (nan), because {net.activation.name} has a kink and products "
        "such as sigma''^2 of one input have no meaning as distributions. kinks='pointwise' gives what automatic "
        "differentiation of a sampled network sees.",
        AccuracyWarning,
        stacklevel=3,
    )


def _first_layers(program: Program, marks: list[np.ndarray]) -> dict[str, int]:
    """Return the first layer with a marked entry for every tensor that has one."""
    layers = {key: mark.reshape(len(mark), -1).any(1) for key, mark in zip(program.keys, marks, strict=True)}
    return {key: int(np.argmax(layer)) + 1 for key, layer in layers.items() if layer.any()}


def _diverges(kernel: np.ndarray) -> bool:
    return not np.isfinite(kernel).all() or np.abs(kernel).max() > 1e100


def _dataset(
    theory: Theory,
    program: Program,
    net: MLP,
    x: np.ndarray,
    inverse: np.ndarray,
    values: list[np.ndarray],
    errors: list[np.ndarray],
    backend: Any,
    rtol: float,
    kinks: str,
) -> "xarray.Dataset":
    import xarray

    from pdlt.numerics.backends import relative_error

    place = {key: i for i, key in enumerate(program.keys)}
    variables = {}
    missed = {}
    for name in theory.requested:
        item = observable(name)
        base, feed = identify(item.slots)
        for j in range(theory.order - item.leading_order + 1):
            index = place[variable(base.name, j)]
            array, error = (
                _arrange(a[index], program.single, len(base.slots), inverse, item, base, feed) for a in (values, errors)
            )
            relative = relative_error(array, error, layered=True)
            if relative > rtol:
                missed[variable(name, j)] = relative
            dims = ("layer", *(f"alpha_{i + 1}" for i in range(len(item.slots))))
            latex = item.latex + (rf"^{{\{{{j}\}}}}" if j and item.latex else "")
            attrs = {"latex": latex, "reference": item.reference, "relative_error": relative, "order": j}
            variables[variable(name, j)] = xarray.Variable(dims, array, attrs)
    if missed:
        worst = ", ".join(f"{key} {value:.1e}" for key, value in missed.items())
        warnings.warn(
            f"The requested accuracy rtol={rtol:g} was not reached with method {backend.name!r}; estimated relative "
            f"errors: {worst}.",
            AccuracyWarning,
            stacklevel=3,
        )
    attrs = {
        "kind": "prediction",
        "order": theory.order,
        "network": json.dumps(net.describe()),
        "fan_in": [net.fan_in(layer, x.shape[1]) for layer in range(1, net.depth + 1)],
        **_sizes(program, values),
        "inputs_sha256": sha256(x),
        "inputs_shape": list(x.shape),
        "method": backend.name,
        "rtol": rtol,
        "rtol_reached": int(not missed),
        "kinks": kinks if net.activation.slopes is not None else "none",
        "pdlt": __version__,
    }
    return xarray.Dataset(variables, coords={"layer": np.arange(1, net.depth + 1)}, attrs=attrs)


def _sizes(program: Program, values: list[np.ndarray]) -> dict[str, Any]:
    """Return the scales of K and Theta and the relative sizes of order-1 tensors, whether asked for or not."""
    computed = dict(zip(program.keys, values, strict=True))
    scales: dict[str, list[float]] = {
        key: largest(computed[key]).tolist() for key in ("K", "Theta") if key in computed
    }
    leading = {key: computed[key] for key, item in NAMED.items() if item.leading_order == 1 and key in computed}
    return {"scales": scales, "couplings": couplings(leading, scales)}


def _arrange(
    array: np.ndarray,
    single: bool,
    rank: int,
    inverse: np.ndarray,
    item: Observable,
    base: Observable,
    feed: tuple[int, ...],
) -> np.ndarray:
    """Return a tensor on all inputs as given, axes in the order of the requested observable."""
    if single:
        array = array.reshape(len(array), *(1,) * rank)
    array = array[np.ix_(np.arange(len(array)), *[inverse] * rank)]
    if item.name == base.name:
        return array
    # Axis d of the base tensor is fed by slot feed[d]; a spec's axes are its slots in the order written.
    return np.moveaxis(array, [1 + d for d in range(rank)], [1 + slot for slot in feed])
