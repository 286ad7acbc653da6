"""Figures of a sweep: series and residuals against width, coefficients against depth. Needs matplotlib."""

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.observables import observable
from pdlt.predict.scales import natural_size
from pdlt.report.figures import _letter, _pyplot, _save
from pdlt.sweep import Sweep

if TYPE_CHECKING:
    from pdlt.sweep.result import Place, Series

_MARKERS = "os^Dv"
#: A fitted curve is drawn if its leading coefficient is this many standard errors from zero.
_RESOLVED = 3
#: Characters of a title over one panel, and tick labels side by side.
_LETTERS, _LABELS = 44, 14


def draw(sweep: Sweep, path: Path, depth: int | None = None) -> None:
    """Draw what fits the sweep: against width for one depth, against depth for several.

    Args:
        sweep: from `pdlt.sweep`.
        path: image file to write.
        depth: the depth to show against width; None for that of a sweep with a single one.

    Raises:
        PdltError: for a depth that was not measured, without matplotlib, or if the file cannot be written.
    """
    if depth is not None and depth not in sweep.depths:
        raise PdltError(f"Argument `depth` must be among {list(sweep.depths)}, but got {depth!r}.")
    if depth is None and len(sweep.depths) > 1:
        against_depth(sweep, path)
    else:
        against_width(sweep, path, sweep.depths[0] if depth is None else depth)


def against_width(sweep: Sweep, path: Path, depth: int) -> None:
    """Plot each observable of the first input against 1/n, and its residuals against n, both with the fitted series."""
    _against_width(sweep, path, depth, (_series_panel, _residual_panel))


def series_against_width(sweep: Sweep, path: Path) -> None:
    """Plot each observable of the first input at the first depth against 1/n."""
    _against_width(sweep, path, sweep.depths[0], (_series_panel,))


def residuals_against_width(sweep: Sweep, path: Path) -> None:
    """Plot what each truncation leaves out, for the first input at the first depth, against n."""
    _against_width(sweep, path, sweep.depths[0], (_residual_panel,))


def _against_width(sweep: Sweep, path: Path, depth: int, panels: tuple[Callable, ...]) -> None:
    chosen = {place: series for place, series in sweep.series.items() if place.depth == depth and not any(place.entry)}
    figure, grid = _panels(len(panels), len(chosen))
    for row, panel in zip(grid, panels, strict=True):
        for axes, (place, series) in zip(row, chosen.items(), strict=True):
            panel(axes, place, series)
            axes.set_title(f"${_letter(place.observable)}$")
    _title(figure, f"depth {depth}, first input: measured (±2 stderr), fitted and derived", len(chosen))
    _save(figure, path)


def against_depth(sweep: Sweep, path: Path) -> None:
    """Plot measured and derived coefficients against depth, and relative sizes of 1/n effects against depth/width."""
    names = [name for name in sweep.observables if sweep.predictions and name in next(iter(sweep.predictions.values()))]
    if not names:
        raise PdltError("A figure against depth needs derived coefficients; raise the order, or draw one depth.")
    figure, grid = _panels(2, len(names))
    for column, name in enumerate(names):
        _coefficient_panel(grid[0, column], sweep, name)
        _ratio_panel(grid[1, column], sweep, name)
    _title(figure, "first input: measured (points, ±2 stderr) and derived (lines)", len(names))
    _save(figure, path)


def _series_panel(axes: Any, place: "Place", s: "Series") -> None:
    inverse = np.linspace(0, 1.05 / s.n.min(), 200)
    n = 1 / np.maximum(inverse, 1e-9)
    fitted, band = s.fit.at(n)
    axes.fill_between(inverse, fitted - 2 * band, fitted + 2 * band, color="0.85", label="fitted (±2 stderr)")
    for terms in range(1, len(s.derived) + 1):
        order = observable(place.observable).leading_order + terms - 1
        axes.plot(inverse, s.truncated(terms, n), f"C{terms - 1}--", linewidth=1.2, label=f"derived, order {order}")
    axes.errorbar(1 / s.n, s.measured, 2 * s.stderr, fmt="ko", markersize=3, capsize=2, label="networks")
    # A derived series that leaves the data is cut, not followed.
    low, high = (s.measured - 3 * s.stderr).min(), (s.measured + 3 * s.stderr).max()
    ends = [low, high, *s.derived[:1]]
    margin = 0.15 * (max(ends) - min(ends))
    axes.set(xlabel="1/n", xlim=(0, inverse[-1]))
    axes.locator_params(axis="x", nbins=6)
    if margin > 0:
        axes.set_ylim(min(ends) - margin, max(ends) + margin)
    axes.legend(fontsize=6)


def _residual_panel(axes: Any, place: "Place", s: "Series") -> None:
    n = np.geomspace(0.95 * s.n.min(), 1.05 * s.n.max(), 100)
    lowest, hidden = [], 0
    for terms in range(1, len(s.derived) + 1):
        colour = f"C{terms - 1}"
        order = observable(place.observable).leading_order + terms - 1
        residual = np.abs(s.measured - s.truncated(terms))
        seen = residual > s.stderr
        hidden += int((~seen).sum())
        if not seen.any():
            continue
        label = f"after order {order}, dashed $n^{{-{terms}}}$"
        style = {"color": colour, "marker": _MARKERS[(terms - 1) % len(_MARKERS)], "markersize": 4, "capsize": 2}
        axes.errorbar(s.n[seen], residual[seen], 2 * s.stderr[seen], linestyle="none", label=label, **style)
        lowest += list(residual[seen])
        fit = s.held.get(terms)
        resolved = fit is not None and abs(fit.values[0]) > _RESOLVED * fit.stderr[0]
        if fit is not None and resolved:
            axes.plot(n, np.abs(fit.at(n)[0]), color=colour, linewidth=0.8)
        first = s.derived[terms] if terms < len(s.derived) else fit.values[0] if fit is not None and resolved else 0.0
        if not first:  # neither derived nor resolved: the height of the points, the slope of theory
            weights, powers = s.n[seen] ** -terms / s.stderr[seen] ** 2, s.n[seen] ** -terms
            first = (weights * residual[seen]).sum() / (weights * powers).sum() if s.stderr[seen].all() else 0.0
        axes.plot(n, np.abs(first) * n**-terms, "--", color=colour, linewidth=0.8)
    axes.set(xlabel="n", ylabel="|measured - derived|")
    if not lowest:  # a logarithmic axis needs something to show
        axes.text(0.5, 0.5, "no residual beyond its error", ha="center", transform=axes.transAxes, fontsize=7)
        return
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=0.3 * min(lowest))
    _ticks(axes, s.n, logarithmic=True)
    _log_labels(axes.yaxis)
    if hidden:
        note = f"{hidden} residual{'s' if hidden > 1 else ''} below {'their' if hidden > 1 else 'its'} error not shown"
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
        axes.text(0.03, 0.02, note, transform=axes.transAxes, fontsize=6, bbox=box)
    axes.legend(fontsize=6, loc="upper right")


def _coefficient_panel(axes: Any, sweep: Sweep, name: str) -> None:
    """Coefficients over natural size and L^order against depth: constant at large depth if critical."""
    leading = observable(name).leading_order
    found = {p.depth: s for p, s in sweep.series.items() if p.observable == name and not any(p.entry)}
    terms = max((len(s.derived) for s in found.values()), default=0)
    for j in range(0 if leading else 1, terms):
        # The infinite-width value of a mean is its natural size; its corrections are what is of interest.
        scale = {depth: _size(sweep, name, depth) * depth ** (leading + j) for depth in found}
        derived = [s.derived[j] / scale[depth] if j < len(s.derived) else np.nan for depth, s in found.items()]
        letter = f"{_letter(name)}^{{\\{{{j}\\}}}}" if j else _letter(name)
        power = f" L^{leading + j}" if leading + j > 1 else " L"
        axes.plot(list(found), derived, color=f"C{j}", label=f"${letter}$ over {_natural(name)}${power}$")
        for depth, s in found.items():
            fit = s.held.get(j, s.fit)
            if j <= fit.degree:
                value, error = (number / scale[depth] for number in fit.power(j))
                axes.errorbar(depth, value, 2 * error, fmt="o", color=f"C{j}", markersize=3, capsize=2)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(title=f"coefficients of ${_letter(name)}$", xlabel="depth L")
    _ticks(axes, list(found), logarithmic=False)
    if axes.get_legend_handles_labels()[0]:  # at order 0 a mean has no corrections
        axes.legend(fontsize=6)


def _ratio_panel(axes: Any, sweep: Sweep, name: str) -> None:
    """What fluctuations do to the observable, relative to its natural size, against depth/width."""
    leading = observable(name).leading_order
    chosen = {p.depth: s for p, s in sweep.series.items() if p.observable == name and not any(p.entry)}
    positive = True
    for i, (depth, s) in enumerate(chosen.items()):
        # A mean is compared with its limit; a cumulant of k components is of order n^(1-k) itself.
        base = s.derived[0] if leading == 0 and s.derived else 0.0
        size = _size(sweep, name, depth)
        value, error = (s.measured - base) / size / s.n**leading, s.stderr / size / s.n**leading
        n = np.geomspace(s.n.min(), s.n.max(), 100)
        derived = (s.truncated(len(s.derived), n) - base) / size / n**leading
        axes.plot(depth / n, derived, color=f"C{i}", linewidth=0.9)
        axes.errorbar(
            depth / s.n, value, 2 * error, fmt="o", markersize=3, capsize=2, color=f"C{i}", label=f"L = {depth}"
        )
        positive = positive and bool((value > 2 * error).all() and (derived > 0).all())
    below = "" if leading == 0 else "/n" if leading == 1 else f"/n^{leading}"
    what = f"{_letter(name)}(n) - {_letter(name)}" if leading == 0 else f"{_letter(name)}{below}"
    if positive:
        axes.set(xscale="log", yscale="log")
        _log_labels(axes.xaxis)
        _log_labels(axes.yaxis)
    else:
        axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set(xlabel="depth/width", ylabel=f"${what}$ over {_natural(name)}")
    axes.legend(fontsize=6)


def _size(sweep: Sweep, name: str, depth: int) -> float:
    size = float(natural_size(name, sweep.predictions[depth].attrs["scales"])[-1])
    return size or 1.0


def _natural(name: str) -> str:
    """Return the observable's natural size as text, e.g. K^2 or K Theta."""
    slots = observable(name).slots
    powers = {"K": sum(1 - len(slot) for slot in slots) / 2, r"\Theta": sum(len(slot) for slot in slots) / 2}
    parts = [letter + (f"^{{{power:g}}}" if power != 1 else "") for letter, power in powers.items() if power]
    return f"${' '.join(parts)}$"


def _title(figure: Any, text: str, columns: int) -> None:
    """Put a title over all panels, on as many lines as it needs."""
    figure.suptitle("\n".join(wrap(text, _LETTERS * columns)), fontsize=10)


def _ticks(axes: Any, values: Sequence[float] | np.ndarray, logarithmic: bool) -> None:
    """Mark on the horizontal axis the values that were measured, as many as there is room for; the largest first."""
    at = np.log(values) if logarithmic else np.asarray(values, dtype=float)
    apart = (at.max() - at.min()) / _LABELS
    kept: list[int] = []
    for k in np.argsort(-at, kind="stable"):
        room = apart * max(1.0, len(f"{values[k]:g}") / 2)
        if not kept or at[kept[-1]] - at[k] >= room:
            kept.append(int(k))
    axes.set_xticks([values[k] for k in kept], [f"{values[k]:g}" for k in kept])
    axes.xaxis.set_minor_locator(_ticker().NullLocator())


def _log_labels(axis: Any) -> None:
    """Label decades of a logarithmic axis, and 1, 2, 5 if it has fewer than two of them; nothing in between."""
    low, high = axis.get_view_interval()
    ticker = _ticker()
    if high < 100 * low:
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(ticker.NullFormatter())


def _ticker() -> Any:
    _pyplot()
    import matplotlib.ticker

    return matplotlib.ticker


def _panels(rows: int, columns: int) -> tuple[Any, Any]:
    plt = _pyplot()
    return plt.subplots(rows, columns, figsize=(3.3 * columns, 3.1 * rows + 0.3), layout="constrained", squeeze=False)
