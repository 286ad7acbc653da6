"""The results of a suite in a file of JSON lines, one per case, so that an interruption loses nothing.

The first line says which suite it is. A line counts when it ends in a newline and has its checksum; a line that was cut
short at the end, by a kill or a loss of power, is drawn again, and anything else that is wrong is refused.
"""

import fcntl
import json
import os
import zlib
from pathlib import Path
from typing import Any

from pdlt.errors import PdltError

FORMAT = 1


class Journal:
    """The records of one suite.

    Args:
        path: the file; created by the first record.
        header: plain data that determines the records.

    Attributes:
        records: case number -> record.

    Raises:
        PdltError: if the file is not a journal, is damaged, belongs to another suite or cannot be read.
    """

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self._path = path
        self._header = {"pdlt calibration": FORMAT, **header}
        self.records: dict[int, dict[str, Any]] = {}
        if not path.parent.is_dir():
            raise PdltError(f"Argument `journal` must be a file in an existing folder, but got {str(path)!r}.")
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise PdltError(f"Argument `journal`: {str(path)!r} cannot be read ({error.strerror}).") from None
        lines = data.split(b"\n")
        cut = lines.pop()  # what comes after the last newline was cut short
        self._whole, self._size = len(data) - len(cut), len(data)
        if not lines and not _line(self._header).startswith(cut):  # not ours to overwrite
            self._read(0, cut)
        if lines:
            found = self._read(0, lines[0])
            if found != self._header:
                raise PdltError(
                    f"Argument `journal`: {str(path)!r} holds another suite: {_difference(found, self._header)}."
                )
        for number, line in enumerate(lines[1:], start=1):
            record = self._read(number, line)
            self.records[record["case"]] = record

    def add(self, record: dict[str, Any]) -> None:
        """Append a record; it is on the disk when this returns.

        Raises:
            PdltError: if the file cannot be written, or somebody else has written to it or removed it.
        """
        try:
            with self._path.open("r+b" if self._size else "x+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if file.seek(0, os.SEEK_END) != self._size:
                    raise PdltError(
                        f"Argument `journal`: {str(self._path)!r} has been written by another process since it was "
                        "read; it was left as it is. Run one calibration at a time with a journal."
                    )
                file.truncate(self._whole)
                file.seek(self._whole)
                if self._whole == 0:
                    file.write(_line(self._header))
                file.write(_line(record))
                file.flush()
                os.fsync(file.fileno())
                self._whole = self._size = file.tell()
        except OSError as error:
            raise PdltError(f"Argument `journal`: {str(self._path)!r} cannot be written ({error.strerror}).") from None
        self.records[record["case"]] = record

    def _read(self, number: int, line: bytes) -> dict[str, Any]:
        checksum, _, text = line.partition(b" ")
        try:
            if int(checksum, 16) != zlib.crc32(text):
                raise ValueError
            record = json.loads(text)
            if not isinstance(record, dict) or (number and not _is_record(record)):
                raise ValueError
        except (ValueError, LookupError, TypeError, RecursionError):
            raise PdltError(
                f"Argument `journal`: {str(self._path)!r} is not a journal of a calibration, or line {number + 1} is "
                "damaged; it was left as it is."
            ) from None
        return record


def _is_record(record: dict[str, Any]) -> bool:
    """Return whether a record is one of `comparison.compare`, as far as reports rely on it.

    Raises:
        LookupError, TypeError: if it lacks a field, or one is of another kind.
    """
    texts = [record["kind"], record["observable"], *record["sides"]]
    if "refused" in record:
        texts += [record["refused"], record["by"]]
    else:
        for score in record["scores"]:
            numbers = [*score["values"], *score["errors"], 0.0 if score["z"] is None else score["z"]]
            if len(numbers) != 5 or not all(isinstance(number, int | float) for number in numbers):
                return False
            if not isinstance(score["entry"], list) or (score["z"] is None and not isinstance(score["agrees"], bool)):
                return False
    whole = isinstance(record["case"], int) and isinstance(record["seconds"], int | float)
    return whole and len(record["sides"]) == 2 and all(isinstance(text, str) for text in texts)


def _line(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, allow_nan=True).encode()
    return f"{zlib.crc32(text):08x} ".encode() + text + b"\n"


def _difference(found: dict[str, Any], asked: dict[str, Any]) -> str:
    keys = [key for key in {**found, **asked} if found.get(key) != asked.get(key)]
    return "; ".join(f"{key} is {found.get(key)!r} in the file, but {asked.get(key)!r} is asked for" for key in keys)
