"""What a comparison found, as values and as JSON (docs/json.md describes every key)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latewood.errors import UsageError
from latewood.evaluate.asking import Failure
from latewood.evaluate.bootstrap import CONFIDENCE, Difference, Interval
from latewood.evaluate.data import Judged
from latewood.evaluate.grouping import Grouping
from latewood.evaluate.latency import Latency, Percentiles
from latewood.evaluate.metrics import PerQuery
from latewood.evaluate.significance import ALPHA, POWER, Significance

__all__ = ["Comparison", "Note", "SystemResult", "Verdict"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something that must be known to read the figures rightly.

    Args:
        code: what kind, for programs (docs/json.md lists them).
        text: a sentence or two, for people.
        pipeline: the one that it is about; None for all of them.
    """

    code: str
    text: str
    pipeline: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome in plain words.

    Args:
        code: "better", "no_difference", "worse" or "alone" (docs/json.md).
        text: sentences.
        pipeline: the one to take, by these figures.
    """

    code: str
    text: str
    pipeline: str


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One pipeline, judged.

    Args:
        pipeline: its name as given.
        metrics: metric → mean over all judged queries.
        intervals: metric → 95 % interval of that mean.
        per_query: metric → query id → value, for all judged queries.
        rankings: query id → judged units, best first; empty where the query failed.
        scores: query id → their scores, as many.
        pools: query id → judged units that the last stage chose from; for a run all that it has.
        pool_recall: mean share of the positives that are in the pool.
        recall_curve: k → mean R@k, up to the depth that systems were asked for.
        judged_share: "Judged@5" and "Judged@10" → mean share of the results that were judged at all.
        latency: over the queries that it answered; None for a run.
        difference: metric → against the first pipeline; None for the first.
        exact: no approximate step took part in any query; None for a run, of which nobody knows.
        unscored: passages that could not be scored, at most of any query.
        cut: queries with tokens beyond the model's limit.
        failed: queries that it could not answer; each counts as 0.
        empty: queries that it gave no result for, without failing; each counts as 0.
        absent: judged answers that are not in what it searches.
        strange: documents of a run that are not in the known corpus.
        ties_by: what put equal scores in order: "id", or "rank" for a run that says so.
        significance: metric → what the difference is worth; None for the first.
    """

    pipeline: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    per_query: PerQuery
    rankings: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float, ...]]
    pools: Mapping[str, tuple[str, ...]]
    pool_recall: float
    recall_curve: Mapping[int, float]
    judged_share: Mapping[str, float]
    latency: Latency | None
    difference: Mapping[str, Difference] | None
    exact: bool | None
    unscored: int
    cut: int
    failed: tuple[Failure, ...]
    empty: int
    absent: int
    strange: int = 0
    ties_by: str = "id"
    significance: Mapping[str, Significance] | None = None

    @property
    def is_run(self) -> bool:
        """Whether its rankings came from a file."""
        return self.latency is None

    @property
    def pool_size(self) -> int:
        """The largest pool of any query. Reordering can't move a recall whose cut-off is at least this."""
        return max((len(pool) for pool in self.pools.values()), default=0)

    @property
    def reranked(self) -> bool:
        """Whether a last stage chose from the pool of another, and changed its order for some query."""
        return any(self.rankings[query_id] != pool for query_id, pool in self.pools.items())

    @property
    def depth(self) -> int:
        """Results of the query that has most."""
        return max(map(len, self.rankings.values()), default=0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The judgement over several pipelines.

    Args:
        results: one per system, in their order; the first is the baseline.
        judged: the queries and judgements that the figures are made of, and the counts of those left out.
        grouping: what the judgements name.
        resamples: of the bootstrap, and of the permutation tests.
        seed: of both.
        cutoff: how many results the metrics look at.
        notes: what must be known to read the figures rightly.
        verdict: the outcome in plain words.
    """

    results: tuple[SystemResult, ...]
    judged: Judged
    grouping: Grouping
    resamples: int
    seed: int
    cutoff: int
    notes: tuple[Note, ...] = ()
    verdict: Verdict | None = None

    def __getitem__(self, pipeline: str) -> SystemResult:
        """The result of a pipeline by its name.

        Raises:
            UsageError: no such pipeline was compared.
        """
        for result in self.results:
            if result.pipeline == pipeline:
                return result
        names = ", ".join(f"'{result.pipeline}'" for result in self.results)
        raise UsageError(f"'{pipeline}' was not compared; compared were {names}")

    @property
    def failed(self) -> int:
        """Queries that failed, over all pipelines. A command that sees one must not exit with 0."""
        return sum(len(result.failed) for result in self.results)

    @property
    def headline(self) -> str:
        """The metric that the verdict is about: the first."""
        return next(iter(self.results[0].metrics))

    @property
    def tests(self) -> int:
        """How many tests Holm's correction is over: every metric of every pipeline but the first."""
        return sum(len(result.significance or ()) for result in self.results)

    def to_json(self) -> dict[str, Any]:
        """What `latewood compare --json` prints; every key is described in docs/json.md."""
        left_out = self.judged.left_out
        found = self.grouping.found if self.grouping.known else None
        verdict = self.verdict
        return {
            "schema": 1,
            "verdict": verdict and {"code": verdict.code, "text": verdict.text, "pipeline": verdict.pipeline},
            "pipelines": [_result_json(result, len(self.judged)) for result in self.results],
            "group": {"by": self.grouping.by, "judged": self.grouping.judged, "found": found},
            "left_out": {
                "unjudged": left_out.unjudged,
                "no_positive": left_out.no_positive,
                "no_text": left_out.no_text,
            },
            "bootstrap": {
                "resamples": self.resamples,
                "seed": self.seed,
                "confidence": CONFIDENCE,
                "method": "BCa",
            },
            "tests": {
                "method": "paired permutation, Holm",
                "resamples": self.resamples,
                "seed": self.seed,
                "count": self.tests,
                "alpha": ALPHA,
                "power": POWER,
            },
            "notes": [{"code": note.code, "pipeline": note.pipeline, "text": note.text} for note in self.notes],
        }


def _result_json(result: SystemResult, queries: int) -> dict[str, Any]:
    times = result.latency
    return {
        "pipeline": result.pipeline,
        "metrics": dict(result.metrics),
        "pool_recall": result.pool_recall,
        "latency_ms": times and {"encode": _milliseconds(times.encode), "search": _milliseconds(times.search)},
        "queries": queries,
        "intervals": {name: [of.low, of.high] for name, of in result.intervals.items()},
        "difference": _differences(result),
        "judged": dict(result.judged_share),
        "recall_curve": [{"k": k, "recall": recall} for k, recall in result.recall_curve.items()],
        "total_ms": times and _milliseconds(times.total),
        "pool_size": result.pool_size,
        "stages": [
            {"stage": part.stage, **_milliseconds(part.ms), "candidates": part.candidates}
            for part in (times.stages if times else ())
        ],
        "run": result.is_run,
        "exact": result.exact,
        "unscored": result.unscored,
        "queries_cut": result.cut,
        "queries_empty": result.empty,
        "answers_absent": result.absent,
        "failed": [{"query": failure.query_id, "error": failure.error} for failure in result.failed],
    }


def _milliseconds(of: Percentiles) -> dict[str, float]:
    return {"p50": round(of.p50, 4), "p95": round(of.p95, 4)}


def _differences(result: SystemResult) -> dict[str, Any] | None:
    if result.difference is None or result.significance is None:
        return None
    return {name: _change(of, result.significance[name]) for name, of in result.difference.items()}


def _change(of: Difference, worth: Significance) -> dict[str, Any]:
    return {
        "mean": of.mean,
        "interval": _pair(of.interval),
        "wins": of.wins,
        "losses": of.losses,
        "ties": of.ties,
        "p": worth.p,
        "p_holm": worth.p_holm,
        "detectable": worth.detectable or None,
    }


def _pair(of: Interval) -> Sequence[float]:
    return [of.low, of.high]
