"""From ids to rows: one table in memory over the hashes that the segments store."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from latewood.index.segment import Segment
from latewood.index.strings import Hashes, hash_ids
from latewood.types import IntArray

__all__ = ["IdTable"]


class IdTable:
    """Hash to row for every row that ever was: sixteen bytes a row, however long the ids.

    Made at the first look-up and brought forward at later ones; snapshots of one collection share it.
    """

    def __init__(self) -> None:
        """Knows nothing yet."""
        self._mutex = threading.Lock()
        self._covered = 0
        self._hashes: Hashes = np.zeros(0, np.uint64)
        self._rows: IntArray = np.zeros(0, np.int64)

    def candidates(self, ids: Sequence[str], segments: Sequence[Segment]) -> tuple[IntArray, IntArray]:
        """Positions in `ids` and the rows that may bear them, [n] each.

        Segments are those of some generation, from the first one on. The ids themselves remain to be compared, and
        rows of later generations may be among them.
        """
        with self._mutex:
            self._cover(segments[self._covered :])
            hashes, rows = self._hashes, self._rows
        wanted = hash_ids(ids)
        low = np.searchsorted(hashes, wanted, "left")
        counts = np.searchsorted(hashes, wanted, "right") - low
        positions = np.repeat(np.arange(len(wanted)), counts)
        within = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        return positions, rows[np.repeat(low, counts) + within]

    def _cover(self, segments: Sequence[Segment]) -> None:
        if not segments:
            return
        hashes, rows = [self._hashes], [self._rows]
        for segment in segments:
            found, order = segment.hashes()
            hashes.append(found)
            rows.append(order + segment.record.first_row)
        joined = np.concatenate(hashes)
        order = np.argsort(joined, kind="stable")  # a merge, as every part ascends already
        self._hashes, self._rows = joined[order], np.concatenate(rows)[order]
        self._covered += len(segments)
