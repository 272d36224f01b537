from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latewood.encode.windows import _PASS, Layout, alike, batches, spans


@pytest.mark.parametrize(
    ("length", "room", "overlap", "expected"),
    [
        (0, 10, 2, [(0, 0)]),
        (10, 10, 2, [(0, 10)]),
        (11, 10, 2, [(0, 7), (4, 11)]),  # two windows of ceil((11 + 2) / 2)
        (18, 10, 2, [(0, 10), (8, 18)]),  # exactly two full windows
        (19, 10, 2, [(0, 8), (5, 13), (11, 19)]),  # three of ceil((19 + 4) / 3)
        (20, 10, 0, [(0, 10), (10, 20)]),
    ],
)
def test_spans_by_hand(length, room, overlap, expected):
    assert spans(length, room, overlap) == expected


@given(st.integers(0, 5000), st.integers(2, 300), st.data())
def test_spans_cover_the_text_with_few_even_overlapping_windows(length, room, data):
    overlap = data.draw(st.integers(0, room - 1))
    found = spans(length, room, overlap)
    sizes = {end - start for start, end in found}
    assert len(sizes) == 1
    assert sizes.pop() <= room
    assert found[0][0] == 0
    assert found[-1][1] == length
    for (start, end), (following, _) in pairwise(found):
        assert start < following <= end - overlap
    if len(found) > 1:  # one window fewer, all full, would not reach the end
        assert (len(found) - 1) * (room - overlap) + overlap < length


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(1, 2048))
def test_batches_take_every_window_once_within_the_budget(lengths, budget):
    found = list(batches(lengths, budget))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    # Each holds neighbours in the order of lengths; their own order is a mix (tests/ingest/test_progress.py).
    by_length = sorted(found, key=lambda batch: (-lengths[batch[0]], batch[0]))
    in_order = [lengths[i] for batch in by_length for i in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def test_alike_by_hand():
    assert alike([], 1024, 2) == []
    assert alike([7], 1024, 2) == [[0]]
    assert alike([20, 20, 20, 20], 1024, 1) == [[0, 1, 2, 3]]
    assert alike([20, 20, 20, 20], 1024, 2) == [[0, 1], [2, 3]]  # one for each thread
    # One pass would be padded to 3 * 60 tokens; two hold 60 + 20 and cost another pass.
    assert alike([10, 60, 10], 1024, 1) == [[1], [0, 2]]
    assert alike([600, 600], 1024, 1) == [[0], [1]]  # beyond the budget together


@given(st.lists(st.integers(1, 80), min_size=1, max_size=9), st.integers(60, 400), st.integers(1, 3))
def test_alike_costs_no_more_than_any_other_cut_of_the_sorted_lengths(lengths, budget, workers):
    def cost(groups):
        return sum(_PASS + len(group) * max(group) for group in groups)

    found = alike(lengths, budget, workers)
    assert sorted(i for group in found for i in group) == list(range(len(lengths)))
    most = budget if workers == 1 else min(budget, -(-sum(lengths) // workers))
    ordered = sorted(lengths, reverse=True)
    assert [lengths[i] for group in found for i in group] == ordered
    best = None
    for cuts in range(1 << (len(ordered) - 1)):  # every set of places to cut at
        groups = [[ordered[0]]]
        for i, length in enumerate(ordered[1:]):
            if cuts >> i & 1:
                groups.append([length])
            else:
                groups[-1].append(length)
        if all(len(group) == 1 or len(group) * group[0] <= most for group in groups):
            best = min(cost(groups), best or cost(groups))
    assert cost([[lengths[i] for i in group] for group in found]) == best


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=8), st.data())
def test_layout_puts_windows_where_plain_concatenation_puts_them(windows, data):
    more = data.draw(st.lists(st.integers(0, len(windows) - 1), max_size=8))
    which = data.draw(st.permutations([*range(len(windows)), *more]))
    names = [[(text, number) for number in range(len(own))] for text, own in enumerate(windows)]
    layout = Layout.of(windows, which)

    tokens = np.full((layout.token_offsets[-1], 2), -1, np.float32)
    dense = np.full((layout.dense_offsets[-1], 2), -1, np.float32)
    flat = [name for own in names for name in own]
    for i, name in enumerate(flat):
        assert layout.texts[i] == name[0]
        tokens[layout.token_rows[i] : layout.token_rows[i] + layout.lengths[i]] = name
        dense[layout.dense_rows[i]] = name
    layout.copy(tokens, dense)

    assert dense.tolist() == [list(name) for text in which for name in names[text]]
    assert tokens.tolist() == [
        list(name)
        for text in which
        for name, length in zip(names[text], windows[text], strict=True)
        for _ in range(length)
    ]
    assert np.diff(layout.token_offsets).tolist() == [sum(windows[text]) for text in which]
    assert np.diff(layout.dense_offsets).tolist() == [len(windows[text]) for text in which]


def test_layout_of_nothing():
    layout = Layout.of([], [])
    assert layout.token_offsets.tolist() == layout.dense_offsets.tolist() == [0]
    assert len(layout.lengths) == 0
