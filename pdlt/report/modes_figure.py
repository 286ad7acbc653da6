"""Figures of eigenmodes: spectrum, labels, eigenfunctions; powers of degrees. Needs matplotlib."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.report.figures import _letter, _pyplot, _save

if TYPE_CHECKING:
    import xarray

#: Eigenfunctions drawn.
FUNCTIONS = 5


def draw(modes: "xarray.Dataset", path: Path, curves: tuple[np.ndarray, np.ndarray] | None = None) -> None:
    """Draw the eigenmodes of a kernel on a dataset.

    Args:
        modes: from `pdlt.modes`. Panels: eigenvalues; with labels their power by mode; for one-dimensional inputs the
            leading eigenfunctions on the data, N^(1/2) times the vectors.
        path: image file to write (.png, .pdf, .svg).
        curves: one-dimensional inputs: points (P,) and eigenfunctions between the data (P, modes), from
            `pdlt.learning.modes.eigenfunctions`.

    Raises:
        PdltError: without matplotlib, or if the file cannot be written.
    """
    panels = [_spectrum]
    if "label_power" in modes:
        panels.append(_labels)
    plt = _pyplot()
    functions = "x" in modes and modes.attrs["rank"] > 0
    count = len(panels) + functions
    figure, grid = plt.subplots(1, count, figsize=(3.6 * count, 3.3), layout="constrained", squeeze=False)
    for axes, panel in zip(grid[0], panels, strict=False):
        panel(axes, modes)
    if functions:
        _functions(grid[0, -1], modes, curves)
    number = modes.attrs["inputs_shape"][0]
    figure.suptitle(f"modes of ${_letter(modes.attrs['observable'])}$ on {number} inputs", fontsize=10)
    _save(figure, path)


def draw_population(modes: "xarray.Dataset", path: Path) -> None:
    """Draw eigenvalue and power (multiplicity times eigenvalue) against degree; grey: below the estimated error.

    Args:
        modes: from `pdlt.population_modes`.
        path: image file to write.

    Raises:
        PdltError: without matplotlib, or if the file cannot be written.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.3), layout="constrained")
    degree, error = modes.degree.values, modes.error.values
    factors = {"eigenvalue": np.ones(len(degree)), "power = multiplicity x eigenvalue": modes.multiplicity.values}
    for panel, (label, factor) in zip(axes, factors.items(), strict=True):
        values = modes.eigenvalue.values * factor
        seen = values > 2 * error * factor
        panel.plot(degree[seen], values[seen], "o", markersize=4)
        panel.set(xlabel="degree", ylabel=label, yscale="log" if seen.any() else "linear")
        _integers(panel)
        lowest = 0.3 * values[seen].min(initial=np.inf)
        if (error * factor > lowest).any():  # errors far below all values need not be seen
            panel.plot(degree, error * factor, color="0.7", linewidth=0.8, label="estimated error")
            panel.legend(fontsize=7)
        if seen.any():
            panel.set_ylim(lowest, 3 * values[seen].max())
    attrs = modes.attrs
    place = (
        "circle" if attrs["distribution"] == "circle" else f"{attrs['distribution']}, dimension {attrs['dimension']}"
    )
    figure.suptitle(f"modes of ${_letter(attrs['observable'])}$ on the {place}", fontsize=10)
    _save(figure, path)


def _integers(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _number_modes(axes: Any, count: int) -> None:
    axes.set(xlabel="mode", xscale="log" if count > 20 else "linear")
    if count <= 20:
        axes.set_xlim(0.5, count + 0.5)
        _integers(axes)


def _spectrum(axes: Any, modes: "xarray.Dataset") -> None:
    number = np.arange(1, modes.sizes["mode"] + 1)
    values, resolved = modes.eigenvalue.values, modes.resolved.values
    axes.plot(number[resolved], values[resolved], "o", markersize=4)
    if not resolved.any():
        axes.plot(number, values, "o", color="0.7", markersize=4, label="not told from zero")
        axes.set_yticks([0])
        axes.legend(fontsize=7)
    elif not resolved.all():
        axes.axhline(modes.attrs["resolution"], color="0.7", linewidth=0.8, label="not told from zero below")
        axes.legend(fontsize=7)
    axes.set(ylabel="eigenvalue (rate of gradient flow)", yscale="log" if resolved.any() else "linear")
    _number_modes(axes, len(number))


def _labels(axes: Any, modes: "xarray.Dataset") -> None:
    number = np.arange(1, modes.sizes["mode"] + 1)
    if len(number) > 1:
        axes.step(number, modes.cumulative_power.values, where="mid", color="k", linewidth=1, label="cumulative")
    axes.plot(number, modes.label_power.values, "o", markersize=4, label="label power")
    axes.set(ylabel="share of sum y²", ylim=(-0.03, 1.05))
    _number_modes(axes, len(number))
    axes.legend(fontsize=7)


def _functions(axes: Any, modes: "xarray.Dataset", curves: tuple[np.ndarray, np.ndarray] | None) -> None:
    x = modes.x.values
    order, scale = np.argsort(x), np.sqrt(len(x))
    for k in range(min(FUNCTIONS, modes.attrs["rank"])):
        values = scale * modes["vector"].values[:, k]
        if curves is None:
            axes.plot(x[order], values[order], f"C{k}.-", linewidth=0.9, markersize=4, label=f"{k + 1}")
        elif k < curves[1].shape[1]:
            axes.plot(curves[0], curves[1][:, k], f"C{k}", linewidth=0.9)
            axes.plot(x, values, f"C{k}o", markersize=4, label=f"{k + 1}")
    axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
    axes.set(xlabel="x", ylabel="eigenfunctions")
    axes.legend(fontsize=7, title="mode", title_fontsize=7)
