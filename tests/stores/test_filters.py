"""Conditions on metadata, and searches among what meets them: held against reading and scoring everything."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood import _reference, maxsim
from latewood.collection import Collection
from latewood.errors import CorruptionError, InputError, StaleError, UsageError
from latewood.stores.conditions import check_where, meets, read_where
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.filtered import filtered
from latewood.types import EncodedPassages, EncoderSpec, MultiVectors, Passage

SPEC = EncoderSpec("none", "0" * 64, dim=16, dense_dim=8, max_length=32, overlap=8)
WORDS = ["oak", "larch", "pine", "ship", "mast", "keel", "ring", "wood", "plank", "saw"]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"lang": "en"}, True),
        ({"lang": "de"}, False),
        ({"year": 2024}, True),
        ({"year": 2024.0}, True),
        ({"year": "2024"}, False),
        ({"year": {"gte": 2024}}, True),
        ({"year": {"gt": 2024}}, False),
        ({"year": {"gte": 2000, "lt": 2024}}, False),
        ({"year": {"gte": "2"}}, False),
        ({"tags": "b"}, True),
        ({"tags": {"in": ["x", "a"]}}, True),
        ({"tags": {"in": ["x"]}}, False),
        ({"tags": {"in": []}}, False),
        ({"lang": {"gt": "de", "lt": "fr"}}, True),
        ({"open": True}, True),
        ({"open": 1}, False),
        ({"count": True}, False),
        ({"missing": "en"}, False),
        ({"missing": {"gte": 0}}, False),
        ({"lang": "en", "year": 2023}, False),
        ({"none": {"in": [0]}}, False),
    ],
)
def test_conditions(where, expected):
    metadata = {"lang": "en", "year": 2024, "tags": ["a", "b"], "open": True, "count": 1, "none": None}
    assert meets(metadata, check_where(where)) is expected


@pytest.mark.parametrize(
    "where", [None, {}, [], "x", {"a": None}, {"a": []}, {"a": {}}, {"a": {"in": "x"}}, {"a": {"gt": True}},
              {"a": {"gt": None}}, {"a": {"near": 1}}, {"a": {"in": [[1]]}}, {1: "x"}]
)  # fmt: skip
def test_what_is_no_condition(where):
    with pytest.raises(UsageError, match="where"):
        check_where(where)


@pytest.mark.parametrize("text", ["", "lang=en", "[" * 100_000, "[]", '{"a": null}'])
def test_what_is_no_condition_as_text(text):
    with pytest.raises(UsageError, match="where"):
        read_where(text)


def encoded(passages):
    tokens, dense = [], []
    for one in passages:
        rng = np.random.default_rng(zlib.crc32(f"{one.id}\0{one.text}".encode()))
        tokens.append(rng.standard_normal((len(one.text.split()) % 7, SPEC.dim), dtype=np.float32))
        dense.append(rng.standard_normal((1 + len(one.text) % 2, SPEC.dense_dim), dtype=np.float32))
    return EncodedPassages(MultiVectors.of(tokens, SPEC.dim), MultiVectors.of(dense, SPEC.dense_dim))


def passages_of(count, seed, first=0):
    rng = np.random.default_rng(seed)
    found = []
    for i in range(first, first + count):
        metadata = {"n": i, "half": ["a", "b"][i % 2], "few": f"v{int(rng.integers(100))}"}
        if rng.random() < 0.7:
            metadata["tags"] = [WORDS[j] for j in rng.integers(0, len(WORDS), rng.integers(0, 3))]
        if rng.random() < 0.5:
            metadata["mixed"] = [1, True, "1", 1.0, None, {"x": 1}, [1, "a"], 2.5][int(rng.integers(8))]
        found.append(Passage(f"p{i}", " ".join(rng.choice(WORDS, rng.integers(0, 30))), metadata=metadata))
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store that has seen adds, replacements and deletions, and the passages that are in it."""
    store = EmbeddedStore.create(tmp_path_factory.mktemp("filters") / "kb.lw", SPEC, {"analyzer": "plain"})
    there = {}
    for added in (passages_of(250, 1), passages_of(150, 2, 250), passages_of(60, 3, 100)):
        store.add(added, encoded(added))
        there |= {one.id: one for one in added}
    doomed = [f"p{i}" for i in range(0, 400, 7)]
    store.delete(doomed)
    yield store, {key: one for key, one in there.items() if key not in doomed}
    store.close()


PLAIN = st.one_of(
    st.sampled_from([*WORDS, "a", "b", "v3", "1", ""]),
    st.integers(-2, 420),
    st.sampled_from([1.0, 2.5, 17.5]),
    st.booleans(),
)
NUMBER_OR_TEXT = st.one_of(st.integers(-2, 420), st.sampled_from([2.5, "a", "m", "v5"]))
OPERATORS = st.one_of(
    st.fixed_dictionaries({"in": st.lists(PLAIN, max_size=4)}),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), NUMBER_OR_TEXT, min_size=1, max_size=2),
)
FIELDS = st.sampled_from(["n", "half", "few", "tags", "mixed", "absent"])
WHERE = st.dictionaries(FIELDS, st.one_of(PLAIN, OPERATORS), min_size=1, max_size=2)
QUESTIONS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)


@settings(max_examples=150)
@given(where=WHERE, question=QUESTIONS, k=st.integers(1, 60), seed=st.integers(0, 1000))
def test_any_filter_ranks_as_brute_force(kept, where, question, k, seed):
    store, there = kept
    whole = store.snapshot()
    seen = filtered(whole, where)
    allowed = {key for key, one in there.items() if meets(one.metadata, where)}
    assert sorted(seen.ids(seen.live_rows)) == sorted(allowed)
    rng = np.random.default_rng(seed)
    tokens = rng.standard_normal((3, SPEC.dim), dtype=np.float32)
    vector = rng.standard_normal(SPEC.dense_dim, dtype=np.float32)
    everything = len(whole)
    for found, of_all in (
        (seen.late(tokens, k), whole.late(tokens, everything, exact=True)),
        (seen.late(tokens, k, exact=True), whole.late(tokens, everything, exact=True)),
        (seen.dense(vector, k), whole.dense(vector, everything)),
        (seen.bm25(question, k), whole.bm25(question, everything)),
    ):
        ranked = zip(whole.ids(of_all.rows), of_all.scores.tolist(), strict=True)
        expected = [(key, score) for key, score in ranked if key in allowed][:k]
        assert list(zip(seen.ids(found.rows), found.scores.tolist(), strict=True)) == expected


def test_scores_of_allowed_passages_are_those_of_the_reference(kept):
    store, there = kept
    seen = filtered(store.snapshot(), {"half": "a", "n": {"gte": 50, "lt": 90}})
    allowed = [one for one in there.values() if one.metadata["half"] == "a" and 50 <= one.metadata["n"] < 90]
    query = np.random.default_rng(0).standard_normal((4, SPEC.dim), dtype=np.float32)
    scores = _reference.scores(query, maxsim.quantize(encoded(allowed).tokens))
    ranked = sorted((-score, one.id) for score, one in zip(scores.tolist(), allowed, strict=True) if score > -np.inf)
    found = seen.late(query, 100)
    assert seen.ids(found.rows) == [key for _, key in ranked]
    assert np.array_equal(seen.scores(query, found.rows[::-1]), found.scores[::-1])
    assert found.unscored == len(allowed) - len(ranked)


def test_candidates_that_a_filter_hides_are_left_out(kept):
    store, _ = kept
    whole = store.snapshot()
    seen = filtered(whole, {"half": "a"})
    query = np.random.default_rng(1).standard_normal((2, SPEC.dim), dtype=np.float32)
    found = seen.late(query, 50, whole.live_rows[:40])
    assert {row % 2 for row in found.rows.tolist()} == {0}
    assert set(found.rows.tolist()) <= set(whole.live_rows[:40].tolist())


def test_a_filter_that_allows_one_in_a_hundred_finds_all_of_them(tmp_path):
    """With the late-interaction index, and with words that most passages have: the allowed ones are far down."""
    rng = np.random.default_rng(11)
    store = EmbeddedStore.create(tmp_path / "kb.lw", SPEC, {"analyzer": "plain"})
    total = 3000
    passages = [
        # Those that are allowed say the word once in much else, so thousands rank above them.
        Passage(f"p{i}", "oak " + "wood " * (20 if i % 100 == 0 else int(rng.integers(0, 4))), metadata={"n": i % 100})
        for i in range(total)
    ]
    tokens = MultiVectors.of([rng.standard_normal((4, SPEC.dim), dtype=np.float32) for _ in passages])
    dense = MultiVectors.of([rng.standard_normal((1, SPEC.dense_dim), dtype=np.float32) for _ in passages])
    store.add(passages, EncodedPassages(tokens, dense))
    store.build_late(target_overlap=0.3, centroids=64)
    whole = store.snapshot()
    for where, count in (({"n": 0}, 30), ({"n": {"lt": 50}}, 1500), ({"n": {"lt": 90}}, 2700)):
        seen = filtered(whole, where)
        assert len(seen) == count
        found = seen.bm25("oak", 25)
        assert len(found) == 25
        every = whole.bm25("oak", total)
        hidden = ~np.isin(every.rows, seen.live_rows)
        assert found.rows.tolist() == every.rows[~hidden][:25].tolist()
        query = rng.standard_normal((4, SPEC.dim), dtype=np.float32)
        late = seen.late(query, 25, depths={"n_full_scores": 40, "n_refined": 60})
        assert len(late) == 25
        assert np.isin(late.rows, seen.live_rows).all()
        assert late.exact == (count == 30)  # few enough: all of them are scored
        if late.exact:
            assert late.rows.tolist() == seen.late(query, 25, exact=True).rows.tolist()
    store.close()


def test_later_generations_read_only_what_is_new(kept, tmp_path, monkeypatch):
    store = EmbeddedStore.create(tmp_path / "kb.lw", SPEC)
    read = []
    texts = store._texts.metadata
    monkeypatch.setattr(store._metadata, "_read", lambda rows: [read.extend(rows.tolist()), texts(rows)][1])
    first = passages_of(20, 4)
    store.add(first, encoded(first))
    before = store.snapshot()
    assert len(filtered(before, {"half": "a"})) == 10
    assert read == list(range(20))
    store.delete(["p0", "p3"])
    more = passages_of(5, 5, 20)
    store.add(more, encoded(more))
    after = store.snapshot()
    assert len(filtered(after, {"half": "a"})) == 12
    assert len(filtered(after, {"half": "b"})) == 11
    assert read == list(range(25))
    assert len(filtered(before, {"half": "a"})) == 10  # the generation that it was
    assert len(filtered(after, [{"half": "a"}, {"n": {"gte": 22}}])) == 2
    store.close()


def test_a_reader_that_stays_is_told_that_what_it_would_filter_has_gone(tmp_path):
    path = tmp_path / "kb.lw"
    writer = EmbeddedStore.create(path, SPEC)
    some = passages_of(40, 6)
    writer.add(some, encoded(some))
    reader = EmbeddedStore.open(path)
    old = reader.snapshot()
    assert len(filtered(old, {"half": "a"})) == 20
    writer.delete([one.id for one in some[:15]])
    writer.compact(keep_for=0)
    assert len(filtered(old, {"half": "a"})) == 20  # that field was read
    with pytest.raises(StaleError, match="refresh"):
        filtered(old, {"n": {"gte": 0}})
    assert len(filtered(reader.snapshot(), {"n": {"gte": 0}})) == 25
    reader.close()
    writer.close()


def test_a_damaged_row_is_named_and_not_passed_over(tmp_path):
    store = EmbeddedStore.create(tmp_path / "kb.lw", SPEC)
    some = passages_of(9, 6)
    store.add(some, encoded(some))
    store._index.catalogue.execute('UPDATE passages SET metadata = \'{"half": "a"}\' WHERE row = 5')
    with pytest.raises(CorruptionError, match="row 5 of passages"):
        filtered(store.snapshot(), {"half": "a"})
    store.close()


def test_a_part_of_a_collection_ranks_as_a_collection_of_that_part(tmp_path, minilm):
    rng = np.random.default_rng(5)
    passages = [
        Passage(f"p{i}", " ".join(rng.choice(WORDS, 8)), metadata={"tenant": "ab"[i % 2], "n": i}) for i in range(80)
    ]
    mine = [p for p in passages if p.metadata["tenant"] == "a" and p.metadata["n"] >= 30]
    where = {"tenant": "a", "n": {"gte": 30}}
    with Collection.create(tmp_path / "all.lw", minilm) as kb, Collection.create(tmp_path / "a.lw", minilm) as part:
        kb.add(passages)
        part.add(mine)
        assert sorted(kb.sources(where)) == sorted(p.id for p in mine)
        for text in (
            "late:7",
            "dense:9",
            "dense:20 >> late:5",
            "late:100",
            "(dense:20 + late:20):9 >> late(encode=true):4",
        ):
            found = kb.search("mast of oak", pipeline=text, where=where)
            expected = part.search("mast of oak", pipeline=text)
            assert [hit.id for hit in found.hits] == [hit.id for hit in expected.hits]
            assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in expected.hits], abs=1e-5)
            assert set(found.pool) <= {p.id for p in mine}
        # BM25 weighs words by the whole collection: the same passages, if not the same order.
        found = kb.search("mast of oak", 50, "bm25", where=where)
        expected = part.search("mast of oak", 50, "bm25")
        assert {hit.id for hit in found.hits} == {hit.id for hit in expected.hits}
        seen = kb.bind("bm25", [{"tenant": "a"}, {"n": {"gte": 30}}]).snapshot
        hidden = next(p.id for p in passages if p.metadata["tenant"] == "b")
        with pytest.raises(InputError) as refused:
            seen.rows([mine[0].id, hidden])
        with pytest.raises(InputError) as missing:
            seen.rows(["nowhere"])
        assert str(refused.value).replace(hidden, "X") == str(missing.value).replace("nowhere", "X")
        with pytest.raises(UsageError, match="where"):
            kb.search("oak", where={})
