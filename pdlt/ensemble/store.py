"""A run on disk: block means in one SQLite file, so that a run can be interrupted, continued, extended and read.

A block is a pure function of the run's spec and its number, so writing one twice is harmless and a continued run
gives the same bits as an uninterrupted one. Every write is one transaction, synchronised to the disk before it
counts. Checksums tie the spec to the inputs and every block to its number and its run.

The journal is SQLite's rollback journal, not a write-ahead log: between transactions the run is this one file and
nothing else, which can be copied, and it needs no shared memory. `synchronous = EXTRA` is FULL and, in addition,
makes the end of a transaction survive a loss of power; at one transaction a second the price does not matter.
"""

import hashlib
import json
import math
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from pdlt.errors import PdltError

APPLICATION_ID = 0x70646C74  # "pdlt", kept in the file's header
FORMAT = 2
FEW_INPUTS = 12  # numbers that a message shows
PATIENCE = 60.0  # seconds to wait for another process that writes the same file

_SCHEMA = (
    "CREATE TABLE run (spec TEXT NOT NULL, inputs BLOB NOT NULL, versions TEXT NOT NULL, checksum BLOB NOT NULL)",
    "CREATE TABLE block (number INTEGER PRIMARY KEY, means BLOB NOT NULL, checksum BLOB NOT NULL)",
)
_TROUBLE = {
    "SQLITE_FULL": "the disk is full; blocks written before are safe, so free some space and run again",
    "SQLITE_READONLY": "the file, or its folder, is read-only",
    "SQLITE_BUSY": f"another process has kept it locked for {PATIENCE:.0f} seconds",
    "SQLITE_CORRUPT": "it is damaged or truncated; it was left as it is. Move it away and run again",
    "SQLITE_NOTADB": "it is damaged or truncated; it was left as it is. Move it away and run again",
    "SQLITE_IOERR": "the disk reports an error or takes no more; blocks written before are safe",
    "SQLITE_CANTOPEN": "the file, or the journal beside it, cannot be opened",
}


@dataclass(frozen=True, eq=False)
class Record:
    """What a file says about its run, apart from the blocks.

    Attributes:
        spec: plain data that determines the blocks. Where "arrays" is in it, a list of names and shapes, the
            inputs are these arrays one after the other.
        inputs: the inputs, shape (N, n_0).
        versions: versions of the programs that began the run.
    """

    spec: dict[str, Any]
    inputs: np.ndarray
    versions: dict[str, str]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that the inputs consist of, by the names that messages call them."""
        shapes = self.spec.get("arrays")
        if shapes is None:
            return {"the inputs": self.inputs}
        ends = np.cumsum([math.prod(shape) for _, shape in shapes])
        parts = np.split(self.inputs.ravel(), ends[:-1])
        return {name: part.reshape(shape) for (name, shape), part in zip(shapes, parts, strict=True)}


class Store:
    """The blocks of one run; a context manager.

    Args:
        path: the file. Opening it changes nothing; `write` creates it.
        record: the run; None to take it from the file.

    Raises:
        PdltError: if the file is not a run store, is damaged, unreadable or of another format, or holds another
            run (the message shows the difference).
    """

    def __init__(self, path: str | Path, record: Record | None = None) -> None:
        try:
            self.path = Path(path)
        except TypeError:
            raise PdltError(f"Argument `store` must be a path, but got {path!r}.") from None
        self._connection: sqlite3.Connection | None = None
        if not self.path.parent.is_dir():
            raise PdltError(f"Argument `store` must be a file in an existing folder, but got {str(path)!r}.")
        if not is_store(self.path) and record is None:
            raise PdltError(f"Argument `store` must be a run store of pdlt, but {str(path)!r} is empty or missing.")
        try:
            self.record = self._read_record(record)
        except BaseException:
            self.close()
            raise
        self._digest = _digest(self.record)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def numbers(self) -> list[int]:
        """Return the numbers of the blocks in the file, increasing."""
        if not is_store(self.path):
            return []
        with self._opened() as connection:
            return [row[0] for row in connection.execute("SELECT number FROM block ORDER BY number")]

    def read(self, start: int, stop: int) -> dict[int, np.ndarray]:
        """Return the means of those of the blocks start ... stop - 1 that are in the file.

        Raises:
            PdltError: if a block does not have its checksum, or the file cannot be read.
        """
        if self._connection is None and not is_store(self.path):
            return {}
        found = {}
        query = "SELECT number, means, checksum FROM block WHERE number >= ? AND number < ? ORDER BY number"
        with self._opened() as connection:
            for number, means, checksum in connection.execute(query, (start, stop)):
                if not isinstance(means, bytes) or checksum != self._checksum(number, means):
                    raise PdltError(
                        f"Argument `store`: block {number} in {str(self.path)!r} is damaged: its checksum does not "
                        "agree. The file was left as it is; move it away and run again."
                    )
                found[number] = np.frombuffer(means, dtype="<f8")
        return found

    def prepare(self) -> None:
        """Find out early whether the file can be written, or a new one created; that is left to the first blocks.

        Raises:
            PdltError: if not.
        """
        if is_store(self.path):
            self.write({})
            return
        try:
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass
            if self.path.exists():
                self.path.open("r+b").close()
        except OSError as error:
            raise PdltError(f"Argument `store`: {str(self.path)!r} cannot be written ({error.strerror}).") from None

    def write(self, blocks: Mapping[int, np.ndarray]) -> None:
        """Add blocks in one transaction; those already there are left as they are.

        Raises:
            PdltError: if the file cannot be written, or another process has begun another run in it meanwhile.
        """
        encoded = [(number, np.asarray(means, dtype="<f8").tobytes()) for number, means in blocks.items()]
        rows = [(number, means, self._checksum(number, means)) for number, means in encoded]
        with self._opened() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            if _is_blank(connection):
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("INSERT INTO run VALUES (?, ?, ?, ?)", (*_texts(self.record), _seal(self.record)))
            elif not blocks:
                # Rewrites the number that is there: a transaction that changes nothing and needs all permissions.
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            self._check_same(_record(connection, self.path), self.record)
            connection.executemany("INSERT OR IGNORE INTO block VALUES (?, ?, ?)", rows)

    def _read_record(self, asked: Record | None) -> Record:
        """Return the record in the file, or `asked` if there is none yet; check that they agree."""
        if is_store(self.path):
            with self._opened() as connection:
                # A crash while the file was created leaves, after SQLite's recovery, an empty one.
                if not _is_blank(connection):
                    ((health,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
                    if health != "ok":
                        raise sqlite3.DatabaseError(health)
                    found = _record(connection, self.path)
                    if asked is not None:
                        self._check_same(found, asked)
                    return found
        if asked is None:
            raise PdltError(f"Argument `store` must be a run store of pdlt, but {str(self.path)!r} is empty.")
        return asked

    def _check_same(self, found: Record, asked: Record) -> None:
        stored, wanted = dict(found.spec), json.loads(_texts(asked)[0])
        inputs = _different_inputs(found, asked)
        if inputs:  # in words, not as two hashes
            for key in ("inputs_sha256", "inputs_shape", "arrays"):
                stored.pop(key, None)
                wanted.pop(key, None)
        difference = "; ".join([*inputs, *_difference(stored, wanted)])
        if difference:
            raise PdltError(f"Argument `store`: {str(self.path)!r} holds another run: {difference}.")

    def _checksum(self, number: int, means: bytes) -> bytes:
        return hashlib.blake2b(number.to_bytes(8, "big") + means, digest_size=8, key=self._digest).digest()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
                for setting in ("synchronous = EXTRA", "trusted_schema = OFF", "cell_size_check = ON"):
                    self._connection.execute(f"PRAGMA {setting}")
            yield self._connection
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter from a damaged schema
            code = "_".join(getattr(error, "sqlite_errorname", "SQLITE_CORRUPT").split("_")[:2])
            reason = _TROUBLE.get(code, "SQLite reports an error")
            raise PdltError(
                f"Argument `store`: {str(self.path)!r} cannot be used as a run store: {reason} "
                f"({' '.join(str(error).split())})."
            ) from error


def is_store(path: Path) -> bool:
    """Return whether there is a run store; False if there is no file, or an empty one.

    Only the file's first bytes are read: opening a foreign database with SQLite could change it.

    Raises:
        PdltError: if the file is anything else, or of another format.
    """
    wanted = f"Argument `store` must be a run store of pdlt or a new file, but {str(path)!r}"
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise PdltError(f"{wanted} cannot be read ({error.strerror}).") from None
    if not header:
        return False
    if not header.startswith(b"SQLite format 3\0"):
        # Power was lost while the file was created: SQLite's journal knows how to undo that.
        if path.with_name(path.name + "-journal").exists():
            return True
        raise PdltError(f"{wanted} is not an SQLite file.")
    if len(header) < 100:
        raise PdltError(f"{wanted} is truncated.")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise PdltError(f"{wanted} belongs to another program.")
    found = int.from_bytes(header[60:64], "big")
    if found != FORMAT:
        age = "a newer" if found > FORMAT else "an older"
        raise PdltError(f"{wanted} was written by {age} version of pdlt (format {found}; this one reads {FORMAT}).")
    return True


def _is_blank(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT name FROM sqlite_master").fetchone() is None


def _record(connection: sqlite3.Connection, path: Path) -> Record:
    damaged = f"Argument `store`: {str(path)!r} is damaged: it does not say, or not reliably, which run it holds."
    rows = connection.execute("SELECT spec, inputs, versions, checksum FROM run").fetchall()
    try:
        ((spec_text, inputs, versions, checksum),) = rows
        spec = json.loads(spec_text)
        record = Record(spec, np.frombuffer(inputs, "<f8").reshape(spec["inputs_shape"]), json.loads(versions))
    except (LookupError, TypeError, ValueError, RecursionError):
        raise PdltError(damaged) from None
    if checksum != _seal(record):
        raise PdltError(damaged)
    return record


def _texts(record: Record) -> tuple[str, bytes, str]:
    inputs = np.asarray(record.inputs, dtype="<f8").tobytes()
    return json.dumps(record.spec, sort_keys=True), inputs, json.dumps(record.versions)


def _digest(record: Record) -> bytes:
    """Return what ties a block to its run: spec and inputs; versions do not enter."""
    spec, inputs, _ = _texts(record)
    return hashlib.blake2b(inputs, digest_size=32, key=hashlib.blake2b(spec.encode()).digest()).digest()


def _seal(record: Record) -> bytes:
    return hashlib.blake2b(_texts(record)[2].encode(), digest_size=16, key=_digest(record)).digest()


def _different_inputs(found: Record, asked: Record) -> list[str]:
    """Return how the inputs differ, in words; nothing if they do not, or are not of the same kind."""
    stored, wanted = found.arrays(), asked.arrays()
    if stored.keys() != wanted.keys():
        return []
    return [text for name in stored for text in _different(name, stored[name], wanted[name])]


def _different(name: str, stored: np.ndarray, asked: np.ndarray) -> list[str]:
    """Return how two arrays differ, in words; nothing if they do not."""
    if stored.shape != asked.shape:
        return [f"{name} have shape {stored.shape} in the file, but {np.shape(asked)} is asked for"]
    old, new = (np.ascontiguousarray(x, dtype="<f8").view("<u8") for x in (stored, asked))
    if np.array_equal(old, new):  # which tells 0.0 from -0.0, as the hash does
        return []
    if stored.size <= FEW_INPUTS:
        return [f"{name} are {stored.tolist()} in the file, but {asked.tolist()} are asked for"]
    row, column = np.argwhere(old != new)[0]
    letter = "x" if name == "the inputs" else name
    values = f"[{row}, {column}] is {float(stored[row, column])!r} in the file, but {float(asked[row, column])!r} here"
    return [f"{name}, of shape {stored.shape}, differ, at first in {letter}{values}"]


def _difference(stored: Any, asked: Any, where: str = "") -> Iterator[str]:
    if isinstance(stored, dict) and isinstance(asked, dict):
        for key in sorted(stored.keys() | asked.keys()):
            yield from _difference(stored.get(key), asked.get(key), f"{where}.{key}" if where else key)
    elif stored != asked:
        yield f"{where} is {stored!r} in the file, but {asked!r} is asked for"
