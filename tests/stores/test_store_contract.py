"""What every store promises, in one body: a folder, Qdrant's local mode, Edge, and a server where there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from store_homes import HOMES, SPEC, Home, parse_home, some_passages, store_at, unit

from latewood import _reference
from latewood.binding import BoundPipeline
from latewood.errors import InputError, PipelineError, ShapeError, UsageError
from latewood.pipeline import parse
from latewood.stores.conditions import check_where, meets
from latewood.stores.filtered import filtered
from latewood.stores.qdrant import QdrantStore
from latewood.stores.qdrant_filters import clauses_of
from latewood.stores.qdrant_points import QUANTIZATIONS, Storage, batches
from latewood.types import EncodedQuery, MultiVectors, Page, Passage


@pytest.fixture(params=HOMES)
def home(request, tmp_path):
    return Home(request.param, tmp_path)


@pytest.fixture
def filled(home):
    rng = np.random.default_rng(10)
    passages, encoded = some_passages(rng, 40)
    with store_at(home) as store:
        store.add(passages, encoded)
        yield store, passages, encoded


class Asker:
    """An encoder of prepared queries."""

    spec = SPEC

    def __init__(self, queries):
        self.queries = queries

    def encode_query(self, text):
        dense, tokens = self.queries[text]
        return EncodedQuery(text, dense, tokens, ())


def test_what_was_added_is_read_back(filled):
    store, passages, encoded = filled
    snapshot = store.snapshot()
    rows = snapshot.rows([passage.id for passage in passages])
    assert snapshot.passages(rows) == passages
    assert snapshot.ids(rows) == [passage.id for passage in passages]
    assert snapshot.source_ids(rows) == [passage.source_id for passage in passages]
    assert sorted(snapshot.ids(snapshot.live_rows)) == sorted(passage.id for passage in passages)
    assert list(snapshot.live_rows) == sorted(snapshot.live_rows)
    stored = snapshot.vectors(rows)
    for i in range(len(passages)):
        scales = 1 if stored.scales is None else stored.scales[stored.offsets[i] : stored.offsets[i + 1], None]
        np.testing.assert_allclose(stored[i] * scales, encoded.tokens[i], atol=1e-6)


def test_an_id_that_is_not_there_is_named(filled):
    with pytest.raises(InputError, match="nowhere#7"):
        filled[0].snapshot().rows(["nowhere#7"])


def test_late_is_the_reference_s_ranking(filled):
    store, passages, encoded = filled
    rng = np.random.default_rng(11)
    for k in (1, 7, 100):
        query = unit(rng, 5, SPEC.dim)
        scores = _reference.scores(query, encoded.tokens)
        ids = [passage.id for passage in passages]
        expected = sorted((i for i in range(40) if np.isfinite(scores[i])), key=lambda i: (-scores[i], ids[i]))[:k]
        found = store.snapshot().late(query, k, exact=True)
        assert store.snapshot().ids(found.rows) == [ids[i] for i in expected]
        np.testing.assert_allclose(found.scores, scores[expected], atol=1e-4)
        assert found.exact
        assert found.unscored == 1


def test_late_reorders_the_rows_that_it_is_given(filled):
    store, passages, encoded = filled
    snapshot = store.snapshot()
    chosen = [3, 39, 8, 20, 5]
    rows = snapshot.rows([passages[i].id for i in chosen])
    query = unit(np.random.default_rng(12), 4, SPEC.dim)
    scores = _reference.scores(query, encoded.tokens)
    best = sorted([3, 8, 20, 5], key=lambda i: -scores[i])
    found = snapshot.late(query, 3, rows)
    assert snapshot.ids(found.rows) == [passages[i].id for i in best[:3]]
    assert found.unscored == 1
    assert len(snapshot.late(query, 3, rows[:0])) == 0


def test_a_passage_s_best_window_counts_for_dense(filled):
    store, passages, encoded = filled
    query = unit(np.random.default_rng(13), SPEC.dense_dim)
    best = np.array([(encoded.dense[i] @ query).max() for i in range(40)])
    expected = np.argsort(-best)[:10]
    found = store.snapshot().dense(query, 10)
    assert store.snapshot().ids(found.rows) == [passages[i].id for i in expected]
    np.testing.assert_allclose(found.scores, best[expected], atol=1e-5)


def test_a_pipeline_run_whole_is_the_pipeline_run_stage_by_stage(filled):
    store = filled[0]
    rng = np.random.default_rng(14)
    queries = {f"q{i}": (unit(rng, SPEC.dense_dim), unit(rng, 4, SPEC.dim)) for i in range(5)}
    asker = Asker(queries)
    bound = BoundPipeline(parse("dense:12 >> late:5"), store.snapshot(), lambda: asker)
    whole = BoundPipeline(parse("dense:12 >> late:5"), store.snapshot(), lambda: asker, whole=True)
    compiled = store.compile(parse("dense:12 >> late:5"))
    assert (compiled.steps, compiled.reason) == (2, "")
    for query in queries:
        one, other = bound.rank(query), whole.rank(query)
        assert [hit.id for hit in one.hits] == [hit.id for hit in other.hits]
        np.testing.assert_allclose([hit.score for hit in one.hits], [hit.score for hit in other.hits], atol=1e-5)
        assert len(one.pool) == 12


def test_what_a_store_can_t_run_is_said(home):
    with store_at(home) as store:
        part = store.compile(parse('dense:12 >> cross(model="x"):5'))
        assert part.steps == 1
        assert part.reason
        assert store.compile(parse("dense:12 >> late(encode=true):5")).steps == 1
        if home.kind == "embedded":
            assert store.compile(parse("(dense:5 + bm25:5):5 >> late:5")).steps == 2
        else:
            assert "sparse" in store.compile(parse("bm25:5")).reason
            assert store.compile(parse("(dense:5 + late:5):5")).steps == 0
            with pytest.raises(PipelineError, match="sparse"):
                store.snapshot().bm25("words", 5)


def test_replacing_and_deleting(filled, home):
    store, passages, _ = filled
    rng = np.random.default_rng(15)
    newer = Passage(passages[4].id, "another text", passages[4].source_id)
    _, other = some_passages(rng, 2)
    store.add([newer, newer], other)
    assert store.digests([newer.id, "nowhere#1"]) == {newer.id: store.digest(newer)}
    snapshot = store.snapshot()
    assert snapshot.passages(snapshot.rows([newer.id])) == [newer]
    assert store.delete([passages[0].id, "nowhere#1"]) == 1
    snapshot = store.snapshot()
    assert len(snapshot.live_rows) == 39
    with pytest.raises(InputError):
        snapshot.rows([passages[0].id])
    assert passages[0].id not in snapshot.ids(snapshot.dense(unit(rng, SPEC.dense_dim), 40).rows)


def test_it_is_there_when_it_is_opened_again(home):
    rng = np.random.default_rng(16)
    passages, encoded = some_passages(rng, 10)
    query = unit(rng, 4, SPEC.dim)
    with store_at(home) as store:
        store.add(passages, encoded)
        before = store.snapshot().late(query, 5)
        ids = store.snapshot().ids(before.rows)
        if home.kind == "server":
            return
        store.close()
        again = home.open()
        try:
            assert again.spec == SPEC
            found = again.snapshot().late(query, 5)
            assert again.snapshot().ids(found.rows) == ids
            np.testing.assert_array_equal(found.scores, before.scores)
            assert again.stats()
            assert [line for line in again.check() if "no vector 'late'" not in line] == []
        finally:
            again.close()


def test_vectors_of_another_shape_are_refused(home):
    passages, encoded = some_passages(np.random.default_rng(17), 4)
    with store_at(home) as store:
        with pytest.raises(ShapeError):
            store.add(passages[:3], encoded)
        store.add(passages, encoded)
        with pytest.raises(ShapeError):
            store.snapshot().late(np.zeros((2, 5), np.float32), 3)
        with pytest.raises(ShapeError):
            store.snapshot().dense(np.zeros(5, np.float32), 3)


def test_a_collection_is_not_made_twice(home):
    with store_at(home), pytest.raises((InputError, Exception), match=r"already|in use"):
        home.create()


def test_batches_fit_into_a_request():
    from latewood.stores.qdrant_points import Point

    many = MultiVectors.of([np.zeros((n, 100), np.float32) for n in (1000, 2000, 3000, 9000, 1)])
    points = [Point(i, {}, {"late": many[i]}) for i in range(5)]
    assert [[point.id for point in some] for some in batches(iter(points))] == [[0, 1], [2], [3], [4]]


CONDITIONS = [
    {"n": 7},
    {"n": 7.0},
    {"n": {"gte": 3, "lt": 9}},
    {"tags": "even"},
    {"tags": {"in": ["uneven", "nothing"]}},
    {"tags": {"in": []}},
    {"n": {"in": [1, 2.0, 30], "gt": 1}},
    {"tags": "odd", "n": {"gt": 20}},
    {"nowhere": "x"},
    {"a.b": {"in": [1, "two"]}},
]


@pytest.mark.parametrize("where", CONDITIONS, ids=str)
def test_conditions_on_metadata_are_met_in_every_store(home, where):
    passages, encoded = some_passages(np.random.default_rng(18), 40)
    passages = [replace(p, metadata={**p.metadata, "a.b": i}) for i, p in enumerate(passages)]
    query = unit(np.random.default_rng(19), 3, SPEC.dim)
    with store_at(home) as store:
        store.add(passages, encoded)
        whole = store.snapshot()
        seen = filtered(whole, where) if home.kind == "embedded" else whole.restricted(check_where(where))
        expected = sorted(passage.id for passage in passages if meets(passage.metadata, where))
        assert sorted(seen.ids(seen.live_rows)) == expected
        found = seen.ids(seen.late(query, 100).rows)
        assert sorted(found) == sorted(set(expected) - {passages[-1].id})


def test_conditions_that_qdrant_can_t_check_are_refused():
    with pytest.raises(UsageError, match="orders numbers only"):
        clauses_of({"day": {"gte": "2024-01-01"}})


@pytest.mark.parametrize("datatype", ["float32", "float16"])
@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_every_way_of_keeping_token_vectors_finds_a_passage_by_its_own(tmp_path, quantization, datatype):
    """Qdrant's own engine, in process; its optimiser makes the quantised copy."""
    pytest.importorskip("qdrant_edge")
    spec = replace(SPEC, dim=128)
    passages, encoded = some_passages(np.random.default_rng(24), 60, spec)
    address = parse_home(f"qdrant+edge:{tmp_path / 'edge'}")
    store = QdrantStore.create(address, spec, storage=Storage(datatype, quantization))
    store.add(passages, encoded)
    store.points.shard.optimize()
    snapshot = store.snapshot()
    for i in (0, 17, 42):
        found = snapshot.late(encoded.tokens[i], 3)
        assert snapshot.ids(found.rows)[0] == passages[i].id
    store.close()


@pytest.mark.parametrize("kind", ["local", "edge", "http"])
def test_pages_keep_their_places_and_are_found_by_means_first(tmp_path, kind):
    pytest.importorskip("sentence_transformers")
    home = Home(kind, tmp_path)
    rng = np.random.default_rng(25)
    _, encoded = some_passages(rng, 40)
    pages = [
        Page(f"a.pdf#{i + 1}", "two words", "a.pdf", metadata={"page": i + 1, "page_box": [0, 0, 612, 792, 0]},
             boxes=rng.random((2, 4)).astype(np.float32), layout="4x4")
        for i in range(40)
    ]  # fmt: skip
    store = QdrantStore.create(home.address, SPEC, storage=Storage("float16", "binary", pool_factor=2.0))
    try:
        store.add(pages, encoded)
        snapshot = store.snapshot()
        rows = snapshot.rows([page.id for page in pages])
        for mine, theirs in zip(pages, snapshot.passages(rows), strict=True):
            assert theirs == mine
            assert theirs.layout == mine.layout
            np.testing.assert_array_equal(theirs.boxes, mine.boxes)
        assert "pooled" in store.found.vectors
        exact = snapshot.late(encoded.tokens[3], 5, exact=True)
        means = snapshot.late(encoded.tokens[3], 5)
        assert (exact.exact, means.exact) == (True, False)
        few = 1 if kind == "edge" else 5  # Edge scores by one bit a dimension, and there are sixteen
        assert snapshot.ids(means.rows)[:few] == snapshot.ids(exact.rows)[:few]
        assert means.unscored == 1
        assert [line for line in store.check() if "no vector 'late'" not in line] == []
    finally:
        store.close()
        home.remove()
