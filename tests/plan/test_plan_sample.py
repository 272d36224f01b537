"""A sample: drawn evenly, and counted as the encoder counts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from latewood import Passage
from latewood.errors import InputError
from latewood.evaluate.plan_sample import Sample, workload_of

TEXTS = ["", "oak", "Late wood is dense. " * 30, "The ring of a tree is early wood and late wood. " * 60]


def test_tokens_and_windows_are_those_that_the_encoder_makes(minilm):
    sample = Sample.of([Passage(str(i), text) for i, text in enumerate(TEXTS)])
    found = workload_of(sample, minilm)
    encoded = minilm.encode_passages(TEXTS)
    assert found.lengths.tolist() == np.diff(encoded.tokens.offsets).tolist()
    assert found.windows == pytest.approx(len(encoded.dense.tokens) / len(TEXTS))
    assert (found.dim, found.dense_dim, found.chunks, found.pages) == (384, 384, 4, 4)
    assert found.text_bytes == sum(len(text) for text in TEXTS) / 4


def test_what_is_stated_beside_the_sample_counts(minilm):
    found = workload_of(Sample.of([Passage("a", "oak")]), minilm, chunks=1000, dim=128, dense_dim=64, pages=7)
    assert (found.dim, found.dense_dim, found.chunks, found.pages) == (128, 64, 1000, 7)
    assert found.lengths.tolist() == [3]


def test_every_passage_is_as_likely_as_any_other():
    times = Counter()
    for shift in range(300):
        # The draw is fixed by position, so the passages are moved round.
        drawn = Sample.of((Passage(str((i + shift) % 30), "x") for i in range(30)), size=10)
        assert (len(drawn.passages), drawn.seen) == (10, 30)
        times.update(passage.id for passage in drawn.passages)
    assert set(times.values()) == {100}


def test_a_small_corpus_is_taken_whole_and_the_draw_repeats():
    few = [Passage(str(i), "x") for i in range(5)]
    assert Sample.of(few).passages == tuple(few)
    many = [Passage(str(i), "x") for i in range(3000)]
    assert Sample.of(many) == Sample.of(many)
    thirds = Counter(int(passage.id) // 1000 for passage in Sample.of(many).passages)
    assert all(260 < count < 410 for count in thirds.values())


def test_a_corpus_without_passages_is_refused():
    with pytest.raises(InputError, match="without passages"):
        Sample.of([])
