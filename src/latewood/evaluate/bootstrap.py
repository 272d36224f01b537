"""What a figure from this many queries can and can't tell: bootstrap intervals of means, over queries.

Queries are resampled with replacement; for two systems the unit is the difference on one query, so that what is
hard about a query for both cancels out (Efron and Tibshirani 1993; Sakai 2006 for retrieval). The interval is the
bias-corrected and accelerated one (BCa, Efron 1987), which fits skewed differences better than plain percentiles.
The same seed always draws the same queries, so all metrics and all systems of a comparison share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latewood.errors import MissingExtra, UsageError

__all__ = ["CONFIDENCE", "RESAMPLES", "Difference", "Interval", "difference", "interval", "load_bootstrap"]

RESAMPLES = 10_000
CONFIDENCE = 0.95

_SAME = 1e-9
"""Values closer than this are a tie: equal gains added up in another order."""

_BATCH = 1_000_000
"""Resampled values held at a time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a mean."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """One system against another over the same queries; above 0 where the first is better.

    Args:
        mean: of the differences per query.
        interval: of that mean. One that holds 0 says: these queries can't tell the two apart.
        wins: queries on which the first is better.
        losses: queries on which it is worse.
        ties: the others.
    """

    mean: float
    interval: Interval
    wins: int
    losses: int
    ties: int


def load_bootstrap() -> Callable[..., Any]:
    """SciPy's bootstrap; called before long work too, so that a missing SciPy is told at once.

    Raises:
        MissingExtra: SciPy isn't installed.
    """
    try:
        from scipy.stats import bootstrap
    except ImportError as err:
        raise MissingExtra("a bootstrap interval", "SciPy", "eval") from err
    function: Callable[..., Any] = bootstrap
    return function


def interval(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """The interval of the mean of `values`, had other queries of the same kind been asked.

    Args:
        values: one per query, at least one, finite.
        resamples: how many times the queries are drawn again.
        seed: of the drawing.

    Returns:
        The interval; without width where all values are the same, which nothing can be resampled from.

    Raises:
        UsageError: no values, or one that isn't finite.
        MissingExtra: SciPy isn't installed.
    """
    sample = np.asarray(values, np.float64)
    if sample.ndim != 1 or not len(sample) or not bool(np.isfinite(sample).all()):
        raise UsageError(
            f"expected finite values of one query or more, got {len(sample)} values: leave failed ones out"
        )
    if float(np.ptp(sample)) < _SAME:
        return Interval(float(sample.mean()), float(sample.mean()))
    result = load_bootstrap()(
        (sample,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, _BATCH // len(sample)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    return Interval(float(result.confidence_interval.low), float(result.confidence_interval.high))


def difference(
    better: Sequence[float], baseline: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Compare two systems query by query.

    Args:
        better: one value per query of the system in question.
        baseline: those of the system that it is measured against, for the same queries in the same order.
        resamples: as for `interval`.
        seed: as for `interval`.

    Raises:
        UsageError: different numbers of queries, and as `interval`.
        MissingExtra: SciPy isn't installed.
    """
    if len(better) != len(baseline):
        raise UsageError(f"a paired difference needs the same queries: got {len(better)} and {len(baseline)} values")
    change = np.asarray(better, np.float64) - np.asarray(baseline, np.float64)
    change[np.abs(change) < _SAME] = 0.0
    wins, losses = int((change > 0).sum()), int((change < 0).sum())
    return Difference(
        mean=float(change.mean()) if len(change) else 0.0,
        interval=interval(change.tolist(), resamples=resamples, seed=seed),
        wins=wins,
        losses=losses,
        ties=len(change) - wins - losses,
    )
