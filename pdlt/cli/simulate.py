"""pdlt simulate."""

import math
import re
from pathlib import Path
from typing import Any

import click

from pdlt.cli._options import (
    build_network,
    check_suffix,
    emit_dataset,
    network_options,
    observables_option,
    output_options,
    parse_observables,
    read_inputs,
)
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt simulate --activation tanh --depth 3 --width 32 --x '[[0.9,-0.4,1.1]]' --samples 100000
  pdlt simulate --sampler path --observables K,Theta,A,B --x '[[1,0]]' --samples 20000
  pdlt simulate --sampler network --samples 2000 --observables K,Theta,A --x '[[1,0]]' --json
  pdlt simulate --observables K,V --x '[[1,0]]' --until-stderr 0.01 --until-time 10m --store run.db --workers 4
""",
)
@network_options
@observables_option
@click.option("--samples", type=int, help="Networks to draw (10000); with --until-... the most (10^9).")
@click.option("--until-stderr", type=float, help="Stop at this standard error, relative to the largest entry.")
@click.option("--until-time", help="Stop after this time: 90s, 10m, 2h.")
@click.option("--sampler", default="jets", show_default=True, help="jets, path, conditioned, structured, network.")
@click.option("--precision", default="float64", show_default=True, help="float64 or float32, of the networks drawn.")
@click.option("--outputs", type=int, help="Output neurons drawn by conditioned, structured (4), network (2).")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), help="SQLite file that makes the run resumable.")
@click.option("--workers", type=int, help="Draw in this many local processes; results are the same.")
@click.option("--all-layers", is_flag=True, help="Print every layer, not only the last.")
@output_options(".json, .csv")
def command(
    observables: str | None,
    samples: int | None,
    until_stderr: float | None,
    until_time: str | None,
    sampler: str,
    precision: str,
    outputs: int | None,
    seed: int,
    store: Path | None,
    workers: int | None,
    all_layers: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Measure observables on an ensemble of finite networks, all orders in 1/n included."""
    check_suffix(output, (".json", ".csv"))
    seconds = None if until_time is None else read_duration(until_time)
    if workers is not None and workers < 1:
        raise PdltError(f"Option --workers must be a positive integer, but got {workers}.")
    net, x = build_network(options), read_inputs(options)
    from pdlt.ensemble import simulate
    from pdlt.report.tables import run_table

    names = parse_observables(observables)
    run = simulate(
        net,
        x,
        names,
        samples=samples,
        sampler=sampler,
        seed=seed,
        store=store,
        until_stderr=until_stderr,
        until_time=seconds,
        executor=workers,
        precision=precision,
        outputs=outputs,
    )
    layers = run.layer.values if all_layers else run.layer.values[-1:]
    tables = [run_table(run, int(layer)) for layer in layers]
    emit_dataset(run, "\n\n".join([*tables, *reached(run)]), as_json, output)


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


def reached(run: Any) -> list[str]:
    """Return a line on what ended a run that had more than one limit, else nothing."""
    if "stopped" not in run.attrs:
        return []
    name, layer = run.attrs["relative_stderr_of"]
    where = f" ({name} at layer {layer})" if name else ""
    why = {
        "stderr": "the standard errors are small enough",
        "time": "time is up",
        "samples": "the limit of samples is reached",
    }
    relative = f"{run.attrs['relative_stderr']:.3g}"
    return [f"stopped: {why[run.attrs['stopped']]}; largest relative standard error: {relative}{where}"]
