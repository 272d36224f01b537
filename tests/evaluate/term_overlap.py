"""A small, honest retriever for tests: ranks passages by the terms that they share with the query."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from latewood.types import Hit, Ranking, StageTiming


def terms(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def ranking(
    query: str, ids: list[str], *, pool: list[str] | None = None, timings: tuple[StageTiming, ...] = (), **other: object
) -> Ranking:
    """A ranking of these ids, with scores that fall by 1."""
    hits = tuple(Hit(found, found, float(len(ids) - at), at + 1) for at, found in enumerate(ids))
    settings = {"exact": True, "unscored": 0, "cut": 0, **other}
    return Ranking(query, "test", hits, pool=tuple(ids if pool is None else pool), timings=timings, **settings)


class TermOverlap:
    """Counts shared terms, ties by id. With `pool`, it reorders that many by the share of their terms that match."""

    def __init__(self, texts: Mapping[str, str], pool: int = 0, ms: Callable[[str], float] = len) -> None:
        self.texts = {passage_id: terms(text) for passage_id, text in texts.items()}
        self.pool = pool
        self.ms = ms
        self.asked: list[tuple[str, int]] = []

    def rank(self, query: str, k: int) -> Ranking:
        self.asked.append((query, k))
        wanted = terms(query)
        shared = {passage_id: len(wanted & have) for passage_id, have in self.texts.items() if wanted & have}
        best = sorted(shared, key=lambda found: (-shared[found], found))
        timings = StageTiming("encode", self.ms(query), 0), StageTiming("overlap", 10 * self.ms(query), len(best[:k]))
        if not self.pool:
            return ranking(query, best[:k], timings=timings)
        pool = best[: self.pool]
        again = sorted(pool, key=lambda found: (-shared[found] / len(self.texts[found]), found))[:k]
        timings = *timings, StageTiming("share", 100 * self.ms(query), len(again))
        return ranking(query, again, pool=pool, timings=timings)
