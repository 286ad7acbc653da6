"""Are z-scores standard normal? Tests and thresholds that are fixed before anything is measured."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from pdlt.calibration.cases import EXACT

#: Probability that a suite without any error fails, shared equally among its tests (Bonferroni).
ALPHA = 0.01
FEWEST = 12  # scores that a group needs to be tested on its own


@dataclass(frozen=True)
class Test:
    """A test of a hypothesis that holds if everything is right.

    Attributes:
        group: which scores.
        name: which test.
        count: number of scores.
        statistic: what was found, in words.
        p: probability of something at least as strange.
        threshold: p below this fails.
    """

    __test__ = False  # for pytest: no test case

    group: str
    name: str
    count: int
    statistic: str
    p: float
    threshold: float

    @property
    def passed(self) -> bool:
        """Whether p is at least the threshold."""
        return self.p >= self.threshold


def scores(records: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return all z-scores of the records."""
    return np.array([s["z"] for r in records for s in r.get("scores", ()) if s["z"] is not None])


def groups(records: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the records by observable, pair of sides and exact solution; only groups large enough to be tested."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        names = [f"observable {record['observable']}", " against ".join(record["sides"])]
        if EXACT in record["sides"]:
            names.append(f"exact, {record['kind']}")
        for name in names:
            found.setdefault(name, []).append(record)
    return {name: found[name] for name in sorted(found) if len(scores(found[name])) >= FEWEST}


def examine(records: Sequence[dict[str, Any]]) -> list[Test]:
    """Return all tests of a suite.

    All scores: Kolmogorov-Smirnov against N(0, 1), mean, variance, numbers beyond 2, 3, 4, the largest. Every case:
    the sum of squares. Every group: Kolmogorov-Smirnov, mean, variance. Every comparison without noise: equality.
    """
    z = scores(records)
    rows = [("all", *row) for row in _battery(z, everything=True)]
    rows += [("all", "worst case", *_worst_case(records))]
    for name, members in groups(records).items():
        rows += [(name, *row) for row in _battery(scores(members), everything=False)]
    exact = [s["agrees"] for r in records for s in r.get("scores", ()) if s["z"] is None]
    if exact:
        wrong = exact.count(False)
        rows.append(("without noise", "equality", len(exact), f"{wrong} differ", 0.0 if wrong else 1.0))
    return [Test(*row, ALPHA / len(rows)) for row in rows]


def _battery(z: np.ndarray, everything: bool) -> Iterator[tuple[str, int, str, float]]:
    count = len(z)
    if count == 0:
        return
    ks = stats.kstest(z, "norm")
    yield "Kolmogorov-Smirnov", count, f"D = {ks.statistic:.4f}", float(ks.pvalue)
    yield "mean", count, f"{z.mean():+.3f} ± {1 / math.sqrt(count):.3f}", _two_sided(z.sum() / math.sqrt(count))
    squares = float((z**2).sum())
    p = 2 * min(stats.chi2.cdf(squares, count), stats.chi2.sf(squares, count))
    yield "variance", count, f"{squares / count:.3f} ± {math.sqrt(2 / count):.3f}", min(1.0, float(p))
    if not everything:
        return
    for bound in (2, 3, 4):
        share = _two_sided(bound)
        beyond = int((np.abs(z) > bound).sum())
        p = float(stats.binomtest(beyond, count, share).pvalue)
        yield f"|z| > {bound}", count, f"{beyond}, expected {count * share:.2f}", p
    largest = float(np.abs(z).max())
    yield "largest |z|", count, f"{largest:.2f}", _any(_two_sided(largest), count)


def _worst_case(records: Sequence[dict[str, Any]]) -> tuple[int, str, float]:
    """Return count, statistic and p of the largest sum of squares in a case, over all cases."""
    found = []
    for record in records:
        z = scores([record])
        if len(z):
            found.append((float(stats.chi2.sf((z**2).sum(), len(z))), record["case"]))
    if not found:
        return 0, "none", 1.0
    p, number = min(found)
    return len(found), f"case {number}: p = {p:.2g}", _any(p, len(found))


def _two_sided(z: Any) -> float:
    return float(2 * stats.norm.sf(abs(z)))


def _any(p: float, count: int) -> float:
    """Return the probability that the smallest of `count` independent p-values is at most p."""
    return -math.expm1(count * math.log1p(-p)) if p < 1 else 1.0
