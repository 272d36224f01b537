"""One generation of an embedded collection, and the searches over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from latewood.errors import CorruptionError, PipelineError, ShapeError
from latewood.index import IndexSnapshot, LateIndex, Measured, measure
from latewood.stores.bm25 import Bm25
from latewood.stores.conditions import Where
from latewood.stores.metadata import Metadata
from latewood.stores.texts import Texts
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors, Page, Passage

__all__ = ["BOXES", "DENSE", "LAYOUTS", "SOURCE_IDS", "TOKENS", "EmbeddedSnapshot"]

TOKENS = "tokens"
DENSE = "dense"
SOURCE_IDS = "source_ids"
BOXES = "+boxes"
"""The place of each word of a page; in the segments that hold pages."""

LAYOUTS = "+layouts"
"""Of a page "page" and the layout of its image's vectors; of other passages nothing. Their metadata is anybody's."""


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedSnapshot:
    """One committed generation of an embedded store: a `Snapshot`. Usable until its store is closed."""

    _index: IndexSnapshot
    _texts: Texts
    _bm25: Bm25
    _metadata: Metadata
    _late: LateIndex | CorruptionError | None = None  # an error: there is one, and it is damaged

    @property
    def generation(self) -> int:
        """The number of commits that it has seen."""
        return self._index.generation

    def __len__(self) -> int:
        """The number of passages."""
        return len(self._index.live_rows)

    @property
    def live_rows(self) -> IntArray:
        """[N] int64, the rows of all its passages, rising."""
        return self._index.live_rows

    def dense(self, vector: FloatArray, k: int, rows: IntArray | None = None) -> Candidates:
        """Best k passages by inner product with `vector` [D]: an exact scan; a passage's best window counts.

        Raises:
            ShapeError: another shape, NaN or infinity.
            PipelineError: the collection has no single vectors.
        """
        self._require(DENSE)
        if vector.ndim != 1:
            raise ShapeError(f"dense query: got shape {vector.shape}, expected [D]")
        return self._index.search(DENSE, vector[None, :], k, rows)

    def bm25(self, text: str, k: int, rows: IntArray | None = None) -> Candidates:
        """Best k passages by BM25; passages that share no term are not returned.

        Args:
            text: the question.
            k: how many at most.
            rows: [n] int64, rising, only these; None for all. Scores don't depend on them.

        Raises:
            MissingExtra: tantivy isn't installed.
        """
        return self._bm25.search(text, k, self._index, rows)

    def meeting(self, wheres: Sequence[Where]) -> IntArray:
        """[n] int64, the rows that meet all of these conditions on metadata, rising.

        Raises:
            CorruptionError: a row that had to be read is not what was written.
        """
        return self._metadata.meeting(self._index.live_rows, wheres)

    def late(
        self,
        tokens: FloatArray,
        k: int,
        rows: IntArray | None = None,
        *,
        exact: bool = False,
        depths: Mapping[str, int] | None = None,
    ) -> Candidates:
        """Best k passages by MaxSim with `tokens` [Q, D] over the stored vectors.

        Args:
            tokens: the query's vectors.
            k: how many at most.
            rows: only these; None for all.
            exact: score all of them. Otherwise the late-interaction index chooses whom to score, where there is one
                and more than a few are in question; or signs, where they are kept.
            depths: of the index's search, instead of the tuned ones (`latewood.index.Depths`).

        Raises:
            ShapeError: another shape, NaN or infinity.
            UsageError: a depth that there isn't.
            PipelineError: the collection has no token vectors.
            CorruptionError: a vector, or the index, is not what was written.
        """
        self._require(TOKENS)
        late = None if exact else self.late_index
        if late is None:
            return self._index.search(TOKENS, tokens, k, rows, exact=exact)
        return late.search(self._index, TOKENS, tokens, k, rows, late.depths.but(depths) if depths else None)

    @property
    def chooses(self) -> bool:
        """Whether `late` scores a short list only, unless told to be exact."""
        return self._late is not None or (TOKENS in self._index.spaces and bool(self._index.coded(TOKENS)))

    @property
    def late_index(self) -> LateIndex | None:
        """The late-interaction index that it searches, if one was built.

        Raises:
            CorruptionError: it is not what was written. Everything else can be asked for nevertheless.
        """
        if isinstance(self._late, CorruptionError):
            raise self._late
        return self._late

    def measure(self, queries: Sequence[FloatArray]) -> Measured:
        """Search each of these [Q, D] by the index and exhaustively, and compare.

        Raises:
            PipelineError: the collection has no token vectors, or no late-interaction index.
        """
        self._require(TOKENS)
        late = self.late_index
        if late is None and not self.chooses:
            raise PipelineError("no late-interaction index was built, so late is exhaustive: latewood build makes one")
        return measure(late, self._index, TOKENS, queries)

    def vectors(self, rows: IntArray) -> MultiVectors:
        """The stored token vectors of these passages, in this order: int8 with scales, floats, or what bits stand for.

        Raises:
            PipelineError: the collection has no token vectors.
        """
        self._require(TOKENS)
        return self._index.vectors(TOKENS, rows)

    def scores(self, tokens: FloatArray, rows: IntArray) -> FloatArray:
        """MaxSim of `tokens` [Q, D] with each of these passages, where their vectors lie.

        Args:
            tokens: the query's vectors.
            rows: [n] int64, in any order.

        Returns:
            [n] float32, in this order; -inf for a passage without vectors.

        Raises:
            ShapeError: another shape, NaN or infinity.
            PipelineError: the collection has no token vectors.
        """
        self._require(TOKENS)
        order = np.argsort(rows, kind="stable")  # neighbours in a file are scored together
        scores = np.empty(len(rows), np.float32)
        scores[order] = self._index.scores(TOKENS, self._index.checked(TOKENS, tokens), rows[order])
        return scores

    def stored(self, rows: IntArray) -> tuple[MultiVectors, MultiVectors]:
        """The token vectors and the single vectors of these passages, as `vectors`; D 0 for what there isn't."""
        found = [
            self._index.vectors(column, rows) if column in self._index.spaces else MultiVectors.none(len(rows))
            for column in (TOKENS, DENSE)
        ]
        return found[0], found[1]

    def _require(self, column: str) -> None:
        if column not in self._index.spaces:
            kind, others = ("token", "dense, bm25 or cross") if column == TOKENS else ("single", "late or bm25")
            raise PipelineError(f"this collection has no {kind} vectors, its encoder gives none: use {others}")

    def passages(self, rows: IntArray) -> list[Passage]:
        """Their texts and metadata, in this order; pages with the places of their words.

        Raises:
            CorruptionError: a row is not what was written.
        """
        found = self._texts.passages(rows)
        layouts = self._index.attached_strings(LAYOUTS, rows)
        if any(layouts):
            boxes = self._index.attached(BOXES, rows)
            found = [
                _page(passage, layout, own) if layout else passage
                for passage, layout, own in zip(found, layouts, boxes, strict=True)
            ]
        return found

    def ids(self, rows: IntArray) -> list[str]:
        """Their ids, in this order."""
        return self._index.ids(rows)

    def source_ids(self, rows: IntArray) -> list[str]:
        """The ids of their source documents, in this order."""
        return self._index.strings(SOURCE_IDS, rows)

    def find(self, ids: Sequence[str]) -> IntArray:
        """[n] int64, the row of each id, -1 for one that isn't there."""
        return self._index.find(ids)

    def rows(self, ids: Sequence[str]) -> IntArray:
        """[n] int64, the rows of these ids.

        Raises:
            InputError: naming the first id that isn't there.
        """
        return self._index.rows(ids)


def _page(p: Passage, layout: str, boxes: FloatArray | None) -> Page:
    own = np.zeros((0, 4), np.float32) if boxes is None else boxes
    return Page(p.id, p.text, p.source_id, p.title, p.source, p.metadata, own, layout.removeprefix("page").strip())
