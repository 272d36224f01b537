"""Queries where there are none: runs of the documents' own token vectors, mixed with others'."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from latewood.types import FloatArray

__all__ = ["mixed_runs"]

_VECTORS = 24
_MIXED = 0.6


def mixed_runs(documents: Iterable[FloatArray], count: int, rng: np.random.Generator) -> list[FloatArray]:
    """Runs of up to 24 neighbouring token vectors, to stand for queries.

    Each vector is mixed with a part of one from another run: as it stands it would find itself, at a similarity of 1,
    and be kept more easily than a real query's (docs/index.md has both).

    Args:
        documents: [T, D] float32 each, in random order; those without vectors are passed over.
        count: how many runs, one of a document.
        rng: draws where they begin, and what they are mixed with.

    Returns:
        [Q, D] float32 each, Q at most 24.
    """
    runs: list[FloatArray] = []
    for vectors in documents:
        if len(runs) == count:
            break
        if len(vectors):
            start = int(rng.integers(0, max(1, len(vectors) - _VECTORS + 1)))
            runs.append(np.asarray(vectors[start : start + _VECTORS], np.float32))
    others = np.concatenate(runs) if runs else np.zeros((0, 1), np.float32)
    return [_mixed(run, others[rng.integers(0, len(others), len(run))]) for run in runs]


def _mixed(run: FloatArray, others: FloatArray) -> FloatArray:
    """As long as they were."""
    mixed = run + np.float32(_MIXED) * others
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.ascontiguousarray(
        mixed * (np.linalg.norm(run, axis=1, keepdims=True) / np.where(lengths > 0, lengths, 1)), np.float32
    )
