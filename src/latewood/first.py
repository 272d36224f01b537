"""Somebody's own retriever as the first stage of a pipeline: what it returns, and texts of no collection."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

import numpy as np

from latewood.errors import InputError, PipelineError, UsageError
from latewood.pipeline import Stage
from latewood.protocols import Snapshot
from latewood.types import Candidates, FloatArray, IntArray, MultiVectors, Passage

__all__ = ["TextsSnapshot", "by_vector", "candidates", "found_texts"]


def by_vector(call: object) -> Callable[[FloatArray, int], Sequence[tuple[str, float]]] | None:
    """How a first stage takes a question's vector [D] and k, where one model made its vectors and the collection's.

    None for one that takes the question's text.
    """
    found: Callable[[FloatArray, int], Sequence[tuple[str, float]]] | None = getattr(call, "by_vector", None)
    return found if getattr(call, "same_model", False) else None


@dataclass(frozen=True, slots=True)
class _One:
    id: str
    score: float | None = None
    text: str | None = None


def candidates(stage: Stage, found: Iterable[Any], snapshot: Snapshot, k: int) -> Candidates:
    """What a first stage returned, as rows of a collection.

    Args:
        stage: for messages, and for what becomes of ids that the collection lacks: `missing`.
        found: ids, or pairs of id and score, or passages; best first. More than k are cut off.
        snapshot: of the collection.
        k: how many were asked for.

    Returns:
        In the order of their scores, or as they came where they have none. Not `exact`: nobody knows how they were
        chosen. What was left out is counted as `unscored`.

    Raises:
        UsageError: something else was returned.
        InputError: an id comes twice, or the collection doesn't have it.
    """
    ones = _checked(stage, [_one(each, texts=False) for each in islice(found, k)])
    rows, missing = _rows(stage, [one.id for one in ones], snapshot)
    kept = [one for one, row in zip(ones, rows, strict=True) if row is not None]
    there = np.array([row for row in rows if row is not None], np.int64)
    order, scores = _order(kept)
    return Candidates(there[order], scores[order], exact=False, unscored=missing)


def found_texts(stage: Stage, found: Iterable[Any], k: int) -> tuple[TextsSnapshot, Candidates]:
    """What a first stage returned, as passages by themselves.

    Args:
        stage: for messages.
        found: texts, pairs of text and score, pairs of id and text, or passages; best first.
        k: how many were asked for.

    Raises:
        UsageError: something else was returned.
        InputError: one comes twice.
    """
    ones, passages = [], []
    for each in islice(found, k):
        if isinstance(each, Passage):
            passages.append(each)
            ones.append(_One(each.id))
        else:
            one = _one(each, texts=True)
            ones.append(one)
            passages.append(Passage(one.id, one.text or ""))
    _checked(stage, ones)
    order, scores = _order(ones)
    return TextsSnapshot(tuple(passages)), Candidates(order, scores[order], exact=False)


def _one(each: Any, *, texts: bool) -> _One:
    if isinstance(each, Passage):
        return _One(each.id)
    first, second = each if isinstance(each, tuple) and len(each) == 2 else (each, None)
    if isinstance(first, int) and not isinstance(first, bool) and not texts:
        first = str(first)  # Qdrant's ids are numbers
    if isinstance(first, str):
        if isinstance(second, str) and texts:
            return _One(first, text=second)
        if second is None or (isinstance(second, int | float | np.number) and math.isfinite(second)):
            score = None if second is None else float(second)
            return _One(_name(first), score, first) if texts else _One(first, score)
    wanted = "texts, (text, score), (id, text) or passages" if texts else "ids, (id, score) or passages"
    raise UsageError(f"the first stage returned {each!r:.80}; expected {wanted}, best first")


def _name(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _checked(stage: Stage, ones: list[_One]) -> list[_One]:
    seen: set[str] = set()
    for one in ones:
        if one.id in seen:
            raise InputError(f"'{stage}' returned {one.text or one.id!r:.60} twice; expected each passage once")
        seen.add(one.id)
    if len({one.score is None for one in ones}) > 1:
        raise InputError(f"'{stage}' returned some with a score and some without; expected all, or none")
    return ones


def _order(ones: Sequence[_One]) -> tuple[IntArray, FloatArray]:
    scores = np.array([len(ones) - at if one.score is None else one.score for at, one in enumerate(ones)], np.float32)
    return np.array(sorted(range(len(ones)), key=lambda i: (-scores[i], ones[i].id)), np.int64), scores


def _rows(stage: Stage, ids: list[str], snapshot: Snapshot) -> tuple[list[int | None], int]:
    """Row of each id, None for one that is left out; and how many are."""
    try:
        return snapshot.rows(ids).tolist(), 0
    except InputError as err:
        if stage.option("missing") != "skip":
            raise InputError(
                f"'{stage}' found what the collection doesn't have ({err}): bring the collection up to date "
                f'(latewood sync, for a sidecar), or let it pass with missing="skip"'
            ) from err
    rows = [_row(name, snapshot) for name in ids]
    return rows, rows.count(None)


def _row(name: str, snapshot: Snapshot) -> int | None:
    try:
        return int(snapshot.rows([name])[0])
    except InputError:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class TextsSnapshot:
    """Passages that somebody found, in no collection: a `Snapshot` of texts without vectors."""

    found: tuple[Passage, ...]
    generation: int = field(default=0)

    @property
    def live_rows(self) -> IntArray:
        """[n] int64."""
        return np.arange(len(self.found), dtype=np.int64)

    def _none(self, stage: str) -> NoReturn:
        raise PipelineError(
            f"{stage} needs vectors that are stored, and these are texts: late(encode=true) and cross(…) read them"
        )

    def dense(self, vector: FloatArray, k: int, rows: IntArray | None = None) -> Candidates:
        """Refused: there are no vectors."""
        self._none("dense")

    def bm25(self, text: str, k: int) -> Candidates:
        """Refused: there is no collection."""
        self._none("bm25")

    def late(
        self,
        tokens: FloatArray,
        k: int,
        rows: IntArray | None = None,
        *,
        exact: bool = False,
        depths: Mapping[str, int] | None = None,
    ) -> Candidates:
        """Refused: there are no vectors."""
        self._none("late")

    def vectors(self, rows: IntArray) -> MultiVectors:
        """Refused: there are none."""
        self._none("late")

    def passages(self, rows: IntArray) -> list[Passage]:
        """The passages, in this order."""
        return [self.found[row] for row in rows.tolist()]

    def ids(self, rows: IntArray) -> list[str]:
        """Their ids, in this order."""
        return [self.found[row].id for row in rows.tolist()]

    def source_ids(self, rows: IntArray) -> list[str]:
        """Their documents, in this order."""
        return [self.found[row].source_id for row in rows.tolist()]

    def rows(self, ids: Sequence[str]) -> IntArray:
        """The rows of these ids."""
        places = {passage.id: row for row, passage in enumerate(self.found)}
        missing = [name for name in ids if name not in places]
        if missing:
            raise InputError(f"no passage {missing[0]!r} among what the first stage found")
        return np.array([places[name] for name in ids], np.int64)
