"""pdlt simulate."""

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


@click.command(
    epilog="""\b
Examples:
  pdlt simulate --activation tanh --depth 3 --width 32 --x '[[0.9,-0.4,1.1]]' --samples 100000
  pdlt simulate --sampler network --samples 2000 --observables K,Theta,A --x '[[1,0]]' --json
""",
)
@network_options
@observables_option
@click.option("--samples", type=int, default=10_000, show_default=True, help="Networks to draw.")
@click.option("--sampler", default="jets", show_default=True, help="jets (weight-free, exact) or network.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), help="SQLite file that makes the run resumable.")
@click.option("--all-layers", is_flag=True, help="Print every layer, not only the last.")
@output_options(".json, .csv")
def command(
    observables: str | None,
    samples: int,
    sampler: str,
    seed: int,
    store: Path | None,
    all_layers: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Measure observables on an ensemble of finite networks, all orders in 1/n included."""
    check_suffix(output, (".json", ".csv"))
    net, x = build_network(options), read_inputs(options)
    from pdlt.ensemble import simulate
    from pdlt.report.tables import run_table

    names = parse_observables(observables)
    run = simulate(net, x, names, samples=samples, sampler=sampler, seed=seed, store=store)
    layers = run.layer.values if all_layers else run.layer.values[-1:]
    emit_dataset(run, "\n\n".join(run_table(run, int(layer)) for layer in layers), as_json, output)
