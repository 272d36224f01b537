"""Every trap that a comparison can meet has its own note, with figures worked by hand; the verdict follows its rule."""

from __future__ import annotations

import pytest
from term_overlap import ranking

from latewood.evaluate import Run, System, compare

DOCUMENTS = {f"d{at}": f"d{at}" for at in range(30)}


class Fixed:
    def __init__(self, rankings):
        self.rankings = rankings

    def rank(self, query, k):
        return ranking(query, self.rankings.get(query, [])[:k])


def judge(*systems, queries=None, qrels=None, corpus=DOCUMENTS, metrics=("R@2", "nDCG@10")):
    queries = queries or {"a": "a", "b": "b"}
    qrels = qrels or {key: {"d1": 1} for key in queries}
    return compare(list(systems), queries, qrels, corpus, metrics=metrics, warmup=0)


def texts(comparison, code):
    return [note.text for note in comparison.notes if note.code == code]


def run(rankings, scores=None):
    falling = {key: tuple(float(len(ids) - at) for at in range(len(ids))) for key, ids in rankings.items()}
    return Run({key: tuple(ids) for key, ids in rankings.items()}, scores or falling)


def test_ties_say_how_far_their_order_moves_the_figure():
    # a: the answer shares the highest score with two others and stands third of three: R@2 is 0, or 1 with another
    # order. b: tied with nobody, second: R@2 is 1.
    tied = run({"a": ["d5", "d6", "d1", "d7"], "b": ["d3", "d1"]}, {"a": (2.0, 2.0, 2.0, 1.0), "b": (2.0, 1.0)})
    (said,) = texts(judge(System("x", tied)), "ties")
    assert "the same score in 1 of 2 queries; they are ordered by the ranks of the run" in said
    assert "its R@2 would lie between 0.500 and 1.000" in said
    harmless = run({"a": ["d1", "d5"], "b": ["d1"]}, {"a": (1.0, 1.0), "b": (1.0,)})
    assert "no order of them moves its R@2" in texts(judge(System("x", harmless)), "ties")[0]
    among_others = run({"a": ["d1", "d5", "d6"], "b": ["d1"]}, {"a": (2.0, 1.0, 1.0), "b": (1.0,)})
    assert texts(judge(System("x", among_others)), "ties") == []


def test_a_query_whose_id_is_a_documents_stays_judged():
    queries = {"d1": "one", "d2": "two", "q": "three"}
    qrels = {"d1": {"d1": 1}, "d2": {"d5": 1}, "q": {"d5": 1}}
    found = judge(
        System("x", Fixed({"one": ["d1"], "two": ["d2", "d5"], "three": ["d5"]})), queries=queries, qrels=qrels
    )
    (said,) = texts(found, "shared_ids")
    assert said.startswith("In 2 of 3 queries a document with the query's own id is among the results, in 1 of them")
    assert found["x"].metrics["R@2"] == 1, "nothing was taken out of a ranking"
    assert texts(judge(System("x", Fixed({"a": ["d1"]}))), "shared_ids") == []


def test_queries_without_results_count_as_0_and_are_said():
    found = judge(System("x", Fixed({"a": ["d1"]})), System("y", run({"a": ["d1"]})))
    assert texts(found, "queries_empty") == [
        "'x' found nothing for 1 of 2 queries, which count as 0.",
        "'y' has nothing for 1 of 2 queries, which count as 0.",
    ]
    assert found["x"].metrics["R@2"] == found["y"].metrics["R@2"] == 0.5


def test_a_shallow_run_and_documents_from_elsewhere():
    found = judge(System("x", run({"a": ["d1", "zinc"], "b": ["d1"]})), metrics=["R@2", "R@10"])
    assert texts(found, "shallow_run") == ["'x' has at most 2 results per query: R@10 sees no more than those."]
    assert texts(found, "unknown_documents") == [
        "'x' ranks 1 documents that are not in the corpus; they count as no answer."
    ]


def test_holes_in_the_judgements():
    # Of ten results, a has 1 judged of each query; b has none: Judged@10 is 0.1 and 0.
    ids = [f"d{at}" for at in range(10)]
    found = judge(
        System("a", Fixed(dict.fromkeys("ab", ids))),
        System("b", Fixed({key: [f"d{at}" for at in range(10, 20)] for key in "ab"})),
    )
    assert found["a"].judged_share == {"Judged@5": pytest.approx(0.2), "Judged@10": pytest.approx(0.1)}
    assert texts(found, "judged") == [
        "Of the first 10 results these were judged at all: 'a' 10%, 'b' 0%. "
        "'b' is judged hardest: what nobody looked at counts as no answer."
    ]


def test_few_queries_say_what_they_can_not_show():
    assert texts(judge(System("x", Fixed({"a": ["d1"], "b": ["d1"]}))), "few_queries") == [], "nothing to tell apart"
    found = judge(System("x", Fixed({"a": ["d1"], "b": ["d1"]})), System("y", Fixed({"a": ["d1"]})))
    # Differences 0 and -1: a deviation of 0.7071, so 2.8016 * 0.7071 / sqrt(2) = 1.401.
    assert texts(found, "few_queries")[0].startswith("2 queries are few: differences in R@2 below about 1.401")


def test_collections_of_different_documents_are_told_apart():
    whole, part = {"d1": "d1", "d2": "d2"}, {"d2": "d2"}
    answer = {"a": ["d1"], "b": ["d2"]}
    qrels = {"a": {"d1": 1}, "b": {"d2": 1}}
    found = judge(
        System("x", Fixed(answer), corpus=whole),
        System("y", Fixed({"b": ["d2"]}), corpus=part),
        qrels=qrels,
        corpus=None,
    )
    assert (found["x"].absent, found["y"].absent) == (0, 1)
    assert texts(found, "answers_absent")[0].startswith("'y' searches a collection without 1 of the 2 judged answers")


def test_chunks_and_whole_documents_meet_at_the_source():
    chunks, whole = {"d1#0": "d1", "d1#1": "d1", "d2#0": "d2"}, {"d1": "d1", "d2": "d2"}
    systems = [
        System("chunks", Fixed({"a": ["d2#0", "d1#1", "d1#0"], "b": ["d1#0"]}), corpus=chunks),
        System("whole", Fixed({"a": ["d1"], "b": ["d1"]}), corpus=whole),
    ]
    found = judge(*systems, corpus=None)
    assert found.grouping.by == "source"
    assert found["chunks"].rankings["a"] == ("d2", "d1")
    assert found["whole"].metrics["R@2"] == found["chunks"].metrics["R@2"] == 1


def many(ranks):
    """Systems over 40 queries: the answer's rank in each, by query number."""
    names = [f"q{at}" for at in range(40)]
    queries = {name: name for name in names}

    def ids(rank):
        return [*(f"d{at}" for at in range(2, 2 + rank - 1)), "d1"]

    systems = [
        System(name, Fixed({query: ids(rank(at)) for at, query in enumerate(names)})) for name, rank in ranks.items()
    ]
    return judge(*systems, queries=queries)


@pytest.mark.parametrize(
    ("ranks", "code", "pipeline", "said"),
    [
        ({"a": lambda at: 1}, "alone", "a", "Nothing was given to compare it with"),
        (
            {"a": lambda at: 1 + 4 * (at < 20), "b": lambda at: 1},
            "better",
            "b",
            r"'b' finds more than 'a': R@2 rises from 0.500 to 1.000 .*better on 20 of 40 questions and worse on 0",
        ),
        ({"a": lambda at: 1, "b": lambda at: 5}, "worse", "a", "Nothing here is better than 'a': 'b' finds less"),
        (
            {"a": lambda at: 1 + 4 * (at < 2), "b": lambda at: 1 + 4 * (at == 9)},
            "no_difference",
            "a",
            r"40 questions can't tell 'b' from 'a', which reaches 0.950.*takes about [\d,]+ questions",
        ),
        (
            {"a": lambda at: 5, "b": lambda at: 1 + 4 * (at == 1), "c": lambda at: 1},
            "better",
            "c",
            "can't tell it from the next best, 'b'",
        ),
        ({"a": lambda at: 1, "b": lambda at: 1, "c": lambda at: 5}, "no_difference", "a", r"'c' finds less\."),
    ],
)
def test_the_verdict(ranks, code, pipeline, said):
    import re

    verdict = many(ranks).verdict
    assert (verdict.code, verdict.pipeline) == (code, pipeline)
    assert re.search(said, verdict.text), verdict.text


def test_the_recall_curve_is_the_metric_at_each_depth():
    found = many({"a": lambda at: 1 + at % 12})
    curve = found["a"].recall_curve
    assert list(curve) == [1, 2, 3, 5, 10]
    # The answer stands at 1 + at % 12 for 40 queries: the first four ranks hold four of them, the others three.
    assert curve == {1: 4 / 40, 2: 8 / 40, 3: 12 / 40, 5: 19 / 40, 10: 34 / 40}
    assert curve[2] == found["a"].metrics["R@2"]
    assert found.to_json()["pipelines"][0]["recall_curve"][3] == {"k": 5, "recall": 19 / 40}
