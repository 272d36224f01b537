"""What must be known to read a comparison's figures rightly: each trap that it met, in a sentence.

What each trap is, and why it is handled as it is: docs/evaluation.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from latewood.evaluate.metrics import mean, measure, parse_metrics
from latewood.evaluate.results import Comparison, Note, SystemResult

__all__ = ["FEW", "notes"]

FEW = 200
"""Questions below which the smallest difference that they show must be stated."""


def notes(comparison: Comparison, shown: Sequence[str] | None = None) -> tuple[Note, ...]:
    """Everything to be said, what concerns all systems first.

    Args:
        comparison: its own notes are passed over.
        shown: metrics that are shown, of those that were computed; None for all.
    """
    names = [name for name in comparison.results[0].metrics if shown is None or name in shown]
    found = [*_about_the_questions(comparison), *_shared_ids(comparison), *_few(comparison), _unjudged(comparison)]
    for result in comparison.results:
        found += _about_the_pool(result, names, comparison)
        found += _about_the_answers(result, comparison)
        found += _ties(result, comparison)
    return tuple(found)


def _about_the_questions(comparison: Comparison) -> Iterator[Note]:
    judged, grouping, left = comparison.judged, comparison.grouping, comparison.judged.left_out
    counted = f"{len(judged)} judged queries"
    reasons = [
        (left.unjudged, "without judgements"),
        (left.no_positive, "without a positive judgement"),
        (left.no_text, "judged but not among the queries"),
    ]
    skipped = ", ".join(f"{count} {why}" for count, why in reasons if count)
    yield Note("queries", f"{counted}; left out: {skipped}." if skipped else f"{counted}.")
    best = "; the best passage of a source counts" if grouping.by == "source" else ""
    if grouping.known:
        yield Note("group", f"Judgements name {grouping.by}s{best}.")
    else:
        yield Note("group", "The corpus isn't known, so ids of rankings and judgements are compared as they are.")
    if grouping.found < grouping.judged:
        missing = grouping.judged - grouping.found
        text = f"{missing} of {grouping.judged} judged answers are not in the corpus; nothing can find them."
        yield Note("answers_absent", text)


def _shared_ids(comparison: Comparison) -> Iterator[Note]:
    """BEIR's evaluator takes a document out of a ranking if it has the query's id, which is often pure chance."""
    met = {
        query_id
        for result in comparison.results
        for query_id, ranking in result.rankings.items()
        if query_id in ranking[: comparison.cutoff]
    }
    if not met:
        return
    answers = sum(query_id in comparison.judged.positives(query_id) for query_id in met)
    yield Note(
        "shared_ids",
        f"In {len(met)} of {len(comparison.judged)} queries a document with the query's own id is among the results"
        f"{f', in {answers} of them as an answer' if answers else ''}. It counts like any other; "
        f"evaluators that remove it, such as BEIR's, give other figures.",
    )


def _few(comparison: Comparison) -> Iterator[Note]:
    sizes = [of.significance[comparison.headline].detectable for of in comparison.results if of.significance]
    if len(comparison.judged) >= FEW or not any(sizes):
        return
    yield Note(
        "few_queries",
        f"{len(comparison.judged)} queries are few: differences in {comparison.headline} below about {max(sizes):.3f} "
        f"will rarely show (80 % power, before correction).",
    )


def _unjudged(comparison: Comparison) -> Note:
    """Always said: how much of what is shown was looked at when the judgements were made."""
    name = list(comparison.results[0].judged_share)[-1]
    shares = ", ".join(f"'{of.pipeline}' {of.judged_share[name]:.0%}" for of in comparison.results)
    depth = name.partition("@")[2]
    lowest = min(comparison.results, key=lambda of: of.judged_share[name])
    harder = ""
    if comparison.results[0].judged_share[name] - lowest.judged_share[name] >= 0.01:
        harder = f" '{lowest.pipeline}' is judged hardest: what nobody looked at counts as no answer."
    return Note("judged", f"Of the first {depth} results these were judged at all: {shares}.{harder}")


def _about_the_pool(result: SystemResult, shown: Sequence[str], comparison: Comparison) -> Iterator[Note]:
    name = result.pipeline
    fixed = [metric for metric in shown if _is_fixed(result, metric)]
    if fixed:
        text = (
            f"'{name}' reorders {result.pool_size} candidates: its {', '.join(fixed)} "
            f"{'is' if len(fixed) == 1 else 'are'} the pool recall, whatever the order."
        )
        yield Note("k_at_pool", text, name)
    deeper = [metric for metric in shown if _cutoff(metric) > result.depth]
    if result.is_run and deeper:
        text = (
            f"'{name}' has at most {result.depth} results per query: {', '.join(deeper)} "
            f"{'sees' if len(deeper) == 1 else 'see'} no more than those."
        )
        yield Note("shallow_run", text, name)
    if result.strange:
        text = f"'{name}' ranks {result.strange} documents that are not in the corpus; they count as no answer."
        yield Note("unknown_documents", text, name)
    if result.absent > comparison.grouping.judged - comparison.grouping.found:
        text = (
            f"'{name}' searches a collection without {result.absent} of the {comparison.grouping.judged} judged "
            f"answers, which others have: this compares collections, not only pipelines."
        )
        yield Note("answers_absent", text, name)


def _about_the_answers(result: SystemResult, comparison: Comparison) -> Iterator[Note]:
    name, queries = result.pipeline, len(comparison.judged)
    if result.exact is False:
        yield Note("approximate", f"'{name}' is approximate.", name)
    if result.unscored:
        text = f"'{name}': {result.unscored} passages have no vectors and are never found."
        yield Note("unscored", text, name)
    if result.cut:
        text = f"'{name}': {result.cut} of {queries} queries were cut at the model's limit."
        yield Note("queries_cut", text, name)
    if result.failed:
        first = result.failed[0]
        text = (
            f"'{name}' failed on {len(result.failed)} of {queries} queries, which count as 0; "
            f"the first was {first.query_id}: {first.error}"
        )
        yield Note("failed", text, name)
    if result.empty:
        had = "has nothing" if result.is_run else "found nothing"
        yield Note("queries_empty", f"'{name}' {had} for {result.empty} of {queries} queries, which count as 0.", name)


def _ties(result: SystemResult, comparison: Comparison) -> Iterator[Note]:
    """Say how far figures hang on the order of equal scores, where an answer shares its score with another result."""
    best, worst, touched = {}, {}, 0
    for query_id, ids in result.rankings.items():
        answers = comparison.judged.positives(query_id)
        grades = comparison.judged.qrels[query_id]
        first, last, mixed = _orders(ids, result.scores[query_id], {of: grades[of] for of in answers})
        best[query_id], worst[query_id] = first, last
        touched += mixed
    if not touched:
        return
    metrics = parse_metrics([comparison.headline])
    low, high = (mean(measure(comparison.judged, rankings, metrics)[comparison.headline]) for rankings in (worst, best))
    by = "by the ranks of the run" if result.ties_by == "rank" else "by id"
    span = f"its {comparison.headline} would lie between {low:.3f} and {high:.3f}"
    text = (
        f"'{result.pipeline}' gives an answer and another result the same score in {touched} of "
        f"{len(comparison.judged)} queries; they are ordered {by}. In other orders {span}."
    )
    if high - low < 5e-4:
        text = (
            f"'{result.pipeline}' gives an answer and another result the same score in {touched} of "
            f"{len(comparison.judged)} queries; no order of them moves its {comparison.headline}."
        )
    yield Note("ties", text, result.pipeline)


def _orders(
    ids: Sequence[str], scores: Sequence[float], answers: Mapping[str, int]
) -> tuple[list[str], list[str], bool]:
    """A ranking with the answers first among equal scores, with the answers last, and whether that differs."""
    best: list[str] = []
    worst: list[str] = []
    mixed = False
    for _, group in groupby(zip(ids, scores, strict=True), key=lambda pair: pair[1]):
        tied = [document for document, _ in group]
        rising = sorted(tied, key=lambda document: answers.get(document, 0))
        mixed = mixed or 0 < sum(document in answers for document in tied) < len(tied)
        best += rising[::-1]
        worst += rising
    return best, worst, mixed


def _cutoff(metric: str) -> int:
    cutoff = metric.rpartition("@")[2]
    return int(cutoff) if cutoff.isdigit() else 0


def _is_fixed(result: SystemResult, name: str) -> bool:
    """A recall that no reordering of the pool can move, since all of the pool is within its cut-off."""
    kind, _, cutoff = name.partition("@")
    return kind == "R" and int(cutoff) >= result.pool_size and result.reranked
