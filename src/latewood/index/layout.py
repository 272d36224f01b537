"""Which file holds which rows, once compaction has changed that: the base of the log, and files on their way out.

The log of commits tells how each segment came. When segments are merged, it can't be read from its beginning any more,
so the same transaction writes a base: the state at that moment. Who opens later begins there. Files that were replaced
stay in the table `retired` until whoever might still read them has had time to finish.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from latewood.index.catalogue import COMPACTED, Catalogue, Head, SegmentRecord, record_crc

__all__ = ["Base", "Retired", "forget", "oldest_retired", "read_base", "relay", "retired"]

_RETIRED = """
CREATE TABLE IF NOT EXISTS retired (number INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, rows INTEGER NOT NULL,
                                    at INTEGER NOT NULL, crc INTEGER NOT NULL)
"""


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """The state at the moment of the newest compaction.

    Args:
        head: the newest commit at that moment.
        alive: [rows] bool.
        segments: in the order of their rows, which they cover without a gap.
    """

    head: Head
    alive: npt.NDArray[np.bool_]
    segments: tuple[SegmentRecord, ...]


@dataclass(frozen=True, slots=True)
class Retired:
    """A segment that was replaced, and the seconds since 1970 at which that was."""

    number: int
    first_row: int
    rows: int
    at: int

    @property
    def crc(self) -> int:
        """CRC-32 of the record."""
        return record_crc(self.number, self.first_row, self.rows, self.at)

    @property
    def file(self) -> str:
        """Its name in the folder of segments."""
        return f"{self.number:06d}.seg"


def read_base(catalogue: Catalogue, layout: int) -> Base:
    """The base of this layout.

    Raises:
        CorruptionError: it, or a segment's record, is not what was written.
    """
    described, _, packed = catalogue.get("base").partition(b"\n")
    content = json.loads(described)
    head = Head(**content["head"])
    alive = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=head.rows).astype(bool)
    records = tuple(record for record in catalogue.segments(0) if record.first_row < head.rows)
    ends = np.cumsum([0, *(record.rows for record in records)]).tolist()
    told = [record.first_row for record in records], [record.crc for record in records], ends[-1], head.layout
    if told != (ends[:-1], content["segments"], head.rows, layout):
        raise catalogue.corrupt(f"the base of layout {layout}")
    return Base(head, alive, records)


def relay(
    catalogue: Catalogue,
    head: Head,
    alive: npt.NDArray[np.bool_],
    old: Sequence[SegmentRecord],
    new: SegmentRecord,
    at: int,
) -> Head:
    """Put `new` in the place of `old`, inside a transaction; the new head.

    Args:
        catalogue: to be changed.
        head: the newest commit.
        alive: [rows] bool, as of then.
        old: neighbours.
        new: covers the same rows.
        at: now, in seconds since 1970.
    """
    catalogue.put("format", b"%d" % COMPACTED)
    catalogue.execute(_RETIRED)
    for record in old:
        gone = Retired(record.number, record.first_row, record.rows, at)
        catalogue.execute("DELETE FROM segments WHERE number = ?", (record.number,))
        values = (gone.number, gone.first_row, gone.rows, gone.at, gone.crc)
        catalogue.execute("INSERT INTO retired VALUES (?, ?, ?, ?, ?)", values)
    catalogue.put_segment(new)
    moved = replace(head, layout=head.layout + 1)
    told = {
        "head": {"generation": moved.generation, "rows": moved.rows, "crc": moved.crc, "layout": moved.layout},
        "segments": [record.crc for record in catalogue.segments(0)],
    }
    packed = zlib.compress(np.packbits(alive).tobytes(), 1)
    catalogue.put("base", json.dumps(told).encode() + b"\n" + packed)
    catalogue.put_head(moved)
    return moved


def retired(catalogue: Catalogue, until: int | None = None) -> list[Retired]:
    """What waits to be removed; of a long stream of small commits, thousands of files.

    Args:
        catalogue: says so.
        until: seconds since 1970; only what was replaced by then.

    Raises:
        CorruptionError: a record is not what was written.
    """
    if catalogue.get("format") != b"%d" % COMPACTED:
        return []
    found = []
    wanted = "" if until is None else f"WHERE at <= {until}"
    for *values, crc in catalogue.execute(
        f"SELECT number, first_row, rows, at, crc FROM retired {wanted} ORDER BY number"
    ):
        if not all(isinstance(value, int) for value in values) or record_crc(*values) != crc:
            raise catalogue.corrupt(f"the record of the retired segment {values[0]}")
        found.append(Retired(*values))
    return found


def oldest_retired(catalogue: Catalogue) -> int | None:
    """When the first of them was replaced, in seconds since 1970; None where nothing waits."""
    at: int | None = catalogue.execute("SELECT MIN(at) FROM retired")[0][0]
    return at


def forget(catalogue: Catalogue, gone: Sequence[Retired]) -> None:
    """Remove these records, inside a transaction."""
    for one in gone:
        catalogue.execute("DELETE FROM retired WHERE number = ?", (one.number,))
