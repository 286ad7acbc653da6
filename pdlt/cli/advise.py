"""pdlt advise."""

import json
from pathlib import Path

import click

from pdlt.cli._options import FIGURES, activation_argument, check_output, chosen_activation, output_options, write_text
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt advise --activation gelu --width 512                  how deep, how to initialise, what to expect
  pdlt advise --activation tanh --depth 16 --outputs 10      how wide
  pdlt advise --activation relu --width 256 --depth 8        a network you have in mind
  pdlt advise --activation "tanh(z)+0.3*sin(z)" --width 128 --json
  pdlt advise --activation gelu --width 512 -o advice.png    the expected effects against depth

Every number comes with the assumptions it rests on, at the end of the text and in the JSON.
""",
)
@activation_argument
@click.option("--width", type=int, help="Hidden width; chosen to fit the depth if not given.")
@click.option("--depth", type=int, help="Number of weight layers L; chosen to fit the width if not given.")
@click.option("--outputs", type=int, default=1, show_default=True, help="Number of outputs.")
@click.option("--input-dimension", type=int, help="Number of inputs; the width if not given.")
@click.option("--input-square", type=float, help="x.x/n_0 of the inputs; 1 or what starts the kernel at K*.")
@output_options(".json, .txt, .png, .pdf, .svg")
def command(
    activation: str | None,
    activation_option: str | None,
    width: int | None,
    depth: int | None,
    outputs: int,
    input_dimension: int | None,
    input_square: float | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Advise on initialisation, learning rates and shape for ACTIVATION, and say what to expect of one network."""
    activation = chosen_activation(activation, activation_option)
    if activation is None:
        raise PdltError("Option --activation must be given, but is missing; names and formulas are accepted.")
    check_output(output, (".json", ".txt", *FIGURES))
    from pdlt.predict.advice import advise
    from pdlt.report.advice import advice_figure, advice_table, prepare_figure

    draw = output is not None and output.suffix in FIGURES
    if draw:
        prepare_figure()
    advice = advise(activation, width, depth, outputs, input_square, input_dimension)
    text = json.dumps(advice.to_dict(), indent=2)
    if output is not None:
        if draw:
            try:
                advice_figure(advice, output)
            except OSError as error:
                problem = error.strerror or error
                raise PdltError(f"Option --output: {output} could not be written ({problem}).") from None
        else:
            write_text(output, (text if output.suffix == ".json" else advice_table(advice)) + "\n")
        click.echo(f"Wrote {output}.", err=True)
    if as_json:
        click.echo(text)
    elif output is None:
        click.echo(advice_table(advice))
