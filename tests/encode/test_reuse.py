"""No text is encoded twice: not when its metadata changes, not when it moves, not in another collection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latewood.collection import Collection
from latewood.errors import EncoderMismatch
from latewood.types import Passage

TEXTS = [f"Beam {i}: " + "late wood and early wood, ring by ring. " * (1 + i % 4) for i in range(20)]
TEXTS[7] = "Late wood. " * 200  # several windows
PASSAGES = [Passage(f"doc#{i}", text, "doc", metadata={"version": 1}) for i, text in enumerate(TEXTS)]


class Counting:
    """An encoder that counts what it is given."""

    def __init__(self, encoder):
        self.encoder, self.spec, self.given = encoder, encoder.spec, []
        self.encode_query, self.label, self.count_tokens = encoder.encode_query, encoder.label, encoder.count_tokens

    def encode_passages(self, texts, progress=None):
        self.given += texts
        return self.encoder.encode_passages(texts, progress)


@pytest.fixture
def counting(minilm):
    return Counting(minilm)


@pytest.fixture
def kb(counting, tmp_path):
    with Collection.create(tmp_path / "kb.lw", counting) as kb:
        kb.add(PASSAGES)
        counting.given.clear()
        yield kb


def stored(kb, ids):
    return kb.snapshot.stored(kb.snapshot.rows(ids))


def assert_same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        assert np.array_equal(one.offsets, other.offsets)
        assert np.array_equal(one.tokens, other.tokens)
        assert (one.scales is None and other.scales is None) or np.array_equal(one.scales, other.scales)


def test_what_changes_beside_the_text_costs_no_encoding(kb, counting):
    before = stored(kb, [p.id for p in PASSAGES])
    done = []
    report = kb.add([replace(p, metadata={"version": 2}) for p in PASSAGES], done.append)
    assert (report.replaced, report.reused, counting.given, sum(done)) == (20, 20, [], 20)
    assert_same(stored(kb, [p.id for p in PASSAGES]), before)
    assert kb.get(["doc#3"])[0].metadata == {"version": 2}
    assert kb.check() == []


def test_texts_that_move_keep_their_vectors(kb, counting):
    """A paragraph put first: every passage has another number."""
    new = "A new first paragraph."
    moved = [Passage(f"doc#{i}", text, "doc") for i, text in enumerate([new, *TEXTS])]
    before = stored(kb, [f"doc#{i}" for i in range(19)])
    report = kb.add(moved)
    # The last one's old number is a new id in this batch, and its text is that of an old one all the same.
    assert (report.added, report.replaced, report.reused, counting.given) == (1, 20, 20, [new])
    assert_same(stored(kb, [f"doc#{i}" for i in range(1, 20)]), before)
    assert kb.search(TEXTS[4], 1).hits[0].passage.text == TEXTS[4]


def test_another_collection_lends_its_vectors(kb, counting, tmp_path, minilm):
    more = [Passage("more", "Spruce is felled in winter."), *(replace(p, id=f"new-{p.id}") for p in PASSAGES)]
    with Collection.create(tmp_path / "new.lw", counting) as new:
        counting.given.clear()  # the golden texts
        report = new.add(more, vectors_from=kb)
        assert (report.added, report.reused, counting.given) == (21, 20, [more[0].text])
        assert_same(stored(new, [p.id for p in more[1:]]), stored(kb, [p.id for p in PASSAGES]))
        assert new.search("spruce", 1).hits[0].id == "more"
        assert new.check() == []
    other = Counting(minilm)
    other.spec = replace(minilm.spec, truncate=True)
    with Collection.create(tmp_path / "cut.lw", other) as cut:
        with pytest.raises(
            EncoderMismatch, match="no use here: its encoder 'minilm' differs from 'minilm' in truncate"
        ):
            cut.add(more, vectors_from=kb)
        assert cut.stats()["passages"] == 0
