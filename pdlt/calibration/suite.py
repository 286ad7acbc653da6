"""The driver: cases -> records -> tests."""

import multiprocessing
from collections.abc import Generator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pdlt._arguments import integer
from pdlt.calibration.cases import MORE, draw_case
from pdlt.calibration.comparison import Measure, compare, measure
from pdlt.calibration.journal import Journal
from pdlt.calibration.normality import Test, examine, scores
from pdlt.calibration.plants import PLANTS
from pdlt.ensemble.blocks import BLOCK, SAMPLERS, STREAM
from pdlt.ensemble.execution import end_with_parent
from pdlt.ensemble.results import versions
from pdlt.errors import PdltError, suggest

SAMPLES = 20_000
FEWEST_SAMPLES = 10_000  # below, the jackknife's few groups have a Student distribution of their own
CASES_PER_PROCESS = 40  # compiled programs are never freed, so processes are renewed


@dataclass(frozen=True)
class Settings:
    """What determines a suite.

    Attributes:
        cases: how many.
        seed: of the cases and of the samplers.
        samplers: which ones meet.
        samples: of each side of a replicate.
        replicates: independent comparisons in a case.
        plant: name of an error to plant, or None.

    Raises:
        PdltError: if one of them is not acceptable.
    """

    cases: int = 400
    seed: int = 1
    samplers: tuple[str, ...] = tuple(SAMPLERS)
    samples: int = SAMPLES
    replicates: int = 3
    plant: str | None = None

    def __post_init__(self) -> None:
        integer("cases", self.cases, 1, 10**6)
        integer("seed", self.seed, 0, 2**63 - 1)
        integer("samples", self.samples, FEWEST_SAMPLES, 10**9)
        integer("replicates", self.replicates, 1, 1000)
        for name in self.samplers:
            if name not in SAMPLERS:
                known = ", ".join(SAMPLERS)
                raise PdltError(
                    f"Argument `samplers`: {name!r} is not known.{suggest(str(name), SAMPLERS)} Accepted are {known}."
                )
        if not self.samplers or len(set(self.samplers)) < len(self.samplers):
            raise PdltError(f"Argument `samplers` must be distinct names, but got {self.samplers!r}.")
        if self.plant is not None and self.plant not in PLANTS:
            raise PdltError(f"Argument `plant` must be one of {', '.join(PLANTS)}, but got {self.plant!r}.")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a suite found.

    Attributes:
        settings: what determined it.
        records: of all cases, in order (`comparison.compare`).
        tests: of standard normality.
        versions: of the programs.
    """

    settings: Settings
    records: list[dict[str, Any]]
    tests: list[Test]
    versions: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether all tests passed."""
        return all(test.passed for test in self.tests)


def calibrate(
    settings: Settings, journal: Path | None = None, workers: int | None = None, measure: Measure = measure
) -> Outcome:
    """Run a suite.

    Args:
        settings: what determines it.
        journal: a file that keeps the records; an interrupted suite continues from it.
        workers: number of local processes; default: this one. Records do not depend on it.
        measure: how to measure; only in this process.

    Raises:
        PdltError: if the journal belongs to another suite or cannot be used, or if nothing could be compared.
    """
    from tqdm import tqdm

    kept = Journal(journal, _header(settings)) if journal is not None else None
    records = dict(kept.records) if kept is not None else {}
    missing = [k for k in range(settings.cases) if k not in records]
    drawn = _here(settings, missing, measure) if workers is None else _elsewhere(settings, missing, workers)
    with (
        closing(drawn),
        tqdm(total=settings.cases, initial=settings.cases - len(missing), unit=" cases", disable=None) as bar,
    ):
        for record in drawn:
            if kept is not None:
                kept.add(record)
            records[record["case"]] = record
            bar.update()
    ordered = [records[k] for k in range(settings.cases)]
    if len(scores(ordered)) == 0:
        raise PdltError("Argument `cases`: nothing could be compared; all cases were refused or are without noise.")
    return Outcome(settings, ordered, examine(ordered), versions())


def one(settings: Settings, number: int, measure: Measure = measure) -> dict[str, Any]:
    """Return the record of case `number`."""
    case = draw_case(settings.seed, number, settings.samplers, settings.replicates)
    plant = None if settings.plant is None else PLANTS[settings.plant]
    samples = settings.samples * (MORE if case.kind == "covariance" else 1)
    return compare(case, samples, plant, measure)


def _here(settings: Settings, numbers: Sequence[int], measure: Measure) -> Generator[dict[str, Any], None, None]:
    yield from (one(settings, number, measure) for number in numbers)


def _elsewhere(settings: Settings, numbers: Sequence[int], workers: int) -> Generator[dict[str, Any], None, None]:
    # New processes now and then; a pool's own max_tasks_per_child deadlocks in Python 3.11 (python/cpython#115634).
    for start in range(0, len(numbers), workers * CASES_PER_PROCESS):
        yield from _by_pool(settings, numbers[start : start + workers * CASES_PER_PROCESS], workers)


def _by_pool(settings: Settings, numbers: Sequence[int], workers: int) -> Generator[dict[str, Any], None, None]:
    # Spawned, not forked: jax has threads.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(one, settings, number) for number in numbers]):
                yield future.result()
        except BrokenExecutor as error:
            raise PdltError(
                "A process of the calibration was lost (killed, or out of memory); cases that it had finished are in "
                "the journal, if there is one. Run again, with fewer workers if memory is short."
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _header(settings: Settings) -> dict[str, Any]:
    """Return what determines the records. The number of cases does not: a journal can be extended."""
    plain = {**asdict(settings), "samplers": list(settings.samplers)}
    del plain["cases"]
    return {**plain, "block": BLOCK, "stream": STREAM, "versions": versions()}
