"""Predictions, measurements and comparisons as text tables."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.observables import observable
from pdlt.predict import coefficients

if TYPE_CHECKING:
    import pandas
    import xarray


NOTE = """\
entry: indices of the inputs, from 0, in the order of the tensor's axes
truncation: estimated size of the first order in 1/n that is left out
z: difference over stderr; z_total: over stderr and truncation added in quadrature"""

DOUBTFUL = "(?): rare networks carry the average; this standard error is not to be believed"


def series(values: list[float]) -> str:
    """Return a truncated series in 1/n as text, e.g. "2.848349 - 0.009745/n + O(1/n^2)"."""
    if np.isnan(values).any():
        return "undefined (see kinks)"
    parts = [f"{values[0]:.6g}"]
    for j, value in enumerate(values[1:], start=1):
        power = f"/n^{j}" if j > 1 else "/n"
        parts.append(f"{'-' if value < 0 else '+'} {abs(value):.6g}{power}")
    last = f"/n^{len(values)}" if len(values) > 1 else "/n"
    return " ".join(parts) + f" + O(1{last})"


def prediction_table(prediction: "xarray.Dataset", layer: int | None = None) -> str:
    """Return the series of every independent entry at one layer (default: the last) as a text table."""
    layer = int(prediction.layer.values[-1]) if layer is None else layer
    rows = []
    worst = 0.0
    for name, array in prediction.data_vars.items():
        if array.attrs["order"]:
            continue
        keys = [key for _, key in coefficients(prediction, str(name))]
        worst = max(worst, *(prediction[key].attrs["relative_error"] for key in keys))
        stacked = [_without_rounding(prediction[key].sel(layer=layer).values) for key in keys]
        for entry in _independent(str(name), stacked[0].shape):
            found = [float(values[entry]) for values in stacked]
            # The kernel of layer 1 does not fluctuate, so the coefficients of layer 2 are the whole series.
            text = series(found) if layer > 2 else f"{found[0]:.6g}  (at any width)"
            rows.append([_label(str(name), entry), text])
    depth = len(prediction.layer)
    head = f"{network_title(prediction)}\nlayer {layer} of {depth}, series in 1/n with n the width before it"
    note = f"numerical error of the coefficients: {worst:.0e} relative ({prediction.attrs['method']})"
    return "\n".join([head, "", align(["entry", "series"], rows, "<<"), "", note])


def _without_rounding(values: np.ndarray) -> np.ndarray:
    """Return a tensor with zeros in place of rounding errors of its largest entries."""
    return np.where(np.abs(values) < 1e-14 * np.abs(values).max(initial=0.0), 0.0, values)


def run_table(run: "xarray.Dataset", layer: int | None = None) -> str:
    """Return the measurements of every independent entry at one layer (default: the last) as a text table."""
    layer = int(run.layer.values[-1]) if layer is None else layer
    rows = []
    for name in run.data_vars:
        if str(name).endswith("_stderr"):
            continue
        values, errors = (run[key].sel(layer=layer).values for key in (name, f"{name}_stderr"))
        for entry in _independent(str(name), values.shape):
            mark = " (?)" if _doubted(run.attrs, str(name), layer) else ""
            rows.append([_label(str(name), entry), measured(float(values[entry]), float(errors[entry])) + mark])
    head = f"{network_title(run)}\nlayer {layer}, {run_title(run)}"
    note = [DOUBTFUL] if any(row[1].endswith(" (?)") for row in rows) else []
    return "\n".join([head, "", align(["entry", "measured"], rows, "<<"), *note])


def comparison_table(table: "pandas.DataFrame", run: "xarray.Dataset | None" = None) -> str:
    """Return a comparison as text: theory with its truncation, measurement with its standard error, z.

    Args:
        table: from `pdlt.compare`.
        run: the measurement, which knows whether its errors are doubtful.
    """
    attrs = {} if run is None else run.attrs
    doubted = [_doubted(attrs, row.observable, row.layer) for row in table.itertuples()]
    rows = [
        [
            _label(row.observable, row.entry),
            str(row.layer),
            measured(row.prediction, row.neglected),
            measured(row.measured, row.stderr) + (" (?)" if doubt else ""),
            f"{row.z:+.2f}",
            f"{row.z_total:+.2f}",
        ]
        for row, doubt in zip(table.itertuples(), doubted, strict=True)
    ]
    head = ["entry", "layer", "theory ± truncation", "measured ± stderr", "z", "z_total"]
    return "\n".join([align(head, rows, "<>>>>>"), NOTE, *([DOUBTFUL] if any(doubted) else [])])


def demo_table(tables: "dict[str, pandas.DataFrame]", entries: int | None = None) -> str:
    """Return theory beside the measurements of several samplers.

    Args:
        tables: comparisons of one prediction, by sampler.
        entries: how many entries of each observable to show; None for all.
    """
    first = next(iter(tables.values()))
    rows = []
    for name in dict.fromkeys(first.observable):
        positions = np.flatnonzero(first.observable == name)
        for position in _spread(positions, entries):
            row = first.iloc[position]
            cells = [_label(name, row.entry), measured(row.prediction, row.neglected)]
            for table in tables.values():
                other = table.iloc[position]
                cells += [measured(other.measured, other.stderr), f"{other.z:+.1f}", f"{other.z_total:+.1f}"]
            rows.append(cells)
    head = ["entry", "theory ± truncation"]
    for name in tables:
        head += [f"{name} ± stderr", "z", "z_total"]
    return align(head, rows, "<" + ">" * (len(head) - 1)) + "\n" + NOTE


def _spread(positions: np.ndarray, count: int | None) -> np.ndarray:
    """Return `count` of the positions, evenly spread, the first one included."""
    if count is None or count >= len(positions):
        return positions
    return positions[np.arange(count) * len(positions) // count]


def measured(value: float, error: float) -> str:
    """Return a measurement with its error to two digits, e.g. "0.1984 ± 0.0018"."""
    if not np.isfinite(error) or error <= 0:
        return f"{value:.6g}"
    digits = max(0, 1 - int(np.floor(np.log10(error)))) if error < 100 else 0
    return f"{value:.{digits}f} ± {error:.{digits}f}" if digits < 9 else f"{value:.3e} ± {error:.1e}"


def _doubted(attrs: dict[str, Any], name: str, layer: int) -> bool:
    """Return whether a measurement with these attributes has doubtful errors of an observable in a layer."""
    where = zip(attrs.get("errors_doubtful", []), attrs.get("errors_doubtful_from", []), strict=True)
    return any(name == doubtful and layer >= first for doubtful, first in where)


def run_title(run: "xarray.Dataset") -> str:
    """Return one line that says how a measurement was made."""
    return f"{run.attrs['samples']} networks, sampler {run.attrs['sampler']!r}, seed {run.attrs['seed']}"


def network_title(dataset: "xarray.Dataset") -> str:
    """Return one line that says which network a dataset belongs to."""
    net = json.loads(dataset.attrs["network"])

    def short(values: list[Any]) -> str:
        return f"{values[0]:g}" if len(set(values)) == 1 else ",".join(f"{v:g}" for v in values)

    scales = "  ".join(f"{name}={short(net[name])}" for name in ("C_b", "C_W", "lambda_b", "lambda_W"))
    return f"MLP  activation={net['activation']}  depth={net['depth']}  width={short(net['width'] or [0])}  {scales}"


def align(head: list[str], rows: list[list[str]], sides: str) -> str:
    """Return rows as a text table; `sides` holds "<" or ">" per column."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in [head, ["-" * width for width in widths], *rows]
    ]
    return "\n".join(lines)


def _independent(name: str, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    item = observable(name)
    return [entry for entry in np.ndindex(*shape) if entry == item.canonical(entry)]


def _label(name: str, entry: Any) -> str:
    return f"{name}[{','.join(map(str, entry))}]"
