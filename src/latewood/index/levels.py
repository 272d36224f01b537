"""How many bits a dimension of a stored token vector has: 32, 16, 8 or 1.

One bit is the sign of a dimension after a centre was subtracted. What it stands for is the mean of what lies on its
side: v ≈ centre + spread * sign, the best guess by least squares where both sides are alike. The guesses are what is
scored: MaxSim with them is the exact score of this stored form, and no number beside the bits is kept for a vector.
The codes themselves, asked with an integer query (docs/kernel.md), choose the short list.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from latewood import maxsim
from latewood.errors import CorruptionError, ShapeError, UsageError
from latewood.types import BitVectors, FloatArray, IntArray, MultiVectors

__all__ = ["DEFAULT_BITS", "LEVELS", "SHORT_LIST", "Bits", "Form", "Signs", "Stored", "check_bits", "floats_of"]

LEVELS = (1, 8, 16, 32)
"""Bits of a dimension, fewest first."""

DEFAULT_BITS = 8

SHORT_LIST = 100
"""Documents that the signs hand on for ten results, in proportion for more (docs/quantisation.md)."""

_ROWS = 1 << 15  # codes that are turned into floats together

Bits: TypeAlias = int | Literal["auto"]
Stored: TypeAlias = MultiVectors | BitVectors


def check_bits(bits: Bits) -> Bits:
    """Bits as they may be asked for.

    Raises:
        UsageError: no such level.
    """
    if bits != "auto" and bits not in LEVELS:
        raise UsageError(f"bits: got {bits!r}, expected auto, {', '.join(map(str, LEVELS[:-1]))} or {LEVELS[-1]}")
    return bits


@dataclass(frozen=True, eq=False)
class Signs:
    """What one bit a dimension stands for: center + spread where it is 1, center - spread where it is 0.

    Args:
        center: [D] float32.
        spread: [D] float32, >= 0.
    """

    center: FloatArray
    spread: FloatArray

    @classmethod
    def fit(cls, vectors: FloatArray) -> Signs:
        """The mean of these [n, D] vectors, and the mean distance from it, both for each dimension."""
        if not len(vectors):
            return cls(np.zeros(vectors.shape[1], np.float32), np.ones(vectors.shape[1], np.float32))
        center = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(center, np.abs(vectors - center).mean(axis=0, dtype=np.float64).astype(np.float32))

    def encode(self, vectors: MultiVectors) -> BitVectors:
        """N documents as bits; int8 ones are multiplied out first."""
        codes = np.empty((len(vectors.tokens), (vectors.dim + 7) // 8), np.uint8)
        for start in range(0, len(codes), _ROWS):
            part = slice(start, start + _ROWS)
            codes[part] = maxsim.signs(_floats(vectors, part), self.center)
        return BitVectors(codes, vectors.offsets, vectors.dim, self.center)

    def decode(self, vectors: BitVectors) -> MultiVectors:
        """N documents as float32 [T, D], what their bits stand for."""
        tokens = np.empty((len(vectors.codes), vectors.dim), np.float32)
        for start in range(0, len(tokens), _ROWS):
            codes = vectors.codes[start : start + _ROWS]
            ones = np.unpackbits(codes, axis=1, count=vectors.dim, bitorder="little").view(bool)
            tokens[start : start + _ROWS] = np.where(ones, self.center + self.spread, self.center - self.spread)
        return MultiVectors(tokens, vectors.offsets)

    def estimates(self, query: FloatArray, vectors: BitVectors, rows: IntArray | None = None) -> FloatArray:
        """[N] or [n] float32, MaxSim with what the bits stand for, but for a query in 31 levels and a constant.

        Args:
            query: [Q, D] float32.
            vectors: N documents.
            rows: [n] of them; None for all.
        """
        return maxsim.scores(np.ascontiguousarray(query * self.spread), vectors, rows)


@dataclass(frozen=True, eq=False)
class Form:
    """How the token vectors of a collection are stored. Fixed with the first of them.

    Args:
        bits: of a dimension, one of `LEVELS`.
        signs: what the bits stand for, where there is one a dimension; else None.
        ladder: what each level kept on a sample, JSON-ready; empty where nobody asked.
    """

    bits: int = DEFAULT_BITS
    signs: Signs | None = None
    ladder: Mapping[str, Any] = field(default_factory=dict)

    def store(self, vectors: MultiVectors) -> Stored:
        """N documents, float32 or int8 with scales, as they are stored."""
        if self.signs is not None:
            return self.signs.encode(vectors)
        if self.bits == DEFAULT_BITS:
            return vectors if vectors.scales is not None else maxsim.quantize(vectors)
        dtype = np.float16 if self.bits == 16 else np.float32
        if vectors.scales is None and vectors.tokens.dtype == dtype:
            return vectors
        return MultiVectors(floats_of(vectors).tokens.astype(dtype), vectors.offsets)

    def told(self) -> dict[str, Any]:
        """What `stats` says of it."""
        return {"bits": self.bits, "ladder": dict(self.ladder) or None}

    def to_bytes(self) -> bytes:
        """As a record of the catalogue."""
        empty = np.zeros(0, np.float32)
        signs = self.signs or Signs(empty, empty)
        told = np.frombuffer(json.dumps({"bits": self.bits, "ladder": self.ladder}).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez(buffer, told=told, center=signs.center, spread=signs.spread)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, record: bytes) -> Form:
        """What `to_bytes` wrote.

        Raises:
            CorruptionError: it didn't.
        """
        try:
            with np.load(io.BytesIO(record), allow_pickle=False) as arrays:
                told = json.loads(arrays["told"].tobytes())
                signs = Signs(arrays["center"], arrays["spread"])
            return cls(int(told["bits"]), signs if len(signs.center) else None, told["ladder"])
        except (ValueError, KeyError, OSError) as error:
            raise CorruptionError(f"the record of how vectors are stored can't be read ({error})") from None


def floats_of(vectors: Stored, signs: Signs | None = None) -> MultiVectors:
    """Stored vectors as float32 (those that are floats as they are).

    Raises:
        ShapeError: bits without what they stand for.
    """
    if isinstance(vectors, BitVectors):
        if signs is None:
            raise ShapeError("bits: what they stand for isn't known; expected the form that they were stored in")
        return signs.decode(vectors)
    if vectors.scales is None:
        return vectors
    return MultiVectors(_floats(vectors, slice(None)), vectors.offsets)


def _floats(vectors: MultiVectors, part: slice) -> FloatArray:
    values = vectors.tokens[part].astype(np.float32)
    if vectors.scales is not None:
        values *= vectors.scales[part, None]
    return values
