"""Several systems, one set of labelled questions, one table: which finds more, is it luck, what does it cost.

judged systems → asking → metrics, pool recall, latency → differences against the first → tests → notes, verdict
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from latewood.errors import InputError, UsageError
from latewood.evaluate import guards
from latewood.evaluate.asking import Answers, System, ask_all
from latewood.evaluate.bootstrap import RESAMPLES, Difference, difference, interval, load_bootstrap
from latewood.evaluate.data import Judged, Qrels, Queries, select
from latewood.evaluate.grouping import Grouping, join_all
from latewood.evaluate.latency import latency
from latewood.evaluate.metrics import (
    DEFAULT_METRICS,
    Metric,
    PerQuery,
    judged_share,
    mean,
    measure,
    parse_metrics,
    pool_recall,
    recall_curve,
)
from latewood.evaluate.results import Comparison, SystemResult
from latewood.evaluate.runs import Run
from latewood.evaluate.significance import Significance, detectable, holm, permutation_p
from latewood.evaluate.verdict import decide

__all__ = ["Comparison", "SystemResult", "compare"]

WARMUP = 3
"""Queries asked beforehand: the first ones of a process pay for what is loaded once."""


def compare(
    systems: Sequence[System],
    queries: Queries,
    qrels: Qrels,
    corpus: Mapping[str, str] | None,
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
        systems: one or more, with different names; pipelines, runs, or anything that ranks.
        queries: query id → text.
        qrels: query id → document id → grade.
        corpus: passage id → source id of everything that can be found by systems without a corpus of their own;
            None where nobody knows, as with runs alone.
        metrics: ir-measures names; the first is the one that the verdict is about. Systems are asked for as many
            results as the largest cut-off, or as their pool.
        group: what the qrels name: "passage", "source", or "auto" to find out.
        warmup: queries asked of every system beforehand, without a record.
        resamples: of the bootstrap, and of the permutation tests.
        seed: of both.
        progress: called with 1 for every query that a system has answered: len(systems) × judged queries in all.

    Raises:
        UsageError: no system, two of one name, a metric that isn't known.
        InputError: queries, qrels, runs or a corpus that don't belong together.
        MissingExtra: ir-measures or SciPy isn't installed.
        CorruptionError: a system read stored data that is not what was written.
        Exception: what a system raises, if it raises on every query. Single queries that fail are in the result.
    """
    _check_names([system.name for system in systems])
    measures = parse_metrics(metrics)
    load_bootstrap()
    judged = select(queries, qrels)
    grouping = join_all(judged, _corpora(systems, corpus), group)
    _check_runs(systems, judged, grouping)
    cutoff = max(metric.cutoff for metric in measures)
    answers = ask_all(systems, judged.queries, grouping, cutoff, warmup=warmup, progress=progress)
    results = [
        _judge(system, given, judged, grouping, measures, cutoff)
        for system, given in zip(systems, answers, strict=True)
    ]
    results = _add_intervals(results, resamples=resamples, seed=seed)
    results = _add_significance(results, resamples=resamples, seed=seed)
    comparison = Comparison(tuple(results), judged, grouping, resamples, seed, cutoff)
    comparison = replace(comparison, notes=guards.notes(comparison))
    return replace(comparison, verdict=decide(comparison))


def _check_names(names: Sequence[str]) -> None:
    if not names:
        raise UsageError("nothing to compare: give at least one pipeline")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"'{twice}' was given twice: give each pipeline once")


def _corpora(systems: Sequence[System], corpus: Mapping[str, str] | None) -> list[Mapping[str, str]]:
    """Every corpus that some system searches, each once."""
    given = [corpus, *(system.corpus for system in systems)]
    return list({id(of): of for of in given if of is not None}.values())


def _check_runs(systems: Sequence[System], judged: Judged, grouping: Grouping) -> None:
    """Find out before the first question that a run belongs to other questions, or to another corpus."""
    common, names = set(judged.queries), []
    known = grouping.has(grouping.sources) | set(grouping.sources)
    if not grouping.known:
        known = {document for grades in judged.qrels.values() for document in grades}
    for system in systems:
        if not isinstance(system.retriever, Run):
            continue
        run = system.retriever
        answered = {query_id for query_id, ids in run.rankings.items() if ids}
        if not answered & set(judged.queries):
            raise InputError(
                f"run '{system.name}' has none of the {len(judged)} judged queries (it names "
                f"{next(iter(run.rankings), 'nothing')!r}, the queries are such as {next(iter(judged.queries))!r}): "
                f"give a run of these queries"
            )
        names.append(f"'{system.name}'")
        common &= answered
        if not common:
            raise InputError(f"the runs {', '.join(names)} have no judged query in common: nothing can be compared")
        if run.documents.isdisjoint(known):
            here = "the corpus" if grouping.known else "the judgements"
            raise InputError(
                f"run '{system.name}' names no document of {here} (it has {next(iter(run.documents))!r}, "
                f"{here} has {min(known)!r}): give a run over the same documents"
            )


def _judge(
    system: System, answers: Answers, judged: Judged, grouping: Grouping, metrics: Sequence[Metric], cutoff: int
) -> SystemResult:
    """Everything but intervals and what needs the other systems."""
    answered, run = answers.answered, system.retriever if isinstance(system.retriever, Run) else None
    rankings = {query_id: answered[query_id].ids if query_id in answered else () for query_id in judged.queries}
    pools = {query_id: answered[query_id].pool if query_id in answered else () for query_id in judged.queries}
    per_query = measure(judged, rankings, metrics)
    return SystemResult(
        pipeline=system.name,
        metrics={name: mean(of) for name, of in per_query.items()},
        intervals={},
        per_query=per_query,
        rankings=rankings,
        scores={query_id: answered[query_id].scores if query_id in answered else () for query_id in judged.queries},
        pools=pools,
        pool_recall=mean(pool_recall(judged, pools)),
        recall_curve=recall_curve(judged, rankings, cutoff),
        judged_share=judged_share(judged, rankings),
        latency=None if run else latency([answer.timings for answer in answered.values()]),
        difference=None,
        exact=None if run else all(answer.exact for answer in answered.values()),
        unscored=max((answer.unscored for answer in answered.values()), default=0),
        cut=sum(answer.cut > 0 for answer in answered.values()),
        failed=tuple(answers.failed),
        empty=sum(not answer.ids for answer in answered.values()),
        absent=_absent(system, judged, grouping),
        strange=len(run.documents - set(grouping.sources) - set(grouping.sources.values()))
        if run and grouping.known
        else 0,
        ties_by=run.ties_by if run else "id",
    )


def _absent(system: System, judged: Judged, grouping: Grouping) -> int:
    if system.corpus is None:
        return grouping.judged - grouping.found
    wanted = set().union(*(judged.positives(query_id) for query_id in judged.queries))
    return len(wanted - grouping.has(system.corpus))


def _add_intervals(results: Sequence[SystemResult], *, resamples: int, seed: int) -> list[SystemResult]:
    def difference_of(result: SystemResult) -> dict[str, Difference]:
        return {
            name: difference(mine, before, resamples=resamples, seed=seed)
            for name, mine, before in _paired(result, results[0])
        }

    return [
        replace(
            result,
            intervals={
                name: interval(list(of.values()), resamples=resamples, seed=seed)
                for name, of in result.per_query.items()
            },
            difference=difference_of(result) if place else None,
        )
        for place, result in enumerate(results)
    ]


def _add_significance(results: Sequence[SystemResult], *, resamples: int, seed: int) -> list[SystemResult]:
    """Test every metric of every system against the first, and correct for the number of all these tests."""
    tests = [
        (result.pipeline, name, permutation_p(mine, before, resamples=resamples, seed=seed), detectable(mine, before))
        for result in results[1:]
        for name, mine, before in _paired(result, results[0])
    ]
    corrected = holm([p for _, _, p, _ in tests])
    worth: dict[str, dict[str, Significance]] = {}
    for (pipeline, name, p, smallest), p_holm in zip(tests, corrected, strict=True):
        worth.setdefault(pipeline, {})[name] = Significance(p, p_holm, smallest)
    return [replace(result, significance=worth.get(result.pipeline)) for result in results]


def _paired(result: SystemResult, baseline: SystemResult) -> list[tuple[str, list[float], list[float]]]:
    """Metric, values of one system, values of the other, query by query."""
    per_query: PerQuery = baseline.per_query
    return [(name, list(of.values()), list(per_query[name].values())) for name, of in result.per_query.items()]
