"""The live certificate: a small share of the questions is ranked once more, exhaustively, behind the answers."""

from __future__ import annotations

import logging
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from latewood.binding import BoundPipeline
from latewood.errors import LatewoodError
from latewood.pipeline import Pipeline, Stage
from latewood.serve.metrics import Metrics
from latewood.types import Ranking

__all__ = ["LiveCertificate", "exhaustive", "kept"]

_WAITING = 8
_TIE = 1e-4  # a passage that scores this close to the last exact one is as good as that

log = logging.getLogger("latewood.serve")


class LiveCertificate:
    """Compares answers with what exhaustive scoring would have given, one at a time and behind the answers.

    Args:
        share: of the questions, 0 to 1.
        metrics: told each overlap, by collection.
        seed: of the draw; None for another each time.
    """

    def __init__(self, share: float, metrics: Metrics, seed: int | None = None) -> None:
        self._share = share
        self._metrics = metrics
        self._random = random.Random(seed)
        self._pool = ThreadPoolExecutor(1, "latewood-live")
        self._waiting = threading.Semaphore(_WAITING)

    def consider(self, collection: str, bound: BoundPipeline, ranking: Ranking) -> None:
        """Compare this answer, perhaps; an exact one needs none, and what is too much to do is left out."""
        if ranking.exact or not ranking.hits or self._random.random() >= self._share:
            return
        if self._waiting.acquire(blocking=False):
            self._pool.submit(self._compare, collection, bound, ranking)

    def close(self) -> None:
        """Compare nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _compare(self, collection: str, bound: BoundPipeline, ranking: Ranking) -> None:
        try:
            exact = replace(bound, pipeline=exhaustive(bound.pipeline)).rank(ranking.query, len(ranking.hits))
            self._metrics.live.labels(collection).observe(kept(ranking, exact, by_score=bound.ends_in_late))
        except LatewoodError as error:  # the service is stopping, or the collection is gone
            log.warning("live certificate of '%s': %s", collection, error)
        finally:
            self._waiting.release()


def exhaustive(pipeline: Pipeline) -> Pipeline:
    """The same pipeline with every `late` over everything."""
    return Pipeline(tuple(replace(step, stages=tuple(map(_exact, step.stages))) for step in pipeline.steps))


def _exact(stage: Stage) -> Stage:
    if stage.name != "late" or stage.option("encode"):
        return stage
    return Stage("late", stage.k, (("exact", True),))


def kept(ranking: Ranking, exact: Ranking, *, by_score: bool) -> float:
    """The share of the exact answer that a ranking has.

    Args:
        ranking: as it was answered.
        exact: of as many results.
        by_score: scores of both are MaxSim, so one that ties with the last exact one counts.
    """
    ids = {hit.id for hit in exact.hits}
    last = exact.hits[-1].score - _TIE
    count = sum(hit.id in ids or (by_score and hit.score >= last) for hit in ranking.hits)
    return min(1.0, count / len(ids))
