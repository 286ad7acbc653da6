"""Derivation files are ordinary Python modules; loading one runs it, which registers its claims."""

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pdlt.checks.claims import REGISTER, Claim
from pdlt.errors import PdltError


@dataclass(frozen=True)
class Loaded:
    """A derivation file: its claims in the order written, or why it could not be loaded."""

    path: Path
    claims: tuple[Claim, ...]
    error: str = ""


def files(path: str | Path) -> list[Path]:
    """Return the derivation files at a path: the file itself, or the folder's *.py, sorted, subfolders included.

    Names that begin with "_" or "." are left out.

    Raises:
        PdltError: if there is no such file or folder, or the folder holds no derivation.
    """
    base = Path(path)
    if base.is_file():
        if base.suffix != ".py":
            raise PdltError(f"Argument `path` must be a folder or a .py file, but got {str(path)!r}.")
        return [base]
    if not base.is_dir():
        raise PdltError(f"Argument `path` must be an existing file or folder, but {str(path)!r} does not exist.")
    found = sorted(
        f for f in base.rglob("*.py") if not any(part[0] in "_." for part in f.relative_to(base).parts)
    )
    if not found:
        raise PdltError(f"Argument `path` must hold derivation files (*.py), but {str(path)!r} has none.")
    return found


def load_file(path: Path) -> Loaded:
    """Load one file. What goes wrong in it is returned as text, so that other files are not held up."""
    try:
        module = _module(path)
    except (Exception, SystemExit) as error:
        return Loaded(path, (), f"cannot be loaded: {type(error).__name__}: {error}{_line(path, error)}")
    claims = tuple(vars(module).get(REGISTER, ()))
    return Loaded(path, claims, "" if claims else "holds no claims")


def load(path: str | Path) -> tuple[Claim, ...]:
    """Return the claims of a derivation file or folder, for instance to parametrize a test.

    Raises:
        PdltError: if a file cannot be loaded or holds no claims, or if `path` does not exist.
    """
    claims: list[Claim] = []
    for file in files(path):
        loaded = load_file(file)
        if loaded.error:
            raise PdltError(f"{file}: {loaded.error}")
        claims += loaded.claims
    return tuple(claims)


def _module(path: Path) -> ModuleType:
    # A name of its own for every path: two files called 01_kernel.py do not shadow each other.
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"_pdlt_derivation_{digest}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path.name}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _line(path: Path, error: BaseException) -> str:
    """Return the last line of the file that the error passed through."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""
