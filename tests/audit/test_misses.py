"""Every class of miss, the ceiling and the label flag: by hand, and against an oracle computed apart."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict

import pytest

from latewood.evaluate import read_qrels, read_queries
from latewood.evaluate.audit import audit, by_excerpts, by_qrels
from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.audit_gold import Excerpt
from latewood.evaluate.misses import CLASSES, capped_recall
from latewood.ingest import read_jsonl
from latewood.types import Passage

TEXTS = {f"d{at}": f"document number {at} about nothing in particular" for at in range(8)}
CORPUS = Corpus.of([Passage(key, text) for key, text in TEXTS.items()])


def listed(*ids):
    """A system that gives the same ids for every question."""
    return lambda query, k: list(ids)[:k]


def look(qrels, *ids, k=2, pool=4, corpus=CORPUS):
    return audit({"today": listed(*ids)}, (dict.fromkeys(qrels, "question"), qrels), corpus, k=k, pool=pool)


def counts(found):
    return {kind: found.count(kind) for kind in CLASSES}


def test_each_class_by_hand():
    """Shown d0 d1, pool d0 d1 d2 d3: d0 is a hit, d2 below k, d7 outside, 'gone' not there at all."""
    found = look({"q": {"d0": 1, "d2": 1, "d7": 1, "gone": 2, "d3": 0}}, "d0", "d1", "d2", "d3", "d7")
    assert counts(found) == {"not_in_corpus": 1, "chunk_boundary": 0, "outside_pool": 1, "in_pool": 1}
    assert [(miss.gold.id, miss.kind, miss.rank) for miss in found.misses] == [
        ("d2", "in_pool", 3),
        ("d7", "outside_pool", None),
        ("gone", "not_in_corpus", None),
    ]
    assert found.pairs == 4
    assert found.recall == {"q": 1 / 2}  # one hit of the two that could be shown
    assert found.ceiling == {"q": 1.0}  # d0 and d2
    assert found.unavoidable == 2


def test_rank_k_is_shown_and_the_next_is_not():
    found = look({"q": {"d1": 1}, "p": {"d2": 1}}, "d0", "d1", "d2", "d3")
    assert [(miss.gold.query_id, miss.kind) for miss in found.misses] == [("p", "in_pool")]
    found = look({"q": {"d3": 1}, "p": {"d4": 1}}, "d0", "d1", "d2", "d3", "d4")
    assert [(miss.gold.id, miss.kind) for miss in found.misses] == [("d3", "in_pool"), ("d4", "outside_pool")]


def test_without_a_corpus_what_is_missing_counts_as_outside_the_pool_and_it_is_said():
    found = look({"q": {"d0": 1, "gone": 1}}, "d0", "d1", "d2", "d3", corpus=None)
    assert counts(found)["outside_pool"] == 1
    assert set(found.unchecked) == {"not_in_corpus", "chunk_boundary", "label_hole_flags"}
    assert found.to_json()["label_hole_flags"] is None


def test_a_source_is_found_at_its_best_passage():
    corpus = Corpus.of([Passage(f"{doc}#{at}", "words", source_id=doc) for doc in "ab" for at in range(3)])
    found = look({"q": {"b": 1}}, "a#0", "a#1", "b#2", k=2, pool=3, corpus=corpus)
    assert found.questions.by == "source"
    assert found.recall == {"q": 1.0}  # a, then b
    found = look({"q": {"b": 1}}, "a#0", "a#1", "b#2", k=1, pool=3, corpus=corpus)
    assert [(miss.kind, miss.rank) for miss in found.misses] == [("in_pool", 2)]


def test_excerpts_answered_by_whatever_chunk_holds_them():
    words = [f"w{at}" for at in range(40)]
    chunks = [Passage(f"doc#{at}", " ".join(words[10 * at : 10 * at + 10]), source_id="doc") for at in range(4)]
    excerpts = [
        Excerpt("hit", "1", "doc", " ".join(words[0:10])),
        Excerpt("cut", "2", "doc", " ".join(words[5:15])),
        Excerpt("pool", "3", "doc", " ".join(words[21:30])),
        Excerpt("out", "4", "doc", " ".join(words[31:38])),
        Excerpt("gone", "5", "doc", "words that nobody ever put in here"),
    ]
    corpus = Corpus.of(chunks)
    questions = by_excerpts({excerpt.query_id: "q" for excerpt in excerpts}, excerpts, corpus)
    found = audit({"today": listed("doc#0", "doc#1", "doc#2")}, questions, corpus, k=1, pool=3)
    assert {miss.gold.query_id: miss.kind for miss in found.misses} == {
        "cut": "chunk_boundary",
        "pool": "in_pool",
        "out": "outside_pool",
        "gone": "not_in_corpus",
    }
    assert "chunk_boundary" not in found.unchecked


def test_label_holes_need_the_same_words_and_no_judgement():
    text = "the boundary layer on a flat plate grows with the square root of the distance from its leading edge"
    nearly = text.replace("grows", "thickens")  # three of 16 + 3 distinct runs differ on each side: 13 / 19
    texts = {"gold": text, "copy": text.upper(), "near": nearly, "judged": text, "x": "something else entirely"}
    corpus = Corpus.of([Passage(key, value) for key, value in texts.items()])

    def flags(first, judgements):
        found = look({"q": {"gold": 1, **judgements}}, first, "x", "gold", k=2, pool=3, corpus=corpus)
        assert [miss.kind for miss in found.misses if miss.gold.id == "gold"] == ["in_pool"]
        assert found.to_json()["label_hole_flags"] == len(found.holes)
        return [miss.hole for miss in found.holes]

    assert flags("copy", {}) == ["copy"]
    assert flags("near", {}) == []
    assert flags("judged", {"judged": 0}) == []
    assert flags("judged", {}) == ["judged"]


def test_capped_recall_by_hand():
    golds = look({"q": {f"d{at}": 1 for at in range(6)}}, "d0", "d1", "d2", "d3").questions.golds
    assert capped_recall(golds, {"q": ("d0", "d1", "d7", "d2")}, 4) == {"q": 3 / 4}
    assert capped_recall(golds, {}, 4) == {"q": 0.0}


def term_ranking(passages):
    """BM25 with k1 0.9 and b 0.4, as a function of (question, k); ties by id."""
    documents = {passage.id: Counter(re.findall(r"\w+", passage.text.lower())) for passage in passages}
    lengths = {key: sum(terms.values()) for key, terms in documents.items()}
    usual = sum(lengths.values()) / len(lengths)
    postings = defaultdict(list)
    for key, terms in documents.items():
        for term, count in terms.items():
            weight = count * 1.9 / (count + 0.9 * (0.6 + 0.4 * lengths[key] / usual))
            postings[term].append((key, weight))

    def search(query, k):
        scores = Counter()
        for term in set(re.findall(r"\w+", query.lower())):
            found = postings.get(term, ())
            if len(found) > len(documents) / 10:  # says little, costs most
                continue
            rarity = math.log(1 + (len(documents) - len(found) + 0.5) / (len(found) + 0.5))
            for key, weight in found:
                scores[key] += rarity * weight
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))[:k]

    return search


@pytest.mark.parametrize("name", ["scifact", "cranfield", "cosqa"])
def test_on_real_judgements_classes_add_up_and_the_ceiling_is_the_oracle_s(data, name):
    """The oracle puts the pool's answers first; ir-measures judges it, and today's order, by R@5."""
    import ir_measures

    folder = data(name)
    corpus = Corpus.of(read_jsonl(folder / "corpus.jsonl"))
    queries, qrels = read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels" / "test.tsv")
    search = term_ranking(corpus.passages())
    found = audit({"bm25": search}, by_qrels(queries, qrels, corpus), corpus, k=5, pool=50)

    pools = {query_id: [key for key, _ in search(queries[query_id], 50)] for query_id in found.recall}
    answers = {query_id: {key for key, grade in qrels[query_id].items() if grade > 0} for query_id in pools}
    hits = sum(len(answers[query_id] & set(pool[:5])) for query_id, pool in pools.items())
    assert found.pairs == sum(map(len, answers.values()))
    assert sum(counts(found).values()) == len(found.misses) == found.pairs - hits
    oracle = {query_id: sorted(pool, key=lambda key: key not in answers[query_id]) for query_id, pool in pools.items()}
    for ranked, figure in ((pools, found.recall), (oracle, found.ceiling)):
        run = {query_id: {key: -float(at) for at, key in enumerate(ids)} for query_id, ids in ranked.items() if ids}
        at_5 = {r.query_id: r.value for r in ir_measures.iter_calc([ir_measures.parse_measure("R@5")], qrels, run)}
        for query_id, value in figure.items():
            capped = at_5.get(query_id, 0.0) * len(answers[query_id]) / min(5, len(answers[query_id]))
            assert value == pytest.approx(capped, abs=1e-9), query_id
    assert sum(found.ceiling.values()) > sum(found.recall.values())
