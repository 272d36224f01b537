"""What the judgements name: passages, or the sources that passages come from.

Long sources are indexed as several passages (`source_id#n`), and published judgements usually name the source.
Then a ranking of passages is read as a ranking of sources, in which the best passage of a source counts and the
others are passed over. Which of the two holds is found by looking the judged ids up, and said in every result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from latewood.errors import InputError, UsageError
from latewood.evaluate.data import Judged

__all__ = ["Grouping", "join"]


@dataclass(frozen=True, slots=True)
class Grouping:
    """How passages meet judgements.

    Args:
        by: what the judged ids name.
        judged: distinct ids with a positive judgement.
        found: those that the corpus has; the others can't be found by any system, and count as missed.
        sources: passage id → source id.
    """

    by: Literal["passage", "source"]
    judged: int
    found: int
    sources: Mapping[str, str]

    def collapse(self, passage_ids: Iterable[str]) -> tuple[str, ...]:
        """The judged unit of each passage, best first; each unit at its best passage only."""
        if self.by == "passage":
            return tuple(dict.fromkeys(passage_ids))
        return tuple(dict.fromkeys(self.sources.get(passage_id, passage_id) for passage_id in passage_ids))


def join(judged: Judged, corpus: Mapping[str, str], group: str = "auto") -> Grouping:
    """Decide what the judged ids name.

    With "auto", whatever more of them are found among; passages if it is the same, as where every source is one
    passage under its own id.

    Args:
        judged: the judged queries.
        corpus: passage id → source id of everything that can be found.
        group: "auto", or "passage" or "source" to force it.

    Raises:
        InputError: none of the judged ids is there: these are judgements of another corpus.
        UsageError: another word than the three.
    """
    if group not in ("auto", "passage", "source"):
        raise UsageError(f"group is {group!r}, expected auto, passage or source")
    wanted = set().union(*(judged.positives(query_id) for query_id in judged.queries))
    passages = sum(document in corpus for document in wanted)
    sources = len(wanted.intersection(corpus.values()))
    by_source = group == "source" or (group == "auto" and sources > passages)
    found = sources if by_source else passages
    if found == 0:
        looked_for = {"auto": "a passage or a source"}.get(group, f"a {group}")
        raise InputError(
            f"none of the {len(wanted)} judged ids is {looked_for} here (qrels name {min(wanted)!r}, "
            f"here is {next(iter(corpus), 'nothing')!r}): these qrels belong to another corpus"
        )
    return Grouping("source" if by_source else "passage", len(wanted), found, corpus)
