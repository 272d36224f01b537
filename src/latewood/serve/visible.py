"""Which passages a request may see: conditions on metadata, and a snapshot that shows what meets them alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import InputError, UsageError
from latewood.protocols import Snapshot
from latewood.stores.embedded import EmbeddedSnapshot
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors, Passage

__all__ = ["Allowed", "VisibleSnapshot", "check_where", "meets"]

_AT_ONCE = 4096
_KEPT = 64
"""Different conditions whose rows are remembered per collection."""
_ORDER = ("gt", "gte", "lt", "lte")


def check_where(where: Any) -> Mapping[str, Any]:
    """Conditions on metadata, if that is what it is.

    `{"lang": "en", "year": {"gte": 2024}, "tags": {"in": ["a", "b"]}}`: all must hold. A field that holds an array
    meets a condition if one of its members does; a field that isn't there meets none.

    Raises:
        UsageError: anything else.
    """
    if not isinstance(where, Mapping) or not where:
        raise UsageError(
            f'where: got {where!r:.80}, expected conditions such as {{"lang": "en", "year": {{"gte": 2024}}}}'
        )
    for name, condition in where.items():
        if isinstance(condition, Mapping):
            for operator, value in condition.items():
                if operator == "in":
                    right = isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_plain, value))
                elif operator in _ORDER:
                    right = _is_plain(value) and not isinstance(value, bool)
                else:
                    right = False
                if not right:
                    raise UsageError(
                        f"where: {name!r:.40}: can't use {operator!r:.20}: expected in, gt, gte, lt or lte"
                    )
            if condition:
                continue
        elif _is_plain(condition):
            continue
        raise UsageError(
            f"where: {name!r:.40}: got {condition!r:.40}, expected a text, a number, true, false or an operator"
        )
    return where


def meets(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a passage's metadata meets all conditions."""
    return all(_holds(metadata.get(name), condition) for name, condition in where.items())


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def _holds(value: Any, condition: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    if not isinstance(condition, Mapping):
        return any(_same(each, condition) for each in values)
    return any(all(_compares(each, operator, other) for operator, other in condition.items()) for each in values)


def _same(value: Any, other: Any) -> bool:
    # In JSON true is not 1.
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _compares(value: Any, operator: str, other: Any) -> bool:
    if operator == "in":
        return any(_same(value, each) for each in other)
    comparable = isinstance(value, str) if isinstance(other, str) else isinstance(value, int | float)
    if not comparable or isinstance(value, bool):
        return False
    return bool({"gt": value > other, "gte": value >= other, "lt": value < other, "lte": value <= other}[operator])


@dataclass(slots=True)
class Allowed:
    """Rows of one collection that meet conditions. A row's metadata never changes, so it is read once per condition."""

    _rows: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def rows(self, snapshot: EmbeddedSnapshot, wheres: Sequence[Mapping[str, Any]]) -> IntArray:
        """[n] int64, the live rows of this generation that meet all of these conditions, rising."""
        live = snapshot.live_rows
        kept = np.ones(len(live), bool)
        for where in wheres:
            kept &= self._meeting(snapshot, where, live)
        return live[kept]

    def _meeting(self, snapshot: EmbeddedSnapshot, where: Mapping[str, Any], live: IntArray) -> npt.NDArray[np.bool_]:
        name = json.dumps(where, sort_keys=True)
        end = int(live[-1]) + 1 if len(live) else 0
        with self._mutex:
            known = self._rows.pop(name, np.zeros(0, bool))
        if len(known) < end:
            new = live[live >= len(known)]
            known = np.concatenate([known, np.zeros(end - len(known), bool)])
            for start in range(0, len(new), _AT_ONCE):
                some = new[start : start + _AT_ONCE]
                known[some] = [meets(passage.metadata, where) for passage in snapshot.passages(some)]
        with self._mutex:
            if len(self._rows.get(name, ())) <= len(known):
                self._rows[name] = known
            while len(self._rows) > _KEPT:
                del self._rows[next(iter(self._rows))]
        found: npt.NDArray[np.bool_] = known[live]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class VisibleSnapshot:
    """A snapshot of which only some rows are there: a `Snapshot`.

    Args:
        whole: all of it.
        allowed: [n] int64, rising.
    """

    whole: Snapshot
    allowed: IntArray

    @property
    def generation(self) -> int:
        """The number of commits that it has seen."""
        return self.whole.generation

    @property
    def live_rows(self) -> IntArray:
        """[n] int64, the rows that are there, rising."""
        return self.allowed

    def __len__(self) -> int:
        """The number of passages."""
        return len(self.allowed)

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
        depth = max(k, 1)
        while True:
            found = self.whole.bm25(text, depth)
            kept = np.isin(found.rows, self.allowed)
            if int(kept.sum()) >= k or len(found) < depth:
                return Candidates(found.rows[kept][:k], found.scores[kept][:k], found.exact, found.unscored)
            depth *= 8

    def vectors(self, rows: IntArray) -> MultiVectors:
        """The stored token vectors of these passages, in this order."""
        return self.whole.vectors(rows)

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
        for name in ids:
            try:
                row = self.whole.rows([name])
            except InputError:
                row = np.zeros(0, np.int64)
            if not len(row) or not np.isin(row, self.allowed)[0]:
                raise InputError(f"no passage '{name}' in this collection (generation {self.generation})")
        return self.whole.rows(ids)

    def _only(self, rows: IntArray | None) -> IntArray:
        return self.allowed if rows is None else rows[np.isin(rows, self.allowed)]
