"""pytest collects claims: every claim of a derivation file is a test, its negative controls included.

A file counts as a derivation if it lies in one of the folders of the setting `pdlt_derivations`, for instance

    [tool.pytest.ini_options]
    pdlt_derivations = ["derivations"]

`pytest -p pdlt.checks.pytest_plugin derivations/` then runs them, with pytest's own selection (`-k V`) and reports. The
plugin is not loaded by itself, and does nothing without the setting.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pdlt.checks.claims import Claim
from pdlt.checks.ledger import problems
from pdlt.checks.loading import load_file
from pdlt.checks.runner import check
from pdlt.errors import PdltError


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the setting `pdlt_derivations`."""
    parser.addini("pdlt_derivations", "folders of derivation files", type="paths", default=[])


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "DerivationFile | None":
    """Collect *.py files in the folders of derivations, except names that begin with "_" or "."."""
    if file_path.suffix != ".py" or file_path.name[0] in "_.":
        return None
    for folder in _folders(parent.config):
        if file_path.resolve().is_relative_to(folder):
            return DerivationFile.from_parent(parent, path=file_path)
    return None


class DerivationFile(pytest.File):
    """A derivation file: collects its claims."""

    def collect(self) -> Iterator["ClaimItem"]:
        """Yield one item per claim.

        Raises:
            CollectError: if the file cannot be loaded or holds no claims.
        """
        loaded = load_file(self.path)
        if loaded.error:
            raise self.CollectError(f"{self.path.name} {loaded.error}")
        others = [file for file in sorted(self.path.parent.glob("[!_.]*.py")) if file != self.path]
        elsewhere = [c for file in others for c in load_file(file).claims]
        flaws = problems(loaded.claims, elsewhere)
        taken = {c.id for c in elsewhere}
        for i, c in enumerate(loaded.claims):
            own = flaws.get(i, []) + [f"the id {c.id!r} is used in another file too"] * (c.id in taken)
            yield ClaimItem.from_parent(self, name=c.id, claim=c, flaws=own)


class ClaimItem(pytest.Item):
    """A claim as a test."""

    def __init__(self, *, claim: Claim, flaws: list[str], **kwargs) -> None:  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)
        self.claim = claim
        self.flaws = flaws

    def runtest(self) -> None:
        """Judge the claim and its controls."""
        result = check(self.claim, self.flaws, self.path.name)
        if not result.passed:
            raise ClaimFailed(f"{result.statement}\n{result.message}")

    def repr_failure(self, excinfo, style=None):  # type: ignore[no-untyped-def]
        """Show the statement and the reasons, not the machinery's traceback."""
        if isinstance(excinfo.value, ClaimFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the claim is written and its id."""
        return self.path, self.claim.function.__code__.co_firstlineno - 1, self.claim.id


class ClaimFailed(PdltError):
    """A claim or one of its controls did not come out as it must."""


def _folders(config: pytest.Config) -> list[Path]:
    return [Path(folder).resolve() for folder in config.getini("pdlt_derivations")]
