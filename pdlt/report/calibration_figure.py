"""Are z-scores standard normal? Histogram and quantiles. Needs matplotlib."""

from pathlib import Path

import numpy as np
from scipy import stats

from pdlt.report.figures import _pyplot, _save


def normality(z: np.ndarray, path: Path) -> None:
    """Plot the histogram of z-scores beside the normal density, and their quantiles against the normal ones.

    Args:
        z: scores.
        path: image file to write.
    """
    plt = _pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    line = np.linspace(-4.5, 4.5, 400)
    left.hist(z, np.arange(-4.5, 4.6, 0.25), color="0.75", label=f"{len(z)} z-scores")
    left.plot(line, 0.25 * len(z) * stats.norm.pdf(line), "C0", label="standard normal")
    left.set(xlabel="z", ylabel="number")
    left.legend(fontsize=8)
    ordered, k = np.sort(z), np.arange(1, len(z) + 1)
    middle = stats.norm.ppf((k - 0.5) / len(z))
    low, high = (stats.norm.ppf(stats.beta.ppf(q, k, len(z) + 1 - k)) for q in (0.025, 0.975))
    right.fill_between(middle, low, high, color="C0", alpha=0.2, label="95 % of each quantile")
    right.plot(middle, middle, "C0", linewidth=0.8)
    right.plot(middle, ordered, "k.", markersize=3)
    right.set(xlabel="normal quantile", ylabel="quantile of z")
    right.legend(fontsize=8)
    _save(figure, path)
