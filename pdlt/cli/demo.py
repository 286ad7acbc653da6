"""pdlt demo: the main job in one command."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdlt.cli._options import config_option, write_text
from pdlt.errors import PdltError

if TYPE_CHECKING:
    from pdlt.networks import MLP
    from pdlt.sweep import Sweep

DEPTH = 4
INPUTS = [[0.9, -0.4, 1.1], [-0.3, 0.8, 0.5]]

#: The width sweep: small networks, where the neglected orders are large enough to be seen, and many of them.
SWEEP = {6: 400_000, 8: 400_000, 12: 400_000, 16: 400_000, 24: 200_000}
SWEPT = ["V", "B", "F"]


@click.command(
    epilog="""\b
Examples:
  pdlt demo                       writes to ./demo, takes about a minute
  pdlt demo -o out --width 64
""",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--width", type=int, default=128, show_default=True, help="Hidden width of the networks.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@config_option
def command(output: Path, width: int, seed: int, as_json: bool) -> None:
    """Derive order 1/n, export it, predict a GELU network, simulate it twice, compare, and draw figures."""
    from pdlt.compare import compare
    from pdlt.ensemble import simulate
    from pdlt.export import dataset as formats
    from pdlt.export import write
    from pdlt.pipeline import derive
    from pdlt.predict import predict
    from pdlt.report import figures, sweep_figure
    from pdlt.report.tables import demo_table, network_title, prediction_table
    from pdlt.sweep import sweep

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PdltError(f"Option --output: {output} cannot be a folder ({error.strerror}).") from None
    say = _Narrator(quiet=as_json)
    net = _network(DEPTH, width)

    say("Deriving every tensor at order 1/n from the layer map")
    theory = derive(order=1, activation=net.activation)
    written = write(theory, output)
    say(f"  {len(theory)} recursions; wrote {', '.join(path.name for path in written)}")

    say("Evaluating them for two inputs")
    prediction = predict(net, INPUTS)
    write_text(output / "prediction.json", formats.to_json(prediction))

    say("Simulating finite networks: the weight-free sampler, then real weights with automatic differentiation")
    last = [net.depth]
    jets = simulate(net, INPUTS, samples=20_000, sampler="jets", seed=seed, layers=last)
    real = simulate(net, INPUTS, samples=2_000, sampler="network", seed=seed, layers=last)
    tables = {"jets": compare(prediction, jets), "real networks": compare(prediction, real)}
    for name, run in (("jets", jets), ("network", real)):
        write_text(output / f"run_{name}.json", formats.to_json(run))

    say("Following the corrections through depth and width")
    single = INPUTS[:1]
    deep = _network(3 * DEPTH, width)
    observables = ["K", "Theta", *figures.RATIOS]
    by_layer = predict(deep, single, observables), simulate(deep, single, observables, samples=4_000, seed=seed)
    figures.corrections_against_depth(*by_layer, output / "depth.png")
    swept = sweep(net, single, SWEPT, list(SWEEP), samples=list(SWEEP.values()), seed=seed, order=2)
    sweep_figure.series_against_width(swept, output / "width.png")
    sweep_figure.residuals_against_width(swept, output / "slopes.png")

    title, slopes = network_title(prediction), _slopes(swept)
    write_text(output / "table.txt", "\n\n".join([title, demo_table(tables), slopes]) + "\n")
    write_text(output / "prediction.txt", prediction_table(prediction) + "\n")
    if as_json:
        click.echo(tables["jets"].to_json(orient="records", indent=1))
    else:
        click.echo("\n" + "\n\n".join([title, demo_table(tables, entries=2), slopes]))
        click.echo(f"\nEverything, all entries included, is in {output}/ ({say.elapsed():.0f} s).")


def _network(depth: int, width: int) -> "MLP":
    """Return a GELU network at its critical initialisation (PDLT chapter 5)."""
    from pdlt.networks import MLP

    return MLP(depth, width, "gelu", C_b=0.172922391, C_W=1.983058257, lambda_b=0.3, lambda_W=1.0)


def _slopes(swept: "Sweep") -> str:
    """Return one line per observable on how fast the residual falls."""
    widths = ", ".join(map(str, swept.widths))
    lines = [f"what the truncated series leaves out falls with the width n as (depth {DEPTH}, widths {widths}):"]
    for row in swept.slopes.itertuples():
        resolved = row.slope_stderr < 0.6
        power = f"n^-({row.slope:.2f} ± {row.slope_stderr:.2f})" if resolved else "not resolved by these samples"
        lines.append(f"  {row.observable} after order {row.order}: {power}   for n -> infinity: n^-{row.expected}")
    return "\n".join(lines)


class _Narrator:
    """Says what is going on, on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        if not self._quiet:
            click.echo(f"[{self.elapsed():5.1f} s] {text}", err=True)

    def elapsed(self) -> float:
        return time.monotonic() - self._start
