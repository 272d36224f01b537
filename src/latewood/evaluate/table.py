"""A comparison as cells and sentences. Plain text: how it is drawn is the caller's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latewood.evaluate.compare import Comparison, SystemResult

__all__ = ["Table", "table"]


@dataclass(frozen=True, slots=True)
class Table:
    """What to print.

    Args:
        columns: headings.
        rows: one per pipeline, as many cells as columns; the first column is text, the others are figures.
        notes: sentences that belong under it.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def table(comparison: Comparison, metrics: Sequence[str] | None = None, changes: Sequence[str] | None = None) -> Table:
    """Lay a comparison out.

    Args:
        comparison: what to show.
        metrics: the ones to show, of those that were computed; None for all.
        changes: the ones whose difference against the first pipeline is shown, with its interval; None for the
            first of `metrics` and any nDCG.
    """
    computed = list(comparison.results[0].metrics)
    shown = [name for name in computed if metrics is None or name in metrics]
    if len(comparison.results) == 1:
        changed = []
    elif changes is None:
        changed = shown[:1] + [name for name in shown[1:] if name.startswith("nDCG")]
    else:
        changed = [name for name in computed if name in changes]
    columns = (
        "pipeline",
        *shown,
        "pool recall",
        *(f"{name} vs first" for name in changed),
        "encode p50 / p95 ms",
        "search p50 / p95 ms",
    )
    rows = tuple(_row(result, shown, changed) for result in comparison.results)
    return Table(columns, rows, tuple(_notes(comparison)))


def _row(result: SystemResult, shown: Sequence[str], changed: Sequence[str]) -> tuple[str, ...]:
    return (
        result.pipeline,
        *(f"{result.metrics[name]:.3f}" for name in shown),
        f"{result.pool_recall:.3f}",
        *(_change(result, name) for name in changed),
        f"{result.latency.encode.p50:.1f} / {result.latency.encode.p95:.1f}",
        f"{result.latency.search.p50:.1f} / {result.latency.search.p95:.1f}",
    )


def _change(result: SystemResult, name: str) -> str:
    if result.difference is None:
        return ""
    change = result.difference[name]
    return f"{change.mean:+.3f} [{change.interval.low:+.3f}, {change.interval.high:+.3f}]"


def _notes(comparison: Comparison) -> list[str]:
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
    if len(comparison.results) > 1:
        notes.append(
            "Brackets: 95 % interval of the difference; if it holds 0, these queries can't tell the two apart."
        )
    for result in comparison.results:
        notes += _warnings(result, len(judged))
    return notes


def _warnings(result: SystemResult, queries: int) -> list[str]:
    warnings = []
    fixed = [name for name in result.metrics if _is_fixed(result, name)]
    if fixed:
        warnings.append(
            f"'{result.pipeline}' reorders a pool of {result.pool_size}, which {', '.join(fixed)} holds whole: "
            f"it is the pool recall, whatever the order."
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
