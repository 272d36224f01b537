"""A comparison from end to end, on texts small enough to work every figure out by hand."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from term_overlap import TermOverlap, ranking

from latewood.errors import CorruptionError, InputError, MissingExtra, PipelineError, UsageError
from latewood.evaluate import Failure, Percentiles, System, compare, pick, tables

TEXTS = {
    "ash": "ash trees and their wood and their many long uses in tools",
    "bow": "a bow from yew wood",
    "ink": "ink from oak galls",
    "oak": "oak wood",
    "pen": "a pen holds ink",
    "yew": "yew trees grow old and old yew trees are hollow",
}
QUERIES = {"1": "yew wood", "2": "oak galls", "3": "old yew trees", "4": "ink pen", "5": "nothing of this"}
QRELS = {
    "1": {"oak": 1, "bow": 1},
    "2": {"ink": 1, "oak": 0},
    "3": {"ash": 2},
    "4": {"gone": 1, "pen": 1},
    "5": {"yew": 0},
    "6": {"yew": 1},
}
CORPUS = {passage_id: passage_id for passage_id in TEXTS}
METRICS = ["R@1", "R@3", "Success@1"]


@pytest.fixture
def overlap():
    return TermOverlap(TEXTS)


@pytest.fixture
def share():
    return TermOverlap(TEXTS, pool=3)


def test_every_figure(overlap, share):
    # 1 yew wood:      overlap: bow ash oak yew            share, of the first 3: oak (1/2) bow (2/5) ash (1/10)
    # 2 oak galls:     overlap: ink oak                    share: ink (2/4), oak (1/2) by id
    # 3 old yew trees: overlap: yew ash bow                share: yew (3/7) bow (1/5) ash (1/10)
    # 4 ink pen:       overlap: pen ink                    share: pen (2/4) ink (1/4)
    found = compare(
        [System("overlap", overlap), System("share", share, pool=3)], QUERIES, QRELS, CORPUS, metrics=METRICS
    )
    first, second = found.results
    assert list(found.judged.queries) == ["1", "2", "3", "4"]
    assert first.rankings["1"] == ("bow", "ash", "oak")
    assert second.rankings["1"] == ("oak", "bow", "ash")
    assert second.pools["1"] == ("bow", "ash", "oak")
    assert first.per_query["R@1"] == {"1": 0.5, "2": 1, "3": 0, "4": 0.5}
    assert first.per_query["R@3"] == {"1": 1, "2": 1, "3": 1, "4": 0.5}
    assert second.rankings["3"] == ("yew", "bow", "ash")
    assert second.metrics == {"R@1": 0.5, "R@3": 0.875, "Success@1": 0.75}
    assert first.pool_recall == second.pool_recall == 0.875
    assert first.difference is None
    assert second.difference is not None
    assert (second.difference["R@1"].wins, second.difference["R@1"].losses, second.difference["R@1"].ties) == (0, 0, 4)
    assert (first.reranked, second.reranked) == (False, True)
    assert found.failed == 0
    assert found["share"] is second
    with pytest.raises(UsageError, match="'late' was not compared; compared were 'overlap', 'share'"):
        found["late"]


def test_json_has_the_promised_shape_and_every_key_is_documented(overlap, share):
    found = compare([System("a:3", overlap), System("a:3 >> b", share, pool=3)], QUERIES, QRELS, CORPUS)
    printed = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert printed["schema"] == 1
    assert [of["pipeline"] for of in printed["pipelines"]] == ["a:3", "a:3 >> b"]
    for of in printed["pipelines"]:
        assert list(of["metrics"]) == ["R@5", "R@10", "R@50", "nDCG@10", "Success@5"]
        assert of["queries"] == 4
        assert 0 <= of["pool_recall"] <= 1
        assert set(of["latency_ms"]) == {"encode", "search"}
        assert set(of["latency_ms"]["encode"]) == set(of["latency_ms"]["search"]) == {"p50", "p95"}
        for name, (low, high) in of["intervals"].items():
            assert low <= of["metrics"][name] <= high
    assert printed["pipelines"][0]["difference"] is None
    assert printed["group"] == {"by": "passage", "judged": 6, "found": 5}
    assert printed["left_out"] == {"unjudged": 0, "no_positive": 1, "no_text": 1}
    printed["examples"] = pick(found, "a:3 >> b", "a:3").to_json()

    page = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`([^`]+)`", page))
    names = set(printed["pipelines"][0]["metrics"]) | {"q"}
    assert keys(printed) - names <= documented, f"not in docs/json.md: {sorted(keys(printed) - names - documented)}"


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(keys(of) for of in value.values()))
    if isinstance(value, list):
        return set().union(*(keys(of) for of in value))
    return set()


def test_depth_is_the_largest_cutoff_or_the_pool(overlap, share):
    compare(
        [System("a", overlap), System("b", share, pool=100)],
        QUERIES,
        QRELS,
        CORPUS,
        metrics=["R@5", "nDCG@7"],
        warmup=0,
    )
    assert {k for _, k in overlap.asked} == {7}
    assert {k for _, k in share.asked} == {100}


def test_systems_take_turns_and_the_warm_up_is_not_recorded(overlap):
    order: list[tuple[str, str]] = []

    class Noting:
        def __init__(self, name):
            self.name = name

        def rank(self, query, k):
            order.append((self.name, query))
            return overlap.rank(query, k)

    answered: list[int] = []
    systems = [System(name, Noting(name)) for name in "abc"]
    found = compare(systems, QUERIES, QRELS, CORPUS, metrics=METRICS, warmup=2, progress=answered.append)
    assert [name for name, _ in order[:6]] == list("abcbca")
    assert [query for _, query in order[:6]] == ["yew wood"] * 3 + ["oak galls"] * 3
    assert [name for name, _ in order[6:]] == list("abcbcacababc")
    assert [query for _, query in order[6::3]] == ["yew wood", "oak galls", "old yew trees", "ink pen"]
    assert answered == [1] * 12
    assert [result.latency.queries for result in found.results] == [4, 4, 4]
    # TermOverlap says that encoding takes as many milliseconds as the query has letters: 8, 9, 13, 7.
    assert found.results[0].latency.encode == Percentiles(8.5, pytest.approx(9 + 0.85 * 4))
    assert found.results[0].latency.search.p50 == 85


def test_a_ranking_without_timings_is_timed_from_outside():
    class Bare:
        def rank(self, query, k):
            return ranking(query, ["oak"])

    (result,) = compare([System("bare", Bare())], QUERIES, QRELS, CORPUS, metrics=METRICS).results
    assert [part.stage for part in result.latency.stages] == ["rank"]
    assert result.latency.search.p50 > 0
    assert result.latency.encode == Percentiles(0, 0)


def test_sources_the_best_passage_counts_and_shallow_rankings_are_deepened():
    texts = {f"s{source}#{n}": f"word {'more ' * n} s{source}" for source in range(4) for n in range(5)}
    corpus = {passage_id: passage_id.split("#")[0] for passage_id in texts}
    flat = TermOverlap(texts)  # all 20 passages match "word"; by id, the five of s0 come first
    queries, qrels = {"q": "word"}, {"q": {"s1": 1, "s3": 1}}
    system = System("flat", flat)
    found = compare([system], queries, qrels, corpus, metrics=["R@1", "R@2", "R@4"], warmup=0)
    assert found.grouping.by == "source"
    assert found.results[0].rankings["q"] == ("s0", "s1", "s2", "s3")
    assert found.results[0].metrics == {"R@1": 0, "R@2": 0.5, "R@4": 1}
    assert [k for _, k in flat.asked] == [4, 8, 16]
    assert found.results[0].latency.queries == 1

    pooled = TermOverlap(texts, pool=8)
    (result,) = compare([System("pooled", pooled, pool=8)], queries, qrels, corpus, metrics=["R@4"], warmup=0).results
    assert result.rankings["q"] == ("s0", "s1")
    assert result.pool_recall == 0.5
    assert [k for _, k in pooled.asked] == [8], "a pool holds what it holds: there is nothing deeper to ask for"


class Broken:
    """Fails on some queries."""

    def __init__(self, good: TermOverlap, bad: dict[str, Exception]) -> None:
        self.good, self.bad = good, bad

    def rank(self, query, k):
        if query in self.bad:
            raise self.bad[query]
        return self.good.rank(query, k)


def test_a_query_that_fails_is_named_and_counts_as_0(overlap):
    broken = Broken(overlap, {"yew wood": TimeoutError("no answer in 30 s"), "ink pen": InputError("bad pen")})
    found = compare([System("good", overlap), System("broken", broken)], QUERIES, QRELS, CORPUS, metrics=METRICS)
    result = found["broken"]
    assert result.failed == (Failure("1", "TimeoutError: no answer in 30 s"), Failure("4", "InputError: bad pen"))
    assert found.failed == 2
    assert result.per_query["R@3"] == {"1": 0, "2": 1, "3": 1, "4": 0}
    assert result.metrics["R@3"] == 0.5
    assert result.pool_recall == 0.5
    assert result.latency.queries == 2
    assert found.to_json()["pipelines"][1]["failed"][0] == {"query": "1", "error": "TimeoutError: no answer in 30 s"}
    assert any(
        "'broken' failed on 2 of 4 queries, which count as 0; the first was 1" in note
        for note in tables(found)[0].notes
    )


@pytest.mark.parametrize("warmup", [0, 2])
def test_a_system_that_always_fails_says_so_itself(overlap, warmup):
    refused = dict.fromkeys(QUERIES.values(), PipelineError("dense needs a single vector"))
    broken = Broken(overlap, refused)
    with pytest.raises(PipelineError, match="dense needs a single vector"):
        compare([System("a", overlap), System("b", broken)], QUERIES, QRELS, CORPUS, warmup=warmup)
    assert len(overlap.asked) == (warmup or 4), "told after the warm-up where there is one"


def test_altered_data_ends_everything(overlap):
    broken = Broken(overlap, {"ink pen": CorruptionError("segment 3, block 7")})
    with pytest.raises(CorruptionError, match="segment 3, block 7"):
        compare([System("a", broken)], QUERIES, QRELS, CORPUS)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            ranking("", ["oak", "bow", "oak"]),
            "InputError: 'odd' gave 'oak' twice for one query; expected each passage once",
        ),
        (ranking("", ["oak"] * 0), None),
    ],
)
def test_rankings_that_are_none(overlap, answer, error):
    class Odd:
        def rank(self, query, k):
            return answer if query == "oak galls" else overlap.rank(query, k)

    (result,) = compare([System("odd", Odd())], QUERIES, QRELS, CORPUS, metrics=METRICS).results
    assert [failure.error for failure in result.failed] == ([error] if error else [])
    assert result.per_query["R@3"]["2"] == 0


def test_scores_that_are_not_finite(overlap):
    from dataclasses import replace

    class Odd:
        def rank(self, query, k):
            given = overlap.rank(query, k)
            return replace(given, hits=tuple(replace(hit, score=float("nan")) for hit in given.hits))

    with pytest.raises(InputError, match="'odd' gave 'bow' the score nan; expected finite scores"):
        compare([System("odd", Odd())], QUERIES, QRELS, CORPUS)


def test_what_a_ranking_admits_is_passed_on(overlap):
    class Approximate:
        def rank(self, query, k):
            return ranking(query, ["oak"], exact=query != "ink pen", unscored=3, cut=2 * (query == "ink pen"))

    found = compare([System("a", overlap), System("b", Approximate())], QUERIES, QRELS, CORPUS, metrics=METRICS)
    printed = found.to_json()["pipelines"]
    assert [(of["exact"], of["unscored"], of["queries_cut"]) for of in printed] == [(True, 0, 0), (False, 3, 1)]
    notes = " ".join(tables(found)[0].notes)
    assert "'b' is approximate." in notes
    assert "'b': 3 passages have no vectors and are never found." in notes
    assert "'b': 1 of 4 queries were cut at the model's limit." in notes


def test_same_input_same_output(overlap, share):
    systems = [System("a", overlap), System("b", share, pool=3)]
    assert compare(systems, QUERIES, QRELS, CORPUS).to_json() == compare(systems, QUERIES, QRELS, CORPUS).to_json(), (
        "TermOverlap's times are made up, so even those agree"
    )


def test_bad_arguments(overlap):
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([], QUERIES, QRELS, CORPUS)
    with pytest.raises(UsageError, match="'a' was given twice: give each pipeline once"):
        compare([System("a", overlap), System("a", overlap)], QUERIES, QRELS, CORPUS)
    with pytest.raises(UsageError, match="metric 'R@0'"):
        compare([System("a", overlap)], QUERIES, QRELS, CORPUS, metrics=["R@0"])
    with pytest.raises(InputError, match="none of the 6 judged ids is a passage or a source here"):
        compare([System("a", overlap)], QUERIES, QRELS, {"elm": "elm"})
    with pytest.raises(InputError, match="none of the 5 queries has a judgement"):
        compare([System("a", overlap)], QUERIES, {"x": {"oak": 1}}, CORPUS)
    assert overlap.asked == [], "all of this is found before the first question is asked"


@pytest.mark.parametrize("module", ["ir_measures", "scipy.stats"])
def test_a_missing_library_is_told_before_the_first_question(overlap, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=r"pip install 'latewood\[eval\]'"):
        compare([System("a", overlap)], QUERIES, QRELS, CORPUS)
    assert overlap.asked == []
