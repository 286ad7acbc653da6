"""The driver: validate, sample block by block, turn block means into cumulants with errors.

observables -> specs.cumulants -> specs.moments          what to average
(spec, block number) -> sampler -> block means           pure functions; drawn anywhere, kept in a store if asked for
block means -> statistics.estimates -> xarray.Dataset    estimates and standard errors
estimates -> stopping                                    whether to go on
"""

import json
import math
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pdlt._arguments import integer, positive
from pdlt.ensemble import doubt
from pdlt.ensemble.blocks import BLOCK, OUTPUTS, PRECISIONS, SAMPLERS, STREAM, moment_shapes, overflow, vector_size
from pdlt.ensemble.execution import MOST_WORKERS, Drawing, Here, Processes, executing
from pdlt.ensemble.forecast import WORTH_SAYING, cost, duration, forecast, require
from pdlt.ensemble.results import dataset, fan_in, provenance, versions
from pdlt.ensemble.specs import Cumulant, cumulants, moments
from pdlt.ensemble.statistics import ROUNDING, Accumulator, Estimate, estimates
from pdlt.ensemble.stopping import Halves, Limits, Precision, next_checkpoint
from pdlt.ensemble.stopping import precision as reached
from pdlt.ensemble.store import Record, Store
from pdlt.ensemble.tasks import Recipe
from pdlt.ensemble.underflow import warn_of_underflow
from pdlt.errors import PdltError, suggest
from pdlt.networks import MLP, check_inputs, check_network, sha256

if TYPE_CHECKING:
    import xarray


SAMPLES = 10_000  # by default
MOST_SAMPLES = 10**9  # by default, if something else is to end the run
COMPONENTS = 6  # of a cumulant; the work grows like the number of partitions of partitions


def simulate(
    net: MLP,
    x: Any,
    observables: Iterable[Any] | None = None,
    samples: int | None = None,
    sampler: str = "jets",
    seed: int = 0,
    layers: Iterable[int] | None = None,
    batch: int | None = None,
    progress: bool | None = None,
    store: str | Path | None = None,
    until_stderr: float | None = None,
    until_time: float | None = None,
    executor: Executor | int | None = None,
    precision: str = "float64",
    outputs: int | None = None,
) -> "xarray.Dataset":
    """Measure observables on an ensemble of finite networks, to all orders in 1/n.

    Args:
        net: the network; n_{l-1} below is its actual width before layer l.
        x: inputs, shape (N, n_0).
        observables: names (K, Theta, V, D, F, A, B, P, Q, R, S, T, U; default all) and, with the samplers
            "jets" and "path", any joint cumulant of up to six components in spec form such as "a1 a2 | b3 b4 | 5 6".
        samples: number of draws, rounded up to whole blocks of 50; default 10 000. At least 100, and 50 for each
            component of a cumulant. With `until_stderr` or `until_time` an upper limit; default 10^9.
        sampler: "jets" (weight-free, exact in law, little noise), "path" (in addition the tangents integrated
            exactly), "conditioned" (tangent kernels of real networks without their matrices), "structured" (real
            weights, derivatives layer by layer: large networks) or "network" (real weights and automatic
            differentiation, the slow witness).
        seed: non-negative integer. The same seed with another network or sampler gives independent numbers.
        layers: layers to measure, default 1 ... L.
        batch: samples in a task, rounded up to whole blocks; default: what takes 0.2 seconds here, or 1 on an
            executor. Results do not depend on it, bit for bit; memory is bounded by drawing large blocks in parts.
        progress: True or False to force a progress bar on stderr or none; None shows one on terminals, after
            two seconds. Unless it is False, a run that will take more than about a minute says so on stderr, terminal
            or not: a guess before anything is drawn, and time, memory and disk space after the first block.
        store: an SQLite file that keeps the blocks; an interrupted run continues from it to the same bits,
            and a run asked for more samples reuses them.
        until_stderr: stop when the standard error of every observable at every layer above 1, relative to the
            observable's largest |entry| at that layer, is about this, usually a little less. The estimate is not
            biased by it: even and odd blocks stop each other (`pdlt.ensemble.stopping`). Needs twice the samples.
        until_time: stop after this many seconds; blocks in the store are used all the same.
        executor: where to draw: any `concurrent.futures.Executor`, such as Dask's `client.get_executor()`, or a number
            of local processes; default: in this process. Results do not depend on it, bit for bit. A process pool must
            start its processes by "spawn". Every process draws on all its devices.
        precision: "float64" or "float32", of the networks drawn; their means are added up in float64 in any case.
        outputs: number of output neurons drawn in a measured layer, at least 2, for the samplers "conditioned",
            "structured" (default 4) and "network" (default 2): estimators are averaged over all pairs of them. The
            other samplers integrate the last layer, which amounts to infinitely many.

    Returns:
        Dataset with a variable NAME of dims ("layer", "alpha_1", ...) for each observable and its standard
        error NAME_stderr. Single components (K, Theta) are ensemble means; a joint cumulant of k components
        is multiplied by n_{l-1}^(k-1), so V is n times the connected four-point function, and exactly 0 in
        layer 1. Axes: V, A, D, S (1,2,3,4); B, F, T (1,3,2,4); U (1,4,2,3); P, Q, R (0,1,2,3); other
        cumulants slot by slot. Definitions: arXiv:2508.11522 (23), (28)-(30), in the notation of PDLT.
        Derivatives of activations with kinks are the pointwise ones, as the attribute `kinks` says: they are
        not the expectations with Dirac terms. The other attributes tell what made the result; with `until_stderr` or
        `until_time` also what ended the run (`stopped` is "stderr", "time" or "samples") and the largest relative
        standard error reached, with the observable and layer it belongs to. Where standard errors are not to be
        believed, `errors_doubtful` lists the observables and `errors_doubtful_from` the first layer of each.

    Raises:
        PdltError: for bad arguments, a store of another run or one that cannot be read or written, a size beyond
            the machine's memory or ten years, a lost worker that cannot be replaced, and if the ensemble overflows
            (the message names the layer).

    Warns:
        DoubtfulErrorsWarning: where rare networks carry an average, so that its standard error means nothing.
        UserWarning: for inputs so small that kernels become 0.
    """
    x = check_inputs(x)
    check_network(net)
    if not isinstance(sampler, str) or sampler not in SAMPLERS:
        accepted = " or ".join(f'"{name}"' for name in SAMPLERS)
        raise PdltError(f"Argument `sampler` must be {accepted}, but got {sampler!r}.{suggest(str(sampler), SAMPLERS)}")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        accepted = " or ".join(f'"{name}"' for name in PRECISIONS)
        raise PdltError(f"Argument `precision` must be {accepted}, but got {precision!r}.")
    seed = integer("seed", seed, 0, 2**63 - 1)
    target, seconds = _positive("until_stderr", until_stderr), _positive("until_time", until_time)
    if samples is None:
        samples = SAMPLES if target is None and seconds is None else MOST_SAMPLES
    measured = cumulants(observables)
    most = max(measured, key=lambda c: c.order)
    if most.order > COMPONENTS:
        raise PdltError(f"Argument `observables`: at most {COMPONENTS} components are possible, but got {most.spec!r}.")
    # An error needs two groups of blocks, a product of k moments k of them; two halves need twice as many.
    fewest = max(2, most.order) * (1 if target is None else 2)
    hint = ""
    if isinstance(samples, int | float) and samples > 2**53:
        hint = " To go on until the errors are small or time is up, give until_stderr or until_time."
    samples = integer("samples", samples, fewest * BLOCK, 2**53, hint=hint)
    limits = Limits(math.ceil(samples / BLOCK), target, seconds, fewest)
    chunk = None if batch is None else math.ceil(integer("batch", batch, 1, 2**53) / BLOCK)
    asked = _layers(layers, net.depth)

    outcome = _Outcome({}, 0 if limits.sequential else limits.blocks, "stderr", Precision(0.0, "", 0))
    fluctuating = tuple(layer for layer in asked if layer > 1)
    spec = _spec(net, x, sampler, seed, precision, _heads(sampler, outputs), measured, fluctuating)
    if fluctuating:
        with executing(executor) as pool:
            outcome = _sample(net, Record(spec, x, versions()), measured, limits, pool, chunk, store, progress)
    attrs = provenance(net, x, asked, spec, outcome.blocks, versions())
    if limits.sequential:
        attrs |= {"stopped": outcome.stopped, "relative_stderr": outcome.precision.relative}
        attrs |= {"relative_stderr_of": [outcome.precision.observable, outcome.precision.layer]}
        asked_for = {"until_stderr": limits.until_stderr, "until_time": limits.until_time}
        attrs |= {name: value for name, value in asked_for.items() if value is not None}
    if fluctuating:
        doubts = doubt.doubtful(net, measured, outcome.results, fluctuating, attrs["samples"])
        doubt.warn(net, measured, fluctuating, doubts, attrs["samples"])
        attrs |= doubt.attributes(doubts)
        warn_of_underflow(net, x, measured, outcome.results, fluctuating, precision)
    return dataset(net, x, measured, asked, outcome.results, attrs)


@dataclass(frozen=True, eq=False)
class _Outcome:
    results: dict[str, Estimate]
    blocks: int
    stopped: str
    precision: Precision


def _sample(
    net: MLP,
    record: Record,
    measured: list[Cumulant],
    limits: Limits,
    executor: Executor,
    batch: int | None,
    store: str | Path | None,
    progress: bool | None,
) -> _Outcome:
    """Draw until a limit is reached and return the estimates in layers above 1."""
    from tqdm import tqdm

    x, wanted, layers = record.inputs, moments(measured), tuple(record.spec["layers"])
    shapes = moment_shapes(wanted, layers, len(x))
    size = vector_size(shapes)
    needed = cost(net, x, record.spec, wanted, layers, limits.fewest if limits.sequential else limits.blocks)
    if isinstance(executor, Here | Processes):
        require(needed.drawing + needed.estimating, needed.seconds / executor.workers)
    else:  # its workers may have more memory than this machine, and be many
        require(needed.estimating, needed.seconds / MOST_WORKERS)
    n = fan_in(net, x, layers)
    kind = record.spec["precision"]

    def estimator(sums: Accumulator) -> dict[str, Estimate]:
        results = estimates(measured, sums, shapes, n, ROUNDING[kind])
        for k, layer in enumerate(layers):
            if not all(np.isfinite(part[k]).all() for e in results.values() for part in (e.value, e.stderr)):
                raise overflow(layer, "float64")  # in which blocks are added up
        return results

    target = limits.until_stderr
    sums = [Accumulator(size) for _ in range(1 if target is None else 2)]
    halves = None if target is None else Halves(sums, estimator, layers, target)
    done = 0
    end = limits.blocks if target is None else min(limits.blocks, next_checkpoint(0))
    deadline = None if limits.until_time is None else time.monotonic() + limits.until_time
    disable = None if progress is None else not progress
    bar = tqdm(total=end * BLOCK, unit=" samples", delay=0 if progress else 2, disable=disable)

    def announce(seconds: float) -> None:
        disk = 8 * size if store is not None else 0
        memory = needed.drawing + needed.estimating
        text = "" if limits.sequential else forecast(seconds, limits.blocks, memory, disk)
        if text and progress is not False:
            bar.write(text, file=sys.stderr)

    with Store(store, record) if store is not None else nullcontext() as run, bar:
        if needed.seconds > WORTH_SAYING and progress is not False:
            known = len(run.numbers()) if run is not None else 0
            guess = needed.seconds * max(0, 1 - known / limits.blocks)
            if guess > WORTH_SAYING:
                least = "at least " if limits.sequential else ""
                text = f"A rough guess: this run will take {least}{duration(guess)} of computing. Ctrl-C ends it."
                bar.write(text, file=sys.stderr)
        recipe = Recipe(json.dumps(record.spec), np.ascontiguousarray(x).tobytes())
        drawing = Drawing(
            recipe, size, len(sums), executor, run, batch, deadline, lambda n: bar.update(n * BLOCK), announce
        )
        while True:
            # Closed before the store is: an interrupt leaves what was drawn in the file.
            with closing(drawing.sums(done, end, limits.fewest)) as drawn:
                for parts in drawn:
                    for own, part in zip(sums, parts, strict=True):
                        own.merge(part)
            done = sum(own.blocks for own in sums)
            if done < end:
                stopped = "time"
            elif halves is not None and halves.stopped():
                stopped = "stderr"
            elif end == limits.blocks:
                stopped = "samples"
            else:
                end = min(limits.blocks, next_checkpoint(end))
                bar.total = end * BLOCK
                continue
            break
    results, blocks = (estimator(sums[0]), done) if halves is None else halves.result()
    return _Outcome(results, blocks, stopped, reached(results, layers))


def _spec(
    net: MLP,
    x: np.ndarray,
    sampler: str,
    seed: int,
    precision: str,
    outputs: int | None,
    measured: list[Cumulant],
    layers: tuple[int, ...],
) -> dict[str, Any]:
    """Return everything that determines the blocks."""
    return {
        "network": net.describe(),
        "inputs_sha256": sha256(x),
        "inputs_shape": list(x.shape),
        "sampler": sampler,
        "seed": seed,
        "precision": precision,
        "outputs": outputs,
        "observables": sorted(c.spec for c in measured),
        "layers": list(layers),
        "block": BLOCK,
        "stream": STREAM,
        "jax": jax.__version__,
    }


def _heads(sampler: str, outputs: Any) -> int | None:
    """Return the number of output neurons, None for samplers that integrate the last layer."""
    if outputs is None:
        return OUTPUTS.get(sampler)
    if sampler not in OUTPUTS:
        raise PdltError(
            f'Argument `outputs` must be None with sampler="{sampler}", which integrates the last layer, but got '
            f"{outputs!r}."
        )
    return integer("outputs", outputs, 2, 1000)


def _positive(name: str, value: Any) -> float | None:
    return None if value is None else positive(name, value)


def _layers(layers: Any, depth: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(1, depth + 1))
    try:
        chosen = sorted({integer("layers", layer, 1, depth) for layer in layers})
    except TypeError:
        chosen = []
    if not chosen:
        raise PdltError(f"Argument `layers` must be a list of layers from 1 to {depth}, but got {layers!r}.")
    return tuple(chosen)
