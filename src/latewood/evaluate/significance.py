"""Is a difference luck? Paired permutation tests, Holm's correction, and the smallest difference that would show.

If two systems were the same, either could have given either value on each query: the sign of every difference is a
coin's. The p-value is the share of all assignments of signs whose mean is at least as far from 0 as the one that was
measured (Fisher's randomization test; Smucker, Allan and Carterette 2007 for retrieval). SciPy computes it, over all
assignments where there are at most `resamples`, and over that many random ones otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latewood.errors import MissingExtra, UsageError
from latewood.evaluate.bootstrap import RESAMPLES

__all__ = ["ALPHA", "POWER", "Significance", "detectable", "holm", "permutation_p", "queries_needed"]

ALPHA = 0.05
"""Below this corrected p-value a difference is called real."""

POWER = 0.8
"""How often a true difference of the size that `detectable` gives would be called real."""

_REACH = 1.959964 + 0.841621
"""Standard errors between 0 and such a difference: the normal quantiles of 1 - ALPHA / 2 and of POWER."""

_SAME = 1e-9
"""Differences smaller than this are ties: equal gains added up in another order."""

_BATCH = 1_000_000
"""Resampled values held at a time."""


@dataclass(frozen=True, slots=True)
class Significance:
    """What a paired difference of one metric is worth.

    Args:
        p: of the paired permutation test, two-sided.
        p_holm: the same after Holm's correction over all tests of the comparison.
        detectable: the smallest true difference that this many queries show with a chance of `POWER` at `ALPHA`,
            before correction. 0 where all differences are the same, so that nothing is known of their spread.
    """

    p: float
    p_holm: float
    detectable: float

    @property
    def real(self) -> bool:
        """Whether the difference is called real: the corrected p-value is below `ALPHA`."""
        return self.p_holm < ALPHA


def load_permutation_test() -> Callable[..., Any]:
    """SciPy's permutation_test.

    Raises:
        MissingExtra: SciPy isn't installed.
    """
    try:
        from scipy.stats import permutation_test
    except ImportError as err:
        raise MissingExtra("a permutation test", "SciPy", "eval") from err
    function: Callable[..., Any] = permutation_test
    return function


def permutation_p(
    better: Sequence[float], baseline: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> float:
    """The two-sided p-value of a paired difference of means.

    Ties are left out first. They add 0 to the mean under either sign, so the p-value is the same; what is left is
    often few enough queries for all assignments of signs to be counted.

    Args:
        better: one value per query of the system in question, finite.
        baseline: those of the other system, for the same queries in the same order.
        resamples: random assignments of signs, where there are more than so many.
        seed: of drawing them.

    Returns:
        A p-value in (0, 1]; 1 where no query differs.

    Raises:
        UsageError: different numbers of queries, none at all, or a value that isn't finite.
        MissingExtra: SciPy isn't installed.
    """
    change = _changes(better, baseline)
    change = change[np.abs(change) >= _SAME]
    if len(change) == 0:
        return 1.0
    if len(change) == 1:
        return 1.0  # one coin: both of its sides are as far from 0. SciPy asks for two values at least.
    result = load_permutation_test()(
        (change,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH // len(change)),
        alternative="two-sided",
        rng=np.random.default_rng(seed),
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p-values for their number (Holm 1979): the chance of even one false alarm among them stays below ALPHA.

    The smallest is multiplied by their number m, the next by m - 1, and so on; none comes below one that was smaller.

    Args:
        p_values: of all tests that are looked at together.

    Returns:
        The corrected values in the order given, each at most 1.
    """
    corrected = [1.0] * len(p_values)
    floor = 0.0
    for place, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        floor = max(floor, min(1.0, p_values[at] * (len(p_values) - place)))
        corrected[at] = floor
    return tuple(corrected)


def detectable(better: Sequence[float], baseline: Sequence[float]) -> float:
    """The smallest true difference of means that these queries show with a chance of `POWER` at `ALPHA`.

    (z(0.975) + z(0.8)) * s / sqrt(n), with s the standard deviation of the differences per query: the usual
    approximation for a paired test.

    Args:
        better: one value per query.
        baseline: for the same queries in the same order.

    Returns:
        The difference, in the metric's unit; 0 where s is 0 or there is one query, and nothing is known of it.

    Raises:
        UsageError: as `permutation_p`.
    """
    change = _changes(better, baseline)
    spread = float(change.std(ddof=1)) if len(change) > 1 else 0.0
    return _REACH * spread / math.sqrt(len(change)) if spread >= _SAME else 0.0


def queries_needed(mean: float, smallest: float, queries: int) -> int | None:
    """How many queries of the same kind would show a difference of this size.

    Args:
        mean: the difference, as measured.
        smallest: what `detectable` gives for the queries at hand.
        queries: their number.

    Returns:
        The number, rounded up; None where the difference is 0, which no number of queries tells from 0.
    """
    if abs(mean) < _SAME:
        return None
    return math.ceil(queries * (smallest / mean) ** 2)


def _changes(better: Sequence[float], baseline: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    if len(better) != len(baseline) or not len(better):
        raise UsageError(
            f"a paired test needs the same queries, at least one: got {len(better)} and {len(baseline)} values"
        )
    change = np.asarray(better, np.float64) - np.asarray(baseline, np.float64)
    if not bool(np.isfinite(change).all()):
        raise UsageError(f"expected finite values of {len(better)} queries: leave failed ones out")
    return change
