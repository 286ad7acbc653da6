"""pdlt check."""

import sys
from pathlib import Path

import click

from pdlt.cli._options import config_option, write_text


@click.command(
    epilog="""\b
Examples:
  pdlt check derivations/                       every claim: symbolic, high precision, Monte Carlo
  pdlt check derivations/02_four_point_vertex.py --level symbolic
  pdlt check derivations/ --junit report.xml --json

A derivation is a Python program: only check files that you would run. Exit code 1 if a claim fails.
""",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--level", multiple=True, help="Only claims of this level: symbolic, precision or ensemble.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to a file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@config_option
def command(path: Path, level: tuple[str, ...], junit: Path | None, as_json: bool) -> None:
    """Run the claims of derivations, each with its negative control."""
    from pdlt.checks import run

    report = run(path, levels=level or None)
    if junit is not None:
        write_text(junit, report.to_junit())
    click.echo(report.to_json() if as_json else report.table())
    if not report.ok:
        sys.exit(1)
