"""The driver: check, train block by block, turn block means into observables with errors.

arguments -> Problem, spec                               what is trained on what, and everything that determines blocks
(spec, block number) -> TrainingRecipe -> block means    pure functions; drawn anywhere, kept in a store if asked for
block means -> observables.estimates -> xarray.Dataset   estimates and standard errors
"""

import json
import math
import sys
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pdlt._arguments import integer
from pdlt.ensemble.blocks import BLOCK
from pdlt.ensemble.blocks import STREAM as ENSEMBLE_STREAM
from pdlt.ensemble.execution import Drawing, Here, Processes, executing
from pdlt.ensemble.forecast import forecast, require
from pdlt.ensemble.results import versions
from pdlt.ensemble.statistics import GROUPS, Accumulator
from pdlt.ensemble.store import Record, Store
from pdlt.errors import PdltError
from pdlt.networks import check_network, sha256
from pdlt.trained.blocks import STREAM, TrainingRecipe, divided, initial_weights, largest_eigenvalue
from pdlt.trained.observables import DEFAULT, chosen, vector_shapes
from pdlt.trained.problem import Problem
from pdlt.trained.results import dataset

if TYPE_CHECKING:
    import xarray

SAMPLES = 10_000  # by default
TOLERANCE = {True: 1e-6, False: 1e-4}  # by default: of smooth activations, and of those with a kink
LINEARISED = 20  # by default
MOST_LINEARISED = 10_000
#: Of the bound of the learning rate: beyond it linearised networks learn nothing that resembles what real ones learn.
NEAR = 0.9


def simulate_training(
    net: Any,
    x_train: Any,
    y_train: Any,
    x_test: Any,
    times: Any,
    rule: str = "flow",
    learning_rate: float | None = None,
    observables: Iterable[str] | str | None = DEFAULT,
    samples: int = SAMPLES,
    seed: int = 0,
    store: str | Path | None = None,
    pairs: bool = True,
    linearised: int | None = None,
    tolerance: float | None = None,
    executor: Executor | int | None = None,
    batch: int | None = None,
    progress: bool | None = None,
) -> "xarray.Dataset":
    """Train an ensemble of real networks on the same data, from independent initialisations, and average over it.

    Training minimises 1/2 sum (z - y)^2 over all training points at once, by theta' = -lambda grad (flow: integrated
    by the pair of Dormand and Prince with error control) or by steps -eta lambda grad (gd: exactly). Nothing is
    expanded in 1/width: this is what predictions are compared with.

    Noise is taken out in two ways that change no expectation. A network and its reflection, with the signs of the last
    layer flipped, are equally likely: a pair of them starts from z(0) and -z(0) with one tangent kernel. And from every
    trained network what its linearisation has learned is subtracted, and added again as the mean over more networks
    that are not trained (`pdlt.trained.linearised`; docs/training.md has the gains).

    Args:
        net: the network; its hidden widths are those of the networks trained.
        x_train, y_train: inputs (N, n_0) and labels (N, n_L), or (N,) for one output. Equal inputs may have different
            labels.
        x_test: any points, shape (P, n_0), training points included.
        times: when to look: increasing, not negative, finite; numbers of steps for gd.
        rule: "flow" or "gd".
        learning_rate: eta of gd; left out for flow.
        observables: names, of "mean", "covariance", "kernel", "kernel_change", "kernel_velocity", "alignment",
            "hidden_kernel_change"; None for all.
        samples: trained networks, rounded up to whole blocks of 50; at least 100.
        seed: non-negative integer. The same seed with other arguments gives independent networks.
        store: an SQLite file that keeps the blocks; an interrupted run continues from it to the same bits, and a run
            asked for more samples reuses them.
        pairs: whether networks are trained in pairs.
        linearised: how many networks are linearised for each one that is trained, 0 for none. None is 20, or 0 for gd
            if one of 50 networks has a learning rate above 0.9 of its bound.
        tolerance: of a step of the flow, from 1e-13 to 1e-2; see `pdlt.finite.train`. None is 1e-6, or 1e-4 for
            activations with a kink, whose flow stops at kinks with smaller ones (rule "gd" is much faster there).
        executor, batch, progress: as in `pdlt.simulate`; results do not depend on them, bit for bit.

    Returns:
        Dataset with, for each observable, its estimate and NAME_stderr:

        * `mean` ("time", "point", "output"): E z(t) on `x_test`;
        * `covariance` ("time", "point", "point_", "output", "output_"): over initialisations, unbiased;
        * `kernel`, same dims: the tangent kernel E H(t), and `kernel_change`: E[H(t) - H(0)];
        * `kernel_velocity`, same dims: E[dH/dt] along -lambda grad, which is minus the dNTK contracted with the
          residuals, -sum_(a,k) (dH_{ijk; 12a} + dH_{jik; 21a}) (z_k - y_k)_a with a over training points;
        * `alignment` ("time"): y.H.y / (|y|^2 |H|) of the ensemble's mean tangent kernel on the training set, over
          pairs of input and output, in the Frobenius norm;
        * `hidden_kernel_change` ("layer", "time", "point", "point_"): for l = 1 ... L-1 the expected change of
          C_b + (C_W/n_l) sum_j sigma(z^(l)_j) sigma(z^(l)_j), with C_b and C_W of layer l + 1.

        Derivatives of activations with kinks are the pointwise ones, as the attribute `kinks` says: `kernel_velocity`
        lacks what networks whose preactivations cross a kink contribute, which `kernel_change` has. Further attributes
        say what made the result; for gd `learning_rate_bound` is 2 over the largest eigenvalue of the tangent kernel
        among the networks of the first block.

    Raises:
        PdltError: for bad arguments, a store of another run, a size beyond the machine's memory, a lost worker that
            cannot be replaced, and if the training of a network diverges or does not arrive.

    Warns:
        DoubtfulErrorsWarning: where a few networks carry an average, so that its standard error means nothing.
        UserWarning: for gd, if some networks start above their bound of the learning rate.
    """
    if tolerance is None:
        tolerance = TOLERANCE[check_network(net).activation.is_smooth]
    problem = Problem.of(net, x_train, y_train, x_test, times, rule, learning_rate, tolerance)
    names = chosen(observables, problem)
    seed = integer("seed", seed, 0, 2**63 - 1)
    blocks = math.ceil(integer("samples", samples, 2 * BLOCK, 2**53) / BLOCK)
    chunk = None if batch is None else math.ceil(integer("batch", batch, 1, 2**53) / BLOCK)
    if not isinstance(pairs, bool):
        raise PdltError(f"Argument `pairs` must be True or False, but got {pairs!r:.60}.")
    if linearised is not None:
        linearised = integer("linearised", linearised, 0, MOST_LINEARISED)
    spec = _spec(problem, names, seed, pairs)
    largest = None
    if problem.rule == "gd":
        _require_memory(problem, {**spec, "linearised": 0}, blocks, None)
        largest = largest_eigenvalue(problem, initial_weights(problem, {**spec, "linearised": 0}, 0))
    spec["linearised"] = _linearised(linearised, problem, largest)
    record = Record(spec, problem.numbers()[None], versions())
    with executing(executor) as pool:
        _require_memory(problem, spec, blocks, pool)
        total = _sample(problem, record, blocks, pool, chunk, store, progress)
    return dataset(problem, record, total, {} if largest is None else {"learning_rate_bound": 2 / largest})


def recorded_training(path: str | Path) -> "xarray.Dataset":
    """Return the measurement that a store of `simulate_training` holds, from its blocks 0, 1, ... up to a missing one.

    Raises:
        PdltError: if the file is not such a store or is damaged, or holds fewer than two blocks.

    Warns:
        DoubtfulErrorsWarning: as `simulate_training`.
    """
    with Store(path) as store:
        record = store.record
        if record.spec.get("kind") != "training":
            raise PdltError(f"Argument `store`: {str(path)!r} does not hold a run of simulate_training.")
        try:
            problem = Problem.from_description(record.spec, record.inputs)
            total = Accumulator(_size(problem, record.spec))
            for number, means in enumerate(_prefix(store)):
                total.add(means, number)
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, PdltError):
                raise
            raise PdltError(f"Argument `store`: {str(path)!r} does not describe a run of pdlt ({error!r}).") from error
    if total.blocks < 2:
        raise PdltError(f"Argument `store`: {str(path)!r} holds {total.blocks} blocks in a row; estimates need 2.")
    return dataset(problem, record, total, {})


def _prefix(store: Store) -> Iterator[np.ndarray]:
    number = 0
    while found := store.read(number, number + 1):
        yield found[number]
        number += 1


def _spec(problem: Problem, names: tuple[str, ...], seed: int, pairs: bool) -> dict[str, Any]:
    """Return everything that determines the blocks."""
    numbers = problem.numbers()
    return {
        "kind": "training",
        **problem.describe(),
        "inputs_sha256": sha256(numbers),
        "inputs_shape": [1, numbers.size],
        "observables": list(names),
        "seed": seed,
        "pairs": pairs,
        "precision": "float64",
        "block": BLOCK,
        "stream": ENSEMBLE_STREAM,
        "training_stream": STREAM,
        "jax": jax.__version__,
    }


def _linearised(asked: int | None, problem: Problem, largest: float | None) -> int:
    """Return how many networks are linearised for each trained one; warn of learning rates above their bound."""
    reach = 0.0 if largest is None else problem.learning_rate * largest / 2
    if reach >= 1:
        warnings.warn(
            f"Argument `learning_rate`: some of the networks start above their bound 2/lambda_max, the smallest of "
            f"{BLOCK} being {problem.learning_rate / reach:.6g}; they will not learn like the others, and may make up "
            "the means.",
            stacklevel=3,
        )
    return asked if asked is not None else LINEARISED if reach < NEAR else 0


def _size(problem: Problem, spec: dict[str, Any]) -> int:
    shapes = vector_shapes(spec["observables"], problem, spec["linearised"])
    return sum(math.prod(shape) for shape in shapes.values())


def _require_memory(problem: Problem, spec: dict[str, Any], blocks: int, executor: Executor | None) -> None:
    """Refuse what this machine cannot hold."""
    drawing = divided(problem, spec)[1] if executor is None or isinstance(executor, Here | Processes) else 0.0
    require(drawing + 8.0 * min(blocks, GROUPS) * 6 * _size(problem, spec), 0.0)


def _sample(
    problem: Problem,
    record: Record,
    blocks: int,
    executor: Executor,
    batch: int | None,
    store: str | Path | None,
    progress: bool | None,
) -> Accumulator:
    """Return the sums over all blocks."""
    from tqdm import tqdm

    size = _size(problem, record.spec)
    total = Accumulator(size)
    disable = None if progress is None else not progress
    bar = tqdm(total=blocks * BLOCK, unit=" networks", delay=0 if progress else 2, disable=disable)

    def announce(seconds: float) -> None:
        memory = divided(problem, record.spec)[1] + 8.0 * min(blocks, GROUPS) * size
        text = forecast(seconds, blocks, memory, 8 * size if store is not None else 0)
        if text and progress is not False:
            bar.write(text, file=sys.stderr)

    recipe = TrainingRecipe(json.dumps(record.spec), np.ascontiguousarray(record.inputs).tobytes())
    with Store(store, record) if store is not None else nullcontext() as run, bar:
        drawing = Drawing(
            recipe, size, 1, executor, run, batch, None, lambda count: bar.update(count * BLOCK), announce
        )
        # Closed before the store is: an interrupt leaves what was drawn in the file.
        with closing(drawing.sums(0, blocks)) as drawn:
            for (part,) in drawn:
                total.merge(part)
    return total
