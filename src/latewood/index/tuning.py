"""The depths of an index from queries: what their exact top ten are, and how deep each step must go for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from latewood.index.certify import BEYOND
from latewood.index.depths import TUNED_K, Depths, Ranked, Steps, overlap, tune
from latewood.index.late import LateIndex
from latewood.index.late_manifest import Manifest
from latewood.index.snapshot import IndexSnapshot
from latewood.types import FloatArray

__all__ = ["tuned"]

T = TypeVar("T")
_CHECKED = 24
"""Queries whose exact top ten is taken by exhaustive scoring, to see whether the deep cascade finds it."""
_REFINED, _FULL = (1024, 1 / 16), (512, 1 / 64)
"""How deep that goes: documents at least, and as a share of all. Every document takes part in centroid interaction."""
_DEEPER = 4


def tuned(
    late: LateIndex,
    snapshot: IndexSnapshot,
    column: str,
    queries: Sequence[FloatArray],
    target: float,
    *,
    kind: str,
    threads: int = 1,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Manifest:
    """The index's manifest with depths that keep `target` of the exact top ten on these queries.

    Args:
        late: the index.
        snapshot: of the generation that it was built at.
        column: the token vectors.
        queries: n of them, [Q, D] float32.
        target: mean overlap@10, below 1.
        kind: "given" or "pseudo", kept.
        threads: most threads to use. The result doesn't depend on it.
        tell: called with queries that are done, and those in all and one more for the choice of the depths.
    """
    checked = [snapshot.checked(column, query) for query in queries]
    total = len(checked) + 1
    exact = _exact(late, snapshot, column, checked, threads, lambda done: tell(done, total))
    each = partial(_each, threads=threads, tell=lambda done: tell(total - 1, total))
    depths = tune(_steps(late), checked, exact, target, each)
    return replace(late.manifest, depths=depths, target=target, queries=kind, tuned_on=len(checked))


def _exact(
    late: LateIndex,
    snapshot: IndexSnapshot,
    column: str,
    queries: Sequence[FloatArray],
    threads: int,
    tell: Callable[[int], None],
) -> list[Ranked]:
    """For each query the best ten documents, some beyond them, and their exact scores.

    Some queries are scored exhaustively. The others by the cascade, so deep that it misses none of the top ten of
    those; where it does, deeper, until it is exhaustive, too.
    """

    def exhaustive(query: FloatArray) -> Ranked:
        found = snapshot.search(column, query, TUNED_K + BEYOND)
        return found.rows, found.scores

    documents = late.manifest.passages
    first = _each(exhaustive, queries[:_CHECKED], threads, tell)
    refined, full = (max(least, int(share * documents)) for least, share in (_REFINED, _FULL))
    while len(first) < len(queries) and refined < documents:
        depths = Depths(0, documents, refined, full)

        def deep(query: FloatArray, depths: Depths = depths) -> Ranked:
            rows = np.sort(late.ranked(query, depths)[0])
            scores = snapshot.scores(column, query, rows)
            order = np.lexsort((rows, -scores))[: TUNED_K + BEYOND]
            return rows[order], scores[order]

        again = _each(deep, queries[:_CHECKED], threads, lambda done: tell(len(first)))
        if all(overlap(rows, *best) == 1 for (rows, _), best in zip(again, first, strict=True)):
            return first + _each(deep, queries[_CHECKED:], threads, lambda done: tell(len(first) + done))
        refined, full = refined * _DEEPER, full * _DEEPER
    return first + _each(exhaustive, queries[_CHECKED:], threads, lambda done: tell(len(first) + done))


def _each(
    work: Callable[[FloatArray], T], queries: Sequence[FloatArray], threads: int, tell: Callable[[int], None]
) -> list[T]:
    """What `work` gives for each query, in order. `tell` is called on this thread; with a single one, between two."""
    found = []
    with ThreadPoolExecutor(threads) as pool:
        for done, one in enumerate(map(work, queries) if threads == 1 else pool.map(work, queries), 1):
            found.append(one)
            tell(done)
    return found


def _steps(late: LateIndex) -> Steps:
    documents = late.manifest.passages  # dead rows have no lists: an index of what is left is tuned alike
    return Steps(lambda query, depths, last: late.ranked(query, depths, last)[:2], documents, *late.shape)
