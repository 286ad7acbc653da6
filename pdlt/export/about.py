"""What an export says about the theory it was made from, safe to put into a comment of any language.

A theory may come from a file. Its names are checked against the table of observables and the grammars of specs and of
activations, so that nothing written by someone else can end a comment or become code.
"""

import re
from dataclasses import dataclass

from pdlt.equations import Theory, frame
from pdlt.observables import observable


@dataclass(frozen=True)
class About:
    """Provenance as text: version, names of the requested observables, activation in the expression grammar."""

    version: str
    requested: tuple[str, ...]
    order: int
    activation: str | None

    @property
    def sentence(self) -> str:
        """One line that says what was derived by what."""
        return f"Derived by pdlt {self.version}: {', '.join(self.requested)} to order {self.order} in 1/n."


def about(theory: Theory) -> About:
    """Return the provenance of a theory.

    Raises:
        PdltError: if a name in the theory is neither a named observable nor a spec, or if the activation is not in
            the expression grammar.
    """
    for equation in theory:
        frame(equation.name)
    requested = tuple(" ".join(observable(name).name.split()) for name in theory.requested)
    version = re.sub(r"[^\w.+-]", "?", theory.version, flags=re.ASCII)[:40]
    return About(version, requested, theory.order, _activation(theory.activation))


def _activation(text: str | None) -> str | None:
    if text is None:
        return None
    from pdlt.activations import activation

    return activation(text).to_text()
