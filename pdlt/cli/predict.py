"""pdlt predict."""

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


@click.command(
    epilog="""\b
Examples:
  pdlt predict --activation gelu --C-b 0.17292239 --C-W 1.98305826 --depth 8 --width 256 --x '[[0.9,-0.4,1.1]]'
  pdlt predict --activation "z*tanh(z)" --inputs inputs.csv --observables K,V --json
  pdlt predict --x '[[1,0],[0,1]]' --order 2 --observables K,V -o prediction.json
""",
)
@network_options
@observables_option
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n.")
@click.option("--rtol", type=float, default=1e-8, show_default=True, help="Numerical accuracy wanted.")
@click.option("--method", default="auto", show_default=True, help="auto, closed, quadrature or qmc.")
@click.option("--kinks", default="atoms", show_default=True, help="atoms or pointwise, for kinked activations.")
@click.option("--all-layers", is_flag=True, help="Print every layer, not only the last.")
@output_options(".json, .csv")
def command(
    observables: str | None,
    order: int,
    rtol: float,
    method: str,
    kinks: str,
    all_layers: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Evaluate the theory of a network at initialisation for given inputs."""
    check_output(output, (".json", ".csv"))
    net, x = build_network(options), read_inputs(options)
    from pdlt.predict import predict
    from pdlt.report.tables import prediction_table

    prediction = predict(net, x, parse_observables(observables), order=order, rtol=rtol, method=method, kinks=kinks)
    layers = prediction.layer.values if all_layers else prediction.layer.values[-1:]
    emit_dataset(prediction, "\n\n".join(prediction_table(prediction, int(layer)) for layer in layers), as_json, output)
