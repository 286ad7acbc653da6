"""@claim: what a derivation file writes below its prose.

    @claim(id="V.recursion", statement=r"...", level="symbolic", published="arXiv:2508.11522 (45)")
    def v_recursion():
        return Identity(published, derived)

    @v_recursion.control("one quarter became one half")
    def doubled():
        return Identity(published_with_a_planted_error, derived)

A claim may have several controls; each must be refuted.
"""

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pdlt.checks.evidence import LEVELS
from pdlt.errors import PdltError, suggest

#: A module's own claims, in the order written, under this name among its globals.
REGISTER = "__claims__"


@dataclass(frozen=True)
class Control:
    """A planted error: `function` returns evidence that must be refuted."""

    planted: str
    function: Callable[[], Any]


@dataclass(frozen=True)
class Claim:
    """A statement and the function that returns its evidence.

    Attributes:
        id: unique name, "tensor.what".
        statement: what is claimed, in Markdown with LaTeX.
        level: "symbolic", "precision" or "ensemble".
        function: returns the evidence.
        uses: ids of claims that this one builds on.
        published: where the statement is in print, or "derived here".
        controls: the planted errors, added by `control`.
    """

    id: str
    statement: str
    level: str
    function: Callable[[], Any]
    uses: tuple[str, ...] = ()
    published: str = "derived here"
    controls: list[Control] = field(default_factory=list)

    def __call__(self) -> Any:
        """Return the evidence."""
        return self.function()

    def control(self, planted: str) -> Callable[[Callable[[], Any]], Control]:
        """Register the decorated function as a negative control: it returns evidence that must be refuted.

        Args:
            planted: what is wrong in it, one phrase.
        """
        if not isinstance(planted, str) or not planted.strip():
            raise PdltError(
                f"Argument `planted` of a control of {self.id!r} must say what is wrong, but got {planted!r}."
            )

        def register(function: Callable[[], Any]) -> Control:
            control = Control(planted, function)
            self.controls.append(control)
            return control

        return register


def claim(
    *, id: str, statement: str, level: str, uses: Iterable[str] = (), published: str = "derived here"
) -> Callable[[Callable[[], Any]], Claim]:
    """Register the decorated function, which returns `Evidence`, as a claim of its module.

    Args:
        id: unique name of letters, digits, "_", "-" and dots, e.g. "V.recursion".
        statement: what is claimed, in Markdown with LaTeX.
        level: "symbolic", "precision" or "ensemble"; a claim whose evidence is of a weaker kind fails.
        uses: ids of claims that this one builds on; they must exist.
        published: where it is in print, e.g. "arXiv:2508.11522 (45)".

    Raises:
        PdltError: for a malformed id, an unknown level, an empty statement, or `uses` that is not a list of ids.
    """
    if not isinstance(id, str) or not re.fullmatch(r"\w[\w.-]{0,79}", id):
        raise PdltError(f"Argument `id` must be letters, digits, '_', '-' and dots, but got {id!r}.")
    if level not in LEVELS:
        raise PdltError(
            f"Argument `level` of claim {id!r} must be one of {', '.join(LEVELS)}, but got {level!r}."
            f"{suggest(str(level), LEVELS)}"
        )
    if not isinstance(statement, str) or not statement.strip():
        raise PdltError(f"Argument `statement` of claim {id!r} must be a sentence, but got {statement!r}.")
    if isinstance(uses, str) or not all(isinstance(name, str) for name in uses):
        raise PdltError(f"Argument `uses` of claim {id!r} must be a list of ids, but got {uses!r}.")

    def register(function: Callable[[], Any]) -> Claim:
        made = Claim(id, statement, level, function, tuple(uses), published)
        # The module that writes the decorator owns the claim, even if the function comes from elsewhere.
        sys._getframe(1).f_globals.setdefault(REGISTER, []).append(made)
        return made

    return register
