"""A collection's late-interaction index: when it is worth building, what it is tuned on, how far it can be trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from latewood import maxsim
from latewood.collection import Collection
from latewood.index import TUNED_K, Estimate, LateIndex, Measured, overlap
from latewood.types import FloatArray

__all__ = ["SAMPLES", "WORTHWHILE", "Certificate", "build", "certify", "is_worthwhile", "sample_questions"]

SAMPLES = 200
"""Queries that depths are tuned on, and that a certificate is made of, unless said otherwise."""

WORTHWHILE = 500_000
"""Token vectors from which on an index is built without being asked for: below, exhaustive scoring takes some 20 ms
(docs/index.md)."""

_STALE = 0.2  # share of the vectors that an index may leave to exhaustive scoring before it is made anew
_WORDS = range(5, 31)  # of a sentence that may stand for a question
_RESCORED_QUERIES, _RESCORED = 25, 15  # whose passages are encoded anew, to compare stored with float32 vectors
_RESCORED_BITS = 100
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Certificate:
    """How much of the exact top ten a collection's `late` keeps.

    Args:
        overlap: of the index with exhaustive scoring of the stored vectors.
        stored_vs_float32: of the stored vectors' ranking with that of the encoder's own float32 vectors.
        samples: queries behind `overlap`.
        queries: "given", or "pseudo": sentences of the passages.
        p50_ms, p95_ms: of a search by the index, one thread, encoding not counted.
        exhaustive_p50_ms: of an exhaustive one.
        pseudo: the overlap on pseudo-queries, where `queries` are given: what a certificate without questions would
            have said.
    """

    overlap: Estimate
    stored_vs_float32: Estimate
    samples: int
    queries: str
    p50_ms: float
    p95_ms: float
    exhaustive_p50_ms: float
    pseudo: Estimate | None = None

    @property
    def certified(self) -> float:
        """The share of the exact float32 top ten to be expected: the product of the two means."""
        return self.overlap.mean * self.stored_vs_float32.mean


def is_worthwhile(kb: Collection) -> bool:
    """Whether most of the collection lacks a late-interaction index, or has an outgrown one, and shouldn't."""
    uncovered, vectors = kb.uncovered()
    return vectors >= WORTHWHILE and (uncovered > _STALE * vectors or kb.is_outgrown())


def build(
    kb: Collection,
    questions: Iterable[str] | None = None,
    *,
    target_overlap: float = 0.99,
    samples: int = SAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> LateIndex:
    """Build a collection's late-interaction index and tune it.

    Args:
        kb: the collection.
        questions: to tune on, like those that will be asked; None for sentences of random passages.
        target_overlap: mean overlap@10 with exhaustive scoring, below 1.
        samples: how many questions at most.
        seed: of everything that is drawn.
        progress: called with the step, units done and units in all.
        settings: `centroids`, `memory_budget`, `threads`, as `latewood.index.build_late` takes them.

    Raises:
        PipelineError: the collection has no token vectors.
        LockedError: another process is writing.
    """
    kb.refresh()
    if questions is None:
        texts, kind = sample_questions(kb, samples, seed), "pseudo"
    else:
        texts, kind = _drawn(list(questions), samples, seed), "given"
    vectors = [kb.encoder.encode_query(text).tokens for text in texts]
    return kb.build_late(
        target_overlap=target_overlap, queries=vectors, kind=kind, seed=seed, progress=progress, **settings
    )


def certify(
    kb: Collection, questions: Iterable[str] | None = None, *, samples: int = SAMPLES, seed: int = 1
) -> Certificate:
    """Measure how much of the exact ranking `late` keeps.

    Args:
        kb: a collection with a late-interaction index, or with signs.
        questions: that it wasn't tuned on, like those that are asked; None for sentences of random passages.
        samples: how many at most.
        seed: of the draw; another than that of `build`, or pseudo-queries would be those that it was tuned on.

    Raises:
        PipelineError: there is no index to certify.
    """
    pseudo = sample_questions(kb, samples, seed)
    texts = pseudo if questions is None else _drawn(list(questions), samples, seed)
    vectors = _encoded(kb, texts)
    measured = kb.snapshot.measure(vectors)
    stored = _against_float32(kb, vectors[:_RESCORED_QUERIES])
    return Certificate(
        Estimate.of(measured.overlaps),
        Estimate.of(stored),
        len(texts),
        "pseudo" if questions is None else "given",
        *_percentiles(measured),
        None if questions is None else Estimate.of(kb.snapshot.measure(_encoded(kb, pseudo)).overlaps),
    )


def sample_questions(kb: Collection, count: int, seed: int) -> list[str]:
    """Sentences of 5 to 30 words, one each of random passages; their first words where a passage has none such.

    Args:
        kb: the collection.
        count: how many at most.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(kb.snapshot.live_rows)[:count]
    chosen = []
    for passage in kb.snapshot.passages(rows):
        sentences = [" ".join(found.group().split()) for found in _SENTENCE.finditer(passage.text)]
        fitting = [sentence for sentence in sentences if len(sentence.split()) in _WORDS]
        if fitting:
            chosen.append(fitting[int(rng.integers(len(fitting)))])
        elif passage.text.strip():
            chosen.append(" ".join(passage.text.split()[: _WORDS[-1]])[:500])
    return chosen


def _drawn(questions: Sequence[str], samples: int, seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(questions))[:samples]
    return [questions[i] for i in order.tolist()]


def _encoded(kb: Collection, texts: Sequence[str]) -> list[FloatArray]:
    return [kb.encoder.encode_query(text).tokens for text in texts]


def _percentiles(measured: Measured) -> tuple[float, float, float]:
    p50, p95 = np.percentile(measured.index_ms, [50, 95])
    return float(p50), float(p95), float(np.median(measured.exhaustive_ms))


def _against_float32(kb: Collection, queries: Sequence[FloatArray]) -> list[float]:
    """Overlap of the stored top ten with that by float32 vectors, of passages that are encoded anew.

    Of each query the fifteen best passages by the stored vectors: one from further back would have to pass five by
    the rounding of int8 alone. Where bits alone are stored it is the best hundred.
    """
    stored = kb.stats()["quantisation"]
    depth = _RESCORED_BITS if stored and stored["bits"] == 1 else _RESCORED
    best = [kb.snapshot.late(query, depth, exact=True) for query in queries]
    rows = np.unique(np.concatenate([found.rows for found in best]))
    texts = [passage.text for passage in kb.snapshot.passages(rows)]
    fresh = kb.encoder.encode_passages(texts).tokens
    kept = []
    for query, found in zip(queries, best, strict=True):
        scores = maxsim.scores(query, fresh, np.searchsorted(rows, found.rows))
        order = np.argsort(-scores, kind="stable")
        kept.append(overlap(found.rows[:TUNED_K], found.rows[order], scores[order]))
    return kept
