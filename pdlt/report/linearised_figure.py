"""Figure: the distance between training and its linearisation against width. Needs matplotlib."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdlt.report.figures import _pyplot, _save

if TYPE_CHECKING:
    from pdlt.finite import LinearisationDistance

#: Attribute -> legend.
CURVES = {
    "kernel_spread": r"$|H(0)-\overline{H}|\,/\,|\overline{H}|$, between networks",
    "kernel_change": r"$|H(t)-H(0)|\,/\,|H(0)|$, in training",
    "rms": r"$z-z_{\rm lin}$, in one network (rms)",
    "bias": r"$z-z_{\rm lin}$, mean over networks",
}


def distance_against_width(result: "LinearisationDistance", path: Path, time: int = -1) -> None:
    """Plot the sizes in a `LinearisationDistance` against width, with slopes -1/2 and -1 as guides.

    Args:
        result: of `pdlt.finite.linearisation_distance`.
        path: image file to write.
        time: position among its times.

    Raises:
        PdltError: if matplotlib is not installed or the file cannot be written.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
    n = result.widths.astype(float)
    for name, label in CURVES.items():
        value, stderr = (part if part.ndim == 1 else part[:, time] for part in getattr(result, name))
        shown = value > stderr  # what is not above its noise has no place on a logarithmic axis
        if not shown.any():
            continue
        bars = axes.errorbar(n[shown], value[shown], 2 * stderr[shown], fmt="o", markersize=4, capsize=2, label=label)
        power = -0.5 if name == "kernel_spread" else -1.0
        last = np.flatnonzero(shown)[-1]
        axes.plot(n, value[last] * (n / n[last]) ** power, linewidth=0.8, color=bars[0].get_color())
    axes.set(xscale="log", yscale="log", xlabel="width n", ylabel="size")
    axes.set_title(f"t = {result.times[time]:g}, {result.networks} networks (±2 stderr); lines: powers -1/2 and -1")
    axes.legend(fontsize=8)
    _save(figure, path)
