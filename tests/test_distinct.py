"""Near-duplicates and passages of one source, folded: held against doing it in plain loops over the whole ranking."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latewood.binding import BoundPipeline
from latewood.distinct import Distinct, alike, shingles
from latewood.errors import UsageError
from latewood.pipeline import parse
from latewood.stores.embedded import EmbeddedStore
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, MultiVectors, Passage

SPEC = EncoderSpec("none", "0" * 64, dim=8, dense_dim=8, max_length=32, overlap=8)
WORDS = ["oak", "larch", "pine", "ship", "mast", "keel", "ring", "wood", "plank", "saw"]


class OneVector:
    """An encoder of questions whose vectors are drawn by their text: what is ranked doesn't matter here."""

    def encode_query(self, text):
        rng = np.random.default_rng(zlib.crc32(text.encode()))
        dense = rng.standard_normal(SPEC.dense_dim, dtype=np.float32)
        return EncodedQuery(text, dense, rng.standard_normal((3, SPEC.dim), dtype=np.float32), ())


def variants(rng, count):
    """Passages of few sources, many of them the same but for a word, the case or the white space."""
    originals = [" ".join(rng.choice(WORDS, rng.integers(8, 40))) for _ in range(12)]
    for i in range(count):
        words = originals[int(rng.integers(len(originals)))].split()
        for _ in range(int(rng.integers(0, 3))):
            words[int(rng.integers(len(words)))] = str(rng.choice(WORDS))
        text = ("\n" if i % 3 else "  ").join(words)
        yield Passage(f"p{i}", text.upper() if i % 4 == 0 else text, source_id=f"s{int(rng.integers(25))}")


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    store = EmbeddedStore.create(tmp_path_factory.mktemp("distinct") / "kb.lw", SPEC, {"analyzer": "plain"})
    rng = np.random.default_rng(3)
    passages = list(variants(rng, 300))
    tokens = MultiVectors.of([rng.standard_normal((3, 8), dtype=np.float32) for _ in passages])
    dense = MultiVectors.of([rng.standard_normal((1, 8), dtype=np.float32) for _ in passages])
    store.add(passages, EncodedPassages(tokens, dense))
    yield store.snapshot()
    store.close()


def jaccard(one, other):
    sets = []
    for text in (one, other):
        plain = " ".join(text.casefold().split())
        sets.append({plain[i : i + 9] for i in range(len(plain)) if i == 0 or i + 9 <= len(plain)} or {""})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def by_hand(ranked, k, collapse, group):
    """(id, folded ids) by comparing each passage of a ranking with all that were kept."""
    kept = []
    for passage in ranked:
        for other, folded in kept:
            near = collapse and jaccard(passage.text, other.text) >= 0.8
            if near or (group and passage.source_id == other.source_id):
                folded.append(passage.id)
                break
        else:
            if len(kept) < k:
                kept.append((passage, []))
    return kept


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    text=st.sampled_from(["late", "dense", "bm25", "late:70 + bm25:60", "dense:40 >> late", "dense >> late + dense"]),
    question=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    k=st.integers(1, 40),
    collapse=st.booleans(),
    group=st.booleans(),
)
def test_results_differ_as_by_hand(snapshot, text, question, k, collapse, group):
    pipeline = parse(text)
    whole = BoundPipeline(pipeline, snapshot, OneVector)
    distinct = Distinct(collapse, "source" if group else None)
    found = BoundPipeline(pipeline, snapshot, OneVector, distinct=distinct).rank(question, k, texts=True)
    if not (collapse or group):
        assert found.hits == whole.rank(question, k, texts=True).hits
        return
    plain = whole.rank(question, 300, texts=True)
    ranked = [hit.passage for hit in plain.hits]
    expected = by_hand(ranked, k, collapse, group)
    if str(pipeline) in ("late", "dense", "bm25"):  # a search, which stops where it has enough
        assert [hit.id for hit in found.hits] == [passage.id for passage, _ in expected]
        for hit, (_, folded) in zip(found.hits, expected, strict=True):
            assert list(hit.folded) == folded[: len(hit.folded)]
    else:
        assert [(hit.id, list(hit.folded)) for hit in found.hits] == [(one.id, folded) for one, folded in expected]
    assert [hit.rank for hit in found.hits] == list(range(1, len(found.hits) + 1))
    assert [timing.stage for timing in found.timings] == [timing.stage for timing in plain.timings]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", True),
        ("", "oak", False),
        ("Oak", "  oak ", True),
        ("oak", "elm", False),
        ("The mast of a ship is made of a straight pine.", "the MAST of a ship\nis made of a straight pine.", True),
        ("船のマストはまっすぐな松の木で作られていました", "船のマストはまっすぐな松の木で作られていました。", True),
        ("船のマストはまっすぐな松の木で作られていました", "犬のマストはとても古い樫の木で作られていました", False),
    ],
)
def test_what_is_alike(one, other, expected):
    assert alike(shingles(one), shingles(other)) is expected
    assert (jaccard(one, other) >= 0.8) is expected


def test_another_way_to_group_is_refused():
    with pytest.raises(UsageError, match="'source'"):
        Distinct(group_by="lang")


def test_a_document_in_passages_is_found_once(tmp_path, minilm):
    from latewood.collection import Collection

    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        kb.add(Passage(f"a#{i}", f"Oak number {i} is heavy.", source_id="a") for i in range(30))
        kb.add([Passage("b", "Larch is a conifer."), Passage("c", "Oak number 3 is  heavy.")])
        found = kb.search("heavy oak", 2, "late", group_by="source")
        assert {hit.source_id for hit in found.hits} == {"a", "c"}
        assert found.hits[0].folded or found.hits[1].folded
        best = kb.search("heavy oak", 1, "late").hits[0]
        kb.add([Passage("c", best.passage.text.upper())])
        both = kb.search("heavy oak", 3, "dense:32 >> late", group_by="source", collapse=True)
        assert both.hits[-1].id == "b"
        assert [hit.source_id for hit in both.hits] in (["a", "b"], ["c", "b"])
        assert "folded" in json.dumps(both.to_json())
        assert "folded" not in json.dumps(kb.search("heavy oak").to_json())
