"""The order of results, against sorting in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.errors import UsageError
from latewood.index import best

SCORES = st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1.0, 1.0000001, 7.25])


@given(st.lists(SCORES, max_size=30), st.integers(1, 35), st.randoms(use_true_random=False))
def test_equals_sorting_by_score_then_id(scores, k, rng):
    names = [f"n{i}" for i in range(len(scores))]
    rng.shuffle(names)
    found = best(np.arange(len(scores)) + 5, np.array(scores, np.float32), k, lambda rows: [names[r - 5] for r in rows])
    kept = [(-np.float32(s), names[i], i + 5) for i, s in enumerate(scores) if s > -np.inf]
    expected = sorted(kept)[:k]
    assert found.rows.tolist() == [row for _, _, row in expected]
    assert found.scores.tolist() == [-score for score, _, _ in expected]
    assert found.unscored == len(scores) - len(kept)
    assert found.exact


def test_ids_are_asked_for_only_where_scores_tie():
    asked = []

    def ids(rows):
        asked.extend(rows.tolist())
        return [f"{100 - row}" for row in rows]

    found = best(np.arange(6), np.array([1, 3, 2, 3, 5, 0], np.float32), 3, ids)
    assert found.rows.tolist() == [4, 3, 1]
    assert asked == [1, 3]


def test_ids_compare_as_text_not_as_numbers():
    found = best(np.arange(3), np.zeros(3, np.float32), 2, lambda rows: [["b", "a10", "a9"][r] for r in rows])
    assert found.rows.tolist() == [1, 2]


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k):
    with pytest.raises(UsageError, match=f"k: got {k}"):
        best(np.arange(2), np.zeros(2, np.float32), k, lambda rows: [])
