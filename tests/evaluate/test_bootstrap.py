"""Intervals: against a slow reading of their definition, against theory, and by how often they hold the truth."""

from __future__ import annotations

import sys
from statistics import NormalDist

import numpy as np
import pytest

from latewood.errors import MissingExtra, UsageError
from latewood.evaluate import Interval, difference, interval


def skewed(rng: np.random.Generator, n: int) -> np.ndarray:
    """Differences as retrieval gives them: mostly 0, some wins, fewer but larger losses. Mean 0.06."""
    return rng.choice([0.0, 0.25, 1.0, -0.5], size=n, p=[0.6, 0.2, 0.11, 0.2 - 0.11])


MEAN = 0.2 * 0.25 + 0.11 - 0.09 * 0.5


def slow_bca(values: np.ndarray, resamples: int, seed: int) -> tuple[float, float]:
    """Efron's BCa, step by step: one resample at a time, and a jackknife that leaves one query out at a time."""
    rng, normal, n = np.random.default_rng(seed), NormalDist(), len(values)
    means = np.sort([values[rng.integers(0, n, n)].mean() for _ in range(resamples)])
    below = ((means < values.mean()).mean() + (means <= values.mean()).mean()) / 2
    bias = normal.inv_cdf(below)
    left_out = np.array([np.delete(values, i).mean() for i in range(n)])
    pull = left_out.mean() - left_out
    acceleration = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)

    def end(share: float) -> float:
        z = bias + normal.inv_cdf(share)
        return float(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z))))

    return end(0.025), end(0.975)


@pytest.mark.parametrize("n", [30, 225])
def test_against_the_definition(n):
    values = skewed(np.random.default_rng(n), n)
    low, high = slow_bca(values, 20_000, seed=1)
    found = interval(values.tolist(), seed=2)
    assert found.low == pytest.approx(low, abs=0.03 * (high - low))
    assert found.high == pytest.approx(high, abs=0.03 * (high - low))


def test_against_the_normal_interval_where_that_holds():
    values = np.random.default_rng(0).normal(0.3, 0.2, 2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    found = interval(values.tolist())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


@pytest.mark.parametrize(("n", "share"), [(30, 0.92), (100, 0.95), (300, 0.95)])
def test_95_of_100_intervals_hold_the_true_mean(n, share):
    """Apart from samples as small as 30, where any bootstrap of this kind is a little narrow: docs/evaluation.md."""
    rng = np.random.default_rng(20)
    trials = 400
    held = 0
    for trial in range(trials):
        found = interval(skewed(rng, n).tolist(), resamples=1000, seed=trial)
        held += found.low <= MEAN <= found.high
    # Two standard errors of 400 trials are 0.022.
    assert held / trials == pytest.approx(share, abs=0.025)


def test_a_difference_of_nothing_is_called_one_in_20_times():
    rng = np.random.default_rng(3)
    called = 0
    for trial in range(400):
        a, b = rng.beta(2, 2, 100), rng.beta(2, 2, 100)
        found = difference(a.tolist(), b.tolist(), resamples=1000, seed=trial).interval
        called += found.low > 0 or found.high < 0
    assert called / 400 == pytest.approx(0.05, abs=0.025)


def test_pairing_sees_what_two_intervals_would_not():
    rng = np.random.default_rng(5)
    hard = rng.random(100)
    baseline, better = hard.tolist(), (hard + rng.normal(0.02, 0.02, 100)).tolist()
    found = difference(better, baseline)
    assert found.interval.low > 0
    assert interval(better).low < interval(baseline).high


def test_same_seed_same_interval_whatever_else_is_computed():
    values = skewed(np.random.default_rng(1), 100)
    first = interval(values.tolist(), seed=7)
    interval(values[::-1].tolist(), seed=3)
    assert interval(values.tolist(), seed=7) == first
    assert interval(values.tolist(), seed=8) != first
    # The same queries are drawn for every metric, so a metric on another scale gets the same interval on that scale.
    double = interval((2 * values + 1).tolist(), seed=7)
    assert (double.low, double.high) == pytest.approx((2 * first.low + 1, 2 * first.high + 1))


def test_the_other_way_round_is_the_mirror_image():
    rng = np.random.default_rng(9)
    a, b = skewed(rng, 100).tolist(), skewed(rng, 100).tolist()
    one, other = difference(a, b), difference(b, a)
    assert other.mean == -one.mean
    assert (other.wins, other.losses, other.ties) == (one.losses, one.wins, one.ties)
    width = one.interval.high - one.interval.low
    assert other.interval.low == pytest.approx(-one.interval.high, abs=0.03 * width)


def test_wins_losses_and_ties():
    found = difference([1.0, 0.5, 0.2, 0.1 + 0.2], [0.0, 1.0, 0.2, 0.3])
    assert (found.wins, found.losses, found.ties) == (1, 1, 2)
    assert found.mean == pytest.approx((1 - 0.5) / 4)


@pytest.mark.parametrize("values", [[0.4], [0.25, 0.25, 0.25], [0.1 + 0.2, 0.3]])
def test_values_that_are_all_the_same_have_an_interval_without_width(values):
    assert interval(values) == Interval(pytest.approx(values[0]), pytest.approx(values[0]))


def test_one_query_among_many_that_differs():
    found = interval([0.0] * 99 + [1.0])
    assert 0 <= found.low < 0.01 < found.high < 0.06


def test_bad_values():
    with pytest.raises(UsageError, match="expected finite values of one query or more, got 0 values"):
        interval([])
    with pytest.raises(UsageError, match="expected finite values"):
        interval([0.1, float("nan")])
    with pytest.raises(UsageError, match="needs the same queries: got 2 and 1 values"):
        difference([1.0, 2.0], [1.0])


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingExtra, match=r"a bootstrap interval needs SciPy.*latewood\[eval\]"):
        interval([0.0, 1.0])
