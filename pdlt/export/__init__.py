"""Theories as text for people and other tools: LaTeX, Mathematica, JSON, plain text, a standalone JAX module."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType

from pdlt.equations import Theory
from pdlt.errors import PdltError, suggest

__all__ = ["FORMATS", "format_of", "render", "save", "write"]


def _tex(theory: Theory) -> str:
    from pdlt.export.latex import document

    return document(theory)


def _text(theory: Theory) -> str:
    from pdlt.export.plain import to_text

    return to_text(theory)


#: Suffix of a file -> function that writes a theory in that format.
FORMATS: Mapping[str, Callable[[Theory], str]] = MappingProxyType(
    {
        ".tex": _tex,
        ".json": Theory.to_json,
        ".m": Theory.to_mathematica,
        ".wl": Theory.to_mathematica,
        ".py": Theory.to_jax,
        ".txt": _text,
    }
)


def format_of(path: str | PathLike[str]) -> str:
    """Return the suffix of a file name, which says in what format to write it.

    Raises:
        PdltError: if there is no such format; the message lists the accepted suffixes.
    """
    return _accepted(Path(path).suffix)


def _accepted(suffix: str) -> str:
    if suffix.lower() not in FORMATS:
        hint = suggest(suffix, FORMATS)
        raise PdltError(f"The output's suffix must be one of {', '.join(FORMATS)}, but is {suffix!r}.{hint}")
    return suffix.lower()


def render(theory: Theory, suffix: str) -> str:
    """Return a theory in the format of a file name's suffix such as ".tex" (a complete document) or ".py".

    Raises:
        PdltError: for an unknown suffix.
    """
    return FORMATS[_accepted(suffix)](theory)


def save(theory: Theory, path: str | PathLike[str]) -> Path:
    """Write a theory to a file in the format of its suffix. An existing file is replaced when the new one is complete.

    Raises:
        PdltError: for an unknown suffix, or if the file cannot be written.
    """
    from pdlt.export.files import write_texts

    return write_texts({Path(path): render(theory, format_of(path))})[0]


def write(theory: Theory, folder: str | PathLike[str]) -> list[Path]:
    """Write theory.tex, theory.json, theory.m and theory_jax.py into a folder, which is made if need be.

    Returns:
        The paths of the files, in that order.

    Raises:
        PdltError: if a file cannot be written; then none is.
    """
    from pdlt.export.files import write_texts

    names = ("theory.tex", "theory.json", "theory.m", "theory_jax.py")
    return write_texts({Path(folder) / name: render(theory, format_of(name)) for name in names})
