"""Draw the ensembles of a sweep: one run for each depth and width."""

import numbers
import sys
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdlt._arguments import integer
from pdlt.ensemble import DoubtfulErrorsWarning, simulate
from pdlt.ensemble.execution import executing
from pdlt.errors import PdltError
from pdlt.networks import LARGEST, MLP, check_inputs, check_network
from pdlt.observables import NAMED, Observable, observable
from pdlt.predict import TruncationWarning, predict
from pdlt.sweep.result import Sweep

if TYPE_CHECKING:
    import xarray

#: Less time than this is none.
_INSTANT = 1e-3


def sweep(
    net: MLP,
    x: Any,
    observables: Iterable[str | Observable] | None,
    widths: Iterable[int],
    depths: Iterable[int] | None = None,
    samples: int | Sequence[int] | None = None,
    order: int = 1,
    degree: int | None = None,
    sampler: str = "jets",
    seed: int = 0,
    stores: str | Path | None = None,
    until_stderr: float | None = None,
    until_time: float | None = None,
    executor: Executor | int | None = None,
    precision: str = "float64",
    outputs: int | None = None,
) -> Sweep:
    """Measure networks of several widths (and depths), fit the series in 1/n, and compare it with the derived one.

    Args:
        net: the network. Its hidden widths are scaled so that the last one, n_{L-1}, is each of `widths` in turn; their
            ratios are kept. Equal widths stay equal.
        x: inputs, shape (N, n_0).
        observables: names and specs as in `pdlt.simulate`; None for all named ones.
        widths: values of n = n_{L-1}, at least two, all different. The range matters more than the number: small ones
            carry the coefficients of high powers, large ones the limit.
        depths: numbers of weight layers, each at least 2; default: that of `net`. More than one needs equal widths and
            equal variances and learning-rate scales in all layers.
        samples: networks per run, one number or one per width; as in `pdlt.simulate`.
        order: order in 1/n of the derived series, see `pdlt.predict`. Observables that first appear at a higher order
            are measured only.
        degree: highest power of 1/n in the fits; default: one more than suffices, see `Sweep`.
        sampler, seed, executor, precision, outputs: as in `pdlt.simulate`. Runs of different networks are independent
            at equal seeds, so all have the same one, and each is the run that `pdlt.simulate` gives.
        stores: a folder that keeps each run in its file: an interrupted sweep continues from there to the same
            bits, and more widths, depths or samples reuse what is there.
        until_stderr: stop each run at this relative standard error, as in `pdlt.simulate`.
        until_time: seconds for the whole sweep; each run has an equal share of what is left.

    Raises:
        PdltError: for bad arguments, and whatever `pdlt.predict` and `pdlt.simulate` raise.

    Warns:
        DoubtfulErrorsWarning: where rare networks carry an average, see `Sweep.doubtful`.
    """
    start = time.monotonic()
    check_network(net)
    x = check_inputs(x)
    items = {item.name: item for item in map(observable, _listed("observables", observables, NAMED))}
    chosen = _integers("widths", widths, 1, fewest=2)
    asked = [net.depth] if depths is None else _integers("depths", depths, 2, fewest=1)
    if min(asked) < 2:
        raise PdltError("Argument `net` must have depth 2 or more: at depth 1 there is no width to sweep.")
    counts = _per_width(samples, len(chosen))
    if degree is not None:
        degree = integer("degree", degree, 0, len(chosen) - 1, f" (one less than there are widths, {len(chosen)})")
    integer("order", order, 0, LARGEST)
    if until_time is not None and not (isinstance(until_time, numbers.Real) and until_time > 0):
        raise PdltError(f"Argument `until_time` must be a positive number, but got {until_time!r}.")
    nets = {(depth, n): _resized(net, depth, n) for depth in sorted(asked) for n in sorted(chosen)}
    folder = _folder(stores)

    derived = [name for name, item in items.items() if item.leading_order <= order]
    predictions = {}
    for depth in sorted(asked):
        if derived:
            predictions[depth] = _predicted(nets[depth, max(chosen)], x, derived, order)
    runs = {}
    with executing(executor) as pool:
        for done, ((depth, n), resized) in enumerate(nets.items()):
            if sys.stderr.isatty():
                print(f"depth {depth}, width {n} (run {done + 1} of {len(nets)})", file=sys.stderr)
            share = None
            if until_time is not None:
                share = max(_INSTANT, (start + until_time - time.monotonic()) / (len(nets) - done))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DoubtfulErrorsWarning)  # said of all runs at once, below
                runs[depth, n] = simulate(
                    resized,
                    x,
                    list(items),
                    samples=counts[chosen.index(n)],
                    sampler=sampler,
                    seed=seed,
                    layers=[depth],
                    store=None if folder is None else folder / f"depth{depth}_width{n}.db",
                    until_stderr=until_stderr,
                    until_time=share,
                    executor=pool,
                    precision=precision,
                    outputs=outputs,
                )
    result = Sweep(tuple(items), predictions, runs, order, degree)
    if result.doubtful:
        warnings.warn(
            "Rare networks carry some averages, so that their standard errors, and the fits, are not to be believed: "
            f"{result.doubtful_text}. Leave out the smallest widths, or draw more networks (docs/ensembles.md).",
            DoubtfulErrorsWarning,
            stacklevel=2,
        )
    return result


def _predicted(net: MLP, x: Any, names: list[str], order: int) -> "xarray.Dataset":
    """Return the coefficients at the last layer; they depend on ratios of widths only, so one width serves all."""
    with warnings.catch_warnings():
        # Where the series fails is what a sweep is there to show.
        warnings.simplefilter("ignore", TruncationWarning)
        # Sampled networks have pointwise derivatives; for smooth activations there is no difference.
        return predict(net, x, names, order=order, kinks="pointwise").isel(layer=[-1])


def _resized(net: MLP, depth: int, n: int) -> MLP:
    """Return the network with n_{L-1} = n and the same ratios of widths, or of another depth.

    Raises:
        PdltError: if a width is not an integer, or parameters of layers differ and the depth changes.
    """
    if depth == net.depth:
        shape = net.width
    else:
        layered = ("C_b", "C_W", "lambda_b", "lambda_W", "width")
        uneven = [name for name in layered if len(set(getattr(net, name))) > 1]
        if uneven:
            raise PdltError(
                f"Argument `depths` must be {net.depth}, the depth of `net`, because {', '.join(uneven)} differ from "
                f"layer to layer; got {depth}."
            )
        shape = (1,) * (depth - 1)
    if any(n * width % shape[-1] for width in shape):
        raise PdltError(
            f"Argument `widths` must keep the ratios of the hidden widths {','.join(map(str, shape))} in integers, but "
            f"{n} does not."
        )
    scales = {name: getattr(net, name) for name in ("C_b", "C_W", "lambda_b", "lambda_W")}
    if depth != net.depth:
        scales = {name: values[0] for name, values in scales.items()}
    return MLP(depth, [n * width // shape[-1] for width in shape], net.activation, **scales)


def _listed(name: str, values: Any, default: Iterable[Any] | None = None) -> list[Any]:
    if values is None and default is not None:
        return list(default)
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise PdltError(f"Argument `{name}` must be a list, but got {values!r}.")
    found = list(values)
    if not found:
        raise PdltError(f"Argument `{name}` must not be empty.")
    return found


def _integers(name: str, values: Any, low: int, fewest: int) -> list[int]:
    found = [integer(name, value, low, LARGEST) for value in _listed(name, values)]
    repeated = [value for value in found if found.count(value) > 1]
    if repeated:
        raise PdltError(f"Argument `{name}` must hold different integers, but {repeated[0]} is there twice.")
    if len(found) < fewest:
        raise PdltError(f"Argument `{name}` must hold at least {fewest} of them, but got {found}.")
    return found


def _per_width(samples: Any, widths: int) -> list[Any]:
    if not isinstance(samples, Sequence) or isinstance(samples, str):
        return [samples] * widths
    if len(samples) != widths:
        raise PdltError(f"Argument `samples` must be one number or {widths} of them, but got {len(samples)}.")
    return list(samples)


def _folder(stores: str | Path | None) -> Path | None:
    if stores is None:
        return None
    folder = Path(stores)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PdltError(f"Argument `stores` must be a folder, but {str(folder)!r} is not ({error.strerror}).") from None
    return folder
