"""How much of the exact ranking an index keeps: sampled queries, exhaustive scoring beside the cascade, an interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TypeVar

import numpy as np

from latewood.index.depths import TUNED_K, Depths, Steps, overlap, tune
from latewood.index.late import LateIndex, Manifest
from latewood.index.pseudo import pseudo_runs
from latewood.index.snapshot import IndexSnapshot
from latewood.types import FloatArray, IntArray

__all__ = ["Estimate", "Measured", "exact_best", "measure", "pseudo_queries", "tuned"]

T = TypeVar("T")

_BEYOND = 10  # exact results beyond the tenth, for those that tie with it
_RESAMPLES, _SEED = 2000, 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over queries with its 95 % bootstrap interval (percentiles of 2,000 resamples)."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of one value per query."""
        sample = np.asarray(values, np.float64)
        rng = np.random.default_rng(_SEED)
        means = sample[rng.integers(0, len(sample), (_RESAMPLES, len(sample)))].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        return cls(float(sample.mean()), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Measured:
    """What a sample of queries showed.

    Args:
        overlaps: overlap@10 with exhaustive scoring, one per query.
        index_ms: what a search by the index took, one per query, one thread.
        exhaustive_ms: what an exhaustive one took, one per query, one thread.
    """

    overlaps: tuple[float, ...]
    index_ms: tuple[float, ...]
    exhaustive_ms: tuple[float, ...]


def pseudo_queries(snapshot: IndexSnapshot, column: str, count: int, seed: int) -> list[FloatArray]:
    """Runs of neighbouring token vectors of random live rows, where there are no queries (`pseudo_runs`).

    Args:
        snapshot: what to draw from.
        column: the token vectors.
        count: how many.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(snapshot.live_rows).tolist()
    return pseudo_runs((snapshot.floats(column, np.array([row], np.int64)).tokens for row in rows), count, rng)


def exact_best(
    snapshot: IndexSnapshot,
    column: str,
    queries: Sequence[FloatArray],
    k: int = TUNED_K,
    threads: int = 1,
    tell: Callable[[int], None] = lambda done: None,
) -> list[tuple[IntArray, FloatArray]]:
    """For each query the best k rows and some beyond by exhaustive scoring, and their scores.

    `tell` is called with the number of queries that are done, on the thread of the caller.
    """

    def search(query: FloatArray) -> tuple[IntArray, FloatArray]:
        found = snapshot.search(column, query, k + _BEYOND)
        return found.rows, found.scores

    return _each(search, queries, threads, tell)


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
        threads: most threads to use.
        tell: called with queries that are done, and those in all and one more for the choice of the depths.
    """
    checked = [snapshot.checked(column, query) for query in queries]
    total = len(checked) + 1
    exact = exact_best(snapshot, column, checked, threads=threads, tell=lambda done: tell(done, total))
    each = partial(_each, threads=threads, tell=lambda done: tell(total - 1, total))
    depths = tune(_steps(late), checked, exact, target, each)
    return replace(late.manifest, depths=depths, target=target, queries=kind, tuned_on=len(checked))


def _steps(late: LateIndex) -> Steps:
    n = late.manifest.passages  # dead rows have no lists: an index of what is left is tuned alike

    def gathered(query: FloatArray, probe: int, most: int) -> tuple[IntArray, int]:
        rows, reached = late.cascade.candidates(query, probe, most, 1, 0, 1, None)
        return rows, int(reached)

    numbers, per_centroid = late.shape
    return Steps(
        gathered,
        lambda query, probe, gather, most: late.candidates(query, Depths(probe, gather, most, 1), last=2),
        lambda query, probe, gather, refined, most: late.candidates(query, Depths(probe, gather, refined, most)),
        n,
        numbers,
        per_centroid,
    )


def measure(
    late: LateIndex | None,
    snapshot: IndexSnapshot,
    column: str,
    queries: Sequence[FloatArray],
    depths: Depths | None = None,
) -> Measured:
    """Search every query by the index and exhaustively, one after the other on one thread, and compare.

    Args:
        late: the index; None for the search that goes without one, where vectors are kept as bits alone.
        snapshot: what is searched.
        column: the token vectors.
        queries: n of them, [Q, D] float32.
        depths: None for the tuned ones.
    """
    overlaps, index_ms, exhaustive_ms = [], [], []
    for query in queries:
        started = perf_counter()
        exact = snapshot.search(column, query, TUNED_K + _BEYOND)
        middle = perf_counter()
        if late is None:
            found = snapshot.search(column, query, TUNED_K, exact=False)
        else:
            found = late.search(snapshot, column, query, TUNED_K, depths=depths)
        exhaustive_ms.append((middle - started) * 1e3)
        index_ms.append((perf_counter() - middle) * 1e3)
        overlaps.append(overlap(found.rows, exact.rows, exact.scores))
    return Measured(tuple(overlaps), tuple(index_ms), tuple(exhaustive_ms))
