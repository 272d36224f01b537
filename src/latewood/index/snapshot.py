"""One generation of an index: which rows live, and the searches over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood import _kernel, maxsim
from latewood.errors import InputError, ShapeError
from latewood.index.catalogue import Head
from latewood.index.depths import TUNED_K
from latewood.index.format import BLOCK_BYTES
from latewood.index.ids import IdTable
from latewood.index.levels import SHORT_LIST, SHORT_LIST_OF_BITS, Space, floats_of, signs_of
from latewood.index.ranking import best
from latewood.index.segment import Segment
from latewood.types import BitVectors, Candidates, FloatArray, IntArray, MultiVectors

__all__ = ["IndexSnapshot", "Space"]

_SPELLED = 256
"""Documents whose bits are spelled out as bytes together: about 40 MB of them."""


_LARGE, _HELD, _LEAST_HELD = 256 << 20, 1 / 32, 48 << 20
"""Bytes of a column from which on not all of it stays mapped, and the share, or bytes, that do."""
_SMALL = 1 << 20
"""Bytes of a file's column that stay mapped in any case: to let go of fifty small ones took longer than the search."""
_AROUND = 64 << 10
"""Bytes that the system maps with those that are read."""


@dataclass(frozen=True, eq=False)
class IndexSnapshot:
    """The rows of one generation. Never changes, holds no lock and no transaction.

    Args:
        head: the commit that it stands at.
        segments: in the order of their rows, which they cover without a gap.
        alive: [rows ever given] bool.
        table: finds rows by id; shared with other generations.
        spaces: the columns of vectors.
        touched: [rows ever given] bool for each column of vectors: rows whose vectors have been verified.
    """

    head: Head
    segments: tuple[Segment, ...]
    alive: npt.NDArray[np.bool_]
    table: IdTable
    spaces: Mapping[str, Space]
    touched: Mapping[str, npt.NDArray[np.bool_]]

    @property
    def generation(self) -> int:
        """The number of commits that it has seen."""
        return self.head.generation

    @cached_property
    def live_rows(self) -> IntArray:
        """[N] int64, ascending."""
        return np.flatnonzero(self.alive)

    @cached_property
    def dropped(self) -> npt.NDArray[np.bool_]:
        """[rows ever given] bool: dead rows of which compaction has left nothing but the number."""
        mask = np.ones(len(self.alive), bool)
        for segment in self.segments:
            mask[segment.hashes()[1] + segment.record.first_row] = False
        return mask

    def lengths(self, column: str) -> IntArray:
        """[rows ever given] int64, the vectors that each row has in its segment, dead or alive."""
        parts = [np.diff(segment.offsets(column)) for segment in self.segments]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    @cached_property
    def _first_rows(self) -> IntArray:
        return np.array([segment.record.first_row for segment in self.segments], np.int64)

    # -- searching -------------------------------------------------------------------------------------------------

    def search(
        self, column: str, query: FloatArray, k: int, rows: IntArray | None = None, *, exact: bool = True
    ) -> Candidates:
        """The best k live rows by MaxSim with a column of vectors.

        Args:
            column: its name.
            query: [Q, D] float32.
            k: how many at most.
            rows: only these; None for all. Dead ones are left out, repeated ones count once.
            exact: score all of them. Otherwise, where there are signs, alone or beside the vectors, they choose a
                short list, and only that is scored; where there are none, all are scored anyway.

        Raises:
            ShapeError: the query's shape or content, or a row that was never given out.
            CorruptionError: a block that the search touches is not what was written.
        """
        query = self.checked(column, query)
        if not exact and self.coded(column):
            return self._by_signs(column, query, k, self.live_rows if rows is None else self.living(rows))
        if rows is None and self.spaces[column].signs is None:
            rows = self.live_rows
            parts = [self._all_scores(segment, column, query) for segment in self.segments]
            scores = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        else:
            rows = self.live_rows if rows is None else self.living(rows)
            scores = self.scores(column, query, rows)
        return best(rows, scores, k, self.ids)

    def coded(self, column: str) -> str:
        """The column of signs that chooses for a column of vectors, perhaps itself; "" where there is none."""
        if self.spaces[column].signs is not None:
            return column
        return signs_of(column) if signs_of(column) in self.spaces else ""

    def _by_signs(self, column: str, query: FloatArray, k: int, rows: IntArray) -> Candidates:
        """The best k of these living rows among those that their codes put first."""
        short = SHORT_LIST if self.coded(column) != column else SHORT_LIST_OF_BITS
        most = max(short, -(-short * k // TUNED_K))
        whole = len(rows) <= most
        if not whole:
            estimates = self._estimates(column, query, rows)
            rows = np.sort(rows[np.argsort(-estimates, kind="stable")[:most]])
        return best(rows, self.scores(column, query, rows), k, self.ids, exact=whole)

    def _estimates(self, column: str, query: FloatArray, rows: IntArray) -> FloatArray:
        """[n] float32, scores of these rising rows by their codes."""
        name = self.coded(column)
        space = self.spaces[name]
        assert space.signs is not None
        self._touch(name, rows)
        estimates = np.empty(len(rows), np.float32)
        for segment, positions, local in self._by_segment(rows):
            some = None if len(local) == len(segment) else local
            estimates[positions] = space.signs.estimates(query, segment.codes(name, space.dim), some)
        return estimates

    def _all_scores(self, segment: Segment, column: str, query: FloatArray) -> FloatArray:
        segment.touch(column)
        alive = self.alive[segment.record.first_row :][: len(segment)]
        return maxsim.scores(query, segment.vectors(column), None if alive.all() else np.flatnonzero(alive))

    def scores(self, column: str, query: FloatArray, rows: IntArray) -> FloatArray:
        """[n] float32, exact MaxSim of these rows, dead or alive, in this order; -inf for one without vectors.

        Args:
            column: its name.
            query: [Q, D], `checked`.
            rows: [n] int64; neighbours that share a segment are scored together, so ascending ones are fastest.

        Raises:
            CorruptionError: a block that holds one of them is not what was written.
        """
        if not len(rows):
            return np.zeros(0, np.float32)
        self._touch(column, rows)
        signs = self.spaces[column].signs
        if signs is not None:  # spelled out some at a time, as they take eight times the bytes
            cuts = range(0, len(rows), _SPELLED)
            parts = [signs.scores(query, self._codes(column, rows[cut : cut + _SPELLED])) for cut in cuts]
            return np.concatenate(parts)
        owner, local = self._located(rows)
        scores: FloatArray = self._part(column).scores(query, owner, local)
        self._let_go(column, len(rows) * _AROUND + int(self._mean_bytes(column) * len(rows)))
        return scores

    def _mean_bytes(self, column: str) -> float:
        return self._bytes(column) / max(1, len(self.alive))

    def _bytes(self, column: str) -> int:
        if column not in self._sizes:
            self._sizes[column] = sum(segment.file.bytes_of(column) for segment in self.segments)
        return self._sizes[column]

    def _let_go(self, column: str, more: int) -> None:
        """Count bytes of a column that were mapped; beyond a share of a large one, give all of its pages back.

        Else a process that searches long enough holds all vectors, though each search reads few of them.
        """
        total = self._bytes(column)
        if total < _LARGE:
            return
        self._mapped[column] = self._mapped.get(column, 0) + more
        if self._mapped[column] > max(total * _HELD, _LEAST_HELD):
            self._mapped[column] = 0
            for segment in self.segments:
                if segment.file.bytes_of(column) > _SMALL:
                    segment.file.release(column)
                    segment.file.release(f"{column}.scales")

    @cached_property
    def _sizes(self) -> dict[str, int]:
        return {}

    @cached_property
    def _mapped(self) -> dict[str, int]:
        return {}

    def _part(self, column: str) -> _kernel.Parts:
        """The segments' vectors as the kernel takes them, all in one call: sixty calls took 4 ms."""
        if column not in self._parts:
            parts = _kernel.Parts()
            for segment in self.segments:
                vectors = segment.vectors(column)
                parts.add(vectors.tokens, vectors.offsets, vectors.scales)
            self._parts[column] = parts
        return self._parts[column]

    @cached_property
    def _parts(self) -> dict[str, _kernel.Parts]:
        return {}

    def living(self, rows: IntArray) -> IntArray:
        """Those of these rows that are alive, each once, rising.

        Raises:
            ShapeError: a row that was never given out.
        """
        rows = self._in_range(rows)
        if not bool((rows[1:] > rows[:-1]).all()):
            rows = np.unique(rows)
        return rows[self.alive[rows]]

    def _touch(self, column: str, rows: IntArray) -> None:
        """Verify the vectors of these rows; next to nothing for rows that have been."""
        touched = self.touched[column]
        new = rows[~touched[rows]]
        if len(new):
            for segment, _, local in self._by_segment(new):
                segment.touch(column, local)
            touched[new] = True
            self._let_go(column, len(new) * BLOCK_BYTES)

    def checked(self, column: str, query: FloatArray) -> FloatArray:
        """The query as the kernel takes it; without segments it would never reach the kernel, which checks, too."""
        dim = self.spaces[column].dim
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

    def _located(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """The number of each row's segment, and its local row there."""
        owner = np.searchsorted(self._first_rows, rows, "right") - 1
        return owner, rows - self._first_rows[owner] if len(rows) else rows

    def _by_segment(self, rows: IntArray) -> Iterator[tuple[Segment, IntArray, IntArray]]:
        """The segments of these rows, each with positions in `rows` and local rows."""
        owner, local = self._located(rows)
        order = np.argsort(owner, kind="stable")
        cuts = [0, *(np.flatnonzero(np.diff(owner[order])) + 1).tolist(), len(order)]
        for start, stop in itertools.pairwise(cuts):
            if stop > start:
                positions = order[start:stop]
                yield self.segments[owner[positions[0]]], positions, local[positions]

    # -- looking up ------------------------------------------------------------------------------------------------

    def vectors(self, column: str, rows: IntArray) -> MultiVectors:
        """The vectors of these rows, in this order, as they are scored: int8, floats, or what bits stand for.

        Args:
            column: its name.
            rows: [n] int64.
        """
        rows, space = self._in_range(rows), self.spaces[column]
        if not len(rows):
            return space.empty()
        self._touch(column, rows)
        if space.signs is not None:
            return space.signs.decode(self._codes(column, rows))
        owner, local = self._located(rows)
        columns = {i: self.segments[i].vectors(column) for i in np.unique(owner).tolist()}
        tokens, scales = [], []
        for i, j in zip(owner.tolist(), local.tolist(), strict=True):
            many = columns[i]
            tokens.append(many[j])
            if many.scales is not None:
                scales.append(many.scales[many.offsets[j] : many.offsets[j + 1]])
        return MultiVectors(np.concatenate(tokens), _offsets(tokens), np.concatenate(scales) if scales else None)

    def _codes(self, column: str, rows: IntArray) -> BitVectors:
        """The codes of these rows, which have been touched; at least one."""
        dim = self.spaces[column].dim
        owner, local = self._located(rows)
        columns = {i: self.segments[i].codes(column, dim) for i in np.unique(owner).tolist()}
        parts = [columns[i][j] for i, j in zip(owner.tolist(), local.tolist(), strict=True)]
        return BitVectors(np.concatenate(parts), _offsets(parts), dim)

    def floats(self, column: str, rows: IntArray) -> MultiVectors:
        """The same as floats."""
        return floats_of(self.vectors(column, rows))

    def strings(self, column: str, rows: IntArray) -> list[str]:
        """A column of strings for these rows, in this order."""
        rows = self._in_range(rows)
        owner, local = self._located(rows)
        columns = {i: self.segments[i].strings(column) for i in np.unique(owner).tolist()}
        return [columns[i][j] for i, j in zip(owner.tolist(), local.tolist(), strict=True)]

    def attached(self, column: str, rows: IntArray) -> list[FloatArray | None]:
        """An attached column of floats: [n, D] of each of these rows, None where its segment doesn't have it."""
        rows = self._in_range(rows)
        owner, local = self._located(rows)
        having = {i for i in np.unique(owner).tolist() if column in self.segments[i].file}
        return [
            self.segments[i].vectors(column)[j] if i in having else None
            for i, j in zip(owner.tolist(), local.tolist(), strict=True)
        ]

    def attached_strings(self, column: str, rows: IntArray) -> list[str]:
        """An attached column of strings for these rows; "" where their segment doesn't have it."""
        rows = self._in_range(rows)
        owner, local = self._located(rows)
        columns = {
            i: self.segments[i].strings(column) for i in np.unique(owner).tolist() if column in self.segments[i].file
        }
        return [columns[i][j] if i in columns else "" for i, j in zip(owner.tolist(), local.tolist(), strict=True)]

    def ids(self, rows: IntArray) -> list[str]:
        """The ids of these rows, in this order."""
        return self.strings("ids", rows)

    def find(self, ids: Sequence[str]) -> IntArray:
        """[n] int64, the live row of each id, -1 for one that isn't there."""
        found = np.full(len(ids), -1, np.int64)
        positions, rows = self.table.candidates(ids, self.segments)
        given = rows < len(self.alive)  # by this generation
        positions, rows = positions[given], rows[given]
        alive = self.alive[rows]
        positions, rows = positions[alive], rows[alive]
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
        if (found < 0).any():
            missing = ids[int(np.argmin(found))]
            raise InputError(f"no passage '{missing}' in this collection (generation {self.generation})")
        return found


def _offsets(parts: Sequence[npt.NDArray[Any]]) -> IntArray:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
