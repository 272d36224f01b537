"""The prediction interval against simulation and arithmetic; the encoded reranker against the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

from latewood import _reference
from latewood.errors import UsageError
from latewood.evaluate.lift import EncodedLate, predict, summarise
from latewood.types import EncodedPassages, EncodedQuery, MultiVectors


def test_the_interval_by_hand():
    """Four values 0.4, 0, 0, 0: mean 0.1, squares 0.12, and 0.32 for a gain and a loss; t(3) at 97.5 % is 3.182446."""
    low, high = predict([0.4, 0.0, 0.0, 0.0])
    half = 3.182446 * math.sqrt(0.44 / 3) * math.sqrt(1 / 4 + 1 / 4)
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-5)
    assert predict([0.4, 0.0, 0.0, 0.0], others=10**9)[1] < high
    assert predict([0.0, 0.0]) == (-1.0, 1.0)  # t(1) at 97.5 % is 12.7


@pytest.mark.parametrize("changed", [0.02, 0.1, 0.4])
def test_the_interval_of_one_half_holds_the_other_in_90_to_99_of_100(changed):
    """As retrieval gives differences: most questions don't change, a share gains or loses a whole answer."""
    rng = np.random.default_rng(7)
    sets, held = 40, []
    for _ in range(sets):
        values = rng.choice([0.0, 1.0, -1.0], size=300, p=[1 - changed, changed * 0.7, changed * 0.3])
        for _ in range(10):
            order = rng.permutation(300)
            low, high = predict(values[order[:150]].tolist(), 150)
            held.append(low <= values[order[150:]].mean() <= high)
    assert 0.90 <= np.mean(held) <= 0.995


def test_a_prediction_needs_two_questions():
    with pytest.raises(UsageError):
        predict([0.5])


def test_the_sum_of_a_lift():
    lift = summarise({"a": 1.0, "b": 0.5, "c": 0.0}, {"a": 0.0, "b": 0.5, "c": 0.5, "d": 1.0}, [10.0, 20.0, 30.0])
    assert lift.mean == pytest.approx(1 / 6)
    assert (lift.wins, lift.losses, lift.questions) == (1, 1, 3)
    assert (lift.p50_ms, lift.p95_ms) == (20.0, 29.0)
    assert lift.low < lift.mean < lift.high
    assert summarise({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 0.5}).to_json()["latency_ms"] is None


class LetterEncoder:
    """One vector per word: unit vectors drawn from the word's letters."""

    def encode_passages(self, texts, progress=None):
        tokens = [np.array([self.vector(word) for word in text.split()], np.float32).reshape(-1, 8) for text in texts]
        return EncodedPassages(MultiVectors.of(tokens), MultiVectors.of(tokens))

    def encode_query(self, text):
        return EncodedQuery(text, None, np.array([self.vector(word) for word in text.split()], np.float32), ())

    @staticmethod
    def vector(word):
        values = np.random.default_rng([ord(letter) for letter in word]).standard_normal(8)
        return values / np.linalg.norm(values)


def test_the_encoded_reranker_orders_a_pool_as_the_reference_scores_it():
    texts = {f"p{at}": " ".join(f"w{(at * 7 + i) % 23}" for i in range(3 + at % 5)) for at in range(300)} | {"none": ""}
    encoder = LetterEncoder()
    late = EncodedLate(encoder, texts)
    pool = [f"p{at}" for at in (3, 299, 40, 41, 7, 257)]
    query = encoder.encode_query("w1 w5 w9")
    scores = _reference.scores(query.tokens, encoder.encode_passages([texts[key] for key in pool]).tokens)
    assert late("w1 w5 w9", [*pool, "none"]) == [pool[at] for at in np.argsort(-np.asarray(scores), kind="stable")]
    assert late("w1", []) == []
