"""Writing files so that none is ever left half-written."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pdlt.errors import PdltError


def write_texts(texts: Mapping[Path, str]) -> list[Path]:
    """Write several files, or none of them if one cannot be written.

    Each text goes to a temporary file beside its destination first; when all are complete they are moved into place.

    Raises:
        PdltError: if a file cannot be written; the message names it.
    """
    staged = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in texts}
    current = Path()
    try:
        for path, text in texts.items():
            current = path
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError("is a folder")
            staged[path].write_text(text, encoding="utf-8")
        for path, temporary in staged.items():
            current = path
            os.replace(temporary, path)
    except OSError as error:
        raise PdltError(f"The file {str(current)!r} cannot be written: {error.strerror or error}.") from None
    finally:
        for temporary in staged.values():
            with suppress(OSError):
                temporary.unlink()
    return list(texts)
