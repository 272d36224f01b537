"""Queries where there are none: runs of the documents' own token vectors, told in other documents' vectors."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from latewood.types import FloatArray

__all__ = ["pseudo_runs"]

_VECTORS = 24
_MIXED = 0.45
_DOCUMENTS = 1000
_OF_EACH = 16


def pseudo_runs(documents: Iterable[FloatArray], count: int, rng: np.random.Generator) -> list[FloatArray]:
    """Runs of up to 24 neighbouring token vectors, to stand for queries.

    A vector as it stands would find itself, at a similarity of 1, and near-duplicates of its document be the whole top
    ten. So each is replaced by the most similar of some thousand other documents' vectors, and that is mixed with a
    part of one that has nothing to do with it. docs/index.md has what real queries and these keep.

    Args:
        documents: [T, D] float32 each, in random order; those without vectors are passed over. 1,000 are read, or
            `count` if that is more.
        count: how many runs, one of a document.
        rng: draws where they begin, and what they are mixed with.

    Returns:
        [Q, D] float32 each, Q at most 24.
    """
    runs: list[FloatArray] = []
    others: list[FloatArray] = []
    for vectors in islice((each for each in documents if len(each)), max(count, _DOCUMENTS)):
        if len(runs) < count:
            start = int(rng.integers(0, max(1, len(vectors) - _VECTORS + 1)))
            runs.append(np.asarray(vectors[start : start + _VECTORS], np.float32))
        others.append(np.asarray(vectors[rng.permutation(len(vectors))[:_OF_EACH]], np.float32))
    if not runs:
        return []
    pool = np.concatenate(others)
    bounds = np.cumsum([0, *(len(each) for each in others)]).tolist()
    return [_told(run, slice(*bounds[i : i + 2]), pool, rng) for i, run in enumerate(runs)]


def _told(run: FloatArray, own: slice, pool: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The run in the pool's vectors, those of its own document left out; as long as they were."""
    told = run
    if own.stop - own.start < len(pool):
        similar = run @ pool.T
        similar[:, own] = -np.inf
        told = pool[similar.argmax(axis=1)]
    mixed = told + np.float32(_MIXED) * pool[rng.integers(0, len(pool), len(run))]
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.ascontiguousarray(
        mixed * (np.linalg.norm(run, axis=1, keepdims=True) / np.where(lengths > 0, lengths, 1)), np.float32
    )
