"""Rankings and judgements to numbers: what each pipeline finds, whether a difference is luck, what it costs.

Sees values and the Retriever protocol only: never a store, an encoder or a collection.
"""

from __future__ import annotations

from latewood.evaluate.asking import Failure, System
from latewood.evaluate.bootstrap import Difference, Interval, difference, interval
from latewood.evaluate.compare import Comparison, SystemResult, compare
from latewood.evaluate.data import Judged, LeftOut, Qrels, Queries, read_qrels, read_queries, select
from latewood.evaluate.examples import Example, Examples, pick
from latewood.evaluate.grouping import Grouping, join
from latewood.evaluate.latency import Latency, Percentiles, StageLatency, latency
from latewood.evaluate.metrics import DEFAULT_METRICS, measure, parse_metrics, pool_recall
from latewood.evaluate.report import render, write_report
from latewood.evaluate.results import Note, Verdict
from latewood.evaluate.runs import Run, read_run, write_run
from latewood.evaluate.significance import Significance, holm, permutation_p
from latewood.evaluate.table import Table, tables

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Difference",
    "Example",
    "Examples",
    "Failure",
    "Grouping",
    "Interval",
    "Judged",
    "Latency",
    "LeftOut",
    "Note",
    "Percentiles",
    "Qrels",
    "Queries",
    "Run",
    "Significance",
    "StageLatency",
    "System",
    "SystemResult",
    "Table",
    "Verdict",
    "compare",
    "difference",
    "holm",
    "interval",
    "join",
    "latency",
    "measure",
    "parse_metrics",
    "permutation_p",
    "pick",
    "pool_recall",
    "read_qrels",
    "read_queries",
    "read_run",
    "render",
    "select",
    "tables",
    "write_report",
    "write_run",
]
