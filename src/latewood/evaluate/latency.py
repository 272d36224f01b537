"""Times of many queries to p50 and p95: encoding the query apart from searching, and stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latewood.types import StageTiming

__all__ = ["ENCODE", "Latency", "Percentiles", "StageLatency", "latency"]

ENCODE = "encode"


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of times in milliseconds; linear between neighbours, as NumPy has it."""

    p50: float
    p95: float


@dataclass(frozen=True, slots=True)
class StageLatency:
    """One stage.

    Args:
        stage: its name, as the rankings give it.
        ms: its times.
        candidates: the median of how many it left.
    """

    stage: str
    ms: Percentiles
    candidates: int


@dataclass(frozen=True, slots=True)
class Latency:
    """What a query takes, wall time, one query at a time.

    Args:
        encode: turning the query into vectors; 0 for a pipeline that needs none.
        search: all other stages, added up within each query.
        total: all stages, added up within each query.
        stages: each apart, in the order that they ran.
        queries: how many were timed.
    """

    encode: Percentiles
    search: Percentiles
    total: Percentiles
    stages: tuple[StageLatency, ...]
    queries: int


def latency(timings: Sequence[Sequence[StageTiming]]) -> Latency:
    """Sum up the times of many queries.

    Args:
        timings: per query, at least one, its stages in the order that they ran. A name that comes twice in one
            query is two stages, told apart by position.
    """
    encode = [sum(stage.ms for stage in query if stage.stage == ENCODE) for query in timings]
    search = [sum(stage.ms for stage in query if stage.stage != ENCODE) for query in timings]
    stages: dict[tuple[str, int], list[StageTiming]] = {}
    for query in timings:
        seen: dict[str, int] = {}
        for stage in query:
            seen[stage.stage] = seen.get(stage.stage, 0) + 1
            stages.setdefault((stage.stage, seen[stage.stage]), []).append(stage)
    return Latency(
        encode=_percentiles(encode),
        search=_percentiles(search),
        total=_percentiles([sum(both) for both in zip(encode, search, strict=True)]),
        stages=tuple(
            StageLatency(
                name, _percentiles([stage.ms for stage in of]), int(np.median([stage.candidates for stage in of]))
            )
            for (name, _), of in stages.items()
        ),
        queries=len(timings),
    )


def _percentiles(ms: Sequence[float]) -> Percentiles:
    p50, p95 = np.percentile(np.asarray(ms, np.float64), [50, 95])
    return Percentiles(float(p50), float(p95))
