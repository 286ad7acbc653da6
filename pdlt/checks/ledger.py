"""The ledger: what must be true of the claims themselves before any evidence is looked at."""

from collections import Counter, defaultdict
from collections.abc import Iterable

from pdlt.checks.claims import Claim
from pdlt.checks.evidence import LEVELS
from pdlt.errors import suggest


def problems(claims: Iterable[Claim], elsewhere: Iterable[Claim] = ()) -> dict[int, list[str]]:
    """Return what is wrong with the names, references and controls of claims.

    Args:
        claims: all claims of a run.
        elsewhere: claims that may be referred to, but are not part of the run.

    Returns:
        Position of a claim -> messages. Ids that occur twice, unknown ids in `uses`, circular references, and
        claims without a negative control.
    """
    claims = list(claims)
    count = Counter(c.id for c in claims)
    known = {c.id: c for c in (*elsewhere, *claims)}
    found: defaultdict[int, list[str]] = defaultdict(list)
    for i, c in enumerate(claims):
        if count[c.id] > 1:
            found[i].append(f"the id {c.id!r} is used {count[c.id]} times")
        for name in c.uses:
            if name not in known:
                found[i].append(f"`uses` names {name!r}, which does not exist.{suggest(name, known)}")
        if c.id in _reachable(c, known):
            found[i].append("`uses` leads back to the claim itself")
        if not c.controls:
            found[i].append("it has no negative control")
    return dict(found)


def above(level: str, evidence: str) -> bool:
    """Return whether a claim's level is stronger than that of its evidence."""
    return LEVELS.index(level) < LEVELS.index(evidence)


def _reachable(start: Claim, known: dict[str, Claim]) -> set[str]:
    seen: set[str] = set()
    queue = list(start.uses)
    while queue:
        name = queue.pop()
        if name not in seen and name in known:
            seen.add(name)
            queue += known[name].uses
    return seen
