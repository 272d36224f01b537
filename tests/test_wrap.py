"""Anything that finds passages, as the first stage of a pipeline."""

from __future__ import annotations

import itertools

import pytest

import latewood as lw
from latewood.binding import BoundPipeline
from latewood.collection import Collection
from latewood.errors import InputError, PipelineError, UsageError
from latewood.evaluate.audit import audit
from latewood.evaluate.audit_corpus import Corpus
from latewood.first import TextsSnapshot

TEXTS = {
    "ring": "A tree ring has pale early wood and dense late wood.",
    "oak": "Oak is heavy, and its rings are porous.",
    "beech": "Beech burns slowly and gives much heat.",
    "rings": "A dendrochronologist counts rings from the bark inwards.",
}
QUERY = "which part of a ring is dense?"


@pytest.fixture(scope="module")
def kb(tmp_path_factory, minilm):
    with Collection.create(tmp_path_factory.mktemp("wrap") / "kb.lw", minilm) as kb:
        kb.add([lw.Passage(name, text) for name, text in TEXTS.items()])
        yield kb


def late_order(kb, ids):
    found = kb.snapshot.late(kb.encoder.encode_query(QUERY).tokens, 10, kb.snapshot.rows(ids))
    return kb.snapshot.ids(found.rows)


@pytest.mark.parametrize(
    "found",
    [
        ["beech", "rings", "ring"],
        [("beech", 0.9), ("rings", 0.5), ("ring", 0.1)],
        [lw.Passage("beech", "x"), lw.Passage("rings", "y"), lw.Passage("ring", "z")],
        itertools.repeat("beech", 1),
    ],
    ids=["ids", "pairs", "passages", "iterator"],
)
def test_what_it_finds_is_the_pool(kb, found):
    found = list(found)
    pipeline = lw.wrap(lambda query, k: iter(found), 3) >> lw.Late(2)
    ranking = kb.search(QUERY, pipeline=pipeline)
    names = ["beech", "rings", "ring"][: len(found)]
    assert ranking.pool == tuple(names)
    assert [hit.id for hit in ranking.hits] == late_order(kb, names)[:2]
    assert not ranking.exact


def test_it_is_asked_for_its_k_and_cut_there(kb):
    asked = []

    def search(query, k):
        asked.append((query, k))
        return list(TEXTS)

    assert len(kb.search(QUERY, pipeline=lw.wrap(search, 2)).hits) == 2
    assert kb.bind(lw.wrap(search) >> lw.Late(1)).rank(QUERY).pool == tuple(TEXTS)
    assert asked == [(QUERY, 2), (QUERY, 50)]


def test_its_scores_order_what_it_finds(kb):
    found = kb.search(QUERY, pipeline=lw.wrap(lambda query, k: [("oak", 1), ("ring", 2.5), ("beech", 1)], 3))
    assert [(hit.id, hit.score) for hit in found.hits] == [("ring", 2.5), ("beech", 1.0), ("oak", 1.0)]


def test_it_fuses_with_other_stages(kb):
    pipeline = (lw.wrap(lambda query, k: ["beech"], 1) + lw.Dense(2)).top(3) >> lw.Late(3)
    assert "beech" in kb.search(QUERY, pipeline=pipeline).pool


def test_texts_of_no_collection_are_reranked(kb, minilm):
    pipeline = lw.wrap(lambda query, k: list(TEXTS.values()), texts=True) >> lw.Late(2, encode=True)
    ranking = kb.search(QUERY, pipeline=pipeline)
    assert ranking.hits[0].passage.text == TEXTS["ring"]
    named = lw.wrap(lambda query, k: list(TEXTS.items()), texts=True) >> lw.Late(2, encode=True)
    alone = BoundPipeline(named, TextsSnapshot(()), lambda: minilm).rank(QUERY, texts=True)
    assert alone.hits[0].id == "ring"
    assert alone.hits[0].score == pytest.approx(ranking.hits[0].score, abs=1e-5)
    with pytest.raises(PipelineError, match="encode=true"):
        kb.search(QUERY, pipeline=lw.wrap(lambda query, k: ["x"], texts=True) >> lw.Late(1))


@pytest.mark.parametrize(
    ("found", "error", "words"),
    [
        ([{"id": 1}], UsageError, "ids"),
        ([("oak", float("nan"))], UsageError, "score"),
        (["oak", "oak"], InputError, "twice"),
        (["oak", ("ring", 1.0)], InputError, "some without"),
        (["oak", "elm"], InputError, "elm"),
    ],
    ids=str,
)
def test_what_it_can_t_return_is_named(kb, found, error, words):
    with pytest.raises(error, match=words):
        kb.search(QUERY, pipeline=lw.wrap(lambda query, k: found) >> lw.Late(2))


def test_what_the_collection_lacks_may_be_left_out_and_is_counted(kb):
    pipeline = lw.wrap(lambda query, k: ["elm", "oak"], missing="skip") >> lw.Late(2)
    ranking = kb.search(QUERY, pipeline=pipeline)
    assert [hit.id for hit in ranking.hits] == ["oak"]
    assert ranking.unscored == 1


def test_its_text_is_read_back_but_carries_no_function(kb):
    pipeline = lw.wrap(lambda query, k: [], 50, name="today") >> lw.Late(5)
    assert str(pipeline) == 'first(name="today"):50 >> late:5'
    assert lw.parse(str(pipeline)) == pipeline
    with pytest.raises(PipelineError, match="wrap"):
        kb.search(QUERY, pipeline=str(pipeline))
    with pytest.raises(PipelineError, match="expected a function"):
        lw.wrap("not a function")
    with pytest.raises(PipelineError, match="missing"):
        lw.wrap(len, missing="perhaps")


def test_compare_and_audit_take_it(kb):
    def search(query, k):
        return ["oak", "beech", "rings", "ring"][:k]

    queries = {"a": QUERY, "b": "what burns slowly?"}
    qrels = {"a": {"ring": 1}, "b": {"beech": 1}}
    first = lw.wrap(search, 4, name="today")
    compared = kb.compare([first, first >> lw.Late(4)], queries, qrels)
    assert [result.pipeline for result in compared.results] == [str(first), str(first >> lw.Late(4))]
    corpus = Corpus(kb.sources(), kb.get)
    found = audit({"today": kb.bind(first)}, (queries, qrels), corpus, k=1, pool=4)
    assert sum(found.recall.values()) == 0
    assert sum(found.ceiling.values()) == 2
