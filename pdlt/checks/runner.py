"""run: load derivations, check the ledger, judge every claim and its controls."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pdlt.checks.claims import Claim
from pdlt.checks.evidence import LEVELS, Verdict
from pdlt.checks.ledger import above, problems
from pdlt.checks.loading import Loaded, files, load_file
from pdlt.checks.report import ControlResult, Report, Result
from pdlt.errors import PdltError, suggest


def run(
    path: str | Path = "derivations", levels: str | Iterable[str] | None = None, progress: bool | None = None
) -> Report:
    """Run the claims of a derivation file or of all files of a folder.

    Loading a derivation runs its code, as importing any Python module does.

    Args:
        path: a .py file, or a folder; its files run in the order of their names.
        levels: run only claims of this level, or of these ("symbolic", "precision", "ensemble"); None for all.
        progress: True or False to force a progress bar on stderr or none; None shows one on terminals, after two
            seconds.

    Returns:
        The report. A file that cannot be loaded, or an exception in a claim, is a failure in it and stops nothing.

    Raises:
        PdltError: if `path` does not exist or holds no claims of the levels asked for, or for an unknown level.
    """
    wanted = _levels(levels)
    base = Path(path)
    loaded = [load_file(file) for file in files(path)]
    everything = [(file, c) for file in loaded for c in file.claims]
    flaws = problems([c for _, c in everything], _neighbours(base))
    chosen = [(i, file, c) for i, (file, c) in enumerate(everything) if c.level in wanted]
    broken = [_broken(file, base) for file in loaded if file.error]
    if not chosen and not broken:
        raise PdltError(
            f"Argument `path`: {str(path)!r} holds no claim"
            + (f" of level {' or '.join(wanted)}." if len(wanted) < len(LEVELS) else "s.")
        )
    results = []
    for i, file, c in _with_bar(chosen, progress):
        results.append(check(c, flaws.get(i, []), _name(file.path, base)))
    order = {_name(file.path, base): place for place, file in enumerate(loaded)}
    return Report(tuple(sorted(results + broken, key=lambda result: order[result.file])))


def check(claim: Claim, flaws: Iterable[str] = (), file: str = "") -> Result:
    """Judge one claim and its controls.

    Args:
        claim: the claim.
        flaws: what the ledger has against it; see `pdlt.checks.ledger.problems`. A missing control always counts.
        file: where it is written, for the report.
    """
    begin = time.perf_counter()
    failures = list(flaws)
    if not claim.controls and not flaws:
        failures.append("it has no negative control")
    kind, verdict = _judge(claim.function, "the claim")
    evidence = verdict.message
    if verdict.status != "holds":
        failures.append(f"{verdict.status}: {verdict.message}")
    if kind and above(claim.level, kind):
        failures.append(f"the level {claim.level!r} is above its evidence, which is {kind!r}")
    controls = []
    for control in claim.controls:
        other, outcome = _judge(control.function, "the control")
        refuted = outcome.status == "refuted" and other == (kind or other)
        if not refuted:
            foreign = other and kind and other != kind
            what = f"is {other!r} evidence" if foreign else f"is not refuted ({outcome.status})"
            failures.append(f"control {control.planted!r} {what}: {outcome.message}")
        controls.append(ControlResult(control.planted, refuted, outcome.message))
    return Result(
        id=claim.id,
        file=file,
        level=claim.level,
        statement=claim.statement,
        published=claim.published,
        uses=claim.uses,
        passed=not failures,
        message="; ".join(failures) if failures else evidence,
        seconds=time.perf_counter() - begin,
        controls=tuple(controls),
    )


def _judge(function: Callable[[], Any], what: str) -> tuple[str, Verdict]:
    """Return the level of a function's evidence and its verdict; anything raised makes the evidence void."""
    try:
        evidence = function()
        if not (hasattr(evidence, "verdict") and getattr(evidence, "level", None) in LEVELS):
            return "", Verdict("void", f"{what} returned {type(evidence).__name__}, which is not evidence")
        return evidence.level, evidence.verdict()
    except (Exception, SystemExit) as error:
        return "", Verdict("void", f"{what} raised {type(error).__name__}: {error}")


def _levels(levels: str | Iterable[str] | None) -> tuple[str, ...]:
    wanted = LEVELS if levels is None else (levels,) if isinstance(levels, str) else tuple(levels)
    for name in wanted:
        if name not in LEVELS:
            raise PdltError(
                f"Argument `levels` must be one of {', '.join(LEVELS)}, but got {name!r}.{suggest(str(name), LEVELS)}"
            )
    if not wanted:
        raise PdltError(f"Argument `levels` must be one of {', '.join(LEVELS)} or None, but is empty.")
    return wanted


def _neighbours(base: Path) -> list[Claim]:
    """Return the claims next to a single file, which `uses` may name."""
    if base.is_dir():
        return []
    return [c for file in files(base.parent) if file.resolve() != base.resolve() for c in load_file(file).claims]


def _broken(file: Loaded, base: Path) -> Result:
    name = _name(file.path, base)
    return Result(name, name, "", "the file can be loaded and holds claims", "", (), False, file.error, 0.0, ())


def _name(file: Path, base: Path) -> str:
    return file.relative_to(base).as_posix() if base.is_dir() else file.name


def _with_bar(chosen: list, progress: bool | None) -> Iterable:
    from tqdm import tqdm

    disable = None if progress is None else not progress
    return tqdm(chosen, desc="check", unit=" claims", delay=0 if progress else 2, disable=disable)
