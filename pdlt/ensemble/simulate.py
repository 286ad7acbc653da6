"""The driver: validate, sample block by block, turn block means into cumulants with errors.

observables -> specs.cumulants -> specs.moments          what to average
(spec, block number) -> sampler -> block means           pure functions; kept in a store if asked for
block means -> statistics.jackknife -> xarray.Dataset    estimates and standard errors
"""

import hashlib
import json
import math
import numbers
from collections.abc import Iterable
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pdlt._version import __version__
from pdlt.ensemble import jets
from pdlt.ensemble.blocks import BLOCK, SAMPLERS, STREAM, blocks_in_order, compile_block, overflow
from pdlt.ensemble.specs import Cumulant, cumulants, moments
from pdlt.ensemble.statistics import Accumulator, cumulant, jackknife
from pdlt.ensemble.store import Store
from pdlt.errors import PdltError, suggest
from pdlt.networks import MLP, check_inputs

if TYPE_CHECKING:
    import xarray


def simulate(
    net: MLP,
    x: Any,
    observables: Iterable[Any] | None = None,
    samples: int = 10_000,
    sampler: str = "jets",
    seed: int = 0,
    layers: Iterable[int] | None = None,
    batch: int | None = None,
    progress: bool | None = None,
    store: str | Path | None = None,
) -> "xarray.Dataset":
    """Measure observables on an ensemble of finite networks, to all orders in 1/n.

    Args:
        net: the network; n_{l-1} below is its actual width before layer l.
        x: inputs, shape (N, n_0).
        observables: names (K, Theta, V, D, F, A, B, P, Q, R, S, T, U; default all) and, with the sampler
            "jets", any joint cumulant in spec form such as "a1 a2 | b3 b4 | 5 6".
        samples: number of draws, rounded up to whole blocks of 50; at least 100.
        sampler: "jets" (weight-free, exact in law, little noise) or "network" (real weights and automatic
            differentiation, the slow witness).
        seed: non-negative integer. The same seed with another network or sampler gives independent numbers.
        layers: layers to measure, default 1 ... L.
        batch: samples between two updates of progress and store, rounded up to whole blocks. Results do not
            depend on it, bit for bit; memory is bounded by drawing large blocks in parts.
        progress: True or False to force a progress bar on stderr or none; None shows one on terminals, after
            two seconds.
        store: an SQLite file that keeps the blocks; an interrupted run continues from it to the same bits,
            and a run asked for more samples reuses them.

    Returns:
        Dataset with a variable NAME of dims ("layer", "alpha_1", ...) for each observable and its standard
        error NAME_stderr. Single components (K, Theta) are ensemble means; a joint cumulant of k components
        is multiplied by n_{l-1}^(k-1), so V is n times the connected four-point function, and exactly 0 in
        layer 1. Axes: V, A, D, S (1,2,3,4); B, F, T (1,3,2,4); U (1,4,2,3); P, Q, R (0,1,2,3); other
        cumulants slot by slot. Definitions: arXiv:2508.11522 (23), (28)-(30), in the notation of PDLT.
        Derivatives of activations with kinks are the pointwise ones, as the attribute `kinks` says: they are
        not the expectations with Dirac terms. The other attributes tell what made the result.

    Raises:
        PdltError: for bad arguments, a store of another run, a size beyond the machine's memory, and if the
            ensemble overflows (the message names the layer).
    """
    x = check_inputs(x)
    if not isinstance(net, MLP):
        raise PdltError(f"Argument `net` must be a pdlt.MLP, but got {net!r}.")
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        accepted = " or ".join(f'"{name}"' for name in SAMPLERS)
        raise PdltError(f"Argument `sampler` must be {accepted}, but got {sampler!r}.{suggest(str(sampler), SAMPLERS)}")
    seed = _integer("seed", seed, 0, 2**63 - 1)
    blocks = math.ceil(_integer("samples", samples, 2 * BLOCK, 2**53) / BLOCK)
    chunk = 4 if batch is None else math.ceil(_integer("batch", batch, 1, 2**53) / BLOCK)
    measured = cumulants(observables)
    asked = _layers(layers, net.depth)
    attrs = {
        "kind": "measurement",
        "network": json.dumps(net.describe()),
        "fan_in": [net.fan_in(layer, x.shape[1]) for layer in asked],
        "inputs_sha256": _sha256(x),
        "inputs_shape": list(x.shape),
        "sampler": sampler,
        "seed": seed,
        "samples": blocks * BLOCK,
        "kinks": "none" if net.activation.is_smooth else "pointwise",
        "versions": json.dumps({"pdlt": __version__, "jax": jax.__version__, "numpy": np.__version__}),
    }

    results = {c.name: (np.zeros((0, *(len(x),) * (2 * c.order))),) * 2 for c in measured}
    fluctuating = tuple(layer for layer in asked if layer > 1)
    if fluctuating:
        spec = _spec(net, x, sampler, seed, measured, fluctuating)
        results = _sample(net, x, spec, measured, fluctuating, blocks, chunk, store, progress)
    if asked[0] == 1:
        for c in measured:
            exact = _first_layer(net, x, c)[None]
            values, errors = results[c.name]
            results[c.name] = np.concatenate([exact, values]), np.concatenate([0 * exact, errors])
    return _dataset(measured, asked, results, attrs)


def _sample(
    net: MLP,
    x: np.ndarray,
    spec: dict[str, Any],
    measured: list[Cumulant],
    layers: tuple[int, ...],
    blocks: int,
    chunk: int,
    store: str | Path | None,
    progress: bool | None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return estimate and standard error of each cumulant in layers above 1, layers first."""
    wanted = moments(measured)
    block, shapes = compile_block(net, x, spec, wanted, layers, blocks)
    sizes = [math.prod(shape) for shape in shapes]
    total = Accumulator(blocks, sum(sizes))
    with Store(store, spec) if store is not None else nullcontext() as run:
        # Closed before the store is: an interrupt leaves what was drawn in the file.
        with closing(blocks_in_order(block, blocks, chunk, run, progress)) as drawn:
            for number, means in drawn:
                total.add(number, means)
    parts = np.split(total.sums, np.cumsum(sizes)[:-1], axis=1)
    sums = {m: part.reshape(-1, *shape) for m, part, shape in zip(wanted, parts, shapes, strict=True)}

    fan_in = np.array([net.fan_in(layer, x.shape[1]) for layer in layers], dtype=float)
    results = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for c in measured:
            own = {moment: sums[moment] for moment in moments([c])}
            scale = (fan_in ** (c.order - 1)).reshape(-1, *(1,) * (2 * c.order))
            value, error = jackknife(own, total.counts, partial(cumulant, c))
            results[c.name] = value * scale, error * scale
    for k, layer in enumerate(layers):
        if not all(np.isfinite(array[k]).all() for pair in results.values() for array in pair):
            raise overflow(layer)
    return results


def _first_layer(net: MLP, x: np.ndarray, c: Cumulant) -> np.ndarray:
    """Return the value in layer 1, where G does not fluctuate and all joint cumulants vanish."""
    if c.order > 1:
        return np.zeros((len(x),) * (2 * c.order))
    used = jets.closure((c.pairs,))
    first, second = c.pairs[0]
    return jets.input_covariance(net, x, used)[used.index(first), :, used.index(second)]


def _spec(
    net: MLP, x: np.ndarray, sampler: str, seed: int, measured: list[Cumulant], layers: tuple[int, ...]
) -> dict[str, Any]:
    """Return everything that determines the blocks."""
    return {
        "network": net.describe(),
        "inputs_sha256": _sha256(x),
        "inputs_shape": list(x.shape),
        "sampler": sampler,
        "seed": seed,
        "observables": sorted(c.spec for c in measured),
        "layers": list(layers),
        "block": BLOCK,
        "stream": STREAM,
        "jax": jax.__version__,
    }


def _dataset(
    measured: list[Cumulant],
    layers: tuple[int, ...],
    results: dict[str, tuple[np.ndarray, np.ndarray]],
    attrs: dict[str, Any],
) -> "xarray.Dataset":
    import xarray

    variables: dict[str, Any] = {}
    for c in measured:
        values, errors = results[c.name]
        dims = ("layer", *(f"alpha_{k + 1}" for k in range(2 * c.order)))
        meaning = "mean" if c.order == 1 else f"n^{c.order - 1} x joint cumulant"
        variables[c.name] = (dims, values, {"spec": c.spec, "meaning": meaning})
        variables[f"{c.name}_stderr"] = (dims, errors, {"standard_error_of": c.name})
    return xarray.Dataset(variables, coords={"layer": list(layers)}, attrs=attrs)


def _sha256(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def _integer(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        raise PdltError(f"Argument `{name}` must be an integer from {low} to {high}, but got {value!r}.")
    return int(value)


def _layers(layers: Any, depth: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(1, depth + 1))
    try:
        chosen = sorted({_integer("layers", layer, 1, depth) for layer in layers})
    except TypeError:
        chosen = []
    if not chosen:
        raise PdltError(f"Argument `layers` must be a list of layers from 1 to {depth}, but got {layers!r}.")
    return tuple(chosen)
