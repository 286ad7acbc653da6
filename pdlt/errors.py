"""Errors a user can cause, and the wording they share."""

import difflib
from collections.abc import Iterable


class PdltError(ValueError):
    """Bad input. The message names the argument, the value and what would be accepted.

    The command line prints the message and exits with code 2; everything else that is raised is a bug.
    """


def suggest(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'Theta'?" for the choice nearest to `name`, or an empty string."""
    lowered = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f" Did you mean {lowered[near[0]]!r}?" if near else ""
