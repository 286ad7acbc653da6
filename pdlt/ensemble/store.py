"""A run on disk: block means in one SQLite file, so that a run can be interrupted, continued and extended.

A block is a pure function of the run's spec and its number, so writing one twice is harmless and a continued
run gives the same bits as an uninterrupted one. Every write is one transaction.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pdlt.errors import PdltError

APPLICATION_ID = 0x70646C74  # "pdlt", kept in the file's header
FORMAT = 1


class Store:
    """The blocks of one run; a context manager.

    Args:
        path: the file; it is created at the first write, not before.
        spec: plain data that determines the blocks.

    Raises:
        PdltError: if the file is not a run store, is of another format, is unreadable, or holds another spec.
    """

    def __init__(self, path: str | Path, spec: Mapping[str, Any]) -> None:
        try:
            self.path = Path(path)
        except TypeError:
            raise PdltError(f"Argument `store` must be a path, but got {path!r}.") from None
        self._spec = json.dumps(spec, sort_keys=True)
        self._connection: sqlite3.Connection | None = None
        if not self.path.parent.is_dir():
            raise PdltError(f"Argument `store` must be a file in an existing folder, but got {str(path)!r}.")
        if self.path.exists():
            try:
                self._check()
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def known(self) -> set[int]:
        """Return the numbers of the blocks in the file."""
        if not self.path.exists():
            return set()
        with self._opened() as connection:
            return {row[0] for row in connection.execute("SELECT number FROM block")}

    def read(self, number: int) -> np.ndarray:
        """Return the means of a block that is in the file."""
        with self._opened() as connection:
            row = connection.execute("SELECT means FROM block WHERE number = ?", (number,)).fetchone()
        if row is None or not isinstance(row[0], bytes) or not row[0] or len(row[0]) % 8:
            raise PdltError(f"Argument `store`: block {number} in {str(self.path)!r} is damaged; delete the file.")
        return np.frombuffer(row[0], dtype="<f8")

    def write(self, blocks: Mapping[int, np.ndarray]) -> None:
        """Add blocks in one transaction; those already there are left as they are."""
        rows = [(number, means.astype("<f8").tobytes()) for number, means in blocks.items()]
        with self._opened() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("SELECT name FROM sqlite_master").fetchone() is None:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("CREATE TABLE spec (json TEXT NOT NULL)")
                connection.execute("CREATE TABLE block (number INTEGER PRIMARY KEY, means BLOB NOT NULL)")
                connection.execute("INSERT INTO spec VALUES (?)", (self._spec,))
            connection.executemany("INSERT OR IGNORE INTO block VALUES (?, ?)", rows)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            yield self._connection
        except sqlite3.Error as error:
            message = f"Argument `store`: {str(self.path)!r} cannot be used as a run store ({error})."
            raise PdltError(message) from error

    def _check(self) -> None:
        wanted = f"Argument `store` must be a run store of pdlt or a new file, but {str(self.path)!r}"
        try:
            with self.path.open("rb") as file:
                header = file.read(16)
        except OSError as error:
            raise PdltError(f"{wanted} cannot be read ({error.strerror}).") from None
        if header != b"SQLite format 3\0":
            raise PdltError(f"{wanted} is not an SQLite file.")
        with self._opened() as connection:
            if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise PdltError(f"{wanted} belongs to another program.")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found != FORMAT:
                raise PdltError(f"{wanted} has format {found}; this version reads format {FORMAT}.")
            row = connection.execute("SELECT json FROM spec").fetchone()
            try:
                stored = json.loads(row[0])
            except (TypeError, ValueError):
                raise PdltError(f"{wanted} is damaged: it does not say which run it holds.") from None
        difference = "; ".join(_difference(stored, json.loads(self._spec)))
        if difference:
            raise PdltError(f"Argument `store`: {str(self.path)!r} holds another run: {difference}.")


def _difference(stored: Any, asked: Any, where: str = "") -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted(stored.keys() | asked.keys()):
            yield from _difference(stored.get(key), asked.get(key), f"{where}.{key}" if where else key)
    elif stored != asked:
        yield f"{where} is {stored!r} in the file, but {asked!r} is asked for"
