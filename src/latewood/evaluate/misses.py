"""Where each missed pair of question and answer was lost: the first of four places that fits.

    not_in_corpus    no chunk holds the answer: it was never ingested, or its id is of another state of the corpus
    chunk_boundary   no chunk holds it whole, though several together do
    outside_pool     a chunk holds it, and the candidates that a reranker would see don't have it
    in_pool          it is among the candidates, below the k that are shown

Beside the class stands a flag: the answer may have been found under another name (see `label_hole`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.audit_gold import Gold

__all__ = ["CLASSES", "DUPLICATE", "Miss", "MissClass", "capped_recall", "ceiling", "find_misses", "label_holes"]

MissClass = Literal["not_in_corpus", "chunk_boundary", "outside_pool", "in_pool"]
CLASSES: tuple[MissClass, ...] = get_args(MissClass)

DUPLICATE = 0.8
"""Jaccard similarity of two texts' runs of three words, from which on they are the same text for a reader."""

_RUN = 3


@dataclass(frozen=True, slots=True)
class Miss:
    """One answer that was not among the k that were shown.

    Args:
        gold: the pair.
        kind: where it was lost.
        rank: its rank in the pool, from 1; None outside of it.
        hole: id of what was shown and is probably the same text under another id, without a judgement; else None.
    """

    gold: Gold
    kind: MissClass
    rank: int | None
    hole: str | None = None


def find_misses(
    golds: Sequence[Gold], shown: Mapping[str, Sequence[str]], pools: Mapping[str, Sequence[str]], k: int
) -> list[Miss]:
    """Every missed pair with its class, in the order of the golds.

    Args:
        golds: all pairs.
        shown: query id → judged units, best first, as today's system ranks them.
        pools: query id → judged units that a reranker would see, best first.
        k: how many a reader is shown.
    """
    misses = []
    for gold in golds:
        if gold.units.isdisjoint(shown.get(gold.query_id, ())[:k]):
            pool = pools.get(gold.query_id, ())
            rank = next((at for at, unit in enumerate(pool, start=1) if unit in gold.units), None)
            misses.append(Miss(gold, _kind(gold, rank), rank))
    return misses


def _kind(gold: Gold, rank: int | None) -> MissClass:
    if gold.state == "missing":
        return "not_in_corpus"
    if gold.state == "cut":
        return "chunk_boundary"
    return "outside_pool" if rank is None else "in_pool"


def capped_recall(golds: Sequence[Gold], shown: Mapping[str, Sequence[str]], k: int) -> dict[str, float]:
    """Hits / min(k, answers) of each question: 1 where all that could be shown is shown (R_cap of BEIR).

    Args:
        golds: all pairs.
        shown: query id → judged units, best first; a question that is missing has none.
        k: how many a reader is shown.
    """
    tops = {query_id: set(units[:k]) for query_id, units in shown.items()}
    hits = Counter(gold.query_id for gold in golds if not gold.units.isdisjoint(tops.get(gold.query_id, ())))
    return _capped(golds, hits, k)


def ceiling(golds: Sequence[Gold], pools: Mapping[str, Sequence[str]], k: int) -> dict[str, float]:
    """Capped recall of each question after the best reordering of its pool that there is.

    An oracle puts the pool's answers first, so min(k, answers in the pool) of them are shown.

    Args:
        golds: all pairs.
        pools: query id → judged units that a reranker would see.
        k: how many a reader is shown.
    """
    whole = {query_id: set(units) for query_id, units in pools.items()}
    return _capped(
        golds, Counter(gold.query_id for gold in golds if not gold.units.isdisjoint(whole.get(gold.query_id, ()))), k
    )


def _capped(golds: Sequence[Gold], hits: Counter[str], k: int) -> dict[str, float]:
    answers = Counter(gold.query_id for gold in golds)
    return {query_id: min(hits[query_id], k, n) / min(k, n) for query_id, n in answers.items()}


def label_holes(
    misses: Sequence[Miss],
    shown: Mapping[str, Sequence[str]],
    judged: Mapping[str, set[str]],
    corpus: Corpus,
) -> list[Miss]:
    """Flag the misses whose answer was probably shown under an id that nobody judged.

    A flag needs all three: the shown passage has no judgement for this question, a passage that holds the answer is
    at hand to compare it with, and the two share `DUPLICATE` of their runs of three words. Another right answer in
    other words is not seen: the flag is conservative, and a count of it is a lower bound.

    Args:
        misses: as `find_misses` gave them.
        shown: query id → the passages (not sources) that were shown.
        judged: query id → units that have any judgement, 0 included, and what they are a part of.
        corpus: for the texts.
    """
    texts = _Texts(corpus)
    flagged = []
    for miss in misses:
        gold = miss.gold
        unjudged = [
            passage_id
            for passage_id in shown.get(gold.query_id, ())
            if passage_id in corpus.sources
            and passage_id not in judged[gold.query_id]
            and corpus.sources[passage_id] not in judged[gold.query_id]
        ]
        hole = next((found for found in unjudged if any(texts.same(found, held) for held in gold.passages)), None)
        flagged.append(Miss(gold, miss.kind, miss.rank, hole))
    return flagged


class _Texts:
    """Runs of words of passages, each read once."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._runs: dict[str, frozenset[tuple[str, ...]]] = {}

    def runs(self, passage_id: str) -> frozenset[tuple[str, ...]]:
        if passage_id not in self._runs:
            words = self._corpus.read([passage_id])[0].text.casefold().split()
            length = min(_RUN, len(words))
            self._runs[passage_id] = frozenset(
                tuple(words[at : at + length]) for at in range(len(words) - length + 1) if length
            )
        return self._runs[passage_id]

    def same(self, one: str, other: str) -> bool:
        left, right = self.runs(one), self.runs(other)
        either = len(left | right)
        return bool(either) and len(left & right) / either >= DUPLICATE
