"""p-values against SciPy's own and against every assignment of signs; Holm against closed testing by hand."""

from __future__ import annotations

from itertools import chain, combinations, product

import numpy as np
import pytest
from scipy.stats import norm, permutation_test, ttest_rel
from term_overlap import TermOverlap

from latewood.errors import UsageError
from latewood.evaluate import System, compare
from latewood.evaluate.significance import detectable, holm, permutation_p, queries_needed


def values(seed, queries, shift=0.05):
    """Recall-like values of two systems: sixths, equal on most queries."""
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 7, queries) / 6
    change = rng.choice([0, 0, 0, 1, 2, -1], queries) / 6 + (rng.random(queries) < shift) / 6
    return np.clip(base + change, 0, 1).tolist(), base.tolist()


def scipys(better, baseline, **settings):
    """SciPy on the pairs themselves, in its two-sample form, ties included."""
    return permutation_test(
        (better, baseline),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        **settings,
    ).pvalue


@pytest.mark.parametrize("seed", range(6))
def test_exact_p_values_are_scipys_and_those_of_every_assignment_of_signs(seed):
    better, baseline = values(seed, 12)
    found = permutation_p(better, baseline)
    assert found == pytest.approx(scipys(better, baseline, n_resamples=np.inf), abs=1e-12)
    change = np.subtract(better, baseline)
    means = [abs(np.dot(signs, change)) for signs in product([1, -1], repeat=len(change))]
    assert found == pytest.approx(np.mean(np.array(means) >= abs(change.sum()) - 1e-9), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_random_p_values_are_scipys_to_their_own_accuracy(seed):
    better, baseline = values(seed, 120)
    found, other = permutation_p(better, baseline), scipys(better, baseline, n_resamples=10_000, rng=7)
    spread = (2 * other * (1 - other) / 10_000) ** 0.5
    assert abs(found - other) <= 4 * spread + 2e-4


def test_the_same_draws_give_the_same_p_value_as_scipy():
    rng = np.random.default_rng(3)
    better, baseline = rng.random(60) + 0.05, rng.random(60)  # no ties: nothing is left out
    expected = scipys(better, baseline, n_resamples=2000, rng=np.random.default_rng(5))
    assert permutation_p(better.tolist(), baseline.tolist(), resamples=2000, seed=5) == expected


@pytest.mark.parametrize(
    ("better", "baseline", "p"),
    [
        ([0.5, 1, 0], [0.5, 1, 0], 1.0),
        ([1, 0, 0], [0, 0, 0], 1.0),  # one coin: both sides are as far
        ([1, 1, 0], [0, 0, 0], 0.5),  # two of four assignments
        ([1] * 5, [0] * 5, 2 / 32),
        ([0.1 + 0.2, 1], [0.3, 1], 1.0),  # equal but for the order of additions
    ],
)
def test_p_values_by_hand(better, baseline, p):
    assert permutation_p(better, baseline) == pytest.approx(p)


def closed(p_values):
    """Holm is the closed test of Bonferroni: the largest p of all subsets that hold a hypothesis."""
    places = range(len(p_values))
    subsets = list(chain.from_iterable(combinations(places, size) for size in range(1, len(p_values) + 1)))
    return [
        max(min(1.0, len(subset) * min(p_values[at] for at in subset)) for subset in subsets if place in subset)
        for place in places
    ]


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))  # worked by hand
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()
    for seed in range(20):
        p_values = (np.random.default_rng(seed).random(6) ** 3).tolist()
        assert holm(p_values) == pytest.approx(closed(p_values))


def test_the_smallest_difference_that_shows_is_seen_four_times_in_five():
    rng = np.random.default_rng(0)
    smallest = (norm.ppf(0.975) + norm.ppf(0.8)) * 0.3 / np.sqrt(200)
    seen, stated = 0, []
    for _ in range(600):
        change = rng.normal(smallest, 0.3, 200)
        stated.append(detectable(change.tolist(), [0.0] * 200))
        seen += ttest_rel(change, np.zeros(200)).pvalue < 0.05
    assert np.mean(stated) == pytest.approx(smallest, rel=0.01)
    assert seen / 600 == pytest.approx(0.8, abs=0.05)
    assert queries_needed(smallest / 2, smallest, 200) == 800
    assert queries_needed(0.0, smallest, 200) is None
    assert detectable([0.5, 1], [0.5, 1]) == detectable([1], [0]) == 0


def test_bad_values():
    with pytest.raises(UsageError, match="got 2 and 1 values"):
        permutation_p([1, 2], [1])
    with pytest.raises(UsageError, match="at least one"):
        permutation_p([], [])
    with pytest.raises(UsageError, match="expected finite values"):
        detectable([float("nan")], [0])


def test_a_comparison_corrects_over_pipelines_and_metrics():
    texts = {f"d{at}": f"word{at} {'common ' * (at % 3)}" for at in range(30)}
    queries = {f"q{at}": f"word{at} common" for at in range(30)}
    qrels = {f"q{at}": {f"d{at}": 1} for at in range(30)}
    systems = [
        System("share", TermOverlap(texts, pool=30)),
        System("a", TermOverlap(texts)),
        System("b", Reverse(texts)),
    ]
    found = compare(systems, queries, qrels, {key: key for key in texts}, metrics=["R@1", "nDCG@10"])
    tests = [(of.pipeline, name) for of in found.results[1:] for name in ("R@1", "nDCG@10")]
    expected = [
        permutation_p(*(list(of.per_query[name].values()) for of in (found[system], found.results[0])))
        for system, name in tests
    ]
    assert [found[system].significance[name].p for system, name in tests] == expected
    assert [found[system].significance[name].p_holm for system, name in tests] == list(holm(expected))
    assert found.to_json()["tests"]["count"] == 4
    assert found.results[0].significance is None


class Reverse(TermOverlap):
    """Ranks the other way round."""

    def rank(self, query, k):
        from term_overlap import ranking

        given = super().rank(query, 1000)
        return ranking(query, [hit.id for hit in given.hits][::-1][:k], timings=given.timings)
