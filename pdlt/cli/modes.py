"""pdlt modes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdlt.cli._options import (
    FIGURES,
    build_network,
    check_output,
    emit,
    figure_option,
    given,
    label_options,
    network_options,
    output_options,
    read_inputs,
    read_labels,
)
from pdlt.errors import PdltError

if TYPE_CHECKING:
    import xarray


@click.command(
    epilog="""\b
Examples:
  pdlt modes --activation relu --C-W 2 --x '[[1,0],[0.6,0.8],[0,1]]' --y '[1,0,-1]'
  pdlt modes --inputs inputs.csv --labels labels.csv --figure modes.png -o modes.json
  pdlt modes --observable K --ridge 0.1 --inputs inputs.npy --json
  pdlt modes --activation relu --C-W 2 --distribution circle --degrees 12 --figure circle.png
  pdlt modes --distribution sphere --dimension 784 --degrees 6
  pdlt modes --distribution cube --dimension 10 -o parities.csv
""",
)
@network_options
@label_options
@click.option("--observable", default="Theta", show_default=True, help="Theta or K.")
@click.option("--ridge", type=float, default=0.0, show_default=True, help="Ridge in the effective dimension.")
@click.option("--distribution", help="circle, sphere or cube, instead of inputs.")
@click.option("--dimension", type=int, help="Components of an input, on the sphere and the cube.")
@click.option("--degrees", type=int, default=10, show_default=True, help="Highest degree, with --distribution.")
@click.option("--variance", type=float, default=1.0, show_default=True, help="x.x/n_0, with --distribution.")
@figure_option("Draw to a file")
@output_options(".json, .csv")
def command(
    observable: str,
    ridge: float,
    distribution: str | None,
    dimension: int | None,
    degrees: int,
    variance: float,
    figure: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Eigenmodes of the infinite-width kernel on a dataset, or on a known input distribution."""
    check_output(output, (".json", ".csv"))
    check_output(figure, FIGURES, "figure")
    _check_purpose(distribution)
    from pdlt.export.dataset import to_json
    from pdlt.report.modes_table import modes_table, population_table, to_csv

    if distribution is not None:
        from pdlt.learning.continuum import population_modes

        net = build_network(options)
        found = population_modes(net, distribution, dimension, degrees, observable, variance)
        table = population_table(found)
    else:
        from pdlt.learning.modes import modes

        net, x = build_network(options), read_inputs(options)
        found = modes(net, x, read_labels(options), observable, ridge)
        table = modes_table(found)
    if figure is not None:
        _draw(net, found, figure)
        click.echo(f"Wrote {figure}.", err=True)
    emit(lambda: to_json(found), lambda: to_csv(found), table, as_json, output)


def _check_purpose(distribution: str | None) -> None:
    """Refuse options of a dataset beside --distribution, and the other way round.

    Raises:
        PdltError: for such an option.
    """
    foreign = ("dimension", "degrees", "variance") if distribution is None else ("inputs", "x", "labels", "y", "ridge")
    for name in foreign:
        if given(name):
            wanted = "goes with" if distribution is None else "must be left out beside"
            raise PdltError(f"Option --{name} {wanted} --distribution.")


def _draw(net: Any, found: "xarray.Dataset", figure: Path) -> None:
    from pdlt.report.modes_figure import FUNCTIONS, draw, draw_population

    if "degree" in found.dims:
        draw_population(found, figure)
    elif "x" not in found or not found.attrs["rank"]:
        draw(found, figure)
    else:
        import numpy as np

        from pdlt.learning.modes import eigenfunctions

        x = found.x.values
        margin = 0.1 * (x.max() - x.min()) or 1.0
        points = np.linspace(x.min() - margin, x.max() + margin, 200)
        count = min(FUNCTIONS, len(x))
        curves = eigenfunctions(net, x[:, None], points[:, None], count, found.attrs["observable"])
        draw(found, figure, (points, curves))
