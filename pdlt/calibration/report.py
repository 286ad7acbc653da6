"""The outcome of a suite as Markdown, as plain data, and one case in full."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import stats

from pdlt.calibration.cases import EXACT, Case, draw_case
from pdlt.calibration.normality import ALPHA, scores
from pdlt.calibration.plants import PLANTS
from pdlt.calibration.suite import Outcome, Settings

WORST = 10
BAR = 60  # characters of the longest bar

Record = dict[str, Any]


def markdown(outcome: Outcome, figure: str | None = None) -> str:
    """Return the report; `figure` is the address of the figure, if there is one."""
    settings, records = outcome.settings, outcome.records
    programs = ", ".join(f"{name} {version}" for name, version in outcome.versions.items())
    wrong = [test for test in outcome.tests if not test.passed]
    verdict = "All tests passed." if outcome.passed else f"{len(wrong)} of {len(outcome.tests)} tests FAILED:"
    planted = [] if settings.plant is None else [f"An error was planted on purpose: {PLANTS[settings.plant].says}.", ""]
    failed = [f"- {t.group}: {t.name} ({t.statistic}), p = {t.p:.2g}" for t in wrong]
    tests = [
        [t.group, t.name, t.count, t.statistic, f"{t.p:.2g}", "ok" if t.passed else "FAILED"] for t in outcome.tests
    ]
    threshold = outcome.tests[0].threshold
    return "\n".join(
        [
            "# Calibration report",
            "",
            f"Made by `{command(settings)}` ({programs}).",
            "",
            *planted,
            verdict,
            *failed,
            "",
            *_summary(records),
            "",
            "## Histogram of z",
            "",
            *([f"![Histogram and quantiles of z]({figure})", ""] if figure else []),
            "```text",
            *_histogram(scores(records)),
            "```",
            "",
            "## Tests",
            "",
            f"A suite without any error fails with probability {ALPHA:g} at most, which {len(tests)} tests share: each "
            f"fails below p = {threshold:.2g}. Means and variances are given with their standard deviations "
            "if z is standard normal.",
            "",
            *_table(["scores", "test", "number", "found", "p", ""], tests, "<<><><"),
            "",
            "## Worst cases",
            "",
            f"Each is printed in full by `{command(settings, cases=False)} --case NUMBER`.",
            "",
            *_worst(settings, records),
            "",
            "## Refused cases",
            "",
            *_refused(records),
            "",
        ]
    )


def command(settings: Settings, cases: bool = True) -> str:
    """Return the command that makes a suite."""
    words = ["pdlt calibrate", *([f"--cases {settings.cases}"] if cases else []), f"--seed {settings.seed}"]
    default = Settings()
    if settings.samplers != default.samplers:
        words.append(f"--samplers {','.join(settings.samplers)}")
    for name in ("samples", "replicates", "plant"):
        if getattr(settings, name) != getattr(default, name):
            words.append(f"--{name} {getattr(settings, name)}")
    return " ".join(words)


def document(outcome: Outcome) -> dict[str, Any]:
    """Return everything as plain data."""
    return {
        "schema": "pdlt.calibration/1",
        "settings": asdict(outcome.settings),
        "versions": outcome.versions,
        "passed": outcome.passed,
        "tests": [{**asdict(test), "passed": test.passed} for test in outcome.tests],
        "records": outcome.records,
    }


def case_text(settings: Settings, number: int, record: Record) -> str:
    """Return one case in full: Python that makes network and inputs, and every replicate."""
    case = draw_case(settings.seed, number, settings.samplers, settings.replicates)
    lines = [
        f"case {number} of seed {settings.seed}: {' against '.join(case.sides)}, {case.kind}",
        "",
        *_python(case),
        "",
    ]
    if "refused" in record:
        return "\n".join([*lines, f"{record['by']} refused: {record['refused']}"])
    for seed, score in zip(case.seeds, record["scores"], strict=True):
        sides = ", ".join(f"{v:.8g} ± {e:.2g}" for v, e in zip(score["values"], score["errors"], strict=True))
        lines.append(f"seed {seed:<20} {case.observable}{score['entry']}: {sides}; {_verdict(score)}")
    return "\n".join(lines)


def _python(case: Case) -> list[str]:
    net = case.net
    scales = ", ".join(f"{name}={getattr(net, name)}" for name in ("C_b", "C_W", "lambda_b", "lambda_W"))
    return [f'net = pdlt.MLP({net.depth}, {net.width}, "{net.activation.name}", {scales})', f"x = {case.x.tolist()}"]


def _verdict(score: dict[str, Any]) -> str:
    if score["z"] is not None:
        return f"z = {score['z']:+.2f}"
    return "equal to rounding" if score["agrees"] else "no noise, and DIFFERENT"


def _summary(records: Sequence[Record]) -> list[str]:
    kinds = Counter("two samplers" if EXACT not in r["sides"] else f"exact, {r['kind']}" for r in records)
    quiet = sum(s["z"] is None for r in records for s in r.get("scores", ()))
    refused = sum("refused" in r for r in records)
    rows = [
        ["cases", f"{len(records)}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))],
        ["z-scores", str(len(scores(records)))],
        ["comparisons without noise, compared to rounding", str(quiet)],
        ["refused cases", str(refused)],
        ["processor time", f"{sum(r['seconds'] for r in records) / 60:.0f} minutes"],
    ]
    return _table(["", ""], rows, "<<")


def _histogram(z: np.ndarray) -> list[str]:
    """Return bars of observed numbers, `|` where the normal distribution expects their ends."""
    edges = np.concatenate([[-np.inf], np.arange(-3.5, 3.6, 0.5), [np.inf]])
    found = np.histogram(z, edges)[0]
    expected = len(z) * np.diff(stats.norm.cdf(edges))
    unit = max(found.max(), expected.max()) / BAR
    lines = ["      z          found  expected"]
    for low, high, count, mean in zip(edges[:-1], edges[1:], found, expected, strict=True):
        bar = list("#" * round(count / unit)) + [" "] * (BAR + 1)
        bar[round(mean / unit)] = "|"
        lines.append(f"{low:5.1f} ... {high:4.1f}  {count:6d}  {mean:8.1f}  {''.join(bar).rstrip()}")
    return lines


def _worst(settings: Settings, records: Sequence[Record]) -> list[str]:
    rows = []
    for record in records:
        for score in record.get("scores", ()):
            size = abs(score["z"]) if score["z"] is not None else 0.0 if score["agrees"] else math.inf
            rows.append((size, record, score))
    rows.sort(key=lambda row: -row[0])
    cells = []
    for _, record, score in rows[:WORST]:
        net = draw_case(settings.seed, record["case"], settings.samplers, settings.replicates).net
        shape = f"{net.activation.name}, widths {', '.join(map(str, net.width))}"
        numbers = [f"{v:.6g} ± {e:.1g}" for v, e in zip(score["values"], score["errors"], strict=True)]
        name = f"{record['observable']}{score['entry']}"
        z = "different" if score["z"] is None else f"{score['z']:+.2f}"
        cells.append([record["case"], " against ".join(record["sides"]), shape, name, *numbers, z])
    return _table(["case", "sides", "network", "entry", "first", "second", "z"], cells, "><<<<<>")


def _refused(records: Sequence[Record]) -> list[str]:
    rows = [
        [r["case"], " against ".join(r["sides"]), r["observable"], r["by"], r["refused"]]
        for r in records
        if "refused" in r
    ]
    return _table(["case", "sides", "observable", "refused by", "because"], rows, "><<<<") if rows else ["None."]


def _table(head: list[str], rows: Sequence[Sequence[Any]], align: str) -> list[str]:
    """Return a Markdown table; a bar in a cell would end it."""
    texts = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *rows]]
    marks = ["--:" if a == ">" else ":--" for a in align]
    return [f"| {' | '.join(row)} |" for row in [texts[0], marks, *texts[1:]]]
