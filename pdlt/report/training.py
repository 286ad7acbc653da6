"""Training, predicted and measured, as text, CSV and JSON."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.report.regression import LISTED
from pdlt.report.tables import align, measured, network_title

if TYPE_CHECKING:
    import pandas
    import xarray

NOTE = """\
kernel machine: the limit of infinite width; + order 1: with the correction in 1/n, ± estimated size of the next order
z: measured - predicted over the standard error; z_total: over it and the next order added in quadrature"""


def training_table(
    table: "pandas.DataFrame", prediction: "xarray.Dataset", run: "xarray.Dataset | None", points: int
) -> str:
    """Return what was trained, the outputs on the first `points` points, and what the other observables come to.

    Args:
        table: from `pdlt.compare_training.compare_training`.
        prediction, run: what it was made of.
        points: those asked for; training inputs may follow.
    """
    means = table[table.observable == "mean"]
    means = means[means.entry.map(lambda entry: entry[0] < points)]
    parts = [_head(prediction, run)]
    if len(means) > LISTED:
        parts.append(f"{len(means)} outputs: -o FILE.csv, -o FILE.json or --json; the last time:")
        means = means[means.time == means.time.max()][:LISTED]
    first = prediction.attrs["order"] == 1
    head = ["time", "point", "output", "kernel machine", *(["+ order 1"] if first else [])]
    head += [] if run is None else ["ensemble ± stderr", "z", "z_total"]
    rows = []
    for row in means.itertuples():
        cells = [f"{row.time:g}", *map(str, row.entry), f"{row.kernel_machine:.5f}"]
        cells += [measured(row.prediction, row.neglected)] if first else []
        if run is not None:
            scored = [measured(row.measured, row.stderr), f"{row.z:+.1f}", f"{row.z_total:+.1f}"]
            cells += scored if np.isfinite(row.measured) else ["-"] * 3
        rows.append(cells)
    parts.append(align(head, rows, ">" * len(head)) + (f"\n{NOTE}" if first and run is not None else ""))
    parts += _others(table, run)
    return "\n\n".join(parts)


def _head(prediction: "xarray.Dataset", run: "xarray.Dataset | None") -> str:
    a = prediction.attrs
    rule = f"gradient descent, learning rate {a['learning_rate']:g}" if a["rule"] == "gd" else "gradient flow"
    times = prediction.learning_time.values[np.isfinite(prediction.learning_time.values)]
    learned = f"; modes are learned within {times.min():.3g} to {times.max():.3g}" if len(times) else ""
    lines = [network_title(prediction), f"{rule}, {a['training_inputs']} training inputs{learned}"]
    if run is not None:
        lines.append(f"{run.attrs['samples']} trained networks, seed {run.attrs['seed']}")
    return "\n".join(lines)


def _others(table: "pandas.DataFrame", run: "xarray.Dataset | None") -> list[str]:
    """Return a summary of each observable: sizes, and how prediction and measurement agree over all entries."""
    rows, shown = [], ["kernel_machine", "prediction", *([] if run is None else ["measured"])]
    for (name, time), group in table.groupby(["observable", "time"], sort=False):
        cells = [str(name), f"{time:g}", str(len(group))]
        cells += [_rms(group[column], ".4g") for column in shown]
        if run is not None:
            cells += [_rms(group.z, ".1f"), _rms(group.z_total, ".1f")]
        rows.append(cells)
    head = ["observable", "time", "entries", "kernel machine", "prediction"]
    head += ["ensemble", "z", "z_total"] if run is not None else []
    return [f"{align(head, rows, '<' + '>' * (len(head) - 1))}\nroot mean squares over entries"]


def _rms(values: Any, digits: str) -> str:
    numbers = np.asarray(values, dtype=float)
    return "-" if np.isnan(numbers).all() else f"{np.sqrt(np.mean(numbers**2)):{digits}}"


def training_json(table: "pandas.DataFrame", prediction: "xarray.Dataset", run: "xarray.Dataset | None") -> str:
    """Return the comparison and the datasets behind it as one JSON document; infinite times are "inf"."""
    from pdlt.export.dataset import to_json

    document = {
        "schema": "pdlt.training/1",
        "comparison": [{name: _plain(value) for name, value in row.items()} for row in table.to_dict("records")],
        "prediction": json.loads(to_json(prediction)),
        "run": None if run is None else json.loads(to_json(run)),
    }
    return json.dumps(document, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    return value
