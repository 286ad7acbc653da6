"""pdlt scaling."""

import json
from pathlib import Path

import click

from pdlt.cli._options import (
    FIGURES,
    activation_argument,
    check_output,
    chosen_activation,
    observables_option,
    output_options,
    parse_observables,
    write_text,
)


@click.command(
    epilog="""\b
Examples:
  pdlt scaling tanh                              relative sizes of all order-1 tensors at large depth
  pdlt scaling relu --share 1                    only weights contribute to Theta; exact in depth
  pdlt scaling gelu --regime approach            the kernel flows to its fixed point instead of resting there
  pdlt scaling sin --order 2 --observables K,V   the next order in 1/n, growing as r^2
  pdlt scaling relu -o scaling.png               against depth, and the limit of depth/width fixed
  pdlt scaling                                   an overview of all built-in activations
""",
)
@activation_argument
@observables_option
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n.")
@click.option("--regime", help="at-rest (kernel at its fixed point) or approach; default: at-rest where it exists.")
@click.option(
    "--learning-rates", default="equivalent", show_default=True, help="equivalent, constant or weights (lambda_b = 0)."
)
@click.option("--share", help="The weights' share of Theta, 0 to 1; default: left open as w (overview: 1/2).")
@output_options(".json, .txt, .tex, .png, .pdf, .svg; overview: .json, .txt, .md")
def command(
    activation: str | None,
    activation_option: str | None,
    observables: str | None,
    order: int,
    regime: str | None,
    learning_rates: str,
    share: str | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Relative sizes of 1/n effects at large depth for ACTIVATION: powers of depth, coefficients, corrections."""
    activation = chosen_activation(activation, activation_option)
    from pdlt.predict.couplings import Scaling
    from pdlt.predict.scaling import scaling
    from pdlt.report.scaling import overview_table, scaling_table

    suffixes = (".json", ".txt", ".tex", *FIGURES) if activation is not None else (".json", ".txt", ".md")
    check_output(output, suffixes)

    def solve(name: str, default: str | None) -> Scaling:
        found = scaling(
            name, parse_observables(observables), order, regime and regime.replace("-", " "), learning_rates
        )
        if default is not None and found.weights is None:
            return found  # in the overview w need not matter to all of them
        chosen = share if share is not None else default
        return found if chosen is None else found.at_share(chosen)

    if activation is not None:
        result = solve(activation, None)
        document, text = result.to_dict(), scaling_table(result)
    else:
        results, reasons = _overview(solve)
        entries = {name: each.to_dict() for name, each in results.items()}
        document = {"schema": "pdlt.scaling-overview/1", "activations": entries, "without": reasons}
        text = overview_table(results.values(), markdown=output is not None and output.suffix == ".md")
        text += "".join(f"\n{name}: {reason}" for name, reason in reasons.items())
    as_text = json.dumps(document, indent=2)
    if output is not None:
        if output.suffix in FIGURES:
            from pdlt.report.scaling_figure import couplings_against_depth

            couplings_against_depth(result, output)
        else:
            texts = {".json": as_text, ".tex": result.to_latex() if activation is not None else ""}
            write_text(output, texts.get(output.suffix, text).rstrip() + "\n")
        click.echo(f"Wrote {output}.", err=True)
    if as_json:
        click.echo(as_text)
    elif output is None:
        click.echo(text)


def _overview(solve):  # type: ignore[no-untyped-def]
    """Return the results for all built-in activations that have one, and why others have none."""
    from pdlt.activations import BUILTIN
    from pdlt.predict.criticality import criticality

    results, reasons = {}, {}
    for name in BUILTIN:
        found = criticality(name)
        if found.universality_class == "none":
            reasons[name] = f"no critical initialisation; {found.reason}"
        else:
            results[name] = solve(name, "1/2")
    return results, reasons
