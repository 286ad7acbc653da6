"""pdlt runs."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdlt.cli._options import check_output, config_option, emit_dataset, output_options
from pdlt.cli._sampling import naming
from pdlt.errors import PdltError

if TYPE_CHECKING:
    from pdlt.ensemble.store import Record

FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group(
    epilog="""\b
Examples:
  pdlt runs list
  pdlt runs show run.db
  pdlt runs export run.db -o run.json

Each of the three takes --json and --config FILE.toml.
""",
)
def command() -> None:
    """List, show and export the runs that `pdlt simulate` and `pdlt train` keep with --store FILE."""


@command.command("list")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@config_option
def list_runs(folder: Path, as_json: bool) -> None:
    """List the run stores in a folder; other files are passed over, damaged and empty stores are marked."""
    from pdlt.report.tables import align

    if not folder.is_dir():
        raise PdltError(f"Argument `folder` must be a folder, but got {str(folder)!r}.")
    found = [described for path in sorted(folder.iterdir()) if path.is_file() for described in _try(path)]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    elif not found:
        click.echo(f"No run stores in {str(folder)!r}.")
    else:
        rows = [[run["file"], *_cells(run)] for run in found]
        table = align(["file", "samples", "sampler", "seed", "network", "observables"], rows, "<>>><<")
        click.echo("\n".join([table, *(f"{run['file']}: {run['error']}" for run in found if "error" in run)]))


@command.command("show")
@FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@config_option
def show(file: Path, as_json: bool) -> None:
    """Show what a run store holds: network, inputs, seed, versions, blocks."""
    with naming(store="Argument FILE"):
        run = _describe(file)
    if as_json:
        click.echo(json.dumps(run, indent=1))
        return
    network = {f"network.{key}": value for key, value in run.pop("network").items()}
    head, rest = run.pop("file"), {**run, "blocks": run["blocks"] or "0 (empty)"}
    lines = {"file": head, **network, **rest}
    width = max(map(len, lines))
    for key, value in lines.items():
        click.echo(f"{key:<{width}}  {_short(value)}")


@command.command("export")
@FILE
@click.option("--all-layers", is_flag=True, help="Print every layer, not only the last.")
@output_options(".json, .csv")
def export(file: Path, all_layers: bool, as_json: bool, output: Path | None) -> None:
    """Compute the estimates anew from a store's blocks; print them or write them to a file."""
    check_output(output, (".json", ".csv"))
    from pdlt.ensemble import recorded
    from pdlt.report.tables import run_table

    if _describe(file)["sampler"] == "training":
        from pdlt.trained import recorded_training

        with naming(store="Argument FILE"):
            trained = recorded_training(file)
        emit_dataset(trained, str(trained), as_json, output)
        return
    with naming(store="Argument FILE"):
        run = recorded(file)
    layers = run.layer.values if all_layers else run.layer.values[-1:]
    emit_dataset(run, "\n\n".join(run_table(run, int(layer)) for layer in layers), as_json, output)


def _describe(path: Path) -> dict[str, Any]:
    """Return what a store says about its run, with the names of observables.

    Raises:
        PdltError: if it is not one, or damaged.
    """
    from pdlt.ensemble.store import Store

    with Store(path) as store:
        spec, numbers = store.record.spec, store.numbers()
        gap = next((k for k, number in enumerate(numbers) if k != number), len(numbers))
        try:
            return {
                "file": path.name,
                **(_training(store.record) if spec.get("kind") == "training" else _initialisation(store.record)),
                "precision": spec.get("precision", "float64"),
                "versions": store.record.versions,
                "blocks": len(numbers),
                "blocks_in_a_row": gap,
                "samples": gap * spec["block"],
                "bytes": path.stat().st_size,
            }
        except (LookupError, TypeError) as error:
            raise PdltError(f"{str(path)!r} does not describe a run of pdlt ({error!r}).") from None


def _initialisation(record: "Record") -> dict[str, Any]:
    """Return what is special to a run of `pdlt simulate`."""
    from pdlt.ensemble.specs import cumulants

    spec = record.spec
    return {
        **{key: spec[key] for key in ("network", "sampler", "seed", "layers")},
        **({"outputs": spec["outputs"]} if spec.get("outputs") else {}),
        "observables": [c.name for c in cumulants(spec["observables"])],
        "inputs": record.inputs.tolist(),
    }


def _training(record: "Record") -> dict[str, Any]:
    """Return what is special to an ensemble of trained networks."""
    spec, flat, arrays = record.spec, record.inputs.ravel(), {}
    for name, shape in spec["arrays"]:
        size = math.prod(shape)
        arrays[name], flat = flat[:size].reshape(shape).tolist(), flat[size:]
    keys = ("network", "seed", "rule", "times", "observables")
    rate = {"learning_rate": spec["learning_rate"]} if spec["rule"] == "gd" else {}
    return {"sampler": "training", **{key: spec[key] for key in keys}, **rate, **arrays}


def _try(path: Path) -> list[dict[str, Any]]:
    """Return the description of a store, what is wrong with it, or nothing for another program's file."""
    from pdlt.ensemble.store import APPLICATION_ID

    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(b"SQLite format 3\0") or header[68:72] != APPLICATION_ID.to_bytes(4, "big"):
        return []
    try:
        return [_describe(path)]
    except PdltError as error:
        return [{"file": path.name, "error": str(error).removeprefix("Argument `store`: ")}]


def _short(value: Any) -> str:
    """Return a value on one line; lists of equal numbers and of consecutive ones are collapsed."""
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, list) and len(value) > 3 and all(isinstance(item, int | float) for item in value):
        if len(set(value)) == 1:
            return f"{value[0]}, {len(value)} times"
        if value == list(range(value[0], value[0] + len(value))):
            return f"{value[0]} to {value[-1]}"
    return json.dumps(value)


def _cells(run: dict[str, Any]) -> list[str]:
    if "error" in run:
        return ["damaged", "", "", "", ""]
    net = run["network"]
    widths = ",".join(map(str, dict.fromkeys(net["width"])))
    shape = f"{net['activation']}, depth {net['depth']}, width {widths}"
    samples = str(run["samples"]) if run["blocks"] else "empty"
    return [samples, run["sampler"], str(run["seed"]), shape, ",".join(run["observables"])]
