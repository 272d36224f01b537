"""What the judgements name: detected, forced, refused."""

from __future__ import annotations

import pytest

from latewood.errors import InputError, UsageError
from latewood.evaluate import join, select

# b is one passage under its bare id; a and c were cut.
CORPUS = {"a#0": "a", "a#1": "a", "b": "b", "c#0": "c", "c#1": "c"}


def judged(*documents: str):
    return select({"q": "?"}, {"q": dict.fromkeys(documents, 1) | {"unlooked": 0}})


@pytest.mark.parametrize(
    ("documents", "by", "found"),
    [
        (["a", "c"], "source", 2),
        (["a", "b"], "source", 2),
        (["a#0", "b"], "passage", 2),
        (["b"], "passage", 1),
        (["a#0", "gone"], "passage", 1),
        (["a", "gone", "gone too"], "source", 1),
    ],
)
def test_detected(documents, by, found):
    grouping = join(judged(*documents), CORPUS)
    assert (grouping.by, grouping.judged, grouping.found) == (by, len(documents), found)


def test_the_best_passage_of_a_source_counts():
    ranking = ["c#1", "a#0", "c#0", "b", "a#1"]
    assert join(judged("a"), CORPUS).collapse(ranking) == ("c", "a", "b")
    assert join(judged("a#0"), CORPUS).collapse(ranking) == tuple(ranking)


def test_forced():
    both = judged("a", "a#0", "a#1")
    assert join(both, CORPUS).by == "passage"
    assert join(both, CORPUS, "source").by == "source"
    assert join(judged("b"), CORPUS, "source").by == "source"


@pytest.mark.parametrize(
    ("documents", "group", "message"),
    [
        (
            ["x", "y"],
            "auto",
            r"none of the 2 judged ids is a passage or a source here \(qrels name 'x', here is 'a#0'\)",
        ),
        (["a"], "passage", "none of the 1 judged ids is a passage here"),
        (["a#0"], "source", "none of the 1 judged ids is a source here"),
    ],
)
def test_judgements_of_another_corpus(documents, group, message):
    with pytest.raises(InputError, match=message + ".*another corpus"):
        join(judged(*documents), CORPUS, group)


def test_nothing_to_find():
    with pytest.raises(InputError, match="here is 'nothing'"):
        join(judged("a"), {})
    with pytest.raises(UsageError, match="group is 'document', expected auto, passage or source"):
        join(judged("a"), CORPUS, "document")
