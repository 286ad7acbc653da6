"""pdlt kernel."""

from pathlib import Path
from typing import Any

import click

from pdlt.cli._options import (
    FIGURES,
    build_network,
    check_output,
    emit_dataset,
    figure_option,
    network_options,
    output_options,
    parse_numbers,
    read_array,
    read_inputs,
    write_bytes,
)
from pdlt.errors import PdltError

FORMATS = (".json", ".csv", ".npy")


@click.command(
    epilog="""\b
Examples:
  pdlt kernel --activation relu --C-W 2 --depth 3 --x '[[1,0],[0.6,0.8]]'
  pdlt kernel --activation gelu --critical --inputs train.npy --inputs2 test.npy --observables Theta -o theta.npy
  pdlt kernel --activation erf --x '[[1,0],[0,1]]' --layers 1,2,4 --json
""",
)
@network_options
@click.option("--inputs2", type=click.Path(path_type=Path), help="Inputs of the columns, if not those of the rows.")
@click.option("--observables", default="K,Theta", show_default=True, help="K (NNGP kernel), Theta (NTK) or both.")
@click.option("--layers", help="Layers, e.g. 1,2,4. Default: the last.")
@click.option("--rtol", type=float, default=1e-10, show_default=True, help="Relative accuracy.")
@figure_option("Plot the last layer")
@output_options(".json, .csv, or .npy for one observable at one layer")
def command(
    inputs2: Path | None,
    observables: str,
    layers: str | None,
    rtol: float,
    figure: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Compute Gram matrices of the NNGP kernel K and the tangent kernel Theta at infinite width."""
    check_output(output, FORMATS)
    check_output(figure, FIGURES, "figure")
    chosen = None if layers is None else parse_numbers("layers", layers, int)
    chosen = [chosen] if isinstance(chosen, int) else chosen
    names = [name.strip() for name in observables.split(",")]
    to_array = output is not None and output.suffix == ".npy"
    if to_array and (len(names) > 1 or len(chosen or [0]) > 1):
        raise PdltError(f"Option --output: a .npy file holds one observable at one layer, but got {observables!r}.")
    net, x = build_network(options), read_inputs(options)
    x2 = None if inputs2 is None else read_array(inputs2, "inputs2")
    from pdlt.predict.gram import kernel
    from pdlt.report.kernels import kernel_figure, kernel_table

    found = kernel(net, x, x2, names, chosen, rtol)
    if figure is not None:
        kernel_figure(found, figure)
        click.echo(f"Wrote {figure}.", err=True)
    if output is not None and to_array:
        write_bytes(output, _npy(found[names[0]].values[0]))
        click.echo(f"Wrote {output}.", err=True)
        output = None
        if not as_json:
            return
    emit_dataset(found, kernel_table(found), as_json, output)


def _npy(array: Any) -> bytes:
    import io

    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
