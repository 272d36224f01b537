"""Scores to candidates in the public order: score descending, then id ascending, exactly, also at the cut."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from latewood.errors import UsageError
from latewood.types import Candidates, FloatArray, IntArray

__all__ = ["best"]


def best(
    rows: IntArray, scores: FloatArray, k: int, ids: Callable[[IntArray], list[str]], *, exact: bool = True
) -> Candidates:
    """The best k rows.

    Args:
        rows: [N] int64, each once.
        scores: [N] float32; -inf marks a row that couldn't be scored, which is counted and left out.
        k: how many at most.
        ids: the ids of rows; asked only for rows that share their score with another.
        exact: carried into the result.

    Raises:
        UsageError: k < 1.
    """
    if k < 1:
        raise UsageError(f"k: got {k}, expected at least 1")
    scored = scores > -np.inf
    unscored = len(scores) - int(np.count_nonzero(scored))
    if unscored:
        rows, scores = rows[scored], scores[scored]
    if k < len(scores):
        # Everything that ties with the k-th stays in, until ids have decided.
        reach = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[reach], scores[reach]
    order = np.argsort(-scores, kind="stable")
    rows, scores = rows[order], scores[order]
    rows = _settle_ties(rows, scores, ids)
    return Candidates(rows[:k], scores[:k], exact, unscored)


def _settle_ties(rows: IntArray, scores: FloatArray, ids: Callable[[IntArray], list[str]]) -> IntArray:
    same = scores[1:] == scores[:-1]
    if not same.any():
        return rows
    tied = np.flatnonzero(np.concatenate([[False], same]) | np.concatenate([same, [False]]))
    names = ids(rows[tied])
    by_id = sorted(range(len(tied)), key=lambda i: (-scores[tied[i]], names[i]))
    settled: IntArray = rows.copy()
    settled[tied] = rows[tied[by_id]]
    return settled
