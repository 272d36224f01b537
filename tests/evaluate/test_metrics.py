"""Metrics: worked by hand, against a naive reading of their definitions, and against trec_eval on real collections."""

from __future__ import annotations

import os
import sys
from math import log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from term_overlap import TermOverlap

from latewood.errors import MissingExtra, UsageError
from latewood.evaluate import (
    DEFAULT_METRICS,
    measure,
    parse_metrics,
    pool_recall,
    read_qrels,
    read_queries,
    select,
)
from latewood.ingest import read_jsonl

DATA = Path(os.environ.get("LATEWOOD_DATA", Path(__file__).parents[2].parent / "shared" / "data"))

QRELS = {"q": {"a": 2, "b": 1, "c": 0, "e": 1}, "missing": {"a": 1}}
JUDGED = select({"q": "?", "missing": "?"}, QRELS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("R@1", 0),
        ("R@2", 1 / 3),
        ("R@5", 2 / 3),
        ("R(rel=2)@5", 1),
        ("P@5", 2 / 5),
        ("P(rel=2)@5", 1 / 5),
        ("Success@1", 0),
        ("Success@2", 1),
        ("RR", 1 / 2),
        ("RR@1", 0),
        ("RR@10", 1 / 2),
        ("AP", (1 / 2 + 2 / 3) / 3),
        ("Rprec", 2 / 3),
        ("SetR", 2 / 3),
        ("SetP", 1 / 2),
        ("Judged@4", 3 / 4),
        ("nDCG@2", (1 / log2(3)) / (2 + 1 / log2(3))),
        ("nDCG@10", (1 / log2(3) + 2 / log2(4)) / (2 + 1 / log2(3) + 1 / log2(4))),
    ],
)
def test_worked_by_hand(name, value):
    of = measure(JUDGED, {"q": ["x", "b", "a", "c"]}, parse_metrics([name]))
    assert of == {name: {"q": pytest.approx(value, abs=1e-6), "missing": 0.0}}


def test_the_order_of_the_ranking_counts_and_not_the_order_of_ids():
    import ir_measures

    judged = select({"q": "?"}, {"q": {"a": 1}})
    of = measure(judged, {"q": ["a", "z"]}, parse_metrics(["Success@1"]))
    assert of["Success@1"]["q"] == 1
    tied = ir_measures.calc_aggregate([ir_measures.Success @ 1], judged.qrels, {"q": {"a": 0.5, "z": 0.5}})
    assert list(tied.values()) == [0], "the trap that strictly falling scores avoid: trec_eval puts tied z first"


def test_rankings_of_queries_that_are_not_judged_change_nothing():
    of = measure(JUDGED, {"q": [], "other": ["a"]}, parse_metrics(["R@5"]))
    assert of == {"R@5": {"q": 0.0, "missing": 0.0}}


def naive(grades: dict[str, int], ids: list[str]) -> dict[str, float]:
    """The definitions, one by one."""
    positives = {d for d, grade in grades.items() if grade > 0}
    gains = [max(grades.get(d, 0), 0) for d in ids]
    ideal = sorted((max(grade, 0) for grade in grades.values()), reverse=True)

    def dcg(of: list[int]) -> float:
        return sum(gain / log2(rank + 1) for rank, gain in enumerate(of[:10], 1))

    return {
        "R@5": len(positives & set(ids[:5])) / len(positives),
        "R@10": len(positives & set(ids[:10])) / len(positives),
        "R@50": len(positives & set(ids[:50])) / len(positives),
        "nDCG@10": dcg(gains) / dcg(ideal),
        "Success@5": float(bool(positives & set(ids[:5]))),
    }


@given(st.data())
def test_any_ranking_against_the_definitions(data):
    documents = [f"d{i}" for i in range(60)]
    grades = data.draw(st.dictionaries(st.sampled_from(documents), st.integers(-2, 3), min_size=1, max_size=20))
    ids = data.draw(st.permutations(documents))[: data.draw(st.integers(0, 60))]
    grades["d0"] = 1
    of = measure(select({"q": "?"}, {"q": grades}), {"q": ids}, parse_metrics(DEFAULT_METRICS))
    assert {name: values["q"] for name, values in of.items()} == pytest.approx(naive(grades, ids), abs=1e-6)


@pytest.mark.parametrize("name", ["scifact", "cranfield", "med", "xquad_multi"])
def test_real_collections_equal_trec_eval(name):
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"no {name} under LATEWOOD_DATA={DATA}")
    import pytrec_eval

    judged = select(read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels" / "test.tsv"))
    some = dict(list(judged.queries.items())[:100])
    judged = select(some, judged.qrels)
    system = TermOverlap({passage.id: passage.text for passage in read_jsonl(folder / "corpus.jsonl")})
    rankings = {query_id: [hit.id for hit in system.rank(text, 50).hits] for query_id, text in some.items()}
    of = measure(judged, rankings, parse_metrics([*DEFAULT_METRICS, "AP", "RR"]))

    run = {q: {d: 1 / rank for rank, d in enumerate(ids, 1)} for q, ids in rankings.items()}
    names = {
        "R@5": "recall_5",
        "R@10": "recall_10",
        "R@50": "recall_50",
        "nDCG@10": "ndcg_cut_10",
        "Success@5": "success_5",
        "AP": "map",
        "RR": "recip_rank",
    }
    theirs = pytrec_eval.RelevanceEvaluator(dict(judged.qrels), set(names.values())).evaluate(run)
    for ours, trec in names.items():
        assert of[ours] == {query_id: theirs[query_id][trec] for query_id in judged.queries}
    for query_id in judged.queries:
        expected = naive(judged.qrels[query_id], rankings[query_id])
        assert {metric: of[metric][query_id] for metric in expected} == pytest.approx(expected, abs=1e-6)
    assert 0.05 < np.mean(list(of["nDCG@10"].values())) < 0.9


def test_pool_recall_is_not_capped():
    judged = select({"q": "?", "missing": "?"}, {"q": {"a": 1, "b": 2, "c": 1, "d": 0}, "missing": {"a": 1}})
    assert pool_recall(judged, {"q": ["d", "b", "x", "a"]}) == {"q": 2 / 3, "missing": 0.0}


def test_names_are_kept_in_order_and_once():
    assert [(m.name, m.cutoff) for m in parse_metrics(["nDCG@10", "R@5", "nDCG@10", "AP"])] == [
        ("nDCG@10", 10),
        ("R@5", 5),
        ("AP", 1000),
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("recall@5", "metric 'recall@5' can't be read .*measure not found.*; expected AP, Judged, P, R,"),
        ("R", "metric 'R' can't be read"),
        ("R@five", "metric 'R@five' can't be read"),
        ("R@5.5", "metric 'R@5.5' can't be read"),
        ("R(top=3)@5", r"metric 'R\(top=3\)@5' can't be read"),
        ("", "metric '' can't be read"),
        ("R@5; R@6", "metric 'R@5; R@6' can't be read"),
        ("R@0", "metric 'R@0': cutoff is 0, expected an integer of at least 1"),
        ("R@-5", "metric 'R@-5'"),
        ("R@True", "metric 'R@True': cutoff is True"),
        ("R(rel=0)@5", r"metric 'R\(rel=0\)@5': rel is 0, expected an integer of at least 1"),
        ("ERR@20", "metric 'ERR@20' is not offered; expected AP, Judged, P, R,"),
        ("NumRet", "metric 'NumRet' is not offered"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_metrics([name])
    assert "\n" not in str(caught.value)


def test_no_names():
    with pytest.raises(UsageError, match="no metric was named"):
        parse_metrics([])


def test_without_ir_measures(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtra, match=r"evaluation needs ir-measures.*latewood\[eval\]"):
        parse_metrics(["R@5"])
