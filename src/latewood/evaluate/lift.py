"""What a reranker wins over today's system, measured on a sample, and what that says about other questions.

The interval is a prediction interval (Student's t) for the mean of *as many other questions of the same kind* as were
measured, not a confidence interval for an unseen truth: it says what a second sample will show, so that it can be
checked. benchmarks/audit.py does so over random halves of labelled sets, and prints how often the interval from one
half held the lift of the other, and how wide it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from latewood import maxsim
from latewood.errors import MissingExtra, ShapeError, UsageError
from latewood.protocols import Encoder, PairScorer
from latewood.types import MultiVectors

__all__ = ["Candidate", "EncodedLate", "Lift", "ReadPairs", "load_student", "predict", "summarise", "timed"]

CONFIDENCE = 0.95
_SAME = 1e-9
_BATCH = 256
"""Passages that are encoded before their float vectors are turned into int8: bounds the memory."""

Candidate = Callable[[str, Sequence[str]], Sequence[str]]
"""(question, pool of passage ids) → passage ids, best first: a reranker, or something that searches for itself."""


@dataclass(frozen=True, slots=True)
class Lift:
    """Capped recall of a candidate less today's, over the sampled questions.

    Args:
        mean: over the questions.
        low: lower end of the 95 % prediction interval for the mean of as many other questions.
        high: its upper end.
        questions: how many were measured.
        wins: questions on which the candidate is better.
        losses: questions on which it is worse.
        p50_ms: wall time of a question, encoding included; None where it was not measured as it would be used.
        p95_ms: the same, 95th percentile.
    """

    mean: float
    low: float
    high: float
    questions: int
    wins: int
    losses: int
    p50_ms: float | None = None
    p95_ms: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        ms = None if self.p50_ms is None or self.p95_ms is None else {"p50": self.p50_ms, "p95": self.p95_ms}
        return {
            "mean": self.mean,
            "low": self.low,
            "high": self.high,
            "questions": self.questions,
            "wins": self.wins,
            "losses": self.losses,
            "latency_ms": ms,
        }


def load_student() -> Any:
    """SciPy's t distribution.

    Raises:
        MissingExtra: SciPy isn't installed.
    """
    try:
        from scipy.stats import t
    except ImportError as err:
        raise MissingExtra("a prediction interval", "SciPy", "eval") from err
    return t


def predict(values: Sequence[float], others: int | None = None) -> tuple[float, float]:
    """The 95 % prediction interval for the mean of other questions of the same kind.

    mean ± t(n − 1) · s · √(1/n + 1/others), with s the sample's standard deviation to which one gain and one loss are
    added, as large as the changes at hand (their root mean square; a whole answer where nothing changed): with few
    changed questions the plain one comes out too small too often. Cut to [−1, 1], which a mean can't leave.

    Args:
        values: one difference per question, n ≥ 2, each in [−1, 1].
        others: how many other questions; as many as there are values by default.

    Raises:
        UsageError: fewer than two values, or fewer than one other question.
        MissingExtra: SciPy isn't installed.
    """
    n = len(values)
    others = n if others is None else others
    if n < 2 or others < 1:
        raise UsageError(f"a prediction needs two questions and one to predict, got {n} and {others}")
    sample = np.asarray(values, np.float64)
    mean = float(sample.mean())
    changes = sample[sample != 0]
    typical = float((changes**2).mean()) if len(changes) else 1.0
    spread = math.sqrt((float(((sample - mean) ** 2).sum()) + 2.0 * typical) / (n - 1))
    half = float(load_student().ppf((1 + CONFIDENCE) / 2, n - 1)) * spread * math.sqrt(1 / n + 1 / others)
    return max(-1.0, mean - half), min(1.0, mean + half)


def summarise(candidate: Mapping[str, float], today: Mapping[str, float], ms: Sequence[float] = ()) -> Lift:
    """The lift over the questions that the candidate was measured on.

    Args:
        candidate: query id → capped recall, at least two questions.
        today: the same for today's system; may hold more questions.
        ms: wall times of the candidate, where they are what its use would take.
    """
    change = np.array([value - today[query_id] for query_id, value in candidate.items()], np.float64)
    change[np.abs(change) < _SAME] = 0.0
    low, high = predict(change.tolist())
    p50, p95 = np.percentile(np.asarray(ms), [50, 95]) if len(ms) else (None, None)
    return Lift(
        float(change.mean()),
        low,
        high,
        len(change),
        int((change > 0).sum()),
        int((change < 0).sum()),
        None if p50 is None else round(float(p50), 3),
        None if p95 is None else round(float(p95), 3),
    )


def timed(
    candidate: Candidate,
    queries: Mapping[str, str],
    pools: Mapping[str, Sequence[str]],
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, tuple[str, ...]], list[float]]:
    """Run a candidate on the sampled questions; one is run beforehand and not timed.

    Returns:
        Query id → passage ids, best first; and the wall milliseconds of each.
    """
    shown: dict[str, tuple[str, ...]] = {}
    ms: list[float] = []
    for query_id, text in list(queries.items())[:1]:
        candidate(text, pools[query_id])
    for query_id, text in queries.items():
        started = perf_counter()
        shown[query_id] = tuple(candidate(text, pools[query_id]))
        ms.append((perf_counter() - started) * 1e3)
        if progress is not None:
            progress(1)
    return shown, ms


class EncodedLate:
    """Late interaction over texts that no collection holds: the pools' passages, encoded once and kept as int8.

    Args:
        encoder: makes the token vectors.
        texts: passage id → text, of every passage in the pools.
        progress: called with the number of passages encoded since the last call.
    """

    def __init__(
        self, encoder: Encoder, texts: Mapping[str, str], progress: Callable[[int], None] | None = None
    ) -> None:
        self._encoder = encoder
        self._rows = {passage_id: row for row, passage_id in enumerate(texts)}
        parts = [
            maxsim.quantize(encoder.encode_passages(batch, progress).tokens) for batch in _batches(list(texts.values()))
        ]
        self._vectors = MultiVectors.joined(parts)

    def __call__(self, query: str, pool: Sequence[str]) -> list[str]:
        """The pool in the order of its MaxSim scores, ties by id; a passage without vectors is left out."""
        if not pool:
            return []
        rows = np.array([self._rows[passage_id] for passage_id in pool], np.int64)
        scores = maxsim.scores(self._encoder.encode_query(query).tokens, self._vectors, rows)
        order = sorted(range(len(pool)), key=lambda at: (-scores[at], pool[at]))
        return [pool[at] for at in order if np.isfinite(scores[at])]


class ReadPairs:
    """A cross-encoder over texts that no collection holds.

    Args:
        scorer: reads pairs.
        texts: passage id → text, of every passage in the pools.
    """

    def __init__(self, scorer: PairScorer, texts: Mapping[str, str]) -> None:
        self._scorer = scorer
        self._texts = texts

    def __call__(self, query: str, pool: Sequence[str]) -> list[str]:
        """The pool in the order of its scores, ties by id.

        Raises:
            ShapeError: the scorer gave another number of scores than it was asked for, or NaN.
        """
        if not pool:
            return []
        scores = self._scorer.score(query, [self._texts[passage_id] for passage_id in pool])
        if scores.shape != (len(pool),) or not bool(np.isfinite(scores).all()):
            raise ShapeError(f"{self._scorer.name}: expected {len(pool)} finite scores, got shape {scores.shape}")
        return [pool[at] for at in sorted(range(len(pool)), key=lambda at: (-scores[at], pool[at]))]


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(texts), _BATCH):
        yield texts[start : start + _BATCH]
