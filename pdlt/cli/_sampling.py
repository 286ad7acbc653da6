"""Options of the commands that draw networks."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pdlt.cli._options import decorated, parse_numbers
from pdlt.errors import PdltError

_SAMPLERS = "path: least noise for one or two inputs; jets: for more; conditioned, structured, network: real weights."
_WORKERS = "Draw in this many local processes, for runs of minutes (each takes 5-10 s to start); same results."


def sampling_options(command: Callable) -> Callable:
    """Add the options that say how networks are drawn; `sampling_arguments` reads them."""
    options = [
        click.option("--until-stderr", type=float, help="Stop at this standard error, relative to the largest entry."),
        click.option("--until-time", help="Stop after this time: 90s, 10m, 2h."),
        click.option("--sampler", default="jets", show_default=True, help=_SAMPLERS),
        click.option("--precision", default="float64", show_default=True, help="float64 or float32, of the networks."),
        click.option("--outputs", type=int, help="Output neurons drawn by conditioned, structured (4), network (2)."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--workers", type=int, help=_WORKERS),
    ]
    return decorated(command, options)


def sampling_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Take those options out of a command's and return them as arguments of `pdlt.simulate` and `pdlt.sweep`.

    Raises:
        PdltError: for a time that cannot be read, or a number of workers below 1.
    """
    names = ("until_stderr", "sampler", "precision", "outputs", "seed")
    found = {name: options.pop(name) for name in names}
    time, workers = options.pop("until_time"), options.pop("workers")
    if workers is not None and workers < 1:
        raise PdltError(f"Option --workers must be a positive integer, but got {workers}.")
    return {**found, "until_time": None if time is None else read_duration(time), "executor": workers}


#: Options that errors may be about, by the name of the argument of `pdlt.simulate` or `pdlt.sweep`.
_SAME = ["store", "stores", "samples", "until_stderr", "seed", "sampler", "precision", "outputs", "layers"]
_SAME += ["observables", "widths", "depths", "degree", "order", "x"]
_OPTIONS = {name: f"Option --{name.replace('_', '-')}" for name in _SAME} | {"executor": "Option --workers"}


@contextmanager
def naming(**names: str) -> Iterator[None]:
    """Let errors name what was typed, "Option --store", where the library says "Argument `store`"."""
    try:
        yield
    except PdltError as error:
        known = _OPTIONS | names
        text = re.sub(r"Argument `(\w+)`", lambda found: known.get(found[1], found[0]), str(error))
        raise PdltError(text) from None


def layers_options(command: Callable) -> Callable:
    """Add --layers and --all-layers; `chosen_layers` reads them."""
    options = [
        click.option("--layers", help="Layers to measure, e.g. 3 or 2,3. Default: the last one."),
        click.option("--all-layers", is_flag=True, help="Measure and print every layer."),
    ]
    return decorated(command, options)


def chosen_layers(layers: str | None, all_layers: bool, depth: int, store: Path | None) -> tuple[list[int], list[int]]:
    """Return the layers to measure and those to print.

    By default that is the last one; but a store that is there holds the layers it was begun with, and is continued.

    Raises:
        PdltError: if both options are given, `layers` is not a list of layers, or the store cannot be read.
    """
    if layers is not None and all_layers:
        raise PdltError("Options --layers and --all-layers exclude each other: leave out one of them.")
    if all_layers:
        return (every := list(range(1, depth + 1))), every
    if layers is not None:
        values = parse_numbers("layers", layers, int)
        values = values if isinstance(values, list) else [values]
        wrong = [value for value in values if not 1 <= value <= depth]
        if wrong:
            raise PdltError(f"Option --layers must name layers from 1 to {depth}, the depth, but got {wrong[0]}.")
        return values, values
    stored = _stored_layers(store) if store is not None else []
    return (stored if depth in stored else [depth]), [depth]


def _stored_layers(store: Path) -> list[int]:
    from pdlt.ensemble.store import Store, is_store

    if not is_store(store):
        return []
    with Store(store) as run:
        return list(run.record.spec.get("layers", []))


def read_duration(text: str) -> float:
    """Return the seconds of "90s", "10m", "1.5h" or plain seconds.

    Raises:
        PdltError: if it is none of these.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d*)?)\s*([smh]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else math.nan
    if not seconds > 0:
        raise PdltError(f"Option --until-time must be a time such as 90s, 10m or 2h, but got {text!r}.")
    return seconds
