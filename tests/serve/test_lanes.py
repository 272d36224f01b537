"""The thread of a model: at once when idle, together when busy, in turns, and for nobody who has gone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the service is not installed: pip install '.[serve]'")

from latewood.errors import InputError, UnavailableError
from latewood.serve import lanes
from latewood.serve.lanes import Cancelled, Lane, LaneEncoder


class Held:
    """The bundled model, told when to go on; it keeps a list of what it was asked."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.spec = encoder.spec
        self.asked = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()

    def _wait(self, what):
        self.asked.append(what)
        self.entered.release()
        assert self.gate.wait(30)

    def encode_each(self, texts):
        self._wait(("queries", len(texts)))
        return self._encoder.encode_each(texts)

    def encode_query(self, text):
        self._wait(("queries", 1))
        return self._encoder.encode_query(text)

    def encode_passages(self, texts, progress=None):
        self._wait(("passages", list(texts)))
        return self._encoder.encode_passages(texts, progress)

    def label(self, text):
        return self._encoder.label(text)

    def count_tokens(self, text):
        return self._encoder.count_tokens(text)


@pytest.fixture
def held(minilm):
    return Held(minilm)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of a window or two, so that the texts of a test needn't be long."""
    monkeypatch.setattr(lanes, "_PIECE", 1400)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as started:
        yield started


def wait_for(condition):
    event = threading.Event()
    for _ in range(3000):
        if condition():
            return
        event.wait(0.01)
    raise AssertionError("waited for nothing")


def test_questions_together_get_the_vectors_that_they_get_alone(minilm):
    texts = ["oak", "which conifer loses its needles in autumn?", "", "ship timber", "oak"]
    together = minilm.encode_queries(texts)
    for text, found in zip(texts, together, strict=True):
        alone = minilm.encode_query(text)
        assert found.text == text
        assert found.labels == alone.labels
        assert found.cut == alone.cut
        assert np.abs(found.tokens - alone.tokens).max() < 1e-5
        assert np.abs(found.dense - alone.dense).max() < 1e-5
    assert minilm.encode_queries([]) == []


@pytest.mark.parametrize(("batch", "expected"), [(32, [1, 9]), (4, [1, 4, 4, 1]), (1, [1] * 10)])
def test_what_waits_is_done_together(held, pool, batch, expected):
    sizes = []
    lane = Lane(held, batch, sizes.append)
    held.gate.clear()
    first = pool.submit(lane.encode_query, "first")
    assert held.entered.acquire(timeout=30)  # at once, since nobody else was there
    others = [pool.submit(lane.encode_query, f"question {i}") for i in range(9)]
    wait_for(lambda: len(lane._queries) == 9)
    held.gate.set()
    assert first.result(30).text == "first"
    assert [each.result(30).text for each in others] == [f"question {i}" for i in range(9)]
    assert sizes == expected
    lane.close()


def test_a_question_waits_for_one_piece_of_a_long_request_only(held, pool, minilm):
    lane = Lane(held)
    held.gate.clear()
    texts = [f"passage {i} " + "of some length " * 40 for i in range(12)]
    long = pool.submit(lane.encode_passages, texts)
    assert held.entered.acquire(timeout=30)
    short = pool.submit(lane.encode_query, "short")
    wait_for(lambda: len(lane._queries) == 1)
    held.gate.set()
    assert short.result(30).text == "short"
    encoded = long.result(60)
    kinds = [kind for kind, _ in held.asked]
    assert kinds[:2] == ["passages", "queries"]
    assert kinds.count("passages") > 2
    expected = minilm.encode_passages(texts)
    assert (encoded.tokens.offsets == expected.tokens.offsets).all()
    assert np.abs(encoded.tokens.tokens - expected.tokens.tokens).max() < 1e-5
    assert np.abs(encoded.dense.tokens - expected.dense.tokens).max() < 1e-5
    lane.close()


def test_requests_take_turns_and_indexing_gives_way(held, pool):
    lane = Lane(held)
    held.gate.clear()
    filler = "word " * 300
    background = pool.submit(lane.encode_passages, [f"b{i} {filler}" for i in range(3)], background=True)
    assert held.entered.acquire(timeout=30)
    first = pool.submit(lane.encode_passages, [f"x{i} {filler}" for i in range(3)])
    wait_for(lambda: len(lane._front) == 1)
    second = pool.submit(lane.encode_passages, [f"y{i} {filler}" for i in range(3)])
    wait_for(lambda: len(lane._front) == 2)
    held.gate.set()
    for each in (background, first, second):
        each.result(120)
    turns = [texts[0][0] for _, texts in held.asked]
    assert turns[0] == "b"
    assert turns[1:5] == ["x", "y", "x", "y"]
    assert turns[5] == "b", "after four pieces of requests, one of indexing"
    lane.close()


def test_small_requests_share_a_piece(held, pool):
    lane = Lane(held)
    held.gate.clear()
    first = pool.submit(lane.encode_query, "first")
    assert held.entered.acquire(timeout=30)
    several = [pool.submit(lane.encode_passages, [f"text {i}", "common"]) for i in range(5)]
    wait_for(lambda: len(lane._front) == 5)
    held.gate.set()
    first.result(30)
    for each in several:
        assert len(each.result(30)) == 2
    assert [len(texts) for kind, texts in held.asked if kind == "passages"] == [10]
    lane.close()


def test_who_has_gone_is_not_encoded_for(held, pool):
    lane = Lane(held)
    held.gate.clear()
    gone = threading.Event()
    filler = "word " * 300
    long = pool.submit(lane.encode_passages, [f"{i} {filler}" for i in range(20)], cancelled=gone)
    assert held.entered.acquire(timeout=30)
    gone.set()
    held.gate.set()
    with pytest.raises(Cancelled):
        long.result(30)
    assert lane.encode_query("still there").text == "still there"
    assert sum(kind == "passages" for kind, _ in held.asked) <= 2
    lane.close()


class OneIsBad:
    """The bundled model, but a question with "bad" in it breaks the pass that it is in."""

    def __init__(self, encoder):
        self._encoder = encoder
        self.spec = encoder.spec

    def encode_each(self, texts):
        for i, text in enumerate(texts):
            yield i, self.encode_query(text)

    def encode_query(self, text):
        if "bad" in text:
            raise ValueError(f"can't read {text}")
        return self._encoder.encode_query(text)


def test_a_question_that_fails_fails_alone(minilm, pool):
    held = Held(OneIsBad(minilm))
    sizes = []
    lane = Lane(held, observe=sizes.append)
    held.gate.clear()
    first = pool.submit(lane.encode_query, "first")
    assert held.entered.acquire(timeout=30)
    texts = ["oak", "bad 1", "larch", "bad 2", "mast"]
    others = []
    for text in texts:
        others.append(pool.submit(lane.encode_query, text))
        wait_for(lambda: len(lane._queries) == len(others))
    held.gate.set()
    assert first.result(30).text == "first"
    for text, each in zip(texts, others, strict=True):
        if "bad" in text:
            with pytest.raises(ValueError, match=f"can't read {text}"):
                each.result(30)
        else:
            assert np.abs(each.result(30).tokens - minilm.encode_query(text).tokens).max() < 1e-5
    assert sizes == [1, 5]
    lane.close()


def test_a_question_of_somebody_who_has_gone_is_not_encoded(held, pool):
    sizes = []
    lane = Lane(held, 4, sizes.append)
    held.gate.clear()
    first = pool.submit(lane.encode_query, "first")
    assert held.entered.acquire(timeout=30)
    gone = threading.Event()
    stays = [pool.submit(lane.encode_query, f"stays {i}") for i in range(2)]
    leaves = [pool.submit(LaneEncoder(lane, cancelled=gone).encode_query, f"leaves {i}") for i in range(5)]
    wait_for(lambda: len(lane._queries) == 7)
    gone.set()
    held.gate.set()
    assert first.result(30).text == "first"
    assert [each.result(30).text for each in stays] == ["stays 0", "stays 1"]
    for each in leaves:
        with pytest.raises(Cancelled):
            each.result(30)
    assert sum(sizes) == 3
    lane.close()


def test_who_is_done_goes_on_while_others_of_the_batch_are_encoded(minilm, pool):
    class Slow(OneIsBad):
        def __init__(self, encoder):
            super().__init__(encoder)
            self.gate, self.last = threading.Event(), threading.Event()

        def encode_query(self, text):
            if text == "first":
                assert self.gate.wait(30)
            if text == "last":
                assert self.last.wait(30)
            return super().encode_query(text)

    slow = Slow(minilm)
    lane = Lane(slow)
    first = pool.submit(lane.encode_query, "first")
    wait_for(lambda: not lane._queries and first.running())
    one = pool.submit(lane.encode_query, "one")
    wait_for(lambda: len(lane._queries) == 1)
    last = pool.submit(lane.encode_query, "last")
    wait_for(lambda: len(lane._queries) == 2)
    slow.gate.set()
    assert one.result(30).text == "one"
    assert not last.done()
    slow.last.set()
    assert last.result(30).text == "last"
    lane.close()


def test_a_fault_reaches_those_who_asked_and_nobody_else(minilm):
    lane = Lane(minilm)
    with pytest.raises(InputError, match="expected a string"):
        lane.call(lambda encoder: encoder.encode_passages([3]))
    with pytest.raises(InputError):
        lane.encode_query(3)
    door = LaneEncoder(lane)
    assert door.count_tokens("oak") == minilm.count_tokens("oak")
    assert door.label("oak") == minilm.label("oak")
    assert len(door.encode_passages([])) == 0
    lane.close()
    with pytest.raises(UnavailableError, match="stopping"):
        lane.encode_query("too late")
