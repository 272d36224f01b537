"""How much of the exact ranking an index keeps: sampled queries, exhaustive scoring beside the cascade, an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from latewood.index.depths import TUNED_K, Depths, overlap
from latewood.index.late import LateIndex
from latewood.index.pseudo import pseudo_runs
from latewood.index.snapshot import IndexSnapshot
from latewood.types import FloatArray

__all__ = ["BEYOND", "Estimate", "Measured", "measure", "pseudo_queries"]

BEYOND = 10
"""Exact results beyond the tenth, for those that tie with it."""

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
        exact = snapshot.search(column, query, TUNED_K + BEYOND)
        middle = perf_counter()
        if late is None:
            found = snapshot.search(column, query, TUNED_K, exact=False)
        else:
            found = late.search(snapshot, column, query, TUNED_K, depths=depths)
        exhaustive_ms.append((middle - started) * 1e3)
        index_ms.append((perf_counter() - middle) * 1e3)
        overlaps.append(overlap(found.rows, exact.rows, exact.scores))
    return Measured(tuple(overlaps), tuple(index_ms), tuple(exhaustive_ms))
