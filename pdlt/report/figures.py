"""Figures: corrections against depth and width, and how fast truncation errors fall. Needs matplotlib."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.observables import observable

if TYPE_CHECKING:
    import pandas
    import xarray

#: Observable -> what it is divided by to make a dimensionless size of a 1/n effect.
RATIOS = {
    "V": ("K", "K"),
    "A": ("Theta", "Theta"),
    "B": ("Theta", "Theta"),
    "D": ("K", "Theta"),
    "F": ("K", "Theta"),
    "P": ("Theta", "Theta"),
    "Q": ("Theta", "Theta"),
}


def corrections_against_depth(prediction: "xarray.Dataset", run: "xarray.Dataset", path: Path) -> None:
    """Plot the dimensionless tensors over n for one input against depth, theory as lines, networks as points.

    Args:
        prediction, run: the same network and one input; all layers.
        path: image file to write.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    n = np.asarray(prediction.attrs["fan_in"], dtype=float)[1:]
    layers = prediction.layer.values[1:]
    for name, (first, second) in RATIOS.items():
        scale = (_diagonal(prediction, first) * _diagonal(prediction, second))[1:] * n
        label = _math(name, first, second)
        (line,) = axes.plot(layers, _diagonal(prediction, name)[1:] / scale, label=label)
        value, error = _diagonal(run, name)[1:] / scale, _diagonal(run, f"{name}_stderr")[1:] / scale
        axes.errorbar(layers, value, 2 * error, fmt="o", markersize=4, capsize=2, color=line.get_color())
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(xlabel="layer", ylabel="relative size of the 1/n effect")
    net = json.loads(prediction.attrs["network"])
    title = f"{net['activation']}, width {net['width'][0]}, one input: lines order 1/n, points measured (±2 stderr)"
    axes.set_title(title, fontsize=10)
    axes.legend(ncols=2, fontsize=8)
    _save(figure, path)


def corrections_against_width(sweep: "pandas.DataFrame", leading: dict[str, float], path: Path) -> None:
    """Plot measured observables against 1/n beside the series truncated at each order.

    Args:
        sweep: from `pdlt.width_sweep`.
        leading: value at infinite width of each observable, where the lines start.
        path: image file to write.
    """
    plt = _pyplot()
    names = list(dict.fromkeys(sweep.observable))
    figure, grid = plt.subplots(1, len(names), figsize=(3.1 * len(names), 3.4), layout="constrained", squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        series = sweep[sweep.observable == name].sort_values("width", ascending=False)
        for order, rows in series.groupby("order"):
            inverse = 1 / rows.width.to_numpy(float)
            axes.plot([0, *inverse], [leading[name], *rows.prediction], label=f"derived, order {order}")
        axes.errorbar(inverse, rows.measured, 2 * rows.stderr, fmt="ko", markersize=4, capsize=2, label="networks")
        axes.set(title=f"${_letter(name)}$ of the first input", xlabel="1/n", ylabel="n × cumulant")
        axes.legend(fontsize=7)
    _save(figure, path)


def residual_slopes(sweep: "pandas.DataFrame", path: Path) -> None:
    """Plot the difference between networks and the truncated series against width, with the fitted power.

    Args:
        sweep: from `pdlt.width_sweep`.
        path: image file to write.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6.5, 5), layout="constrained")
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(sweep.observable))}
    for (name, order), rows in sweep.groupby(["observable", "order"], sort=False):
        rows = rows.sort_values("width")
        slope, error, expected = sweep.attrs["slopes"][name, order]
        if np.isnan(slope):
            continue
        n, residual = rows.width.to_numpy(float), np.abs(rows.residual.to_numpy(float))
        power = rf"$n^{{-{slope:.2f} \pm {error:.2f}}}$, expected $n^{{-{expected}}}$"
        label = f"${_letter(name)}$ after order {order}: {power}"
        style = {"color": colours[name], "marker": "os^D"[int(order) % 4], "markersize": 5, "capsize": 2}
        axes.errorbar(n, residual, 2 * rows.stderr, linestyle="none", label=label, **style)
        anchor = int(np.argmin(rows.stderr.to_numpy() / residual))
        guide = residual[anchor] * (n / n[anchor]) ** -float(expected)
        axes.plot(n, guide, "--", color=colours[name], linewidth=1)
    widths = sorted(set(sweep.width))
    axes.set(xscale="log", yscale="log", xlabel="width n", ylabel="|measured - truncated series|")
    axes.set_xticks(widths, [str(w) for w in widths])
    axes.minorticks_off()
    visible = np.abs(sweep.residual[np.abs(sweep.residual) > sweep.stderr])
    axes.set_ylim(bottom=0.3 * visible.min())
    axes.set_title("What the truncated series leaves out (dashed: the next power of 1/n)", fontsize=10)
    axes.legend(fontsize=7)
    _save(figure, path)


def _diagonal(dataset: "xarray.Dataset", name: str) -> np.ndarray:
    """Return the entry of the first input at every layer."""
    values = dataset[name].values
    return values.reshape(len(values), -1)[:, 0]


def _letter(name: str) -> str:
    return observable(name).latex or name


def _math(name: str, first: str, second: str) -> str:
    below = f"{_letter(first)}^2" if first == second else f"{_letter(first)}{_letter(second)}"
    return f"${_letter(name)}/(n {below})$"


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise PdltError("Figures need matplotlib, which is not installed: pip install 'pdlt[plot]'.") from None
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def _save(figure: Any, path: Path) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        figure.savefig(temporary, dpi=150, format=path.suffix.removeprefix("."))
        temporary.replace(path)
    except OSError as error:
        raise PdltError(f"Option --output: {path} could not be written ({error.strerror or error}).") from None
    finally:
        _pyplot().close(figure)
