"""Ragged documents to score, and how far float32 may be from the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latewood import _reference
from latewood.types import FloatArray, MultiVectors

FORMATS = ("float32", "float16", "int8")

# Around every register width (4, 8, 16 lanes), every fraction of one, every split into groups of registers.
QUERY_COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 13, 15, 16, 17, 19, 24, 25, 31, 32, 33, 47, 64, 65, 127, 128)
DIMS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 96, 128, 130, 320, 384, 1023, 1024)

# Around tiles of 3, 4, 6, 12 rows and blocks of up to 48; empty documents first, last and in between.
LENGTHS = (0, 1, 1, 2, 0, 3, 5, 6, 7, 11, 12, 13, 0, 0, 23, 24, 25, 47, 48, 49, 1, 97, 0)


def vectors(rng: np.random.Generator, count: int, dim: int) -> FloatArray:
    return rng.standard_normal((count, dim), dtype=np.float32)


def misaligned(array: FloatArray) -> FloatArray:
    """The same values, C-contiguous, one element off any alignment that an allocator gives."""
    buffer = np.empty(array.size + 1, array.dtype)
    buffer[1:] = array.ravel()
    return buffer[1:].reshape(array.shape)


def documents(rng: np.random.Generator, lengths: Sequence[int], dim: int, form: str = "float32") -> MultiVectors:
    tokens = vectors(rng, sum(lengths), dim)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    if form == "int8":
        quantized = _reference.quantize(MultiVectors(tokens, offsets))
        return MultiVectors(misaligned(quantized.tokens), offsets, quantized.scales)
    return MultiVectors(misaligned(tokens.astype(form)), offsets)


def tolerance(query: FloatArray, docs: MultiVectors) -> float:
    """Bound of |float32 score - exact score|.

    A dot product of D terms rounds by at most D * eps * sum |q_d * t_d|; a sum of Q of them by Q * eps more of the
    whole. The sums of magnitudes are bounded by their maxima over documents.
    """
    if len(docs.tokens) == 0:
        return 0.0
    eps = float(np.finfo(np.float32).eps)
    magnitude = np.abs(query).astype(np.float64) @ np.abs(docs.tokens.astype(np.float64)).T
    count, dim = query.shape
    return (dim + count) * eps * float(magnitude.max(axis=1).sum())
