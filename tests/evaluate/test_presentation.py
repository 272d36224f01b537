"""Examples are chosen by their rule, and a table shows what was computed."""

from __future__ import annotations

import pytest
from term_overlap import ranking

from latewood.errors import UsageError
from latewood.evaluate import System, compare, pick, tables

IDS = [f"d{i}" for i in range(9)]


class Fixed:
    """Puts the answer of each query, "gold", at a given rank; 0 leaves it out."""

    def __init__(self, ranks: dict[str, int]) -> None:
        self.ranks = ranks

    def rank(self, query, k):
        ids = list(IDS)
        if self.ranks[query]:
            ids.insert(self.ranks[query] - 1, "gold")
        return ranking(query, ids[:k])


BEFORE = {"a": 5, "b": 5, "c": 0, "d": 2, "e": 1, "f": 0, "g": 3, "h": 1}
AFTER = {"a": 1, "b": 1, "c": 9, "d": 1, "e": 1, "f": 0, "g": 0, "h": 2}


@pytest.fixture(scope="module")
def comparison():
    queries = {name: name for name in reversed(BEFORE)}
    qrels = {name: {"gold": 1, "d8": 0, "never": 2} for name in BEFORE}
    corpus = {name: name for name in [*IDS, "gold", "never"]}
    systems = [System("before", Fixed(BEFORE)), System("after", Fixed(AFTER)), System("same", Fixed(AFTER))]
    return compare(systems, queries, qrels, corpus, metrics=["R@5", "nDCG@10", "R@10"])


def test_wins_and_losses_by_the_change_of_rank(comparison):
    # Ranked ten deep, so a missing answer stands 11th: c 11 → 9, g 3 → 11; a and b win 4 ranks each, by id.
    found = pick(comparison, better="after", baseline="before", wins=3, losses=1)
    assert [example.query_id for example in found.wins] == ["a", "b", "c"]
    assert [example.query_id for example in found.losses] == ["g"]
    assert (found.won, found.lost, found.tied) == (4, 2, 2)
    assert (found.wins[0].baseline, found.wins[0].better) == (5, 1)
    assert (found.wins[2].baseline, found.wins[2].better) == (None, 9)
    assert (found.losses[0].baseline_gold, found.losses[0].better_gold) == ("gold", None)
    assert found.wins[0].gold == ("gold", "never")


def test_fewer_examples_than_asked_for(comparison):
    found = pick(comparison, better="same", baseline="after")
    assert (found.wins, found.losses, found.won, found.lost, found.tied) == ((), (), 0, 0, 8)
    with pytest.raises(UsageError, match="'late' was not compared"):
        pick(comparison, better="late", baseline="before")


def test_examples_as_json(comparison):
    found = pick(comparison, better="after", baseline="before", wins=1, losses=0).to_json()
    assert found == {
        "pipeline": "after",
        "baseline": "before",
        "won": 4,
        "lost": 2,
        "tied": 2,
        "wins": [{"query_id": "a", "query": "a", "gold": ["gold", "never"], "rank": 1, "baseline_rank": 5}],
        "losses": [],
    }


def test_tables_for_a_terminal(comparison):
    figures, changes, times = tables(comparison, metrics=["R@5", "nDCG@10"])
    assert (figures.title, changes.title) == ("found", "against 'before'")
    assert figures.columns == ("pipeline", "R@5", "nDCG@10", "pool recall")
    assert figures.rows[0][:2] == ("before", "0.375")
    # Six rankings hold d8 and gold among ten, two hold d8 among nine: (6 * 2 / 10 + 2 / 9) / 8 = 0.178.
    assert figures.notes[:2] == ("8 judged queries.", "Judgements name passages.")
    assert figures.notes[2].startswith("8 queries are few: differences in R@5 below about 0.175 will rarely show")
    assert figures.notes[3].startswith("Of the first 10 results these were judged at all: 'before' 18%")
    assert changes.columns == ("pipeline", "metric", "change", "95 % interval", "p", "won", "lost")
    assert [row[:3] for row in changes.rows[::2]] == [("after", "R@5", "-0.062"), ("same", "R@5", "-0.062")]
    # Found within 5 before and not after: g. R@5 sees no other change.
    assert [row[5:] for row in changes.rows[::2]] == [("0", "1"), ("0", "1")]
    assert [row[:2] for row in changes.rows[1::2]] == [("", "nDCG@10"), ("", "nDCG@10")]
    assert times.columns == ("pipeline", "encode", "search", "of which")
    assert [row[0] for row in times.rows] == ["before", "after", "same"]
    assert times.rows[0][1] == "0.0 / 0.0"
    assert len(tables(compare([System("x", Fixed(AFTER))], {"a": "a"}, {"a": {"gold": 1}}, {"gold": "gold"}))) == 2


def test_a_single_pipeline_has_nothing_to_be_held_against(comparison):
    alone = compare(
        [System("before", Fixed(BEFORE))], {"a": "a", "z": "?"}, {"a": {"gold": 1, "away": 1}}, {"gold": "gold"}
    )
    found, times = tables(alone)
    assert (found.title, times.title) == ("found", "milliseconds per question, p50 / p95")
    assert found.notes == (
        "1 judged queries; left out: 1 without judgements.",
        "Judgements name passages.",
        "1 of 2 judged answers are not in the corpus; nothing can find them.",
        "Of the first 10 results these were judged at all: 'before' 10%.",
    )


def test_a_recall_that_reordering_can_not_move_is_pointed_out():
    class Reordered:
        def rank(self, query, k):
            return ranking(query, ["gold", "d1", "d0"], pool=["d0", "d1", "gold"])

    queries, qrels, corpus = {"a": "a"}, {"a": {"gold": 1}}, {"gold": "gold"}
    found, _ = tables(
        compare([System("r", Reordered(), pool=3)], queries, qrels, corpus, metrics=["R@2", "R@3", "R@9", "P@3"])
    )
    note = "'r' reorders 3 candidates: its R@3, R@9 are the pool recall, whatever the order."
    assert note in found.notes
