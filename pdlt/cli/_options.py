"""Options that several commands share, and how their texts become values."""

import csv
import io
import json
import math
import os
import sys
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pdlt.errors import PdltError, suggest

FIGURES = (".png", ".pdf", ".svg")


def network_options(command: Callable) -> Callable:
    """Add the options that describe a network and its inputs."""
    options = [
        click.option("--activation", default="tanh", show_default=True, help='Name or formula: gelu, "z*tanh(z)".'),
        click.option("--depth", type=int, default=4, show_default=True, help="Number of weight layers L."),
        click.option("--width", default="64", show_default=True, help="Hidden width, or L-1 of them: 64,128,64."),
        click.option("--C-b", "C_b", default="0", show_default=True, help="Bias variance, or L of them: 0.1,0.1,0."),
        click.option("--C-W", "C_W", default="1", show_default=True, help="Weight variance times fan-in, or L."),
        click.option("--critical", is_flag=True, help="The activation's critical C_b and C_W (`pdlt criticality`)."),
        click.option("--lambda-b", "lambda_b", default="0", show_default=True, help="Learning-rate scale of biases."),
        click.option("--lambda-W", "lambda_W", default="1", show_default=True, help="Learning-rate scale of weights."),
        click.option("--inputs", type=click.Path(path_type=Path), help="Inputs, one row each: a .npy or .csv file."),
        click.option("--x", "x", help="Inputs inline, e.g. '[[0.9,-0.4,1.1]]'."),
    ]
    return decorated(command, options)


def label_options(command: Callable) -> Callable:
    """Add the options for labels of the inputs."""
    options = [
        click.option("--labels", type=click.Path(path_type=Path), help="Labels, one row per input: .npy or .csv."),
        click.option("--y", "y", help="Labels inline, e.g. '[1,-1]'."),
    ]
    return decorated(command, options)


def output_options(formats: str) -> Callable[[Callable], Callable]:
    """Add --json, -o and --config."""

    def decorate(command: Callable) -> Callable:
        options = [
            click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table."),
            click.option("-o", "--output", type=click.Path(path_type=Path), help=f"Write to a file ({formats})."),
            config_option,
        ]
        return decorated(command, options)

    return decorate


def decorated(command: Callable, options: list) -> Callable:
    """Return a command with options added, in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def _load_config(ctx: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PdltError(f"Option --config: {path} is not a readable TOML file ({error}).") from None
    known = {
        opt.removeprefix("--"): p
        for p in ctx.command.params
        for opt in p.opts
        if opt.startswith("--") and p.name and p is not parameter
    }
    defaults = {}
    for key, value in values.items():
        if key not in known:
            raise PdltError(
                f"Option --config: {key!r} in {path} is not an option of {ctx.info_name!r}.{suggest(key, known)} "
                f"Accepted are {', '.join(known)}."
            )
        items = value if isinstance(value, list) else [value]
        if known[key].name != "x" and not all(isinstance(item, str | int | float) for item in items):
            raise PdltError(
                f"Option --config: {key!r} in {path} must be a number, a text or a list of them, but is {value!r}."
            )
        defaults[known[key].name] = _config_text(value, known[key])
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def _config_text(value: Any, parameter: click.Parameter) -> Any:
    """Write a TOML value the way it would be typed on the command line."""
    if parameter.name == "x":
        return json.dumps(value, default=str)
    if isinstance(value, list):
        return [str(v) for v in value] if parameter.multiple else ",".join(map(str, value))
    return value


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file whose keys are the long options.",
)


def activation_argument(command: Callable) -> Callable:
    """Add ACTIVATION, which may also be given as --activation (in a --config file, say)."""
    option = click.option("--activation", "activation_option", help="The same as ACTIVATION.")
    return click.argument("activation", required=False)(option(command))


def chosen_activation(argument: str | None, option: str | None) -> str | None:
    """Return what either form gives.

    Raises:
        PdltError: if both do.
    """
    context = click.get_current_context()
    typed = context.get_parameter_source("activation_option") is ParameterSource.COMMANDLINE
    if argument is not None and option is not None and typed:
        raise PdltError(f"Option --activation must be left out beside ACTIVATION, but got {argument!r} and {option!r}.")
    return option if argument is None else argument


def observables_option(command: Callable) -> Callable:
    """Add --observables."""
    text = 'Names and specs separated by commas, e.g. K,V,Theta or "a1 a2 | b3 b4". Default: all named ones.'
    return click.option("--observables", help=text)(command)


def parse_observables(text: str | None) -> list[str] | None:
    """Return the list behind "K,V,a1 a2 | b3 b4"."""
    return None if text is None else [name.strip() for name in text.split(",")]


def parse_numbers(option: str, text: str, kind: type) -> Any:
    """Return a number or a list of numbers from "0.1" or "0.1,0.2".

    Raises:
        PdltError: if it is neither.
    """
    try:
        values = [kind(part) for part in str(text).split(",")]
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise PdltError(f"Option --{option} must be {what} or several separated by commas, but got {text!r}.") from None
    return values[0] if len(values) == 1 else values


def build_network(options: dict[str, Any]) -> Any:
    """Return the MLP that the network options describe."""
    from pdlt.networks import MLP

    names = ("lambda_b", "lambda_W") if options["critical"] else ("C_b", "C_W", "lambda_b", "lambda_W")
    scales = {name: parse_numbers(name.replace("_", "-"), options[name], float) for name in names}
    depth, width, activation = options["depth"], parse_numbers("width", options["width"], int), options["activation"]
    if not options["critical"]:
        return MLP(depth, width, activation, **scales)
    for name in ("C_b", "C_W"):
        if given(name):
            raise PdltError(f"Option --critical sets C_b and C_W: leave out --{name.replace('_', '-')}.")
    return MLP.critical(activation, depth, width, **scales)


def read_inputs(options: dict[str, Any]) -> Any:
    """Return the inputs of --inputs or --x, checked.

    Raises:
        PdltError: if there are none, both are given, or they cannot be read.
    """
    from pdlt.networks import check_inputs

    path, inline = options["inputs"], options["x"]
    if (path is None) == (inline is None):
        raise PdltError("Give the inputs by exactly one of --inputs FILE and --x '[[0.9,-0.4,1.1]]'.")
    if inline is not None:
        try:
            values = json.loads(inline)
        except (ValueError, RecursionError):
            raise PdltError(f"Option --x must be JSON such as '[[0.9,-0.4,1.1]]', but got {inline[:60]!r}.") from None
        return check_inputs(values)
    return check_inputs(read_array(path))


def read_array(path: Path, option: str = "inputs") -> Any:
    """Return the numbers of a .npy or .csv file; `option` is what messages call it.

    Raises:
        PdltError: if it cannot be read.
    """
    import numpy as np

    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix == ".csv":
            return _csv_rows(path.read_text())
    except (OSError, ValueError, EOFError, MemoryError, csv.Error) as error:
        raise PdltError(f"Option --{option}: {path} could not be read ({error}).") from None
    raise PdltError(f"Option --{option} must be a .npy or .csv file, but got {str(path)!r}.")


def read_labels(options: dict[str, Any]) -> Any:
    """Return the labels of --labels or --y, not checked; None if there are none.

    Raises:
        PdltError: if both are given, or they cannot be read.
    """
    path, inline = options["labels"], options["y"]
    if path is not None and inline is not None:
        raise PdltError("Give the labels by one of --labels FILE and --y '[1,-1]', not both.")
    if inline is None:
        return None if path is None else read_array(path, "labels")
    try:
        return json.loads(inline)
    except (ValueError, RecursionError):
        raise PdltError(f"Option --y must be JSON such as '[1,-1]', but got {inline[:60]!r}.") from None


def _csv_rows(text: str) -> list[list[float]]:
    """Return the numbers of a CSV file: one input per line, commas, no header."""
    rows: list[list[float]] = []
    for number, cells in enumerate(csv.reader(io.StringIO(text)), start=1):
        if not cells:
            continue
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise ValueError(f"line {number}: {error}; accepted are lines of numbers with commas, no header") from None
        if len(cells) != len(rows[0]):
            raise ValueError(f"line {number} has {len(cells)} numbers, the first one has {len(rows[0])}")
    return rows


def check_output(output: Path | None, accepted: tuple[str, ...], option: str = "output") -> None:
    """Refuse an output file of an unknown kind or in no folder, before anything is computed.

    Raises:
        PdltError: if the suffix is not one of those accepted, or the folder does not exist.
    """
    if output is None:
        return
    if output.suffix not in accepted:
        raise PdltError(f"Option --{option} must end in {' or '.join(accepted)}, but got {str(output)!r}.")
    if not output.parent.is_dir():
        raise PdltError(f"Option --{option}: {output} could not be written (No such folder).")


def z_max_option(command: Callable) -> Callable:
    """Add --z-max."""
    text = "Standard errors allowed."
    return click.option("--z-max", type=float, default=5.0, show_default=True, callback=_z_max, help=text)(command)


def _z_max(ctx: click.Context, parameter: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise PdltError(f"Option --z-max must be a positive number, but got {value}.")
    return value


def exit_if_any(labels: Sequence[str], complaint: str) -> None:
    """If there are labels, print a complaint and the first five of them on stderr and end with exit code 1."""
    if labels:
        more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
        click.echo(f"{complaint}: {', '.join(labels[:5])}{more}.", err=True)
        sys.exit(1)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; raises like `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        PdltError: if it cannot be written.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
            try:
                temporary.write(content)
                temporary.close()
                os.chmod(temporary.name, 0o666 & ~_umask())
                os.replace(temporary.name, path)
            except BaseException:
                os.unlink(temporary.name)
                raise
    except OSError as error:
        raise PdltError(f"Option --output: {path} could not be written ({error.strerror or error}).") from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def emit(
    json_text: Callable[[], str],
    file_text: Callable[[], str],
    table: str,
    as_json: bool,
    output: Path | None,
    always: bool = False,
) -> None:
    """Write a result to a file, .json or another, and print it as JSON or as a table.

    Args:
        json_text, file_text: what a .json file, and any other, is to hold.
        table: printed unless JSON is, and if there is no file or `always`.
        as_json, output: as given.
        always: print the table beside a file too.
    """
    if output is not None:
        write_text(output, json_text() if output.suffix == ".json" else file_text())
        click.echo(f"Wrote {output}.", err=True)
    if as_json:
        click.echo(json_text())
    elif output is None or always:
        click.echo(table)


def emit_dataset(dataset: Any, table: str, as_json: bool, output: Path | None) -> None:
    """Print a dataset as a table or JSON, or write it to a .json or .csv file."""
    from pdlt.export import dataset as formats

    emit(lambda: formats.to_json(dataset), lambda: formats.to_csv(dataset), table, as_json, output)


def given(name: str) -> bool:
    """Return whether an option, by the name of its parameter, was given at all."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT


def figure_option(what: str) -> Callable[[Callable], Callable]:
    """Add --figure; `what` says what is drawn."""
    formats = ", ".join(FIGURES)
    return click.option("--figure", type=click.Path(path_type=Path), help=f"{what} ({formats}).")
