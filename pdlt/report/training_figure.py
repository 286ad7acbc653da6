"""Training as a figure: kernel machine, prediction at order 1/n and trained networks, over inputs and over time."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.compare_training import summed
from pdlt.report.figures import _pyplot, _save
from pdlt.report.tables import network_title

if TYPE_CHECKING:
    import xarray

#: Points whose outputs are followed through time.
_FOLLOWED = 4

_MACHINE, _FIRST, _ENSEMBLE = "kernel machine", "+ order 1/n", "trained networks"


@dataclass(frozen=True, eq=False)
class Layout:
    """Which points are which, and where they are drawn.

    Attributes:
        points: how many of the points were asked for; the first ones.
        training: positions of the training inputs among all points, shape (N,).
        y_train: labels, shape (N, n_L).
        axis: horizontal coordinate of all points, shape (points + ...,), or None for their numbers.
        label: what it is called.
    """

    points: int
    training: np.ndarray
    y_train: np.ndarray
    axis: np.ndarray | None = None
    label: str = "x"


def training_figure(
    prediction: "xarray.Dataset", run: "xarray.Dataset | None", layout: Layout, path: Path, output: int = 0
) -> None:
    """Draw outputs and what differs from the kernel machine over the points, and outputs and loss over time.

    Args:
        prediction: from `pdlt.predict_training`, with `variance`; without it there is no loss.
        run: from `pdlt.simulate_training` with mean and covariance, or None.
        layout: which points are which.
        path: image file to write.
        output: which one is drawn.

    Raises:
        PdltError: if matplotlib is not installed or the file cannot be written.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    _function(axes[0, 0], prediction, run, layout, output)
    _difference(axes[1, 0], prediction, run, layout, output)
    _curves(axes[0, 1], prediction, run, layout, output)
    _losses(axes[1, 1], prediction, run, layout)
    figure.suptitle(network_title(prediction), fontsize=9)
    _save(figure, path)


def _place(layout: Layout) -> tuple[np.ndarray, np.ndarray, str]:
    """Return the order in which points are drawn, the horizontal coordinate of all points, and its name."""
    if layout.axis is None:
        every = np.arange(max(layout.points, layout.training.max(initial=-1) + 1), dtype=float)
        return np.arange(layout.points), every, "number of the point"
    return np.argsort(layout.axis[: layout.points]), layout.axis, layout.label


def _last(prediction: "xarray.Dataset", run: "xarray.Dataset | None") -> tuple[int, int | None]:
    """Return the positions of the last time that both have, or that the prediction has."""
    if run is None:
        return len(prediction.time) - 1, None
    common = np.flatnonzero(np.isin(prediction.time.values, run.time.values))
    return int(common[-1]), int(np.flatnonzero(run.time.values == prediction.time.values[common[-1]])[0])


def _when(prediction: "xarray.Dataset", position: int) -> str:
    time = prediction.time.values[position]
    if np.isinf(time):
        return "the end of training"
    return f"{time:g} steps" if prediction.attrs["rule"] == "gd" else f"t = {time:g}"


def _function(axes: Any, prediction: Any, run: Any, layout: Layout, output: int) -> None:
    order, places, label = _place(layout)
    k, measured = _last(prediction, run)
    leading, total, _ = summed(prediction, "mean")
    axes.plot(places[order], leading[k][order, output], "--", color="0.4", label=_MACHINE)
    if prediction.attrs["order"]:
        axes.plot(places[order], total[k][order, output], color="C0", label=_FIRST)
    if measured is not None:
        mean = run["mean"].values[measured][order, output]
        axes.plot(places[order], mean, ".", color="C3", label=f"{_ENSEMBLE}: mean")
        if "covariance" in run:
            deviation = np.sqrt(np.einsum("ppii->pi", run["covariance"].values[measured])[order, output])
            band = axes.fill_between(places[order], mean - deviation, mean + deviation, color="C3", alpha=0.15)
            band.set(linewidth=0, label=f"{_ENSEMBLE}: ± standard deviation")
    axes.plot(places[layout.training], layout.y_train[:, output], "ko", markersize=5, label="labels")
    axes.set(xlabel=label, ylabel="output", title=f"outputs at {_when(prediction, k)}")
    axes.legend(fontsize=8)


def _difference(axes: Any, prediction: Any, run: Any, layout: Layout, output: int) -> None:
    order, places, label = _place(layout)
    k, measured = _last(prediction, run)
    leading, total, sampling = summed(prediction, "mean")
    axes.axhline(0, linestyle="--", color="0.4", label=_MACHINE)
    if prediction.attrs["order"]:
        value, error = ((total - leading)[k][order, output], 2 * sampling[k][order, output])
        axes.fill_between(places[order], value - error, value + error, color="C0", alpha=0.2, linewidth=0)
        axes.plot(places[order], value, color="C0", label=f"{_FIRST} ± 2 stderr" if error.any() else _FIRST)
    if measured is not None:
        value = (run["mean"].values[measured] - leading[k])[order, output]
        error = 2 * run["mean_stderr"].values[measured][order, output]
        axes.fill_between(places[order], value - error, value + error, color="C3", alpha=0.3, linewidth=0)
        axes.plot(places[order], value, ".", color="C3", label=f"{_ENSEMBLE} ± 2 stderr")
    axes.set(xlabel=label, ylabel="mean - kernel machine", title=f"what finite width adds at {_when(prediction, k)}")
    axes.legend(fontsize=8)


def _curves(axes: Any, prediction: Any, run: Any, layout: Layout, output: int) -> None:
    leading, total, _ = summed(prediction, "mean")
    finite = np.isfinite(prediction.time.values)
    time = prediction.time.values[finite]
    followed = np.unique(np.linspace(0, layout.points - 1, min(_FOLLOWED, layout.points)).round().astype(int))
    for colour, point in enumerate(followed):
        style = {"color": f"C{colour}"}
        axes.plot(time, leading[finite, point, output], "--", alpha=0.6, **style, label=f"point {point}")
        if prediction.attrs["order"]:
            axes.plot(time, total[finite, point, output], **style)
        if run is not None:
            error = 2 * run["mean_stderr"].values[:, point, output]
            axes.errorbar(run.time.values, run["mean"].values[:, point, output], error, fmt=".", capsize=2, **style)
    drawn = f"dashed {_MACHINE}, solid {_FIRST}, points {_ENSEMBLE}"
    axes.set_title(drawn if run is not None else f"dashed {_MACHINE}, solid {_FIRST}", fontsize=9)
    axes.set(xlabel=_unit(prediction), ylabel="mean output")
    axes.legend(fontsize=8)


def _losses(axes: Any, prediction: Any, run: Any, layout: Layout) -> None:
    """Mean of 1/2 sum (z - y)^2 over the training set."""
    here, y = layout.training, layout.y_train
    finite = np.isfinite(prediction.time.values)
    time = prediction.time.values[finite]
    if "variance" in prediction:
        n_inverse = summed(prediction, "mean")[1] - summed(prediction, "mean")[0]
        error = summed(prediction, "mean")[0][:, here] - y
        spread, first = (part[:, here] for part in summed(prediction, "variance")[:2])
        machine = (error**2 + spread).sum(axis=(1, 2)) / 2
        # To the order of the prediction: the square of the mean's correction belongs to the next one.
        finer = machine + (error * n_inverse[:, here]).sum(axis=(1, 2)) + (first - spread).sum(axis=(1, 2)) / 2
        axes.plot(time, machine[finite], "--", color="0.4", label=_MACHINE)
        if prediction.attrs["order"]:
            axes.plot(time, finer[finite], color="C0", label=_FIRST)
    if run is not None and "covariance" in run:
        spread = np.einsum("tppii->tpi", run["covariance"].values)[:, here]
        measured = ((run["mean"].values[:, here] - y) ** 2 + spread).sum(axis=(1, 2)) / 2
        axes.plot(run.time.values, measured, ".", color="C3", label=_ENSEMBLE)
    axes.set(xlabel=_unit(prediction), ylabel="mean training loss", yscale="log")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def _unit(prediction: "xarray.Dataset") -> str:
    return "steps" if prediction.attrs["rule"] == "gd" else "time"
