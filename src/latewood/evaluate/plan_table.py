"""A plan laid out in tables that a terminal of 80 columns holds."""

from __future__ import annotations

from latewood.evaluate.latency import Percentiles
from latewood.evaluate.plan import Plan
from latewood.evaluate.plan_speeds import MAIN_DEPTH
from latewood.evaluate.table import Table

__all__ = ["plan_tables"]

_NONE = "–"


def plan_tables(plan: Plan) -> tuple[Table, ...]:
    """What it takes to store, what a query takes, and what the usual claims are worth here."""
    prices = () if plan.machine_price is None else (_prices(plan),)
    return (_storage(plan), _depths(plan), *prices, _claims(plan))


def _storage(plan: Plan) -> Table:
    workload, speeds = plan.workload, plan.speeds
    rows = []
    for row in plan.rows:
        size = row.size
        star = "" if size.option.stored else "*"
        cells = [size.option.name + star, _bytes(size.bytes), _bytes(size.resident_bytes), _bytes(size.scanned_bytes)]
        cells += [_duration(row.build_seconds), _times(row.ms)]
        rows.append(tuple(cells))
    return Table(
        title=f"{workload.chunks:,} chunks of {workload.tokens_per_chunk:,.0f} token vectors, D {workload.dim}",
        columns=("stored as", "disk", "resident", "scanned", "build", f"ms at {MAIN_DEPTH}"),
        rows=tuple(rows),
        notes=(
            f"Token vectors per chunk: {workload.obtained}.",
            "* an estimate by formula: latewood doesn't store it today. Pages: one per chunk unless --pages says.",
            "resident: in memory, no query reads the disk. scanned: read by every query; the rest may stay on disk.",
            f"ms: p50 / p95 of a query with {MAIN_DEPTH} candidates, measured here in {speeds.seconds:.0f} s "
            f"({speeds.isa}, {speeds.cpus} CPUs, questions of {speeds.query_tokens.mean():.0f} tokens).",
        ),
    )


def _depths(plan: Plan) -> Table:
    return Table(
        title="milliseconds of a query by depth, p50 / p95",
        columns=("candidates", "late adds", "whole query", "cross adds", "whole query"),
        rows=tuple(
            (str(of.depth), *map(_times, (of.late_added, of.late, of.cross_added, of.cross))) for of in plan.depths
        ),
        notes=(f"late: {plan.obtained['late']}.", f"cross: {plan.obtained['cross']}."),
    )


def _prices(plan: Plan) -> Table:
    return Table(
        title=f"price of a million queries, at {plan.machine_price:,} an hour",
        columns=("candidates", "late", "cross"),
        rows=tuple((str(of.depth), _price(of.late_price), _price(of.cross_price)) for of in plan.depths),
        notes=(f"{plan.obtained['price']}.",),
    )


def _claims(plan: Plan) -> Table:
    verdict = {True: "yes", False: "no", None: "unknown"}
    return Table(
        title="what is usually said",
        columns=("claim", "here"),
        rows=tuple((claim.claim, verdict[claim.holds]) for claim in plan.claims),
        notes=tuple(f"{claim.text}." for claim in plan.claims),
    )


def _bytes(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:,.0f} {unit}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _times(ms: Percentiles | None) -> str:
    if ms is None:
        return _NONE
    if ms.p50 >= 10_000:
        return f"{ms.p50 / 1000:,.0f} / {ms.p95 / 1000:,.0f} s"
    digits = 1 if ms.p50 < 100 else 0
    return f"{ms.p50:,.{digits}f} / {ms.p95:,.{digits}f}"


def _price(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.2f}"
