"""A sweep as text and as HTML for notebooks."""

import json
from html import escape
from typing import Any

import numpy as np

from pdlt.report.tables import align, measured, network_title
from pdlt.sweep import Sweep
from pdlt.sweep.fitting import ACCEPT

NOTE = f"""\
measured: weighted least squares of c_0 + c_1/n + ... + c_d/n^d; the degree d is one more than suffices (chance lowers
chi2 as much as more powers do in {ACCEPT:.0%} or more), so that the first power left out is inside the errors
held: the same with the derived lower coefficients held fixed; z: difference over standard error
derived at once: p-value of all derived coefficients of a row's fit against the measured ones, correlations included"""

SLOPES = """\
residual ~ n^-p after each order of the derived series; p of a pure power is biased by higher orders at small n;
corrected: residual ~ n^-p exp(b_1/n + ...) with one b more than suffices; empty or not resolved: error above 0.5"""

#: A fit whose chi^2 chance exceeds less often than this is remarked upon.
_POOR = 1e-3

#: With fewer networks in a run its standard errors are uncertain by more than ten percent (docs/ensembles.md), and fits
#: trust the widths whose errors came out small.
_FEW = 2000


def sweep_table(sweep: Sweep, all_entries: bool = False) -> str:
    """Return a sweep as text: coefficients, fits, powers of the residuals.

    Args:
        sweep: from `pdlt.sweep`.
        all_entries: show all independent entries, not only that of the first input.
    """
    parts = [
        sweep_title(sweep),
        align(*coefficient_rows(sweep, all_entries)) + "\n" + NOTE,
        align(*fit_rows(sweep, all_entries)),
    ]
    head, rows, sides = slope_rows(sweep, all_entries)
    if rows:
        parts.append(align(head, rows, sides) + "\n" + SLOPES)
    return "\n\n".join([*parts, *warnings_of(sweep)])


def sweep_html(sweep: Sweep) -> str:
    """Return a sweep as HTML: coefficients of the first input, the rest folded."""
    rest = [("Fits", fit_rows(sweep, False)), ("Powers of the residuals", slope_rows(sweep, False))]
    folded = "".join(f"<details><summary>{name}</summary>{_html(*table)}</details>" for name, table in rest)
    warned = "".join(f"<p><b>{escape(text)}</b></p>" for text in warnings_of(sweep))
    return f"<p>{escape(sweep_title(sweep))}</p>{_html(*coefficient_rows(sweep, False))}{warned}{folded}"


def sweep_title(sweep: Sweep) -> str:
    """Return a few lines that say which networks were measured and how."""
    run = next(iter(sweep.runs.values()))
    net = json.loads(run.attrs["network"])
    counts = sorted({int(each.attrs["samples"]) for each in sweep.runs.values()})
    networks = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    title = network_title(run).split("  ")
    kept = [part for part in title if not part.startswith(("depth=", "width="))]
    shape = f"depth {', '.join(map(str, sweep.depths))}, widths n = {', '.join(map(str, sweep.widths))}"
    if len(set(net["width"])) > 1:
        shape += f" (last hidden layer; ratios as in {','.join(map(str, net['width']))})"
    how = f"{networks} networks each, sampler {run.attrs['sampler']!r}, seed {run.attrs['seed']}"
    return f"{'  '.join(kept)}\n{shape}; {how}"


def coefficient_rows(sweep: Sweep, all_entries: bool) -> tuple[list[str], list[list[str]], str]:
    """Return head, rows and sides of the table of coefficients, for `align`."""
    rows = [
        [
            _label(sweep, row.coefficient, row.entry),
            str(row.depth),
            _number(row.measured, row.stderr),
            "" if np.isnan(row.derived) else f"{row.derived:.6g}",
            _z(row.z),
            _number(row.held, row.held_stderr),
            _z(row.held_z),
        ]
        for row in _shown(sweep.coefficients, all_entries)
    ]
    head = ["coefficient", "depth", "measured ± stderr", "derived", "z", "held ± stderr", "z"]
    return head, rows, "<>>>>>>"


def fit_rows(sweep: Sweep, all_entries: bool) -> tuple[list[str], list[list[str]], str]:
    """Return head, rows and sides of the table of fits, for `align`."""
    rows = [
        [
            _label(sweep, row.observable, row.entry),
            str(row.depth),
            str(row.degree),
            f"{row.chi2:.1f}/{row.dof}",
            _probability(row.p_value),
            _probability(row.derived_p),
        ]
        for row in _shown(sweep.fits, all_entries)
    ]
    return ["fit", "depth", "degree", "chi2/dof", "p", "derived at once"], rows, "<>>>>>"


def slope_rows(sweep: Sweep, all_entries: bool) -> tuple[list[str], list[list[str]], str]:
    """Return head, rows and sides of the table of powers, for `align`."""
    rows = [
        [
            f"{_label(sweep, row.observable, row.entry)} after order {row.order}",
            str(row.depth),
            str(row.expected),
            _number(row.slope, row.slope_stderr) or "not resolved",
            _number(row.corrected, row.corrected_stderr),
            "" if np.isnan(row.corrected) else str(row.corrections),
        ]
        for row in _shown(sweep.slopes, all_entries)
    ]
    return ["residual of", "depth", "expected p", "p ± stderr", "corrected", "b"], rows, "<>>>>>"


def warnings_of(sweep: Sweep) -> list[str]:
    """Return what must be said about fits whose errors may be too small."""
    fewest = min(int(run.attrs["samples"]) for run in sweep.runs.values())
    biased, poor = [], []
    for place, series in sweep.series.items():
        label = f"{_label(sweep, place.observable, place.entry)} at depth {place.depth}"
        if any(fit.biased for fit in (series.fit, *series.held.values())):
            biased.append(label)
        if series.fit.p_value < _POOR:
            poor.append(label)
    texts = []
    if fewest < _FEW:
        texts.append(
            f"A run of {fewest} networks does not know its own standard errors, and z-scores come out too large. Take "
            f"{_FEW} or more for each width."
        )
    if sweep.doubtful:
        texts.append(
            "Rare networks carry the averages of these measurements; their standard errors are not to be believed: "
            f"{sweep.doubtful_text}."
        )
    if biased:
        texts.append(
            f"No series with fewer coefficients than widths suffices for {_few(biased)}: errors there do not contain "
            "higher powers of 1/n. Add widths, or leave out the smallest."
        )
    if poor:
        texts.append(
            f"Measurements of {_few(poor)} scatter more than their standard errors (p below {_POOR:g}): heavy tails at "
            "small widths, or too few samples."
        )
    return texts


def _few(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _shown(table: Any, all_entries: bool) -> list[Any]:
    return [row for row in table.itertuples() if all_entries or not any(row.entry)]


def _label(sweep: Sweep, name: str, entry: tuple[int, ...]) -> str:
    inputs = next(iter(sweep.runs.values())).attrs["inputs_shape"][0]
    return name if inputs == 1 else f"{name}[{','.join(map(str, entry))}]"


def _number(value: float, error: float) -> str:
    return "" if np.isnan(value) else measured(value, error)


def _z(value: float) -> str:
    return "" if np.isnan(value) else f"{value:+.2f}"


def _probability(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2g}"


def _html(head: list[str], rows: list[list[str]], sides: str) -> str:
    def cells(tag: str, row: list[str]) -> str:
        styles = ("left" if side == "<" else "right" for side in sides)
        return "".join(f'<{tag} style="text-align:{s}">{escape(c)}</{tag}>' for s, c in zip(styles, row, strict=True))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"
