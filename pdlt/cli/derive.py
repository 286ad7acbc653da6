"""pdlt derive."""

from pathlib import Path

import click

from pdlt.cli._options import observables_option, output_options, parse_observables, write_text
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt derive                                         every named observable at order 1, as text
  pdlt derive --observables V,K -o theory.tex         LaTeX (.tex), Mathematica (.m), JSON (.json), JAX (.py)
  pdlt derive --observables "a1 a2 | b3 b4"           any joint cumulant of jets; this one is A
  pdlt derive --observables K,V --order 2 --json      next-to-next-to-leading order
  pdlt derive --closed-form --activation relu         the recursions solved: functions of depth, one input
  pdlt derive --closed-form --off-critical --unequal-widths --observables V,B -o forms.py
""",
)
@observables_option
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n.")
@click.option("--activation", help="Recorded with the theory, so that the JAX module knows it.")
@click.option("--budget", type=float, default=600, show_default=True, help="CPU seconds it may take, as estimated.")
@click.option("--closed-form", is_flag=True, help="Functions of depth (linear, relu, leaky_relu, abs; default any).")
@click.option("--off-critical", is_flag=True, help="With --closed-form: C_W free instead of 1/A_2.")
@click.option("--unequal-widths", is_flag=True, help="With --closed-form: a width n[m] for every hidden layer.")
@output_options(".tex, .m, .wl, .json, .py, .txt")
def command(
    observables: str | None,
    order: int,
    activation: str | None,
    budget: float,
    closed_form: bool,
    off_critical: bool,
    unequal_widths: bool,
    as_json: bool,
    output: Path | None,
) -> None:
    """Derive the recursions of observables in depth from the layer map, and export them.

    With --closed-form they are solved: for scale-invariant activations, C_b = 0 and one input every tensor is an exact
    function of depth. `pdlt scaling` gives asymptotic series for other activations.
    """
    if closed_form:
        _closed_form(observables, order, activation, off_critical, unequal_widths, as_json, output)
        return
    for given, option in ((off_critical, "--off-critical"), (unequal_widths, "--unequal-widths")):
        if given:
            raise PdltError(f"Option {option} belongs to --closed-form: add it, or leave out {option}.")
    from pdlt.export import render
    from pdlt.export.plain import to_text
    from pdlt.pipeline import derive

    theory = derive(parse_observables(observables), order=order, activation=activation, budget=budget)
    if output is not None:
        write_text(output, render(theory, output.suffix))
        click.echo(f"Wrote {output}: {len(theory)} equations ({', '.join(theory.keys())}).", err=True)
    if as_json:
        click.echo(theory.to_json())
    elif output is None:
        click.echo(to_text(theory))


def _closed_form(
    observables: str | None,
    order: int,
    activation: str | None,
    off_critical: bool,
    unequal_widths: bool,
    as_json: bool,
    output: Path | None,
) -> None:
    from pdlt.export import format_of
    from pdlt.export.closed_forms import FORMATS
    from pdlt.symbolic.depth import closed_form

    suffix = None if output is None else format_of(output)
    forms = closed_form(
        parse_observables(observables),
        activation,
        order,
        critical=not off_critical,
        equal_widths=not unequal_widths,
    )
    if output is not None and suffix is not None:
        write_text(output, FORMATS[suffix](forms))
        click.echo(f"Wrote {output}: {len(forms)} closed forms ({', '.join(forms)}).", err=True)
    if as_json:
        click.echo(forms.to_json())
    elif output is None:
        click.echo(forms.to_text(), nl=False)
