"""One generation of an index: which rows live, and the searches over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import InputError, ShapeError
from latewood.index.catalogue import Head
from latewood.index.ids import IdTable
from latewood.index.ranking import best
from latewood.index.segment import Segment
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors

__all__ = ["IndexSnapshot"]


@dataclass(frozen=True, eq=False)
class IndexSnapshot:
    """The rows of one generation. Never changes, holds no lock and no transaction.

    Args:
        head: the commit that it stands at.
        segments: in the order of their rows, which they cover without a gap.
        alive: [rows ever given] bool.
        table: finds rows by id; shared with other generations.
        spaces: D of each column of vectors.
    """

    head: Head
    segments: tuple[Segment, ...]
    alive: npt.NDArray[np.bool_]
    table: IdTable
    spaces: dict[str, int]

    @property
    def generation(self) -> int:
        """The number of commits that it has seen."""
        return self.head.generation

    @cached_property
    def live_rows(self) -> IntArray:
        """[N] int64, ascending."""
        return np.flatnonzero(self.alive)

    @cached_property
    def _first_rows(self) -> IntArray:
        return np.array([segment.record.first_row for segment in self.segments], np.int64)

    # -- searching -------------------------------------------------------------------------------------------------

    def search(self, column: str, query: FloatArray, k: int, rows: IntArray | None = None) -> Candidates:
        """The best k live rows by exact MaxSim with a column of vectors.

        Args:
            column: its name.
            query: [Q, D] float32.
            k: how many at most.
            rows: only these; None for all. Dead ones are left out, repeated ones count once.

        Raises:
            ShapeError: the query's shape or content, or a row that was never given out.
            CorruptionError: a block that the search touches is not what was written.
        """
        query = self._checked(column, query)
        if rows is not None:
            rows = np.unique(self._in_range(rows))
            rows = rows[self.alive[rows]]
            parts = [segment.scores(column, query, local) for segment, _, local in self._by_segment(rows)]
        else:
            rows = self.live_rows
            parts = [segment.scores(column, query, local) for segment, local in self._whole()]
        return best(rows, np.concatenate(parts) if parts else np.zeros(0, np.float32), k, self.ids)

    def _checked(self, column: str, query: FloatArray) -> FloatArray:
        """A collection without segments never reaches the kernel, which checks queries."""
        dim = self.spaces[column]
        if query.ndim != 2 or query.shape[1] != dim or not len(query):
            raise ShapeError(f"query: got shape {query.shape}, expected [Q, {dim}] with Q of at least 1")
        if not bool(np.isfinite(query).all()):
            raise ShapeError("query holds NaN or infinity; check the encoder that made it")
        return np.ascontiguousarray(query, np.float32)

    def _in_range(self, rows: IntArray) -> IntArray:
        rows = np.asarray(rows, np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self.alive)):
            raise ShapeError(
                f"rows: got {rows.min()} to {rows.max()}, this generation has rows 0 to {len(self.alive) - 1}"
            )
        return rows

    def _whole(self) -> Iterator[tuple[Segment, IntArray | None]]:
        """Every segment with its live local rows, None for all of them."""
        for segment in self.segments:
            first = segment.record.first_row
            alive = self.alive[first : first + len(segment)]
            yield segment, None if alive.all() else np.flatnonzero(alive)

    def _by_segment(self, rows: IntArray) -> Iterator[tuple[Segment, IntArray, IntArray]]:
        """The segments of these rows, each with positions in `rows` and local rows."""
        owner = np.searchsorted(self._first_rows, rows, "right") - 1
        order = np.argsort(owner, kind="stable")
        cuts = np.flatnonzero(np.diff(owner[order])) + 1
        for positions in np.split(order, cuts) if len(order) else []:
            segment = self.segments[owner[positions[0]]]
            yield segment, positions, rows[positions] - segment.record.first_row

    # -- looking up ------------------------------------------------------------------------------------------------

    def vectors(self, column: str, rows: IntArray) -> MultiVectors:
        """The stored vectors of these rows, in this order, as they are stored (int8 with scales, or floats)."""
        rows = self._in_range(rows)
        tokens: dict[int, npt.NDArray[Any]] = {}
        scales: dict[int, FloatArray] = {}
        for segment, positions, local in self._by_segment(rows):
            found, found_scales = segment.vectors(column, local)
            tokens.update(zip(positions.tolist(), found, strict=True))
            scales.update(zip(positions.tolist(), found_scales, strict=bool(found_scales)))
        if not tokens:
            return MultiVectors.of([], self.spaces[column])
        parts = [tokens[i] for i in range(len(rows))]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        joined_scales = np.concatenate([scales[i] for i in range(len(rows))]) if scales else None
        return MultiVectors(np.concatenate(parts), offsets, joined_scales)

    def strings(self, column: str, rows: IntArray) -> list[str]:
        """A column of strings for these rows, in this order."""
        rows = self._in_range(rows)
        owner = np.searchsorted(self._first_rows, rows, "right") - 1
        local = rows - self._first_rows[owner] if len(rows) else rows
        columns = {i: self.segments[i].strings(column) for i in np.unique(owner).tolist()}
        return [columns[i][j] for i, j in zip(owner.tolist(), local.tolist(), strict=True)]

    def ids(self, rows: IntArray) -> list[str]:
        """The ids of these rows, in this order."""
        return self.strings("ids", rows)

    def find(self, ids: Sequence[str]) -> IntArray:
        """[n] int64, the live row of each id, -1 for one that isn't there."""
        found = np.full(len(ids), -1, np.int64)
        positions, rows = self.table.candidates(ids, self.segments)
        known = rows < len(self.alive)
        known[known] = self.alive[rows[known]]
        positions, rows = positions[known], rows[known]
        for position, row, name in zip(positions.tolist(), rows.tolist(), self.ids(rows), strict=True):
            if name == ids[position]:
                found[position] = row
        return found

    def rows(self, ids: Sequence[str]) -> IntArray:
        """The live rows of these ids.

        Raises:
            InputError: naming the first id that isn't there.
        """
        found = self.find(ids)
        for missing in np.flatnonzero(found < 0)[:1]:
            raise InputError(f"no passage '{ids[missing]}' in this collection (generation {self.generation})")
        return found
