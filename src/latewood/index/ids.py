"""From ids to rows: one table in memory over the hashes that the segments store."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from latewood.index.segment import Segment
from latewood.index.strings import Hashes, hash_ids
from latewood.types import IntArray

__all__ = ["IdTable"]


_Part = tuple[Hashes, IntArray]
_SMALL = 4096


class IdTable:
    """Hash to row for every row that ever was: sixteen bytes a row, however long the ids.

    Made at the first look-up and brought forward at later ones; snapshots of one layout share it. What came last is
    held apart until it is a sixteenth of the rest, so that a small commit doesn't sort everything again.
    """

    def __init__(self, known: IdTable | None = None) -> None:
        """Knows nothing yet, or as much as another table."""
        self._mutex = threading.Lock()
        self._rows = 0
        self._old: _Part = (np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._new = self._old
        if known is not None:
            with known._mutex:
                self._rows, self._old, self._new = known._rows, known._old, known._new

    def candidates(self, ids: Sequence[str], segments: Sequence[Segment]) -> tuple[IntArray, IntArray]:
        """Positions in `ids` and the rows that may bear them, [n] each.

        Segments are those of some generation, from the first one on. The ids themselves remain to be compared, and
        rows of later generations, and dead ones, may be among them.
        """
        with self._mutex:
            self._cover(segments)
            parts = self._old, self._new
        wanted = hash_ids(ids)
        found = [_matches(wanted, *part) for part in parts]
        return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])

    def _cover(self, segments: Sequence[Segment]) -> None:
        parts = [self._new]
        for segment in reversed(segments):
            first = segment.record.first_row
            if first + len(segment) <= self._rows:
                break
            hashes, local = segment.hashes()
            rows = local + first
            unknown = rows >= self._rows  # a segment that was merged may begin with rows that are known
            parts.append((hashes, rows) if unknown.all() else (hashes[unknown], rows[unknown]))
        if len(parts) == 1:
            return
        self._new = _joined(parts)
        self._rows = max(self._rows, segments[-1].record.first_row + len(segments[-1]))
        if len(self._new[0]) > max(_SMALL, len(self._old[0]) >> 4):
            self._old, self._new = _joined([self._old, self._new]), (np.zeros(0, np.uint64), np.zeros(0, np.int64))


def _joined(parts: Sequence[_Part]) -> _Part:
    hashes = np.concatenate([part[0] for part in parts])
    order = np.argsort(hashes, kind="stable")  # a merge, as every part ascends already
    return hashes[order], np.concatenate([part[1] for part in parts])[order]


def _matches(wanted: Hashes, hashes: Hashes, rows: IntArray) -> tuple[IntArray, IntArray]:
    low = np.searchsorted(hashes, wanted, "left")
    counts = np.searchsorted(hashes, wanted, "right") - low
    positions = np.repeat(np.arange(len(wanted)), counts)
    within = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
    return positions, rows[np.repeat(low, counts) + within]
