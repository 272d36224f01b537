"""A comparison as cells and sentences. Plain text: how it is drawn is the caller's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latewood.evaluate.guards import notes
from latewood.evaluate.latency import ENCODE, Latency, Percentiles
from latewood.evaluate.results import Comparison
from latewood.evaluate.significance import ALPHA

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
        notes=tuple(note.text for note in notes(comparison, shown)),
    )
    times = Table(
        title="milliseconds per question, p50 / p95",
        columns=("pipeline", "encode", "search", "of which"),
        rows=tuple(
            (of.pipeline, _times(of.latency.encode), _times(of.latency.search), _stages(of.latency))
            if of.latency
            else (of.pipeline, "–", "–", "a run: no times")
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
            change, worth = (of.difference or {})[name], (of.significance or {})[name]
            between = f"{change.interval.low:+.3f} to {change.interval.high:+.3f}"
            first = of.pipeline if name == shown[0] else ""
            p = f"{worth.p_holm:.3f}" if worth.p_holm >= 0.001 else "< 0.001"
            rows.append((first, name, f"{change.mean:+.3f}", between, p, f"{change.wins}", f"{change.losses}"))
    smallest = [of.significance[comparison.headline].detectable for of in comparison.results if of.significance]
    return Table(
        title=f"against '{comparison.results[0].pipeline}'",
        columns=("pipeline", "metric", "change", "95 % interval", "p", "won", "lost"),
        rows=tuple(rows),
        notes=(
            "If an interval holds 0, these questions can't tell the two apart.",
            f"p: paired permutation test, corrected for {comparison.tests} tests (Holm); real if below {ALPHA}.",
            f"{comparison.headline}: a true change of {max(smallest):.3f} would show in four of five such sets of "
            f"questions.",
        ),
    )


def _times(of: Percentiles) -> str:
    return f"{of.p50:.1f} / {of.p95:.1f}"


def _stages(of: Latency) -> str:
    """The stages of the search, where it has more than one."""
    searching = [part for part in of.stages if part.stage != ENCODE]
    return "" if len(searching) < 2 else ", ".join(f"{part.stage} {_times(part.ms)}" for part in searching)
