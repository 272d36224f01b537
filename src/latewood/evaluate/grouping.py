"""What the judgements name: passages, or the sources that passages come from.

Long sources are indexed as several passages (`source_id#n`), and published judgements usually name the source.
Then a ranking of passages is read as a ranking of sources, in which the best passage of a source counts and the
others are passed over. Which of the two holds is found by looking the judged ids up, and said in every result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from latewood.errors import InputError, UsageError
from latewood.evaluate.data import Judged

__all__ = ["Grouping", "join", "join_all"]


@dataclass(frozen=True, slots=True)
class Grouping:
    """How passages meet judgements.

    Args:
        by: what the judged ids name.
        judged: distinct ids with a positive judgement.
        found: those that the corpus has; the others can't be found by any system, and count as missed.
        sources: passage id → source id.
        known: whether the corpus is known. Where only runs are compared it may not be; then `found` is `judged`.
    """

    by: Literal["passage", "source"]
    judged: int
    found: int
    sources: Mapping[str, str]
    known: bool = True

    def unit(self, passage_id: str) -> str:
        """What the judgements would call this passage: itself, or its source."""
        return passage_id if self.by == "passage" else self.sources.get(passage_id, passage_id)

    def collapse(self, passage_ids: Iterable[str]) -> tuple[str, ...]:
        """The judged unit of each passage, best first; each unit at its best passage only."""
        return tuple(dict.fromkeys(map(self.unit, passage_ids)))

    def has(self, corpus: Mapping[str, str]) -> set[str]:
        """Every unit of a corpus."""
        return set(corpus) if self.by == "passage" else set(corpus.values())


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
    return join_all(judged, [corpus], group)


def join_all(judged: Judged, corpora: Sequence[Mapping[str, str]], group: str = "auto") -> Grouping:
    """Decide what the judged ids name, where systems search different corpora.

    With "auto" they name sources if they do so in any of the corpora. So a collection that holds documents whole and
    another that holds them in passages are judged by the same unit.

    Args:
        judged: the judged queries.
        corpora: as for `join`, one or more; none where nobody knows what can be found: then ids are compared as
            they are.
        group: as for `join`.

    Raises:
        InputError: none of the judged ids is in any of them.
        UsageError: another word than the three, or "source" without a corpus, which says what the sources are.
    """
    if group not in ("auto", "passage", "source"):
        raise UsageError(f"group is {group!r}, expected auto, passage or source")
    wanted = set().union(*(judged.positives(query_id) for query_id in judged.queries))
    if not corpora:
        if group == "source":
            raise UsageError("grouping by source needs a corpus that says which passage is of which source: give one")
        return Grouping("passage", len(wanted), len(wanted), {}, known=False)
    by_source = group == "source" or (group == "auto" and any(_name_sources(wanted, corpus) for corpus in corpora))
    merged = corpora[0]
    if len(corpora) > 1:
        merged = {passage: source for corpus in corpora for passage, source in corpus.items()}
    found = len(wanted.intersection(merged.values() if by_source else merged))
    if found == 0:
        looked_for = {"auto": "a passage or a source"}.get(group, f"a {group}")
        raise InputError(
            f"none of the {len(wanted)} judged ids is {looked_for} here (qrels name {min(wanted)!r}, "
            f"here is {next(iter(merged), 'nothing')!r}): these qrels belong to another corpus"
        )
    return Grouping("source" if by_source else "passage", len(wanted), found, merged)


def _name_sources(wanted: Collection[str], corpus: Mapping[str, str]) -> bool:
    passages = sum(document in corpus for document in wanted)
    return len(set(wanted).intersection(corpus.values())) > passages
