"""Rankings and judgements to numbers, by ir-measures, which computes them as trec_eval does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latewood.errors import MissingExtra, UsageError
from latewood.evaluate.data import Judged

__all__ = [
    "CURVE",
    "DEFAULT_METRICS",
    "JUDGED_AT",
    "Metric",
    "PerQuery",
    "judged_share",
    "mean",
    "measure",
    "parse_metrics",
    "pool_recall",
    "recall_curve",
]

DEFAULT_METRICS = ("R@5", "R@10", "R@50", "nDCG@10", "Success@5")

CURVE = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000)
"""The depths of a recall curve, as far as systems were asked."""

JUDGED_AT = (5, 10)
"""How far down Judged@k looks: what a reader or a prompt is shown."""

UNBOUNDED_DEPTH = 1000
"""How deep a metric without a cut-off looks, such as AP: the depth of TREC's runs."""

# The ones whose values are trec_eval's, or a plain share (Judged). Others of ir-measures start foreign programs.
_NAMES = ("AP", "Judged", "P", "R", "RR", "Rprec", "SetP", "SetR", "Success", "nDCG")

PerQuery = Mapping[str, Mapping[str, float]]
"""Metric → query id → value."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric by its ir-measures name.

    Args:
        name: in canonical spelling, e.g. "nDCG@10".
        cutoff: results that it looks at.
        measure: ir-measures' own object.
    """

    name: str
    cutoff: int
    measure: Any


def parse_metrics(names: Sequence[str]) -> tuple[Metric, ...]:
    """Read metric names as ir-measures spells them: `R@5`, `nDCG@10`, `P(rel=2)@5`, `AP`.

    Args:
        names: at least one; one that comes twice is taken once.

    Raises:
        UsageError: a name or a parameter that isn't known; the message lists what is.
        MissingExtra: ir-measures isn't installed.
    """
    try:
        import ir_measures
    except ImportError as err:
        raise MissingExtra("evaluation", "ir-measures", "eval") from err
    metrics: dict[str, Metric] = {}
    for name in names:
        try:
            parsed: Any = ir_measures.parse_measure(name)
            parsed.validate_params()
        except (ValueError, NameError, TypeError, KeyError, AssertionError) as err:
            raise UsageError(f"metric {name!r} can't be read ({err}); {_expected()}") from err
        if parsed.NAME not in _NAMES:
            raise UsageError(f"metric {name!r} is not offered; {_expected()}")
        # trec_eval ends the whole process on a cut-off of 0.
        for parameter in ("cutoff", "rel"):
            value = parsed.params.get(parameter, 1)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UsageError(f"metric {name!r}: {parameter} is {value!r}, expected an integer of at least 1")
        metrics[str(parsed)] = Metric(str(parsed), parsed.params.get("cutoff", UNBOUNDED_DEPTH), parsed)
    if not metrics:
        raise UsageError(f"no metric was named; {_expected()}")
    return tuple(metrics.values())


def measure(judged: Judged, rankings: Mapping[str, Sequence[str]], metrics: Sequence[Metric]) -> PerQuery:
    """Every metric for every judged query.

    The order of a ranking is what counts: its ids are given strictly falling scores, since trec_eval sorts by
    score, and ties by id, whatever the order was.

    Args:
        judged: the judged queries.
        rankings: query id → ids, best first, each once. A query that is missing or has none scores 0.
        metrics: from `parse_metrics`.

    Returns:
        Metric name → query id → value, each for all judged queries in their order.
    """
    import ir_measures  # parse_metrics has said what is missing if it is

    run = {
        query_id: {document: float(len(ids) - position) for position, document in enumerate(ids)}
        for query_id, ids in rankings.items()
        if ids and query_id in judged.queries
    }
    values = {metric.name: dict.fromkeys(judged.queries, 0.0) for metric in metrics}
    qrels = {query_id: dict(grades) for query_id, grades in judged.qrels.items()}
    for result in ir_measures.iter_calc([metric.measure for metric in metrics], qrels, run):
        values[str(result.measure)][result.query_id] = float(result.value)
    return values


def mean(per_query: Mapping[str, float]) -> float:
    """The mean over all queries, of which there is at least one."""
    return sum(per_query.values()) / len(per_query)


def recall_curve(judged: Judged, rankings: Mapping[str, Sequence[str]], cutoff: int) -> dict[int, float]:
    """Mean R@k for rising k, up to the depth that systems were asked for.

    Args:
        judged: the judged queries.
        rankings: as for `measure`.
        cutoff: that depth; the last k.

    Returns:
        k → mean share of a query's positives among its first k.
    """
    depths = [k for k in CURVE if k < cutoff] + [cutoff]
    values = measure(judged, rankings, parse_metrics([f"R@{k}" for k in depths]))
    return {k: mean(values[f"R@{k}"]) for k in depths}


def judged_share(judged: Judged, rankings: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Mean Judged@k: the share of what is shown that anybody looked at when the judgements were made.

    What nobody looked at counts as no answer, so figures of systems with different shares are not on one scale.

    Args:
        judged: the judged queries.
        rankings: as for `measure`.

    Returns:
        "Judged@5" and "Judged@10" → mean share. A ranking of fewer than k results is judged by what it has.
    """
    metrics = parse_metrics([f"Judged@{k}" for k in JUDGED_AT])
    return {name: mean(values) for name, values in measure(judged, rankings, metrics).items()}


def pool_recall(judged: Judged, pools: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """The share of a query's positives that are in the pool: no reordering of the pool can find more.

    Args:
        judged: the judged queries.
        pools: query id → the ids that the last stage chose from; 0 for a query that is missing.

    Returns:
        Query id → share, for all judged queries in their order.
    """
    shares = {}
    for query_id in judged.queries:
        positives = judged.positives(query_id)
        shares[query_id] = len(positives.intersection(pools.get(query_id, ()))) / len(positives)
    return shares


def _expected() -> str:
    return f"expected {', '.join(_NAMES)}, with @k where there is a cut-off, e.g. R@5 or nDCG@10"
