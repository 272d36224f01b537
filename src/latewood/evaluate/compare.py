"""Several pipelines, one set of labelled questions, one table: which finds more, is it luck, what does it cost.

judged systems → asking → metrics, pool recall, latency → differences against the first → Comparison
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latewood.errors import UsageError
from latewood.evaluate.asking import Answers, Failure, System, ask_all
from latewood.evaluate.bootstrap import RESAMPLES, Difference, Interval, difference, interval, load_bootstrap
from latewood.evaluate.data import Judged, Qrels, Queries, select
from latewood.evaluate.grouping import Grouping, join
from latewood.evaluate.latency import Latency, Percentiles, latency
from latewood.evaluate.metrics import DEFAULT_METRICS, Metric, PerQuery, measure, parse_metrics, pool_recall

__all__ = ["Comparison", "SystemResult", "compare"]

WARMUP = 3
"""Queries asked beforehand: the first ones of a process pay for what is loaded once."""


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One pipeline, judged.

    Args:
        pipeline: its name as given.
        metrics: metric → mean over all judged queries.
        intervals: metric → 95 % interval of that mean.
        per_query: metric → query id → value, for all judged queries.
        rankings: query id → judged units, best first; empty where the query failed.
        pools: query id → judged units that the last stage chose from.
        pool_recall: mean share of the positives that are in the pool.
        latency: over the queries that it answered.
        difference: metric → against the first pipeline; None for the first.
        exact: no approximate step took part in any query.
        unscored: passages that could not be scored, at most of any query.
        cut: queries with tokens beyond the model's limit.
        failed: queries that it could not answer; each counts as 0.
    """

    pipeline: str
    metrics: Mapping[str, float]
    intervals: Mapping[str, Interval]
    per_query: PerQuery
    rankings: Mapping[str, tuple[str, ...]]
    pools: Mapping[str, tuple[str, ...]]
    pool_recall: float
    latency: Latency
    difference: Mapping[str, Difference] | None
    exact: bool
    unscored: int
    cut: int
    failed: tuple[Failure, ...]

    @property
    def pool_size(self) -> int:
        """The largest pool of any query. Reordering can't move a recall whose cut-off is at least this."""
        return max((len(pool) for pool in self.pools.values()), default=0)

    @property
    def reranked(self) -> bool:
        """Whether a last stage chose from the pool of another, and changed its order for some query."""
        return any(self.rankings[query_id] != pool for query_id, pool in self.pools.items())


@dataclass(frozen=True, slots=True)
class Comparison:
    """The judgement over several pipelines.

    Args:
        results: one per system, in their order; the first is the baseline.
        judged: the queries and judgements that the figures are made of, and the counts of those left out.
        grouping: what the judgements name.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    results: tuple[SystemResult, ...]
    judged: Judged
    grouping: Grouping
    resamples: int
    seed: int

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

    def to_json(self) -> dict[str, Any]:
        """What `latewood compare --json` prints; every key is described in docs/json.md."""
        left_out = self.judged.left_out
        return {
            "schema": 1,
            "pipelines": [_result_json(result, len(self.judged)) for result in self.results],
            "group": {"by": self.grouping.by, "judged": self.grouping.judged, "found": self.grouping.found},
            "left_out": {
                "unjudged": left_out.unjudged,
                "no_positive": left_out.no_positive,
                "no_text": left_out.no_text,
            },
            "bootstrap": {"resamples": self.resamples, "seed": self.seed, "confidence": 0.95, "method": "BCa"},
        }


def compare(
    systems: Sequence[System],
    queries: Queries,
    qrels: Qrels,
    corpus: Mapping[str, str],
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    group: str = "auto",
    warmup: int = WARMUP,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Comparison:
    """Judge several systems by the same questions, each against the first.

    Args:
        systems: one or more, with different names.
        queries: query id → text.
        qrels: query id → document id → grade.
        corpus: passage id → source id of everything that can be found.
        metrics: ir-measures names. Systems are asked for as many results as the largest cut-off, or as their pool.
        group: what the qrels name: "passage", "source", or "auto" to find out.
        warmup: queries asked of every system beforehand, without a record.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        progress: called with 1 for every query that a system has answered: len(systems) × judged queries in all.

    Raises:
        UsageError: no system, two of one name, a metric that isn't known.
        InputError: queries and qrels that don't belong together, or qrels of another corpus.
        MissingExtra: ir-measures or SciPy isn't installed.
        CorruptionError: a system read stored data that is not what was written.
        Exception: what a system raises, if it raises on every query. Single queries that fail are in the result.
    """
    names = [system.name for system in systems]
    if not names:
        raise UsageError("nothing to compare: give at least one pipeline")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"'{twice}' was given twice: give each pipeline once")
    measures = parse_metrics(metrics)
    load_bootstrap()
    judged = select(queries, qrels)
    grouping = join(judged, corpus, group)
    cutoff = max(metric.cutoff for metric in measures)
    answers = ask_all(systems, judged.queries, grouping, cutoff, warmup=warmup, progress=progress)
    results: list[SystemResult] = []
    for system, given in zip(systems, answers, strict=True):
        baseline = results[0].per_query if results else None
        results.append(_judge(system, given, judged, measures, baseline, resamples=resamples, seed=seed))
    return Comparison(tuple(results), judged, grouping, resamples, seed)


def _judge(
    system: System,
    answers: Answers,
    judged: Judged,
    metrics: Sequence[Metric],
    baseline: PerQuery | None,
    *,
    resamples: int,
    seed: int,
) -> SystemResult:
    answered = answers.answered
    rankings = {query_id: answered[query_id].ids if query_id in answered else () for query_id in judged.queries}
    pools = {query_id: answered[query_id].pool if query_id in answered else () for query_id in judged.queries}
    per_query = measure(judged, rankings, metrics)
    values = {name: list(of.values()) for name, of in per_query.items()}
    against = None
    if baseline is not None:
        against = {
            name: difference(of, list(baseline[name].values()), resamples=resamples, seed=seed)
            for name, of in values.items()
        }
    return SystemResult(
        pipeline=system.name,
        metrics={name: sum(of) / len(of) for name, of in values.items()},
        intervals={name: interval(of, resamples=resamples, seed=seed) for name, of in values.items()},
        per_query=per_query,
        rankings=rankings,
        pools=pools,
        pool_recall=sum(pool_recall(judged, pools).values()) / len(judged),
        latency=latency([answer.timings for answer in answered.values()]),
        difference=against,
        exact=all(answer.exact for answer in answered.values()),
        unscored=max((answer.unscored for answer in answered.values()), default=0),
        cut=sum(answer.cut > 0 for answer in answered.values()),
        failed=tuple(answers.failed),
    )


def _result_json(result: SystemResult, queries: int) -> dict[str, Any]:
    return {
        "pipeline": result.pipeline,
        "metrics": dict(result.metrics),
        "pool_recall": result.pool_recall,
        "latency_ms": {"encode": _milliseconds(result.latency.encode), "search": _milliseconds(result.latency.search)},
        "queries": queries,
        "intervals": {name: [of.low, of.high] for name, of in result.intervals.items()},
        "difference": None if result.difference is None else {n: _change(d) for n, d in result.difference.items()},
        "pool_size": result.pool_size,
        "stages": [
            {"stage": part.stage, **_milliseconds(part.ms), "candidates": part.candidates}
            for part in result.latency.stages
        ],
        "exact": result.exact,
        "unscored": result.unscored,
        "queries_cut": result.cut,
        "failed": [{"query": failure.query_id, "error": failure.error} for failure in result.failed],
    }


def _milliseconds(of: Percentiles) -> dict[str, float]:
    return {"p50": round(of.p50, 4), "p95": round(of.p95, 4)}


def _change(of: Difference) -> dict[str, Any]:
    return {
        "mean": of.mean,
        "interval": [of.interval.low, of.interval.high],
        "wins": of.wins,
        "losses": of.losses,
        "ties": of.ties,
    }
