"""MaxSim over ragged vectors, the one door to the compiled kernel.

    MaxSim(query, document) = sum over query vectors q of  max over document vectors t of  <q, t>

Letters in shapes: N documents, Q query vectors, T document vectors, D dimensions, k results. Higher is better. A score
never depends on the other documents, on `threads`, or on whether a document was reached by `rows` or by scanning all.
`latewood._reference` says the same in NumPy; `kernel/maxsim.h` has the precision of every step.

    >>> import numpy as np
    >>> from latewood import MultiVectors, maxsim
    >>> documents = MultiVectors.of([np.eye(2, 16, dtype=np.float32), np.ones((1, 16), np.float32)])
    >>> query = np.eye(3, 16, dtype=np.float32)
    >>> maxsim.scores(query, documents)
    array([2., 3.], dtype=float32)
    >>> maxsim.top_k(query, documents, 1)
    (array([1]), array([3.], dtype=float32))

Documents are MultiVectors (float32, float16, int8 with scales) or BitVectors (one bit per dimension, for choosing
candidates). A query is float32 [Q, D]; against BitVectors it may also be 1-bit codes, uint8 [Q, ceil(D / 8)], as
`signs` makes them: a similarity is then D - 2 * the Hamming distance.

The environment variable LATEWOOD_ISA forces an instruction set, e.g. LATEWOOD_ISA=baseline.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from latewood import _kernel
from latewood.errors import ShapeError, UsageError
from latewood.types import BitVectors, FloatArray, IntArray, MultiVectors

__all__ = ["argmax", "binarize", "isa", "nearest", "quantize", "scores", "signs", "similarities", "top_k"]

Documents: TypeAlias = MultiVectors | BitVectors
Codes: TypeAlias = npt.NDArray[np.uint8]

_QUANTIZE_ROWS = 1 << 14  # bounds the copies that quantize() and binarize() make: 100 MB at D 1536


def scores(
    query: FloatArray | Codes, documents: Documents, rows: IntArray | None = None, *, threads: int = 1
) -> FloatArray:
    """MaxSim of one query with every document, or with those in `rows`.

    Args:
        query: [Q, D] float32, finite, Q >= 1; or codes, against BitVectors.
        documents: N documents of the same D.
        rows: [n] int64 numbers of documents, in any order, repeats allowed; None for all N.
        threads: most threads to use, the caller's own among them.

    Returns:
        [n] or [N] float32. A document without vectors scores -inf.

    Raises:
        ShapeError: on a query or rows of another shape, dtype or range.
    """
    values, levels = _query(query, documents)
    return _kernel.scores(values, *_arrays(documents), _rows(rows, documents), _threads(threads), levels)


def top_k(
    query: FloatArray | Codes, documents: Documents, k: int, rows: IntArray | None = None, *, threads: int = 1
) -> tuple[IntArray, FloatArray]:
    """The best k documents of all, or of those in `rows`.

    Args:
        query: [Q, D] float32, finite, Q >= 1; or codes, against BitVectors.
        documents: N documents of the same D.
        k: most results to return, >= 0.
        rows: [n] int64 numbers of documents; None for all N.
        threads: most threads to use, the caller's own among them.

    Returns:
        Numbers of documents [<= k] int64 and their scores [<= k] float32, by score descending, then number ascending.
        Documents without vectors are never among them.

    Raises:
        ShapeError: on a query or rows of another shape, dtype or range.
        UsageError: on k < 0.
    """
    if k < 0:
        raise UsageError(f"k: got {k}, expected 0 or more")
    values, levels = _query(query, documents)
    return _kernel.top_k(values, *_arrays(documents), k, _rows(rows, documents), _threads(threads), levels)


def similarities(query: FloatArray | Codes, documents: Documents, row: int) -> FloatArray:
    """The dot product of each query vector with each vector of one document.

    Args:
        query: [Q, D] float32, finite, Q >= 1; or codes, against BitVectors.
        documents: documents of the same D.
        row: the number of the document.

    Returns:
        [Q, T] float32. The maxima of its rows, summed from first to last in float32, are the score, bit for bit.

    Raises:
        ShapeError: on a query of another shape or dtype, or a row that isn't there.
    """
    values, levels = _query(query, documents)
    if not 0 <= row < len(documents):
        raise ShapeError(f"row: got {row}, expected 0 to {len(documents) - 1}")
    return _kernel.similarities(values, *_arrays(documents), row, levels)


def argmax(query: FloatArray | Codes, documents: Documents, row: int) -> tuple[IntArray, FloatArray]:
    """Which vector of one document each query vector matched.

    Args:
        query: [Q, D] float32, finite, Q >= 1; or codes, against BitVectors.
        documents: documents of the same D.
        row: the number of a document that has vectors.

    Returns:
        Positions within the document [Q] int64, the first of equals, and their similarities [Q] float32, which
        sum to the score.

    Raises:
        ShapeError: as `similarities`, and on a document without vectors.
    """
    matrix = similarities(query, documents, row)
    if matrix.shape[1] == 0:
        raise ShapeError(f"row: document {row} has no vectors, so nothing matches; leave it out")
    positions = matrix.argmax(axis=1)
    return positions.astype(np.int64), matrix[np.arange(len(matrix)), positions]


def nearest(
    vectors: MultiVectors,
    centres: FloatArray,
    bias: FloatArray | None = None,
    most: int = 1,
    rows: IntArray | None = None,
    *,
    threads: int = 1,
) -> tuple[npt.NDArray[np.int32], FloatArray]:
    """For each token vector, the centres with the greatest dot product + bias.

    With bias = -|centre|^2 / 2 they are the nearest by Euclidean distance, as k-means wants.

    Args:
        vectors: tokens [T, D], int8 with scales (then centres are rounded to about 14 bits) or floats; which documents
            they belong to plays no part.
        centres: [K, D] float32, finite, K >= 1.
        bias: [K] float32, added to the products; None for zeros.
        most: how many centres for each token, 1 to K.
        rows: [n] int64 numbers of tokens, repeats allowed; None for all T.
        threads: most threads to use. The result doesn't depend on it.

    Returns:
        Numbers of centres [n, most] int32, best first, the lower number first among equals, and their product + bias
        [n, most] float32.

    Raises:
        ShapeError: on another shape, dtype or range.
    """
    values, _ = _query(centres, vectors)
    if bias is None:
        bias = np.zeros(len(centres), np.float32)
    if bias.shape != (len(centres),) or bias.dtype != np.float32:
        raise ShapeError(f"bias: got shape {bias.shape} {bias.dtype}, expected ({len(centres)},) float32")
    if not 1 <= most <= len(centres):
        raise ShapeError(f"most: got {most}, expected 1 to {len(centres)}, the number of centres")
    if rows is not None:
        if rows.ndim != 1 or rows.dtype != np.int64:
            raise ShapeError(f"rows: got shape {rows.shape} {rows.dtype}, expected [n] int64")
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(vectors.tokens)):
            raise ShapeError(f"rows: got {rows.min()} to {rows.max()}, expected 0 to {len(vectors.tokens) - 1}")
        rows = np.ascontiguousarray(rows)
    tokens, offsets, scales = _arrays(vectors)
    return _kernel.nearest(values, tokens, offsets, scales, np.ascontiguousarray(bias), most, rows, _threads(threads))


def quantize(vectors: MultiVectors) -> MultiVectors:
    """Float vectors as int8 with one scale per vector, a quarter of float32's bytes.

    scale = max |v| / 127; integer = v / scale, rounded to nearest. No dot product with a vector q moves by more than
    scale / 2 * sum |q|, and rankings hardly at all: 0.998 of the exact top ten stay (docs/kernel.md).

    Args:
        vectors: N documents, float32 or float16.

    Returns:
        The same N documents as int8, with scales.

    Raises:
        ShapeError: on vectors that are int8 already.
    """
    if vectors.scales is not None:
        raise ShapeError("vectors: got int8 with scales, expected float32 or float16; they are quantised already")
    tokens = np.empty(vectors.tokens.shape, np.int8)
    scales = np.empty(len(tokens), np.float32)
    for start in range(0, len(tokens), _QUANTIZE_ROWS):
        part = slice(start, start + _QUANTIZE_ROWS)
        values = vectors.tokens[part].astype(np.float32)
        scales[part] = np.abs(values).max(axis=1, initial=0) / np.float32(127)
        # Zeros, and vectors whose scale is too small for a float, have scale 0: any divisor will do.
        values /= np.where(scales[part] > 0, scales[part], np.float32(np.inf))[:, None]
        np.clip(np.rint(values, out=values), -127, 127, out=values)
        tokens[part] = values
    return MultiVectors(tokens, vectors.offsets, scales)


def signs(vectors: npt.NDArray[Any], center: FloatArray | None = None) -> Codes:
    """One bit per value: 1 where vectors - center >= 0.

    Args:
        vectors: [T, D] float32 or float16.
        center: [D] float32, or None for zeros.

    Returns:
        [T, ceil(D / 8)] uint8; dimension d is bit d % 8 of byte d // 8, bits beyond D are 0.

    Raises:
        ShapeError: on other shapes.
    """
    if vectors.ndim != 2 or (center is not None and center.shape != (vectors.shape[1],)):
        shape = None if center is None else center.shape
        raise ShapeError(f"vectors: got shape {vectors.shape} with center {shape}, expected [T, D] with [D] or None")
    positive = vectors >= (np.float32(0) if center is None else center)
    return np.packbits(positive, axis=1, bitorder="little")


def binarize(vectors: MultiVectors, center: FloatArray | None = None) -> BitVectors:
    """Float vectors as one bit per dimension, a thirty-second of float32's bytes.

    Only for choosing candidates that are then scored exactly. Vectors of one model lean to one side: subtracting their
    mean first moves every score of a query by one constant and makes the signs far more telling.

    Args:
        vectors: N documents, float32 or float16.
        center: [D] float32 to subtract, e.g. `vectors.tokens.mean(axis=0)`; None for nothing.

    Returns:
        The same N documents as bits.

    Raises:
        ShapeError: on int8 vectors, or a center of another shape.
    """
    if vectors.scales is not None:
        raise ShapeError("vectors: got int8 with scales, expected float32 or float16; binarise what they came from")
    codes = np.empty((len(vectors.tokens), (vectors.dim + 7) // 8), np.uint8)
    for start in range(0, len(codes), _QUANTIZE_ROWS):
        part = slice(start, start + _QUANTIZE_ROWS)
        codes[part] = signs(vectors.tokens[part], center)
    return BitVectors(codes, vectors.offsets, vectors.dim, center)


def isa() -> str:
    """The instruction set in use: "avx2", "baseline", ... (`kernel/maxsim.h` lists them)."""
    return _kernel.isa()


def _query(query: FloatArray | Codes, documents: Documents) -> tuple[FloatArray, int]:
    """The query as float32 [Q, D] and the largest integer to quantise it to (0: the kernel's own), if it fits."""
    if isinstance(documents, BitVectors) and query.dtype == np.uint8:
        if query.ndim != 2 or len(query) == 0 or query.shape[1] != documents.codes.shape[1]:
            raise ShapeError(f"query: got shape {query.shape} uint8, expected [Q >= 1, {documents.codes.shape[1]}]")
        bits = np.unpackbits(query.astype(np.uint8, copy=False), axis=1, count=documents.dim, bitorder="little")
        return bits.astype(np.float32) * np.float32(2) - np.float32(1), 1
    if query.ndim != 2 or query.dtype != np.float32 or not query.flags.c_contiguous:
        raise ShapeError(
            f"query: got shape {query.shape} {query.dtype}, expected [Q, D] C-contiguous float32 "
            "(np.ascontiguousarray(query, np.float32))"
        )
    if query.shape[0] == 0 or query.shape[1] == 0 or query.shape[1] != documents.dim:
        raise ShapeError(f"query: got shape {query.shape}, expected [Q >= 1, D = {documents.dim}]")
    if not bool(np.isfinite(query).all()):
        raise ShapeError("query holds NaN or infinity; check the encoder that made it")
    return query.astype(np.float32, copy=False), 0


def _arrays(documents: Documents) -> tuple[npt.NDArray[Any], IntArray, FloatArray | None]:
    """The documents as the kernel takes them: tokens or codes, offsets, scales."""
    offsets = np.ascontiguousarray(documents.offsets)
    if isinstance(documents, BitVectors):
        return documents.codes, offsets, None
    scales = documents.scales
    return documents.tokens, offsets, None if scales is None else np.ascontiguousarray(scales)


def _rows(rows: IntArray | None, documents: Documents) -> IntArray | None:
    if rows is None:
        return None
    if rows.ndim != 1 or rows.dtype != np.int64:
        raise ShapeError(f"rows: got shape {rows.shape} {rows.dtype}, expected [n] int64")
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(documents)):
        raise ShapeError(f"rows: got {rows.min()} to {rows.max()}, expected 0 to {len(documents) - 1}")
    return np.ascontiguousarray(rows)


def _threads(threads: int) -> int:
    if threads < 1:
        raise UsageError(f"threads: got {threads}, expected 1 or more")
    return threads


def _choose_isa() -> None:
    """Follow LATEWOOD_ISA, and tell of an instruction set that this processor has but that computes wrongly."""
    for name in _kernel.rejected():
        warnings.warn(
            f"latewood: the {name} kernels disagree with baseline on this machine and are not used; please report it",
            RuntimeWarning,
            stacklevel=2,
        )
    name = os.environ.get("LATEWOOD_ISA", "")
    if name and not _kernel.force(name):
        raise UsageError(f"LATEWOOD_ISA: got {name!r}, but this build and machine offer {', '.join(_kernel.usable())}")


_choose_isa()
