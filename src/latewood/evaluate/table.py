"""A comparison as cells and sentences. Plain text: how it is drawn is the caller's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latewood.evaluate.compare import Comparison, SystemResult
from latewood.evaluate.latency import ENCODE, Latency, Percentiles

__all__ = ["Table", "tables"]


@dataclass(frozen=True, slots=True)
class Table:
    """What to print.

    Args:
        columns: headings.
        rows: as many cells as columns; the first is the pipeline.
        notes: sentences that belong under it.
        title: what it shows.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    title: str = ""


def tables(comparison: Comparison, metrics: Sequence[str] | None = None) -> tuple[Table, ...]:
    """Lay a comparison out as tables that a terminal of 80 columns holds: what is found, is it luck, what it takes.

    Args:
        comparison: what to show.
        metrics: the ones to show, of those that were computed; None for all.

    Returns:
        The table of figures; with two pipelines or more the differences against the first; the times.
    """
    shown = [name for name in comparison.results[0].metrics if metrics is None or name in metrics]
    figures = Table(
        title="found",
        columns=("pipeline", *shown, "pool recall"),
        rows=tuple(
            (of.pipeline, *(f"{of.metrics[name]:.3f}" for name in shown), f"{of.pool_recall:.3f}")
            for of in comparison.results
        ),
        notes=tuple(_notes(comparison, shown)),
    )
    times = Table(
        title="milliseconds per question, p50 / p95",
        columns=("pipeline", "encode", "search", "of which"),
        rows=tuple(
            (of.pipeline, _times(of.latency.encode), _times(of.latency.search), _stages(of.latency))
            for of in comparison.results
        ),
        notes=(),
    )
    if len(comparison.results) == 1:
        return figures, times
    return figures, _differences(comparison, shown), times


def _differences(comparison: Comparison, shown: Sequence[str]) -> Table:
    rows = []
    for of in comparison.results[1:]:
        for name in shown:
            change = (of.difference or {})[name]
            between = f"{change.interval.low:+.3f} to {change.interval.high:+.3f}"
            first = of.pipeline if name == shown[0] else ""
            rows.append((first, name, f"{change.mean:+.3f}", between, f"{change.wins}", f"{change.losses}"))
    return Table(
        title=f"against '{comparison.results[0].pipeline}'",
        columns=("pipeline", "metric", "change", "95 % interval", "won", "lost"),
        rows=tuple(rows),
        notes=("If an interval holds 0, these questions can't tell the two apart.",),
    )


def _times(of: Percentiles) -> str:
    return f"{of.p50:.1f} / {of.p95:.1f}"


def _stages(of: Latency) -> str:
    """The stages of the search, where it has more than one."""
    searching = [part for part in of.stages if part.stage != ENCODE]
    return "" if len(searching) < 2 else ", ".join(f"{part.stage} {_times(part.ms)}" for part in searching)


def _notes(comparison: Comparison, shown: Sequence[str]) -> list[str]:
    judged, grouping, left = comparison.judged, comparison.grouping, comparison.judged.left_out
    counted = f"{len(judged)} judged queries"
    reasons = [
        (left.unjudged, "without judgements"),
        (left.no_positive, "without a positive judgement"),
        (left.no_text, "judged but not among the queries"),
    ]
    skipped = ", ".join(f"{count} {why}" for count, why in reasons if count)
    notes = [f"{counted}; left out: {skipped}." if skipped else f"{counted}."]
    best = "; the best passage of a source counts" if grouping.by == "source" else ""
    notes.append(f"Judgements name {grouping.by}s{best}.")
    if grouping.found < grouping.judged:
        missing = grouping.judged - grouping.found
        notes.append(f"{missing} of {grouping.judged} judged answers are not in the corpus; nothing can find them.")
    for result in comparison.results:
        notes += _warnings(result, len(judged), shown)
    return notes


def _warnings(result: SystemResult, queries: int, shown: Sequence[str]) -> list[str]:
    warnings = []
    fixed = [name for name in shown if _is_fixed(result, name)]
    if fixed:
        warnings.append(
            f"'{result.pipeline}' reorders {result.pool_size} candidates: its {', '.join(fixed)} "
            f"{'is' if len(fixed) == 1 else 'are'} the pool recall, whatever the order."
        )
    if not result.exact:
        warnings.append(f"'{result.pipeline}' is approximate.")
    if result.unscored:
        warnings.append(f"'{result.pipeline}': {result.unscored} passages have no vectors and are never found.")
    if result.cut:
        warnings.append(f"'{result.pipeline}': {result.cut} of {queries} queries were cut at the model's limit.")
    if result.failed:
        first = result.failed[0]
        warnings.append(
            f"'{result.pipeline}' failed on {len(result.failed)} of {queries} queries, which count as 0; "
            f"the first was {first.query_id}: {first.error}"
        )
    return warnings


def _is_fixed(result: SystemResult, name: str) -> bool:
    """A recall that no reordering of the pool can move, since all of the pool is within its cut-off."""
    kind, _, cutoff = name.partition("@")
    return kind == "R" and int(cutoff) >= result.pool_size and result.reranked
