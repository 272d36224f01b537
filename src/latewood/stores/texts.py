"""Texts and metadata of passages: one table beside the index, each row with its checksum."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from latewood.errors import InputError, LatewoodError, StaleError
from latewood.index import Catalogue, record_crc
from latewood.types import IntArray, Page, Passage

__all__ = ["TABLES", "Record", "Texts", "content_digest", "record_of"]

TABLES = """
CREATE TABLE passages (row INTEGER PRIMARY KEY, id TEXT NOT NULL, source_id TEXT NOT NULL, title TEXT NOT NULL,
                       text TEXT NOT NULL, source TEXT NOT NULL, metadata TEXT NOT NULL, digest BLOB NOT NULL,
                       crc INTEGER NOT NULL);
"""

_COLUMNS = "row, id, source_id, title, text, source, metadata, digest, crc"
_AT_ONCE = 500
"""Rows per statement: below the 999 variables that the smallest SQLite allows."""

_GAP = 8
"""So many rows that aren't wanted cost less than another statement."""

Record = tuple[str, str, str, str, str, str, bytes]
"""id, source_id, title, text, source, metadata as JSON, digest."""


def record_of(passage: Passage) -> Record:
    """A passage as the table holds it.

    Raises:
        InputError: it holds something that can't be stored as text or JSON; the message names the passage.
    """
    fields = (passage.id, passage.source_id, passage.title, passage.text, passage.source)
    for name, value in zip(("id", "source_id", "title", "text", "source"), fields, strict=True):
        if not isinstance(value, str):
            raise InputError(f"passage {passage.id!r}: {name} is {type(value).__name__}, expected str")
    if not passage.id:
        raise InputError(f"a passage without an id (text: {passage.text[:40]!r}); give each passage its own")
    try:
        metadata = json.dumps(dict(passage.metadata), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"passage {passage.id!r}: its metadata is not a JSON object: {error}") from None
    try:
        "".join((*fields, metadata)).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"passage {passage.id!r} holds half of a surrogate pair ({error.object[error.start]!r}), which is no text: "
            f"decode the file that it came from with errors='replace'"
        ) from None
    return (*fields, metadata, _digest(passage, fields[1:]))


def content_digest(passage: Passage) -> bytes:
    """16 bytes that change when anything but the id does.

    Raises:
        InputError: as `record_of`.
    """
    return record_of(passage)[-1]


def _digest(passage: Passage, fields: Sequence[str]) -> bytes:
    content = json.dumps([*fields, dict(passage.metadata)], sort_keys=True)
    boxes = passage.boxes.tobytes() if isinstance(passage, Page) else b""
    return hashlib.blake2b(content.encode() + boxes, digest_size=16).digest()


class Texts:
    """The table of passages in a catalogue. Rows are written once and never changed, and removed when long dead."""

    def __init__(self, catalogue: Catalogue, is_dropped: Callable[[int], bool] = lambda row: False) -> None:
        """A view of an open catalogue that was created with `TABLES`.

        Args:
            catalogue: open.
            is_dropped: whether compaction has dropped a row, so that its text may have been removed.
        """
        self._catalogue = catalogue
        self._is_dropped = is_dropped

    def write(self, rows: IntArray, records: Sequence[Record]) -> None:
        """Write records under these new row numbers, inside a transaction."""
        self._catalogue.execute_many(
            f"INSERT INTO passages ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(row, *record, record_crc(row, *record)) for row, record in zip(rows.tolist(), records, strict=True)],
        )

    def forget(self, rows: IntArray) -> None:
        """Remove these rows, inside a transaction."""
        self._catalogue.execute_many("DELETE FROM passages WHERE row = ?", [(row,) for row in rows.tolist()])

    def passages(self, rows: IntArray) -> list[Passage]:
        """The passages of these rows, in this order."""
        found = self._read(rows)
        return [_passage(found[row]) for row in rows.tolist()]

    def texts(self, rows: IntArray) -> list[str]:
        """Their texts alone."""
        found = self._read(rows)
        return [found[row][3].decode() for row in rows.tolist()]

    def metadata(self, rows: IntArray) -> list[bytes]:
        """Their metadata alone, as stored JSON. Rising rows that lie together are read together."""
        found: dict[int, bytes] = {}
        for first, last in _runs(rows):
            some = self._select_where("row BETWEEN ? AND ?", (first, last))
            found.update((row, values[5]) for row, values in some if values is not None)
        missing = [row for row in rows.tolist() if row not in found]
        if missing:
            raise self._gone(missing[0])
        return [found[row] for row in rows.tolist()]

    def digests(self, rows: IntArray) -> list[bytes]:
        """Their content digests."""
        found = self._read(rows)
        return [found[row][6] for row in rows.tolist()]

    def findings(self, rows: IntArray, keys: Iterator[tuple[str, str]]) -> list[str]:
        """One line for each of these rows that is altered, missing, or at odds with the index.

        Args:
            rows: those that haven't been dropped.
            keys: id and source id of each, as the index knows them.
        """
        found = []
        for start in range(0, len(rows), _AT_ONCE):
            numbers = rows[start : start + _AT_ONCE]
            stored = dict(self._select(numbers))
            for row in numbers.tolist():
                names = next(keys, None)
                values = stored.get(row)
                if values is None:
                    found.append(str(self._catalogue.corrupt(f"row {row} of passages")))
                elif names is not None and names != (values[0].decode(), values[1].decode()):
                    found.append(f"{self._catalogue.path}: row {row} of passages is '{names[0]}' in its segment")
        return found

    def _read(self, rows: IntArray) -> dict[int, Sequence[bytes]]:
        wanted = np.unique(rows)
        found: dict[int, Sequence[bytes]] = {}
        for start in range(0, len(wanted), _AT_ONCE):
            some = self._select(wanted[start : start + _AT_ONCE])
            found.update((row, values) for row, values in some if values is not None)
        if len(found) != len(wanted):
            raise self._gone(next(row for row in wanted.tolist() if row not in found))
        return found

    def _gone(self, row: int) -> LatewoodError:
        """The error for a row that isn't there, or whose checksum doesn't hold."""
        if not self._select_any(row) and self._is_dropped(row):
            return StaleError(
                f"{self._catalogue.path.parent}: this reader stands at an old generation, and passages that were "
                f"deleted since have been removed: refresh() it, or search again"
            )
        return self._catalogue.corrupt(f"row {row} of passages")

    def _select_any(self, row: int) -> bool:
        return bool(self._catalogue.execute("SELECT row FROM passages WHERE row = ?", (row,)))

    def _select(self, rows: IntArray) -> Iterator[tuple[int, Sequence[bytes] | None]]:
        """Row number and values of each row that is there, None for one whose checksum doesn't hold."""
        return self._select_where(f"row IN ({', '.join('?' * len(rows))})", rows.tolist())

    def _select_where(self, condition: str, marks: Sequence[int]) -> Iterator[tuple[int, Sequence[bytes] | None]]:
        for row, *values, crc in self._catalogue.execute(f"SELECT {_COLUMNS} FROM passages WHERE {condition}", marks):
            whole = all(isinstance(value, bytes) for value in values)
            yield row, values if whole and record_crc(row, *values) == crc else None


def _runs(rows: IntArray) -> list[tuple[int, int]]:
    """First and last of each run of rising rows without wide gaps: what lies between is read and passed over."""
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff(rows) > _GAP) + 1
    return [(int(run[0]), int(run[-1])) for part in np.split(rows, cuts) for run in _pieces(part)]


def _pieces(rows: IntArray) -> list[IntArray]:
    return [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]


def _passage(values: Sequence[bytes]) -> Passage:
    # The checksum holds, so this is text that `record_of` encoded.
    name, source_id, title, text, source, metadata = (value.decode() for value in values[:6])
    fields: dict[str, Any] = json.loads(metadata)
    return Passage(name, text, source_id, title, source, fields)
