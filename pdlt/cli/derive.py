"""pdlt derive."""

from pathlib import Path

import click

from pdlt.cli._options import observables_option, output_options, parse_observables, write_text


@click.command(
    epilog="""\b
Examples:
  pdlt derive                                         every named observable at order 1, as text
  pdlt derive --observables V,K -o theory.tex         LaTeX (.tex), Mathematica (.m), JSON (.json), JAX (.py)
  pdlt derive --observables "a1 a2 | b3 b4"           any joint cumulant of jets; this one is A
  pdlt derive --observables K,V --order 2 --json      next-to-next-to-leading order
""",
)
@observables_option
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n.")
@click.option("--activation", help="Recorded with the theory, so that the JAX module knows it.")
@output_options(".tex, .m, .wl, .json, .py, .txt")
def command(observables: str | None, order: int, activation: str | None, as_json: bool, output: Path | None) -> None:
    """Derive the recursions of observables in depth from the layer map, and export them."""
    from pdlt.export import render
    from pdlt.export.plain import to_text
    from pdlt.pipeline import derive

    theory = derive(parse_observables(observables), order=order, activation=activation)
    if output is not None:
        write_text(output, render(theory, output.suffix))
        click.echo(f"Wrote {output}: {len(theory)} equations ({', '.join(theory.keys())}).", err=True)
    if as_json:
        click.echo(theory.to_json())
    elif output is None:
        click.echo(to_text(theory))
