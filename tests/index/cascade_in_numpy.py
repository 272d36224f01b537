"""The cascade's steps in plain NumPy and Python, as kernel/cascade.h describes them: the oracle of its tests."""

from __future__ import annotations

import numpy as np

from latewood import _reference
from latewood.types import BitVectors, MultiVectors

F = np.float32
TABLE_LEVELS = 127  # integers of a query vector for the table of centroids


def longest(vectors):
    sums = np.zeros(len(vectors), F)
    for column in vectors.T.astype(F):
        sums = sums + column * column
    return np.sqrt(sums).max()


def table(query, centroids):
    """[K, Q] uint8: what a token at each centroid would score with each query vector."""
    many = _reference.quantize(MultiVectors(centroids, np.array([0, len(centroids)], np.int64)))
    integers, scales = _reference.quantize_query(query, TABLE_LEVELS)
    greatest = F(longest(query) * F(np.linalg.norm(centroids, axis=1).max()))
    gain, shift = F(255) / (greatest * F(1.25)), F(255) * F(0.25) / F(1.25)
    dots = (many.tokens.astype(np.int64) @ integers.T).astype(F) * many.scales[:, None]
    values = dots * (gain * scales.astype(F))[None, :] + (shift + F(0.5))
    return np.clip(values, 0, 255).astype(np.uint8)


def interaction(cells, lists):
    """Each document's sum over query vectors of the best of its centroids."""
    return [int(cells[numbers].max(axis=0).sum()) if len(numbers) else 0 for numbers in lists]


def points(cells, lists, probe, allowed=None):
    """Document -> points, of those that the centroids in reach name. Centroids in reach: the best `probe`."""
    found = {}
    for q in range(cells.shape[1]):
        order = np.lexsort((np.arange(len(cells)), -cells[:, q].astype(int)))[:probe]
        order = [c for c in order.tolist() if cells[c, q] > 0]
        if not order:
            continue
        missed = int(cells[order[-1], q]) - 1
        for row, numbers in enumerate(lists):
            reached = [int(cells[c, q]) for c in order if c in numbers]
            if reached and (allowed is None or allowed[row]):
                found[row] = found.get(row, 0) + max(reached) - missed
    return found


def ranked(scores):
    """Documents of {document: score}, best first, the lower number first among equals."""
    return sorted(scores, key=lambda row: (-scores[row], row))


def near(scores, k, margin):
    """Those of {document: score} that aren't lower than the k-th score by more than this share of it."""
    if len(scores) <= k:
        return scores
    kth = float(sorted(scores.values(), reverse=True)[k - 1])
    return {row: score for row, score in scores.items() if score >= kth - margin * max(0.0, kth)}


def signs(vectors, mean):
    return _reference.binarize(vectors, mean)


def sign_scores(query, bits: BitVectors, rows):
    return dict(zip(rows, _reference.scores(query, bits, np.array(rows)).tolist(), strict=True))
