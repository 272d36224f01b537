"""Batches on several threads: the same bytes for any number of them, and torch's own setting left as it was."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from latewood.encode import GOLDEN_TEXTS, Placement, load
from latewood.encode.placement import side_by_side
from latewood.errors import UnavailableError, UsageError


@pytest.fixture
def threads():
    """Sets torch's number of threads, and puts it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_vectors_do_not_depend_on_the_number_of_threads(minilm, threads):
    texts = [text * n for n in (1, 4) for text in GOLDEN_TEXTS]
    made = []
    for number in 1, 2, 3:
        threads(number)
        done = []
        made.append(minilm.encode_passages(texts, done.append))
        assert sum(done) == len(texts)
        assert torch.get_num_threads() == number
    for other in made[1:]:
        assert np.array_equal(made[0].tokens.tokens, other.tokens.tokens)
        assert np.array_equal(made[0].dense.tokens, other.dense.tokens)
    # A thread that comes later has torch's number, not that of the workers.
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [3]


def test_questions_of_all_lengths_get_on_any_number_of_threads_what_they_get_alone(minilm, threads):
    texts = ["", "oak", "oak", *(f"what does tree number {i} lose in autumn? " * (1 + i % 5) for i in range(12))]
    alone = [minilm.encode_query(text) for text in texts]
    for number in 1, 2, 3:
        threads(number)
        found = minilm.encode_queries(texts)
        assert torch.get_num_threads() == number
        assert [each.text for each in found] == texts
        for one, other in zip(found, alone, strict=True):
            assert one.labels == other.labels
            np.testing.assert_allclose(one.tokens, other.tokens, atol=1e-5)
            np.testing.assert_allclose(one.dense, other.dense, atol=1e-5)
        numbers = [i for i, _ in minilm.encode_each(texts)]
        assert sorted(numbers) == list(range(len(texts)))
    assert minilm.encode_queries([]) == []


def test_an_error_ends_the_work_and_is_raised(minilm, threads):
    threads(2)
    begun = []

    def work(item):
        begun.append(item)
        raise ValueError("no such batch")

    with pytest.raises(ValueError, match="no such batch"):
        list(side_by_side(minilm._model, work, range(1000)))
    assert len(begun) < 1000
    assert torch.get_num_threads() == 2


def test_a_batch_size_is_kept_to_and_changes_nothing_but_rounding(minilm, monkeypatch):
    encoder = load("minilm", placement=Placement(device="cpu", batch_size=3))
    sizes = []
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_forward", lambda windows: sizes.append(len(windows)) or forward(windows))
    mine = encoder.encode_passages(GOLDEN_TEXTS)
    assert sorted(sizes) == [1, 3, 3, 3, 3, 3]
    np.testing.assert_allclose(mine.tokens.tokens, minilm.encode_passages(GOLDEN_TEXTS).tokens.tokens, atol=1e-5)


def test_other_numbers_than_float32_are_said_and_kept(minilm):
    encoder = load("minilm", placement=Placement(dtype="bfloat16"))
    assert encoder.spec.dtype == "bfloat16"
    found, exact = (made.encode_passages(GOLDEN_TEXTS[:2]).tokens for made in (encoder, minilm))
    assert found.tokens.dtype == np.float32
    cosines = (found.tokens * exact.tokens).sum(axis=1)
    assert 0.99 < float(cosines.min()) < 1 - 1e-6


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "cuda:77"}, UnavailableError, r"device 'cuda:77' can't be used here \("),
        ({"device": "abacus"}, UsageError, "device: got 'abacus', expected auto, cpu, cuda"),
        ({"dtype": "int8"}, UsageError, "dtype: got 'int8', expected one of float32, bfloat16, float16"),
        ({"batch_size": 0}, UsageError, "batch size: got 0, expected at least 1"),
    ],
)
def test_what_cannot_be_is_said(options, error, message):
    with pytest.raises(error, match=message):
        load("minilm", placement=Placement(**options))
