"""The catalogue: one SQLite file that says what a collection is made of, and the only commit.

Liveness is a log. Each commit appends one record: the segment that it brings, if any, and the rows that die with it.
Records are chained by their checksums up to the head, so a record that is altered, lost or out of place is noticed
when the log is read, and a reader moves on by reading the records behind its own generation.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from latewood.errors import CorruptionError, InputError, StorageError
from latewood.index.disk import disk_errors, flush_file
from latewood.index.format import SegmentSeal
from latewood.types import IntArray

__all__ = ["Catalogue", "Commit", "Head", "SegmentRecord", "record_crc"]

FORMAT = 1
COMPACTED = 2
"""The format of a catalogue that was compacted: `latewood.index.layout` has what it adds."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, rows INTEGER NOT NULL,
                       bytes INTEGER NOT NULL, header_crc INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE commits (generation INTEGER PRIMARY KEY, segment INTEGER REFERENCES segments, content INTEGER NOT NULL,
                      died BLOB NOT NULL, crc INTEGER NOT NULL);
"""

Value = int | str | bytes | None


def record_crc(*values: Value) -> int:
    """CRC-32 over values with their kinds and lengths, so that no two records share their bytes by shifting."""
    parts = []
    for value in values:
        if value is None:
            parts.append(b"n")
        elif isinstance(value, int):
            parts.append(b"i" + struct.pack("<q", value))
        else:
            content = value.encode() if isinstance(value, str) else value
            parts.append(b"s" + struct.pack("<q", len(content)) + content)
    return zlib.crc32(b"".join(parts))


@dataclass(frozen=True, slots=True)
class Head:
    """The newest commit.

    Args:
        generation: how many commits there were.
        rows: how many row numbers were given out.
        crc: checksum of its record, which covers all records before it.
        layout: how often compaction has changed which file holds which rows.
    """

    generation: int
    rows: int
    crc: int
    layout: int = 0


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment as the catalogue knows it: the rows first_row .. first_row + rows."""

    number: int
    first_row: int
    rows: int
    seal: SegmentSeal

    @property
    def file(self) -> str:
        """Its name in the folder of segments."""
        return f"{self.number:06d}.seg"

    @property
    def crc(self) -> int:
        """CRC-32 of the record."""
        return record_crc(self.number, self.first_row, self.rows, self.seal.bytes, self.seal.header_crc)


@dataclass(frozen=True, slots=True, eq=False)
class Commit:
    """One record of the log.

    Args:
        generation: its number, from 1.
        segment: the segment that it brought, None if it only deleted.
        content: checksum of what the caller wrote to its own tables, 0 for nothing.
        died: [n] int64, rows that are dead from this generation on.
        crc: checksum of the record.
    """

    generation: int
    segment: SegmentRecord | None
    content: int = 0
    died: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    crc: int = 0

    def chained(self, previous: int) -> int:
        """CRC-32 of this record, given that of the one before it."""
        segment = self.segment
        return record_crc(
            previous,
            self.generation,
            None if segment is None else segment.crc,
            self.content,
            np.ascontiguousarray(self.died, "<i8").tobytes(),
        )


class Catalogue:
    """A connection to the catalogue. May be used by several threads, one at a time.

    Columns come back as bytes where they hold text: a reader verifies a record's checksum before it decodes it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, frozen: _Look | None = None) -> None:
        """Use `create` or `open`."""
        self.path = path
        self._connection = connection
        self._frozen = frozen
        self._mutex = threading.RLock()

    @classmethod
    def create(cls, path: Path, tables: str, meta: Mapping[str, bytes]) -> None:
        """Make the file, with further tables of the caller's and its first records, and close it.

        Raises:
            StorageError: the disk refused.
        """
        with _sqlite_errors(path):
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                _configure(connection)
                connection.execute("PRAGMA journal_mode = WAL")
                catalogue = cls(path, connection)
                with catalogue.transaction():
                    for statement in (_SCHEMA + tables).split(";"):
                        catalogue.execute(statement)
                    catalogue.put("format", str(FORMAT).encode())
                    catalogue.put_head(Head(0, 0, 0))
                    for key, value in meta.items():
                        catalogue.put(key, value)
            finally:
                connection.close()

    @classmethod
    def open(cls, path: Path) -> Catalogue:
        """Open the file; one that nobody can write, in a folder that nobody can write, is fine for reading.

        Raises:
            InputError: there is no catalogue, or a newer latewood made it.
            CorruptionError: it isn't a catalogue, or not the one that was written.
            StorageError: it can't be opened.
        """
        if not path.is_file():
            raise InputError(f"{path.parent} is not a collection: there is no {path.name} in it")
        catalogue = cls(path, *_connect(path))
        try:
            found = catalogue.get("format")
            if found not in (b"%d" % FORMAT, b"%d" % COMPACTED):
                said = found.decode(errors="replace")
                raise InputError(f"{path.parent} has format {said}, this latewood reads up to {COMPACTED}: upgrade it")
        except BaseException:
            catalogue.close()
            raise
        return catalogue

    def close(self) -> None:
        """Close the connection. Closing twice is fine."""
        with self._mutex, _sqlite_errors(self.path):
            self._connection.close()

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one statement; all of its rows."""
        with self._mutex, _sqlite_errors(self.path):
            if self._frozen is not None and self._frozen != _look(self.path):
                self._connection.close()
                self._connection, self._frozen = _connect(self.path)
            return self._connection.execute(statement, values).fetchall()

    def execute_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each of these rows."""
        with self._mutex, _sqlite_errors(self.path):
            self._connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is executed inside is committed together, or, on any exception, not at all."""
        with self._mutex:
            self.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.execute("COMMIT")
            except BaseException:
                # SQLite has rolled back by itself after some errors, and then refuses to do it again.
                with suppress(StorageError, CorruptionError):
                    self.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read inside is of one moment. To be left soon: a log that is being read can't be taken up."""
        with self._mutex:
            with _sqlite_errors(self.path):
                inside = self._connection.in_transaction
            if self._frozen is not None or inside:
                yield
                return
            self.execute("BEGIN")
            try:
                yield
            finally:
                with suppress(StorageError, CorruptionError):
                    self.execute("COMMIT")

    def back_up(self, path: Path) -> None:
        """Write the catalogue as it is now to another file, flushed to the disk. Others may write meanwhile.

        Raises:
            StorageError: the disk refused.
        """
        for suffix in ("", "-wal", "-shm", "-journal"):  # of an attempt before
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        with self._mutex, _sqlite_errors(path):
            target = sqlite3.connect(path)
            try:
                _configure(target)
                self._connection.backup(target)
            finally:
                target.close()
        with disk_errors(path, "write"):
            flush_file(path)

    def vacuum(self) -> None:
        """Give pages back to the disk, where a fifth of the file is unused. Readers go on meanwhile.

        Raises:
            StorageError: the disk refused; nothing is lost.
        """
        free, pages = (self.execute(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_count"))
        if free * 5 > pages:
            self.execute("VACUUM")
            self.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # -- records ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """A record of `meta`.

        Raises:
            CorruptionError: it is missing or altered.
        """
        found = self.execute("SELECT value, crc FROM meta WHERE key = ?", (key,))
        if not found or not isinstance(found[0][0], bytes) or record_crc(key, found[0][0]) != found[0][1]:
            raise self.corrupt(f"record '{key}' of meta")
        value: bytes = found[0][0]
        return value

    def has(self, key: str) -> bool:
        """Whether there is a record of `meta` with this key."""
        return bool(self.execute("SELECT 1 FROM meta WHERE key = ?", (key,)))

    def put(self, key: str, value: bytes) -> None:
        """Write a record of `meta`, inside a transaction."""
        self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, value, record_crc(key, value)))

    def head(self) -> Head:
        """The newest commit."""
        return Head(**json.loads(self.get("head")))

    def put_head(self, head: Head) -> None:
        """Make this the newest commit, inside a transaction."""
        value = {"generation": head.generation, "rows": head.rows, "crc": head.crc}
        if head.layout:
            value["layout"] = head.layout
        self.put("head", json.dumps(value).encode())

    def append(self, commit: Commit, head: Head) -> Head:
        """Append a commit behind `head`, inside a transaction; the new head."""
        segment, rows = commit.segment, head.rows
        if segment is not None:
            rows += segment.rows
            self.put_segment(segment)
        crc = commit.chained(head.crc)
        died = np.ascontiguousarray(commit.died, "<i8").tobytes()
        number = None if segment is None else segment.number
        values = (commit.generation, number, commit.content, died, crc)
        self.execute("INSERT INTO commits VALUES (?, ?, ?, ?, ?)", values)
        new = Head(commit.generation, rows, crc, head.layout)
        self.put_head(new)
        return new

    def put_segment(self, segment: SegmentRecord) -> None:
        """Write a segment's record, inside a transaction."""
        described = (segment.number, segment.first_row, segment.rows, segment.seal.bytes, segment.seal.header_crc)
        self.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?)", (*described, segment.crc))

    def commits(self, after: Head, upto: Head) -> list[Commit]:
        """The commits behind `after`, up to and with `upto`, verified.

        Raises:
            CorruptionError: a record is missing or altered.
        """
        segments = {record.number: record for record in self.segments(after.rows)}
        found = self.execute(
            "SELECT generation, segment, content, died, crc FROM commits "
            "WHERE generation > ? AND generation <= ? ORDER BY generation",
            (after.generation, upto.generation),
        )
        commits, crc, rows = [], after.crc, after.rows
        for expected, row in enumerate(found, after.generation + 1):
            commit = self._commit(expected, row, segments)
            crc = commit.chained(crc)
            if crc != commit.crc or (commit.segment is not None and commit.segment.first_row != rows):
                raise self.corrupt(f"commit {expected}")
            rows += 0 if commit.segment is None else commit.segment.rows
            commits.append(commit)
        if (len(commits), crc, rows) != (upto.generation - after.generation, upto.crc, upto.rows):
            raise self.corrupt(f"the log of commits up to {upto.generation}")
        return commits

    def _commit(self, expected: int, row: Sequence[Any], segments: Mapping[int, SegmentRecord]) -> Commit:
        """A row of the log as a commit, if its kinds are right; its checksum is for the caller to verify."""
        generation, number, content, died, crc = row
        known = number is None or number in segments
        if generation != expected or not known or not _are(int, content) or not _are(bytes, died) or len(died) % 8:
            raise self.corrupt(f"commit {expected}")
        return Commit(generation, segments.get(number), content, np.frombuffer(died, "<i8"), crc)

    def crc_at(self, generation: int) -> int | None:
        """The checksum of a commit's record, which covers all before it; None where there is no such commit."""
        found = self.execute("SELECT crc FROM commits WHERE generation = ?", (generation,))
        return found[0][0] if found else 0 if generation == 0 else None

    def segments(self, first_row: int) -> list[SegmentRecord]:
        """The segments from this row on, in the order of their rows.

        Raises:
            CorruptionError: a record is altered.
        """
        found = self.execute(
            "SELECT number, first_row, rows, bytes, header_crc, crc FROM segments WHERE first_row >= ? "
            "ORDER BY first_row, number",
            (first_row,),
        )
        records = []
        for *values, crc in found:
            if not _are(int, *values) or record_crc(*values) != crc:
                raise self.corrupt(f"the record of segment {values[0]}")
            number, first, rows, length, header_crc = values
            records.append(SegmentRecord(number, first, rows, SegmentSeal(length, header_crc)))
        return records

    def corrupt(self, what: str) -> CorruptionError:
        """The error for a record that is not what was written."""
        return CorruptionError(f"{self.path}: {what} is not what was written; restore the collection from a copy")

    def findings(self) -> list[str]:
        """One line for each thing that SQLite itself finds wrong with the file."""
        found = self.execute("PRAGMA integrity_check(20)")
        lines = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for (value,) in found]
        return [f"{self.path}: {line}" for line in lines if line != "ok"]


_Look = tuple[int, int, bool]


def _are(kind: type, *values: object) -> bool:
    return all(isinstance(value, kind) for value in values)


def _look(path: Path) -> _Look:
    """What shows from outside whether the file has been written: its length and time, and a log beside it."""
    with disk_errors(path, "read"):
        now, wal = path.stat(), path.with_name(f"{path.name}-wal")
        return now.st_size, now.st_mtime_ns, wal.exists() and wal.stat().st_size > 0


def _connect(path: Path) -> tuple[sqlite3.Connection, _Look | None]:
    """A connection; with it, if SQLite had to take the file for unchanging, how the file looks now.

    That is the case where -shm can't be made, that is, where nobody may write the folder. It is safe while the look
    stays, since whoever writes makes a log beside the file first.
    """
    try:
        return _connected(path, "mode=rw"), None
    except StorageError as error:
        look = _look(path)
        if look[2]:
            raise StorageError(
                f"{path.parent} wasn't closed by whoever wrote it last, and can't be mended where it can't be written: "
                f"open it once with the right to write ({error})"
            ) from error
        return _connected(path, "mode=ro&immutable=1"), look


def _connected(path: Path, options: str) -> sqlite3.Connection:
    with _sqlite_errors(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            _configure(connection)
            connection.execute("PRAGMA schema_version")  # the first to read the file
        except BaseException:
            connection.close()
            raise
        return connection


def _configure(connection: sqlite3.Connection) -> None:
    connection.text_factory = bytes
    # A commit is on the disk when COMMIT returns; on macOS only these two make that true.
    for pragma in "synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON":
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


_REFUSED = "full", "disk i/o", "readonly", "read-only", "unable to open", "locked", "access permission"


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """What SQLite says, as errors of ours: either the disk refused, or the file is not what was written."""
    try:
        yield
    except sqlite3.Error as error:
        said = str(error)
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in said:
            raise StorageError(f"{path.parent} was closed; open it again") from error
        if any(word in said.lower() for word in _REFUSED):
            raise StorageError(f"can't use {path}: {said}; nothing was changed: check space and permissions") from error
        raise CorruptionError(f"{path}: {said}; restore the collection from a copy") from error
