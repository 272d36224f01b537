"""MaxSim in plain NumPy: the meaning of `latewood.maxsim`, and the oracle of every test of it.

Nothing here is fast, and nothing here checks its input. Float documents are scored in float64, so the kernel is right
when it differs from this by no more than float32 rounding. int8 and 1-bit documents are scored in exact integers and
then in the very float32 operations that `kernel/maxsim.h` names, so the kernel is right when it is equal.

    MaxSim(query, document) = sum over query vectors q of  max over document vectors t of  <q, t>
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from latewood.types import BitVectors, FloatArray, IntArray, MultiVectors

__all__ = [
    "argmax",
    "binarize",
    "bit_levels",
    "quantize",
    "quantize_query",
    "query_levels",
    "scores",
    "similarities",
    "top_k",
]

Documents: TypeAlias = MultiVectors | BitVectors


def query_levels(dim: int) -> int:
    """The largest integer that a query vector of D dimensions is quantised to, for int8 documents.

    8191, or what keeps D * 128 * levels below 2^31 where D > 2048.
    """
    return min(8191, (2**31 - 1) // (128 * dim))


def bit_levels(dim: int) -> int:
    """The same for 1-bit documents: 15, or what keeps D * levels below 2^16 where D > 4369."""
    return min(15, 65535 // dim)


def quantize_query(query: FloatArray, levels: int) -> tuple[IntArray, FloatArray]:
    """Query vectors [Q, D] as integers [Q, D] of at most `levels` and scales [Q]: query ~ integers * scales."""
    scales = np.abs(query).max(axis=1) / np.float32(levels)
    safe = np.where(scales > 0, scales, np.float32(1))[:, None]
    integers = np.clip(np.rint(query / safe), -levels, levels)
    integers[scales == 0] = 0
    return integers.astype(np.int64), scales


def similarities(query: npt.NDArray[Any], documents: Documents, row: int) -> npt.NDArray[Any]:
    """[Q, T] dot products with the vectors of one document: float64, or float32 where they are integers at heart."""
    if isinstance(documents, BitVectors):
        document_signs = _unpack(documents[row], documents.dim)
        if query.dtype == np.uint8:
            agreements: FloatArray = (_unpack(query, documents.dim) @ document_signs.T).astype(np.float32)
            return agreements
        integers, query_scales = quantize_query(query, bit_levels(documents.dim))
        signed: FloatArray = (integers @ document_signs.T).astype(np.float32) * query_scales[:, None]
        return signed
    tokens = documents[row]
    if documents.scales is None:
        exact: npt.NDArray[np.float64] = query.astype(np.float64) @ tokens.astype(np.float64).T
        return exact
    integers, query_scales = quantize_query(query, query_levels(documents.dim))
    dots = integers @ tokens.astype(np.int64).T
    scales = documents.scales[documents.offsets[row] : documents.offsets[row + 1]]
    rounded: FloatArray = (dots.astype(np.float32) * scales) * query_scales[:, None]
    return rounded


def _unpack(codes: npt.NDArray[np.uint8], dim: int) -> IntArray:
    """Bits as +1 and -1, [T, D]."""
    return np.unpackbits(codes, axis=1, count=dim, bitorder="little").astype(np.int64) * 2 - 1


def scores(query: npt.NDArray[Any], documents: Documents, rows: IntArray | None = None) -> npt.NDArray[Any]:
    """[len(rows)], or [N] without rows: MaxSim; -inf for a document without vectors. dtype as `similarities`."""
    chosen = range(len(documents)) if rows is None else rows
    return np.array([_score(similarities(query, documents, int(row))) for row in chosen])


def _score(matrix: npt.NDArray[Any]) -> Any:
    if matrix.shape[1] == 0:
        return matrix.dtype.type(-np.inf)
    total = matrix.dtype.type(0)
    for best in matrix.max(axis=1):  # from the first query vector to the last: float32 sums depend on the order
        total += best
    return total


def top_k(
    query: npt.NDArray[Any], documents: Documents, k: int, rows: IntArray | None = None
) -> tuple[IntArray, npt.NDArray[Any]]:
    """(numbers, scores) of the best k documents that have vectors, by score descending, then number ascending."""
    chosen = np.arange(len(documents)) if rows is None else rows
    chosen = chosen[np.diff(documents.offsets)[chosen] > 0]
    values = scores(query, documents, chosen)
    order = np.lexsort((chosen, -values))[:k]
    return chosen[order].astype(np.int64), values[order]


def argmax(query: npt.NDArray[Any], documents: Documents, row: int) -> tuple[IntArray, npt.NDArray[Any]]:
    """For each query vector the first document vector that is most similar: (positions [Q], similarities [Q])."""
    matrix = similarities(query, documents, row)
    positions = matrix.argmax(axis=1)
    return positions.astype(np.int64), matrix[np.arange(len(query)), positions]


def quantize(vectors: MultiVectors) -> MultiVectors:
    """Float vectors as int8 with one scale per vector: scale = max |v| / 127, integer = round(v / scale)."""
    tokens = np.zeros(vectors.tokens.shape, np.int8)
    scales = np.zeros(len(vectors.tokens), np.float32)
    for t, vector in enumerate(vectors.tokens.astype(np.float32)):
        scales[t] = np.abs(vector).max(initial=0) / np.float32(127)
        if scales[t] > 0:
            tokens[t] = np.clip(np.rint(vector / scales[t]), -127, 127)
    return MultiVectors(tokens, vectors.offsets, scales)


def binarize(vectors: MultiVectors, center: FloatArray | None = None) -> BitVectors:
    """Float vectors as one bit per dimension: bit d % 8 of byte d // 8 is 1 where vector - center >= 0."""
    moved = vectors.tokens.astype(np.float32) if center is None else vectors.tokens - center
    codes = np.zeros((len(moved), (vectors.dim + 7) // 8), np.uint8)
    for d in range(vectors.dim):
        codes[:, d // 8] |= (moved[:, d] >= 0).astype(np.uint8) << np.uint8(d % 8)
    return BitVectors(codes, vectors.offsets, vectors.dim, center)
