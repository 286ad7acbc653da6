"""Options of the commands that draw networks."""

import math
import re
from collections.abc import Callable
from typing import Any

import click

from pdlt.cli._options import decorated
from pdlt.errors import PdltError


def sampling_options(command: Callable) -> Callable:
    """Add the options that say how networks are drawn; `sampling_arguments` reads them."""
    options = [
        click.option("--until-stderr", type=float, help="Stop at this standard error, relative to the largest entry."),
        click.option("--until-time", help="Stop after this time: 90s, 10m, 2h."),
        click.option("--sampler", default="jets", show_default=True, help="Or path, conditioned, structured, network."),
        click.option("--precision", default="float64", show_default=True, help="float64 or float32, of the networks."),
        click.option("--outputs", type=int, help="Output neurons drawn by conditioned, structured (4), network (2)."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--workers", type=int, help="Draw in this many local processes; results are the same."),
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
