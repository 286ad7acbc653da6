"""Figures: corrections against depth, and what all figures share. Needs matplotlib."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.observables import observable

if TYPE_CHECKING:
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
