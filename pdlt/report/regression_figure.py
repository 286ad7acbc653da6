"""Regression as figures: a function of one variable with its uncertainty, or predictions against labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.report.figures import _pyplot, _save
from pdlt.report.regression import deviations
from pdlt.report.tables import network_title

if TYPE_CHECKING:
    import xarray

#: Outputs and times that are drawn.
_OUTPUTS, _TIMES = 4, 6

#: Points of a grid on which functions of one variable are drawn.
_GRID = 200


def span(x: np.ndarray) -> np.ndarray:
    """Return a grid (200, 1) over one-dimensional inputs (N, 1) and a margin on both sides."""
    margin = 0.15 * (x.max() - x.min()) or 1.0
    return np.linspace(x.min() - margin, x.max() + margin, _GRID)[:, None]


def regression_figure(
    found: "xarray.Dataset", x_train: Any, y_train: Any, x_test: Any, y_test: Any, path: Path
) -> None:
    """Draw a result of `pdlt.predict_training` or `pdlt.posterior`.

    One-dimensional inputs: the mean at every time and a band of two standard deviations at the last one, against x,
    with the training points. Else predictions at the last time against the labels y_test (their histograms, if these
    name classes), and the mean squared error against time if there are several.

    Args:
        found: the result, with scores if y_test is given.
        x_train, y_train, x_test: what it was made from, arrays (N, n_0), (N, n_L), (P, n_0).
        y_test: labels (P, n_L), or None.
        path: image file to write.

    Raises:
        PdltError: for inputs of several dimensions without test labels, and without matplotlib.
    """
    line = x_train.shape[1] == 1
    if not line and y_test is None:
        raise PdltError("A figure needs inputs of one dimension, or labels of the test points.")
    plt = _pyplot()
    if line:
        figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
        _curves(axes, found, x_train, y_train, x_test)
    else:
        learning = "time" in found.dims and len(found.time) > 1
        figure, grid = plt.subplots(
            1, 1 + learning, figsize=(5 + 5 * learning, 4.5), layout="constrained", squeeze=False
        )
        _against_labels(grid[0, 0], found, y_test)
        if learning:
            _learning(grid[0, 1], found)
    figure.suptitle(network_title(found), fontsize=9 if line else 7)
    _save(figure, path)


def _when(found: "xarray.Dataset", time: float) -> str:
    if np.isinf(time):
        return "end of training"
    return f"after {time:g} steps" if found.attrs["rule"] == "gd" else f"t = {time:g}"


def _at_last(found: "xarray.Dataset") -> str:
    """Return which time it is that one panel shows."""
    return ", " + _when(found, found.time.values[-1]) if "time" in found.dims else ""


def _last(found: "xarray.Dataset", values: np.ndarray) -> np.ndarray:
    return values[-1] if "time" in found.dims else values


def _curves(axes: Any, found: "xarray.Dataset", x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray) -> None:
    order = np.argsort(x_test[:, 0])
    x, mean, spread = x_test[order, 0], found["mean"].values, deviations(found)
    means = mean[-_TIMES:] if "time" in found.dims else mean[None]
    names = [_when(found, t) for t in found.time.values[-_TIMES:]] if "time" in found.dims else ["posterior mean"]
    for output in range(min(mean.shape[-1], _OUTPUTS)):
        colour = f"C{output}"
        for k, name in enumerate(names):
            shade = (k + 1) / len(names)
            axes.plot(x, means[k][order, output], color=colour, alpha=shade, label=name if output == 0 else None)
        if spread is not None:
            last, width = means[-1][order, output], 2 * _last(found, spread)[order, output]
            label = "± 2 standard deviations" if output == 0 else None
            axes.fill_between(x, last - width, last + width, color=colour, alpha=0.2, linewidth=0, label=label)
        axes.plot(x_train[:, 0], y_train[:, output], "o", color=colour, markeredgecolor="k", markersize=5)
    axes.set(xlabel="x", ylabel="output")
    axes.legend(fontsize=8)


def _against_labels(axes: Any, found: "xarray.Dataset", y_test: np.ndarray) -> None:
    if "accuracy" in found:
        _by_class(axes, found, y_test)
        return
    mean, spread = _last(found, found["mean"].values), deviations(found)
    error = None if spread is None else 2 * _last(found, spread).ravel()
    axes.errorbar(y_test.ravel(), mean.ravel(), error, fmt="o", markersize=3, elinewidth=0.6, alpha=0.5)
    ends = [min(y_test.min(), mean.min()), max(y_test.max(), mean.max())]
    axes.plot(ends, ends, color="0.5", linewidth=0.8)
    axes.set(xlabel="label", title=f"predictions{_at_last(found)}")
    axes.set(ylabel="prediction" if spread is None else "prediction ± 2 standard deviations")


def _by_class(axes: Any, found: "xarray.Dataset", y_test: np.ndarray) -> None:
    mean, right = _last(found, found["mean"].values), y_test == y_test.max()
    bins = np.histogram_bin_edges(mean, int(np.clip(2 * mean.size**0.5, 5, 60))).tolist()
    for values, label in ((mean[right], "output of the labelled class"), (mean[~right], "other outputs")):
        axes.hist(values, bins, weights=np.full(len(values), 1 / len(values)), alpha=0.6, label=label)
    accuracy = float(_last(found, found.accuracy.values))
    axes.set(xlabel="prediction", ylabel="share of these outputs", title=f"accuracy {accuracy:.4f}{_at_last(found)}")
    axes.legend(fontsize=8)


def _learning(axes: Any, found: "xarray.Dataset") -> None:
    finite = np.isfinite(found.time.values)
    axes.plot(found.time.values[finite], found.squared_error.values[finite], "o-", label="mean squared error")
    for value in found.squared_error.values[~finite]:
        axes.axhline(value, linestyle="--", color="0.5", label="end of training")
    unit = "steps" if found.attrs["rule"] == "gd" else "time"
    axes.set(xlabel=unit, xscale="symlog", ylabel="mean squared error on test points")
    axes.legend(fontsize=8)
