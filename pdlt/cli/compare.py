"""pdlt compare."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pdlt.cli._options import (
    build_network,
    check_output,
    emit,
    exit_if_any,
    network_options,
    observables_option,
    output_options,
    parse_observables,
    read_inputs,
    z_max_option,
)
from pdlt.cli._sampling import chosen_layers, layers_options, naming, sampling_arguments, sampling_options
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt compare --activation tanh --depth 3 --width 64 --x '[[0.9,-0.4,1.1]]' --samples 50000
  pdlt compare --activation relu --kinks pointwise --sampler network --x '[[1,0]]' --all-layers
  pdlt compare --prediction prediction.json --run run.json

Exit code 1 if a measurement is further from theory than --z-max standard errors plus the neglected order.
""",
)
@network_options
@observables_option
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n.")
@click.option("--kinks", default="atoms", show_default=True, help="atoms or pointwise, for kinked activations.")
@click.option("--samples", type=int, help="Networks to draw (10000); with --until-... the most (10^9).")
@sampling_options
@click.option("--store", type=click.Path(path_type=Path), help="SQLite file that makes the run resumable.")
@z_max_option
@layers_options
@click.option("--prediction", type=click.Path(path_type=Path), help="Read the prediction (JSON) instead.")
@click.option("--run", "run_file", type=click.Path(path_type=Path), help="Read the measurement (JSON) instead.")
@output_options(".json, .csv")
def command(
    observables: str | None,
    order: int,
    kinks: str,
    samples: int | None,
    store: Path | None,
    z_max: float,
    layers: str | None,
    all_layers: bool,
    prediction: Path | None,
    run_file: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Put theory beside measurement for one network, with z-scores and the size of the neglected order."""
    from pdlt.compare import compare, disagreements
    from pdlt.ensemble.doubt import sentence
    from pdlt.report.tables import comparison_table, network_title, run_title

    check_output(output, (".json", ".csv"))
    if (prediction is None) != (run_file is None):
        raise PdltError("Give both --prediction and --run, or neither.")
    if prediction is not None and run_file is not None:
        _refuse_network_options()
        theory, measured = _read(prediction), _read(run_file)
        if "errors_doubtful" in measured.attrs:
            click.echo(f"Warning: {sentence(measured.attrs)}", err=True)
        there = [int(layer) for layer in measured.layer.values]
        _, shown = chosen_layers(layers, all_layers, there[-1], None)
    else:
        sampling = sampling_arguments(options)
        net, x = build_network(options), read_inputs(options)
        from pdlt.ensemble import simulate
        from pdlt.predict import predict

        names = parse_observables(observables)
        theory = predict(net, x, names, order=order, kinks=kinks)
        chosen, shown = chosen_layers(layers, all_layers, net.depth, store)
        with naming():
            measured = simulate(net, x, names, samples=samples, layers=chosen, store=store, **sampling)
    table = compare(theory, measured, layers=None if all_layers else shown)
    bad = disagreements(table, z_max)
    document = table.to_json(orient="records", indent=1)
    text = f"{network_title(theory)}\n{run_title(measured)}\n\n{comparison_table(table, measured)}"
    emit(lambda: document, lambda: table.to_csv(index=False), text, as_json, output, always=True)
    exit_if_any(
        [f"{row.observable}{list(row.entry)} at layer {row.layer}" for row in bad.itertuples()],
        f"{len(bad)} of {len(table)} entries differ by more than {z_max:g} standard errors plus the truncation",
    )


def _refuse_network_options() -> None:
    """Refuse options that describe a network when both sides come from files, instead of ignoring them."""
    ctx = click.get_current_context()
    own = {"prediction", "run_file", "z_max", "layers", "all_layers", "as_json", "output"}
    given = [p for p in ctx.params if ctx.get_parameter_source(p) == ParameterSource.COMMANDLINE and p not in own]
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise PdltError(
            f"With --prediction and --run nothing is computed, so {names} would have no effect; leave it out."
        )


def _read(path: Path) -> Any:
    from pdlt.export.dataset import from_json

    try:
        return from_json(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise PdltError(f"{path} could not be read ({error}).") from None
