"""A snapshot that shows only the passages that meet conditions on their metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latewood.errors import InputError
from latewood.stores.conditions import Where, check_where
from latewood.stores.snapshot import EmbeddedSnapshot
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors, Passage

__all__ = ["FilteredSnapshot", "filtered"]


def filtered(snapshot: EmbeddedSnapshot, where: Where | Sequence[Where] | None) -> EmbeddedSnapshot | FilteredSnapshot:
    """The snapshot itself without conditions, else what of it meets all of them.

    Args:
        snapshot: all there is.
        where: conditions, or several of them, all of which must hold; None or [] for none.

    Raises:
        UsageError: these are no conditions (`latewood.stores.conditions.check_where`).
        CorruptionError: a row that had to be read is not what was written.
    """
    wheres = where if isinstance(where, list | tuple) else [] if where is None else [where]
    if not wheres:
        return snapshot
    return FilteredSnapshot(snapshot, snapshot.meeting([check_where(each) for each in wheres]))


@dataclass(frozen=True, slots=True, eq=False)
class FilteredSnapshot:
    """A snapshot of which only some rows are there: a `Snapshot`.

    Searches are those of the whole, restricted to these rows: what can be found is found, however few they are.

    Args:
        whole: all of it.
        live_rows: [n] int64, rising: the rows that are there.
    """

    whole: EmbeddedSnapshot
    live_rows: IntArray

    @property
    def generation(self) -> int:
        """The number of commits that it has seen."""
        return self.whole.generation

    def __len__(self) -> int:
        """The number of passages."""
        return len(self.live_rows)

    def dense(self, vector: FloatArray, k: int, rows: IntArray | None = None) -> Candidates:
        """Best k by inner product, of those that are there."""
        return self.whole.dense(vector, k, self._only(rows))

    def late(
        self,
        tokens: FloatArray,
        k: int,
        rows: IntArray | None = None,
        *,
        exact: bool = False,
        depths: Mapping[str, int] | None = None,
    ) -> Candidates:
        """Best k by MaxSim, of those that are there."""
        return self.whole.late(tokens, k, self._only(rows), exact=exact, depths=depths)

    def bm25(self, text: str, k: int) -> Candidates:
        """Best k by BM25, of those that are there. Words are weighed by how rare they are in the whole collection."""
        return self.whole.bm25(text, k, self.live_rows)

    def vectors(self, rows: IntArray) -> MultiVectors:
        """The stored token vectors of these passages, in this order."""
        return self.whole.vectors(rows)

    def scores(self, tokens: FloatArray, rows: IntArray) -> FloatArray:
        """[n] float32, MaxSim of `tokens` [Q, D] with each of these passages, in this order."""
        return self.whole.scores(tokens, rows)

    def passages(self, rows: IntArray) -> list[Passage]:
        """Their texts and metadata, in this order."""
        return self.whole.passages(rows)

    def ids(self, rows: IntArray) -> list[str]:
        """Their ids, in this order."""
        return self.whole.ids(rows)

    def source_ids(self, rows: IntArray) -> list[str]:
        """The ids of their source documents, in this order."""
        return self.whole.source_ids(rows)

    def rows(self, ids: Sequence[str]) -> IntArray:
        """The rows of these ids.

        Raises:
            InputError: naming the first id that isn't there, in words that don't tell whether it is hidden.
        """
        found = self.whole.find(ids)
        hidden = (found < 0) | ~self._are_there(found)
        if hidden.any():
            name = ids[int(np.argmax(hidden))]
            raise InputError(f"no passage '{name}' in this collection (generation {self.generation})")
        return found

    def _only(self, rows: IntArray | None) -> IntArray:
        return self.live_rows if rows is None else rows[self._are_there(rows)]

    def _are_there(self, rows: IntArray) -> IntArray:
        places = np.minimum(np.searchsorted(self.live_rows, rows), max(len(self.live_rows) - 1, 0))
        there: IntArray = self.live_rows[places] == rows if len(self.live_rows) else np.zeros(len(rows), bool)
        return there
