"""Ask every system every question, and keep what came back.

Systems take turns on each question, and who goes first moves on by one with every question: what the first one warms
(memory pages of the same passages, the processor's clock) helps each of them equally often, and another job on the
machine slows all of them alike. A few questions are asked of every system beforehand, and not recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter

from latewood.errors import BudgetError, CorruptionError, InputError
from latewood.evaluate.grouping import Grouping
from latewood.evaluate.runs import Run
from latewood.protocols import Retriever
from latewood.types import Ranking, StageTiming

__all__ = ["Answer", "Answers", "Failure", "System", "ask_all"]


@dataclass(frozen=True, slots=True)
class System:
    """Something that ranks, under the name that the comparison shows.

    Args:
        name: the pipeline as the user typed it.
        retriever: its `rank(query, k)` is called once per query, and again only to look deeper (see `ask_all`).
            A Run isn't asked: it has its rankings already, and no times.
        pool: how many candidates its last stage is given; 0 where it searches everything, or where nobody knows.
        corpus: passage id → source id of what it searches; None for the corpus that `compare` is given.
        explain: as the retriever's `rank`, with texts, and with what matched where it can say so. Reports show it.
    """

    name: str
    retriever: Retriever | Run
    pool: int = 0
    corpus: Mapping[str, str] | None = None
    explain: Callable[[str, int], Ranking] | None = None

    def depth(self, cutoff: int) -> int:
        """Results to ask for: as many as the metrics look at, or the whole pool."""
        return max(cutoff, self.pool)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one system gave for one query.

    Args:
        ids: judged units (passages or sources), best first, each once.
        pool: those that the last stage chose from.
        scores: one per id, of its best passage.
        timings: as the ranking gave them; one stage "rank" with the wall time where it gave none; none for a Run.
        exact: no approximate step took part.
        unscored: passages that could not be scored.
        cut: query tokens beyond the model's limit.
    """

    ids: tuple[str, ...]
    scores: tuple[float, ...]
    pool: tuple[str, ...]
    timings: tuple[StageTiming, ...]
    exact: bool
    unscored: int
    cut: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A query that a system could not answer; it counts as one for which nothing was found."""

    query_id: str
    error: str


@dataclass(slots=True)
class Answers:
    """All that one system gave. Every query is in one of the two."""

    answered: dict[str, Answer] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    first_error: Exception | None = None

    def fail(self, query_id: str, error: Exception) -> None:
        """Count a query as failed."""
        self.first_error = self.first_error or error
        self.failed.append(Failure(query_id, f"{type(error).__name__}: {error}"))


def ask_all(
    systems: Sequence[System],
    queries: Mapping[str, str],
    grouping: Grouping,
    cutoff: int,
    *,
    warmup: int,
    progress: Callable[[int], None] | None = None,
) -> list[Answers]:
    """Ask all systems all queries, in turns.

    Each is asked for `System.depth(cutoff)` results. Where judgements name sources, that many passages can hold
    fewer sources than the metrics look at; then it is asked again for twice as many, until there are enough or no
    more. The first answer's times are the ones that count.

    Args:
        systems: those to compare.
        queries: query id → text.
        grouping: what the judgements name.
        cutoff: how many judged units the metrics look at.
        warmup: queries that are asked beforehand, without a record.
        progress: called with 1 for every answer, the warm-up's not counted.

    Returns:
        What each system gave, in their order.

    Raises:
        CorruptionError: at once: stored data can't be trusted, so no figure can.
        BudgetError: at once: what isn't sent any more can't be judged.
        Exception: what a system raises, if it raises on every query of the warm-up, or on every query.
    """
    live = [system for system in systems if not isinstance(system.retriever, Run)]
    _ask_in_turns(live, dict(islice(queries.items(), warmup)), grouping, cutoff, None)
    return _ask_in_turns(systems, queries, grouping, cutoff, progress)


def _ask_in_turns(
    systems: Sequence[System],
    queries: Mapping[str, str],
    grouping: Grouping,
    cutoff: int,
    progress: Callable[[int], None] | None,
) -> list[Answers]:
    answers = [Answers() for _ in systems]
    for turn, (query_id, text) in enumerate(queries.items()):
        for place in range(len(systems)):
            at = (turn + place) % len(systems)
            # A foreign system may raise anything. One bad query must not end the comparison, nor go unseen.
            try:
                answers[at].answered[query_id] = _answer(systems[at], query_id, text, grouping, cutoff)
            except (BudgetError, CorruptionError):
                raise
            except Exception as err:
                answers[at].fail(query_id, err)
            if progress is not None:
                progress(1)
    for given in answers:
        if given.first_error is not None and not given.answered:
            raise given.first_error
    return answers


def _answer(system: System, query_id: str, text: str, grouping: Grouping, cutoff: int) -> Answer:
    if isinstance(system.retriever, Run):
        return _recorded(system.retriever, query_id, grouping)
    k = system.depth(cutoff)
    most = system.pool or len(grouping.sources if system.corpus is None else system.corpus)
    started = perf_counter()
    ranking = system.retriever.rank(text, k)
    wall = (perf_counter() - started) * 1e3
    timings = ranking.timings or (StageTiming("rank", wall, len(ranking.hits)),)
    best = _units(system, ranking, grouping)
    while len(best) < cutoff and len(ranking.hits) >= k and k < most:
        k *= 2
        ranking = system.retriever.rank(text, k)
        best = _units(system, ranking, grouping)
    return Answer(
        ids=tuple(best),
        scores=tuple(best.values()),
        pool=grouping.collapse(ranking.pool),
        timings=timings,
        exact=ranking.exact,
        unscored=ranking.unscored,
        cut=ranking.cut,
    )


def _recorded(run: Run, query_id: str, grouping: Grouping) -> Answer:
    """What a run has for a query. All of it is the pool: what a reranker over this system would be given."""
    best = _best_of_each(run.rankings.get(query_id, ()), run.scores.get(query_id, ()), grouping)
    return Answer(tuple(best), tuple(best.values()), pool=tuple(best), timings=(), exact=True, unscored=0, cut=0)


def _units(system: System, ranking: Ranking, grouping: Grouping) -> dict[str, float]:
    """Judged unit → score of its best passage, best first."""
    ids = [hit.id for hit in ranking.hits]
    if len(set(ids)) != len(ids):
        twice = next(found for i, found in enumerate(ids) if found in ids[:i])
        raise InputError(f"'{system.name}' gave {twice!r} twice for one query; expected each passage once")
    for hit in ranking.hits:
        if not math.isfinite(hit.score):
            raise InputError(f"'{system.name}' gave {hit.id!r} the score {hit.score}; expected finite scores")
    return _best_of_each(ids, [hit.score for hit in ranking.hits], grouping)


def _best_of_each(ids: Sequence[str], scores: Sequence[float], grouping: Grouping) -> dict[str, float]:
    best: dict[str, float] = {}
    for passage_id, score in zip(ids, scores, strict=True):
        best.setdefault(grouping.unit(passage_id), score)
    return best
