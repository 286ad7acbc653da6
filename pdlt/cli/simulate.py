"""pdlt simulate."""

from pathlib import Path
from typing import Any

import click

from pdlt.cli._options import (
    build_network,
    check_output,
    emit_dataset,
    network_options,
    observables_option,
    output_options,
    parse_observables,
    read_inputs,
)
from pdlt.cli._sampling import chosen_layers, layers_options, naming, sampling_arguments, sampling_options


@click.command(
    epilog="""\b
Examples:
  pdlt simulate --activation tanh --depth 3 --width 32 --x '[[0.9,-0.4,1.1]]' --samples 100000
  pdlt simulate --sampler path --observables K,Theta,A,B --x '[[1,0]]' --samples 20000
  pdlt simulate --sampler network --samples 2000 --observables K,Theta,A --x '[[1,0]]' --json
  pdlt simulate --observables K,V --x '[[1,0]]' --until-stderr 0.01 --until-time 10m --store run.db --workers 4

Layers are the last one, those of --layers 2,4 or --all-layers; a store that is there is continued with its own.
""",
)
@network_options
@observables_option
@click.option("--samples", type=int, help="Networks to draw (10000); with --until-... the most (10^9).")
@sampling_options
@click.option("--store", type=click.Path(path_type=Path), help="SQLite file that makes the run resumable.")
@layers_options
@output_options(".json, .csv")
def command(
    observables: str | None,
    samples: int | None,
    store: Path | None,
    layers: str | None,
    all_layers: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Measure observables on an ensemble of finite networks, all orders in 1/n included."""
    check_output(output, (".json", ".csv"))
    sampling = sampling_arguments(options)
    net, x = build_network(options), read_inputs(options)
    from pdlt.ensemble import simulate
    from pdlt.report.tables import run_table

    chosen, printed = chosen_layers(layers, all_layers, net.depth, store)
    with naming():
        names = parse_observables(observables)
        run = simulate(net, x, names, samples=samples, layers=chosen, store=store, **sampling)
    tables = [run_table(run, layer) for layer in sorted(set(printed))]
    emit_dataset(run, "\n\n".join([*tables, *reached(run)]), as_json, output)


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
