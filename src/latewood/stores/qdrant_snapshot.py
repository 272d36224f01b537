"""A Qdrant collection as a `Snapshot`: searches become queries, rows are numbers that points get as they are met.

Qdrant keeps no generations: what others write while a pipeline runs, its later stages see.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from latewood.errors import InputError, PipelineError, ShapeError, UsageError
from latewood.pipeline import Pipeline, Stage, Step
from latewood.protocols import Compiled
from latewood.stores.qdrant_filters import Clause, HasVector, clauses_of
from latewood.stores.qdrant_layout import Layout
from latewood.stores.qdrant_points import Found, Point, PointId, Points, Search
from latewood.types import Candidates, EncodedQuery, FloatArray, IntArray, MultiVectors, Passage

__all__ = ["QdrantSnapshot", "Rows"]

_AT_ONCE = 256
_SCROLL = 1000
_POOL = 100
"""Points at least that means of token vectors hand on."""


class Rows:
    """Row number ↔ point, passage id and source id. Numbers are given as points are met, and never change."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._mutex = threading.Lock()
        self._of: dict[PointId, int] = {}
        self._points: list[tuple[PointId, str, str]] = []

    def meet(self, points: Sequence[Point]) -> IntArray:
        """[n] int64, the rows of points that were read with the layout's keys."""
        rows = np.empty(len(points), np.int64)
        with self._mutex:
            for i, point in enumerate(points):
                row = self._of.get(point.id)
                if row is None:
                    row = self._of[point.id] = len(self._points)
                    self._points.append((point.id, *self._layout.names(point)))
                rows[i] = row
        return rows

    def known(self, point: PointId) -> int | None:
        """The row of a point that was met."""
        return self._of.get(point)

    def points(self, rows: IntArray) -> list[PointId]:
        """The points of these rows."""
        return [self._points[row][0] for row in rows.tolist()]

    def ids(self, rows: IntArray) -> list[str]:
        """Their passage ids."""
        return [self._points[row][1] for row in rows.tolist()]

    def source_ids(self, rows: IntArray) -> list[str]:
        """Their documents."""
        return [self._points[row][2] for row in rows.tolist()]


@dataclass(slots=True, eq=False)
class QdrantSnapshot:
    """A collection of Qdrant as it is when it is asked: a `Snapshot`.

    Args:
        points: the collection.
        layout: where things are in its points.
        found: what the collection is.
        table: rows of points.
        generation: commits that this process has made.
        exact: search without an approximate index, by the original vectors.
        where: what is visible; () for all.
    """

    points: Points
    layout: Layout
    found: Found
    table: Rows
    generation: int = 0
    exact: bool = False
    where: tuple[Clause, ...] = ()
    _live: IntArray | None = field(default=None, init=False)
    _unscored: int | None = field(default=None, init=False)

    def restricted(self, where: Mapping[str, Any]) -> QdrantSnapshot:
        """The same, in which only what meets these conditions on metadata is there.

        Raises:
            UsageError: a condition that Qdrant can't check.
        """
        return replace(self, where=(*self.where, *clauses_of(where, self.layout.within)))

    # -- searching -------------------------------------------------------------------------------------------------

    def dense(self, vector: FloatArray, k: int, rows: IntArray | None = None) -> Candidates:
        """Best k passages by the first stage's vector.

        Raises:
            ShapeError: another shape than [D].
            PipelineError: the collection has no such vector.
        """
        return self._search(self._dense_search(vector, k), k, rows)

    def bm25(self, text: str, k: int) -> Candidates:
        """Refused.

        Raises:
            PipelineError: always.
        """
        raise PipelineError(f"bm25: {self.no_bm25}")

    @property
    def no_bm25(self) -> str:
        """Why BM25 can't run here."""
        if self.found.sparse:
            return (
                f"the collection has a sparse vector, {self.found.sparse[0]!r}, but nothing here knows which words its "
                f"numbers stand for: search it yourself, and hand the ids to lw.wrap"
            )
        return "the collection has no sparse vector: use dense, or a collection in a folder, which has BM25"

    def late(
        self,
        tokens: FloatArray,
        k: int,
        rows: IntArray | None = None,
        *,
        exact: bool = False,
        depths: Mapping[str, int] | None = None,
    ) -> Candidates:
        """Best k passages by MaxSim with `tokens` [Q, D]: every point is scored, or every one of `rows`.

        Raises:
            ShapeError: another shape.
            PipelineError: the collection has no token vectors.
            UsageError: depths, which are of latewood's own index.
        """
        if depths:
            raise UsageError(
                f"late({', '.join(depths)}=…): depths are of latewood's own index, and Qdrant scores them all"
            )
        search = self._late_search(tokens, k)
        if rows is None and not (exact or self.exact) and self.layout.pooled is not None:
            found = self._run(self._pooled_first(search), exact=False)
            return Candidates(found.rows, found.scores, exact=False, unscored=self._without(search.using))
        return self._search(search, k, rows, exact=exact)

    def _pooled_first(self, search: Search) -> list[Search]:
        """A search by token vectors of everything: their means first, and what these find by all of them."""
        assert self.layout.pooled is not None
        return [replace(search, using=self.layout.pooled, limit=max(_POOL, 10 * search.limit)), search]

    def _dense_search(self, vector: FloatArray, k: int) -> Search:
        if self.layout.dense is None:
            raise PipelineError(f"dense: {self.lacks('dense')}")
        shape = self.found.vectors[self.layout.dense]
        if vector.shape != (shape.size,):
            raise ShapeError(
                f"dense query: got shape {vector.shape}, and {self._called(self.layout.dense)} holds D {shape.size}: "
                f"name the model that made it"
            )
        return Search(self.layout.dense, vector[None, :] if shape.multi else vector, k)

    def _late_search(self, tokens: FloatArray, k: int) -> Search:
        if self.layout.late is None:
            raise PipelineError(f"late: {self.lacks('late')}")
        size = self.found.vectors[self.layout.late].size
        if tokens.ndim != 2 or tokens.shape[1] != size or not len(tokens):
            raise ShapeError(
                f"late query: got shape {tokens.shape}, and {self._called(self.layout.late)} holds D {size}: "
                f"name the model that made it"
            )
        return Search(self.layout.late, tokens, k)

    def _called(self, name: str) -> str:
        return f"vector {name!r}" if name else "the collection's vector"

    def lacks(self, stage: str) -> str:
        """Why a stage has no vectors here."""
        if stage == "dense":
            return "the collection has no single vectors: use late"
        return (
            "the collection has no multivector: keep token vectors beside it (latewood sidecar), make one with "
            "both (latewood migrate), or encode the pool's texts, dense:50 >> late(encode=true)"
        )

    def _search(self, search: Search, k: int, rows: IntArray | None, *, exact: bool = False) -> Candidates:
        exact = exact or self.exact
        if rows is not None and not len(rows):
            return Candidates(rows, np.zeros(0, np.float32))
        if rows is None:
            found = self._run([search], exact=exact)
            unscored = self._without(search.using)
        else:
            # All of them, so that those without a vector can be counted; only ids and scores come back.
            found = self._run([replace(search, limit=len(rows))], exact=exact, only=self.table.points(rows))
            unscored = len(rows) - len(found)
        approximate = search.using != self.layout.late and not self.found.exact and not exact and rows is None
        return Candidates(found.rows[:k], found.scores[:k], not approximate, unscored)

    def _run(self, searches: Sequence[Search], *, exact: bool, only: Sequence[PointId] | None = None) -> Candidates:
        found = self.points.query(searches, payload=self.layout.keys, only=only, where=self.where, exact=exact)
        rows = self.table.meet([point for point, _ in found])
        scores = np.array([score for _, score in found], np.float32)
        if self.found.vectors[searches[-1].using].distance in ("euclid", "manhattan"):
            scores = -scores  # distances: less is nearer, and here higher is better
        ids = self.table.ids(rows)
        order = sorted(range(len(ids)), key=lambda i: (-scores[i], ids[i]))
        return Candidates(rows[order], scores[order])

    def _without(self, name: str) -> int:
        if self._unscored is None:
            self._unscored = self.points.count(self.where) - self.points.count((*self.where, HasVector(name)))
        return self._unscored

    # -- several steps as one query --------------------------------------------------------------------------------

    def compile(self, pipeline: Pipeline) -> Compiled:
        """The leading steps that are one query to Qdrant, and why it takes no more."""
        steps = 0
        for step in pipeline.steps:
            reason = self._refusal(step)
            if reason:
                return Compiled(steps, f"{step}: {reason}")
            steps += 1
        return Compiled(steps)

    def _refusal(self, step: Step) -> str:
        refused = next((reason for reason in map(self.refusal, step.stages) if reason), "")
        if not refused and step.is_fusion:
            return "Qdrant's fusion gives other scores than 1 / (60 + rank), so fusing is done here"
        return refused

    def refusal(self, stage: Stage) -> str:
        """Why Qdrant can't run a stage; "" where it can."""
        if stage.name == "bm25":
            return self.no_bm25
        if stage.name not in ("dense", "late"):
            return "Qdrant doesn't know this stage"
        if stage.name == "late" and stage.option("encode"):
            return "texts are encoded here"
        if any(name not in ("encode", "exact") for name, _ in stage.options):
            return "depths are of latewood's own index"
        if getattr(self.layout, stage.name) is None:
            return self.lacks(stage.name)
        return ""

    def run_compiled(self, steps: Sequence[Step], depths: Sequence[int], query: EncodedQuery) -> Candidates:
        """Run steps that `compile` took as one query.

        Args:
            steps: one or more.
            depths: candidates that leave each.
            query: with the vectors that they need.
        """
        searches = []
        for step, k in zip(steps, depths, strict=True):
            if step.stages[0].name == "dense":
                if query.dense is None:
                    raise PipelineError("dense needs a single vector per query, and this encoder gives none")
                searches.append(self._dense_search(query.dense, k))
            else:
                searches.append(self._late_search(query.tokens, k))
        exact = self.exact or any(stage.option("exact") for step in steps for stage in step.stages)
        means = self.layout.pooled is not None and steps[0].stages[0].name == "late" and not exact
        if means:
            searches[:1] = self._pooled_first(searches[0])
        found = self._run(searches, exact=exact)
        chosen = not exact and not self.found.exact and any(search.using != self.layout.late for search in searches)
        approximate = means or chosen
        return Candidates(found.rows, found.scores, not approximate)

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def live_rows(self) -> IntArray:
        """[N] int64, the rows of all points, rising. Reads all ids, once."""
        if self._live is None:
            parts = [self.table.meet(some) for some in self._scroll(list(self.layout.keys), ())]
            self._live = np.sort(np.concatenate([np.zeros(0, np.int64), *parts]))
        return self._live

    def __len__(self) -> int:
        """The number of points."""
        return self.points.count(self.where)

    def _scroll(self, payload: Sequence[str] | bool, vectors: Sequence[str]) -> Iterator[list[Point]]:
        return self.points.scroll(payload, vectors, _SCROLL, self.where)

    def vectors(self, rows: IntArray) -> MultiVectors:
        """The token vectors of these points, in this order: float32."""
        return self.stored(rows)[0]

    def stored(self, rows: IntArray) -> tuple[MultiVectors, MultiVectors]:
        """The token vectors and the single vectors of these points; D 0 for what there isn't."""
        names = [name for name in (self.layout.late, self.layout.dense) if name is not None]
        points = self._retrieve(rows, False, names)
        many = []
        for name in (self.layout.late, self.layout.dense):
            if name is None:
                many.append(MultiVectors.none(len(rows)))
                continue
            size = self.found.vectors[name].size
            empty = np.zeros((0, size), np.float32)
            arrays = [np.atleast_2d(point.vectors.get(name, empty)) for point in points]
            many.append(MultiVectors.of(arrays, size))
        return many[0], many[1]

    def passages(self, rows: IntArray) -> list[Passage]:
        """Their texts and metadata, in this order."""
        return [self.layout.passage(point) for point in self._retrieve(rows, True, ())]

    def _retrieve(self, rows: IntArray, payload: Sequence[str] | bool, vectors: Sequence[str]) -> list[Point]:
        found: dict[PointId, Point] = {}
        wanted = self.table.points(rows)
        for start in range(0, len(wanted), _AT_ONCE):
            some = self.points.retrieve(wanted[start : start + _AT_ONCE], payload, vectors)
            found |= {point.id: point for point in some}
        gone = [point for point in wanted if point not in found]
        if gone:
            raise InputError(f"point {gone[0]!r} is no longer in the collection: somebody deleted it meanwhile")
        return [found[point] for point in wanted]

    def ids(self, rows: IntArray) -> list[str]:
        """Their ids, in this order."""
        return self.table.ids(rows)

    def source_ids(self, rows: IntArray) -> list[str]:
        """The ids of their source documents, in this order."""
        return self.table.source_ids(rows)

    def rows(self, ids: Sequence[str]) -> IntArray:
        """[n] int64, the rows of these ids.

        Raises:
            InputError: naming the first id that isn't there.
        """
        points = [self.layout.point_id(name) for name in ids]
        unknown = list(dict.fromkeys(point for point in points if self.table.known(point) is None))
        for start in range(0, len(unknown), _AT_ONCE):
            self.table.meet(self.points.retrieve(unknown[start : start + _AT_ONCE], list(self.layout.keys), ()))
        rows = [self.table.known(point) for point in points]
        if None in rows:
            raise InputError(f"no passage {ids[rows.index(None)]!r} in this collection")
        return np.array(rows, np.int64)
