"""pdlt criticality."""

import json
from pathlib import Path

import click

from pdlt.cli._options import activation_argument, chosen_activation, output_options, write_text
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt criticality gelu                          class, C_b, C_W, K*, corrections and exponents
  pdlt criticality "z*tanh(z)" --digits 50       your own activation, more digits
  pdlt criticality sigmoid --json                no critical point: the reason why
  pdlt criticality                               an overview of all built-in activations
  pdlt criticality -o overview.md                the same as a Markdown table

Use the numbers with `pdlt predict --activation gelu --critical ...`.
""",
)
@activation_argument
@click.option("--digits", type=int, default=30, show_default=True, help="Significant digits of C_b, C_W and K*.")
@output_options(".json, .txt, .md for the overview")
def command(
    activation: str | None, activation_option: str | None, digits: int, as_json: bool, output: Path | None
) -> None:
    """Find the critical initialisation of ACTIVATION, its universality class and exponents."""
    activation = chosen_activation(activation, activation_option)
    from pdlt.activations import BUILTIN
    from pdlt.predict.criticality import criticality
    from pdlt.report.criticality import criticality_table, overview_table

    suffixes = (".json", ".txt") if activation is not None else (".json", ".txt", ".md")
    if output is not None and output.suffix not in suffixes:
        raise PdltError(f"Option --output must end in {', '.join(suffixes)}, but got {str(output)!r}.")
    if activation is not None:
        result = criticality(activation, digits)
        document, text = result.to_dict(), criticality_table(result)
    else:
        results = {name: criticality(name, digits) for name in BUILTIN}
        entries = {name: each.to_dict() for name, each in results.items()}
        document = {"schema": "pdlt.criticality-overview/1", "activations": entries}
        text = overview_table(results.values(), markdown=output is not None and output.suffix == ".md")
    as_text = json.dumps(document, indent=2)
    if output is not None:
        write_text(output, (as_text if output.suffix == ".json" else text) + "\n")
        click.echo(f"Wrote {output}.", err=True)
    if as_json:
        click.echo(as_text)
    elif output is None:
        click.echo(text)
