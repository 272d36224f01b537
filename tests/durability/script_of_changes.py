"""A script of changes to a collection without end, and what the collection must hold after each of them.

Change n makes generation n. Vectors come from a generator seeded by the passage: storage doesn't care about meaning.
"""

from __future__ import annotations

import random
import zlib

import numpy as np

from latewood import _reference, maxsim
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors, Passage

SPEC = EncoderSpec("none", "0" * 64, dim=16, dense_dim=8, max_length=32, overlap=8)
WORDS = ["river", "stone", "ladder", "copper", "meadow", "signal", "harbour", "winter", "engine", "paper", "violet"]

State = dict[str, Passage]


def passage(number: int, version: int, words: int = 12) -> Passage:
    rng = random.Random(f"{number}/{version}")
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(words)))
    title = f"Passage {number}" if number % 3 else ""
    return Passage(
        id=f"doc-{number}#{version % 2}" if number % 5 == 0 else f"doc-{number}",
        text=f"{title}\n{text}" if title else text,
        source_id=f"doc-{number}",
        title=title,
        source="somewhere/über.txt",
        metadata={"version": version, "tags": ["a", number], "deep": {"x": None}},
    )


def encoded(passages: list[Passage]) -> EncodedPassages:
    tokens, dense = [], []
    for one in passages:
        rng = np.random.default_rng(zlib.crc32(f"{one.id}\0{one.text}".encode()))
        tokens.append(rng.standard_normal((len(one.text.split()), SPEC.dim), dtype=np.float32))
        dense.append(rng.standard_normal((1 + len(one.text) // 40, SPEC.dense_dim), dtype=np.float32))
    return EncodedPassages(MultiVectors.of(tokens, SPEC.dim), MultiVectors.of(dense, SPEC.dense_dim))


def change(n: int, before: State, words: int = 12) -> tuple[list[Passage], list[str], State]:
    """Change n: passages to add, or ids to delete, and the state after it."""
    rng = random.Random(n)
    if n % 4 == 3 and len(before) > 3:
        doomed = rng.sample(sorted(before), rng.randint(1, 3))
        return [], [*doomed, "never-was"], {key: one for key, one in before.items() if key not in doomed}
    numbers = [rng.randrange(min(3 * n + 3, 400)) for _ in range(rng.randint(1, 5))]
    if n % 7 == 0:
        numbers.append(numbers[0])  # one id twice in a batch: the last counts
    added = [passage(number, 100 * n + i, words) for i, number in enumerate(numbers)]
    return added, [], {**before, **{one.id: one for one in added}}


def states(count: int, words: int = 12) -> list[State]:
    """The states after 0, 1, …, count changes."""
    found: list[State] = [{}]
    for n in range(1, count + 1):
        found.append(change(n, found[-1], words)[2])
    return found


def apply(store, n: int, before: State, words: int = 12) -> State:
    """Do change n to a store at generation n - 1."""
    added, doomed, after = change(n, before, words)
    if added:
        assert store.add(added, encoded(added)) == n
    else:
        assert store.delete(doomed) == len(doomed) - 1
    return after


def assert_holds(store, state: State) -> None:
    """The store's newest generation is this state, in texts, vectors and rankings, and nothing of it is damaged."""
    assert_answers(store.snapshot(), state)
    assert store.check() == []


def assert_answers(snapshot, state: State) -> None:
    """The snapshot is this state, in texts, vectors and rankings."""
    assert len(snapshot) == len(state)
    ids = sorted(state)
    expected = [state[key] for key in ids]
    rows = snapshot.rows(ids)
    assert snapshot.passages(rows) == expected
    assert snapshot.source_ids(rows) == [one.source_id for one in expected]
    vectors = maxsim.quantize(encoded(expected).tokens)
    stored = snapshot.vectors(rows)
    assert np.array_equal(stored.tokens, vectors.tokens)
    assert np.array_equal(stored.offsets, vectors.offsets)
    assert np.array_equal(stored.scales, vectors.scales)
    if ids:
        query = np.random.default_rng(len(ids)).standard_normal((4, SPEC.dim), dtype=np.float32)
        scores = _reference.scores(query, vectors)
        ranked = sorted((-score, key) for score, key in zip(scores.tolist(), ids, strict=True) if score > -np.inf)
        found = snapshot.late(query, len(ids))
        assert snapshot.ids(found.rows) == [key for _, key in ranked]
        assert found.unscored == len(ids) - len(ranked)
