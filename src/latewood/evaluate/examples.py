"""Single questions that show what the figures mean: where one pipeline wins over another, and where it loses."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from latewood.evaluate.results import Comparison

__all__ = ["Example", "Examples", "pick"]


@dataclass(frozen=True, slots=True)
class Example:
    """One question, and where two pipelines rank its answer.

    Args:
        query_id: of the question.
        query: its text.
        gold: ids that answer it, in order of id.
        better: rank from 1 of the best-ranked answer in the pipeline that is looked at; None if it found none.
        baseline: the same for the pipeline that it is held against.
        better_gold: which answer that is; None as for the rank.
        baseline_gold: the same for the other.
    """

    query_id: str
    query: str
    gold: tuple[str, ...]
    better: int | None
    baseline: int | None
    better_gold: str | None
    baseline_gold: str | None

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {
            "query_id": self.query_id,
            "query": self.query,
            "gold": list(self.gold),
            "rank": self.better,
            "baseline_rank": self.baseline,
        }


@dataclass(frozen=True, slots=True)
class Examples:
    """Chosen questions, and how many they were chosen from.

    Args:
        pipeline: the one that is looked at.
        baseline: the one that it is held against.
        wins: questions whose best answer it ranks higher, the largest change first.
        losses: questions whose best answer it ranks lower, the largest change first.
        won: all of the first kind.
        lost: all of the second kind.
        tied: all others.
    """

    pipeline: str
    baseline: str
    wins: tuple[Example, ...]
    losses: tuple[Example, ...]
    won: int
    lost: int
    tied: int

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {
            "pipeline": self.pipeline,
            "baseline": self.baseline,
            "won": self.won,
            "lost": self.lost,
            "tied": self.tied,
            "wins": [example.to_json() for example in self.wins],
            "losses": [example.to_json() for example in self.losses],
        }


def pick(comparison: Comparison, better: str, baseline: str, *, wins: int = 3, losses: int = 2) -> Examples:
    """Choose the questions on which two pipelines differ most.

    What counts is the rank of the best-ranked answer, the change of which orders the questions, ties by query id.
    An answer that isn't among the results stands one below the deepest rank that either pipeline gave for any
    query. The rule sees all queries: no question is passed over for being unflattering.

    Args:
        comparison: holds both.
        better: the pipeline that is looked at, by name.
        baseline: the one that it is held against.
        wins: at most so many questions that it wins.
        losses: at most so many that it loses.

    Raises:
        UsageError: a name that was not compared.
    """
    looked_at, held_against = comparison[better], comparison[baseline]
    rankings = [*looked_at.rankings.values(), *held_against.rankings.values()]
    missing = max(len(ranking) for ranking in rankings) + 1
    changed: list[tuple[int, Example]] = []
    for query_id, text in comparison.judged.queries.items():
        gold = comparison.judged.positives(query_id)
        rank, found = _best(looked_at.rankings[query_id], gold)
        rank_before, found_before = _best(held_against.rankings[query_id], gold)
        example = Example(query_id, text, tuple(sorted(gold)), rank, rank_before, found, found_before)
        changed.append(((rank_before or missing) - (rank or missing), example))
    won = sorted((pair for pair in changed if pair[0] > 0), key=lambda pair: (-pair[0], pair[1].query_id))
    lost = sorted((pair for pair in changed if pair[0] < 0), key=lambda pair: (pair[0], pair[1].query_id))
    return Examples(
        pipeline=better,
        baseline=baseline,
        wins=tuple(example for _, example in won[:wins]),
        losses=tuple(example for _, example in lost[:losses]),
        won=len(won),
        lost=len(lost),
        tied=len(changed) - len(won) - len(lost),
    )


def _best(ranking: Sequence[str], gold: Collection[str]) -> tuple[int | None, str | None]:
    """Rank from 1 and id of the first gold in a ranking."""
    for rank, found in enumerate(ranking, start=1):
        if found in gold:
            return rank, found
    return None, None
