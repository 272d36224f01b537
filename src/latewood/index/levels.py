"""How many bits a dimension of a stored token vector has: 32, 16, 8 or 1.

One bit is the sign of a dimension after a centre was subtracted. What it stands for is the mean of what lies on its
side: v ≈ centre + spread * sign, the best guess by least squares where both sides are alike. The guesses are what is
scored: MaxSim with them is the exact score of this stored form, and no number beside the bits is kept for a vector.
The codes themselves, asked with an integer query (docs/kernel.md), choose the short list.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from latewood import maxsim
from latewood.errors import CorruptionError, ShapeError, UsageError
from latewood.types import BitVectors, FloatArray, IntArray, MultiVectors

__all__ = [
    "DEFAULT_BITS",
    "LEVELS",
    "SHORT_LIST",
    "Bits",
    "Form",
    "Signs",
    "Space",
    "Stored",
    "check_bits",
    "floats_of",
    "signs_of",
]

LEVELS = (1, 8, 16, 32)
"""Bits of a dimension, fewest first."""

DEFAULT_BITS = 8

SHORT_LIST = 100
"""Documents that the signs hand on for ten results, in proportion for more (docs/quantisation.md)."""

SHORT_LIST_OF_BITS = 20
"""The same where there are only bits: the second stage differs by the rounding of the query alone."""

_ROWS = 1 << 15  # codes that are turned into floats together

Bits: TypeAlias = int | str
"""1, 8, 16, 32, "auto", or "1+8", "1+16", "1+32": signs in front of what is scored. Numbers may be text."""

_RESCORED = tuple(f"1+{bits}" for bits in LEVELS[1:])

Stored: TypeAlias = MultiVectors | BitVectors


def check_bits(bits: Bits) -> Bits:
    """Bits as they may be asked for: a number where they are one.

    Raises:
        UsageError: no such level.
    """
    text = str(bits)
    if text != "auto" and text not in _RESCORED and text not in map(str, LEVELS):
        raise UsageError(f"bits: got {bits!r}, expected auto, {', '.join(map(str, LEVELS))} or {', '.join(_RESCORED)}")
    return int(text) if text.isdecimal() else text


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

    def scores(self, query: FloatArray, vectors: BitVectors) -> FloatArray:
        """[N] float32, MaxSim with what the bits stand for; -inf for a document without vectors.

        The signs are spelled out as int8 and the spread goes into the query, which is rounded as int8's always is
        (docs/kernel.md): as floats would give it to a few parts in 10^5, at a third of the time.

        Args:
            query: [Q, D] float32.
            vectors: N documents.
        """
        ones = np.unpackbits(vectors.codes, axis=1, count=vectors.dim, bitorder="little").view(np.int8)
        ones *= 2
        ones -= 1
        spelled = MultiVectors(ones, vectors.offsets, np.ones(len(ones), np.float32))
        scores: FloatArray = maxsim.scores(np.ascontiguousarray(query * self.spread), spelled)
        scores += np.float32((query.astype(np.float64) @ self.center).sum())
        return scores

    def estimates(self, query: FloatArray, vectors: BitVectors, rows: IntArray | None = None) -> FloatArray:
        """[N] or [n] float32, MaxSim with what the bits stand for, but for a query in 31 levels and a constant.

        Args:
            query: [Q, D] float32.
            vectors: N documents.
            rows: [n] of them; None for all.
        """
        return maxsim.scores(np.ascontiguousarray(query * self.spread), vectors, rows)


def signs_of(column: str) -> str:
    """The column of signs beside a column of vectors."""
    return f"{column}.signs"


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """What the vectors of a column have in common.

    Args:
        dim: D.
        bits: of a dimension; 32 and 16 are floats, 8 is int8 with scales.
        signs: what the codes stand for, where there is one bit a dimension; else None.
    """

    dim: int
    bits: int = 32
    signs: Signs | None = None

    def empty(self) -> MultiVectors:
        """The vectors of no rows."""
        offsets = np.zeros(1, np.int64)
        if self.bits == 8:
            return MultiVectors(np.zeros((0, self.dim), np.int8), offsets, np.zeros(0, np.float32))
        return MultiVectors(np.zeros((0, self.dim), np.float16 if self.bits == 16 else np.float32), offsets)


@dataclass(frozen=True, eq=False)
class Form:
    """How the token vectors of a collection are stored. Fixed with the first of them.

    Args:
        bits: of a dimension, one of `LEVELS`.
        signs: what one bit stands for. With 1 bit that is all there is; with more, signs are kept beside, to choose a
            short list. None: there are no signs.
        ladder: what each level kept on a sample, JSON-ready; empty where nobody asked.
    """

    bits: int = DEFAULT_BITS
    signs: Signs | None = None
    ladder: Mapping[str, Any] = field(default_factory=dict)

    def store(self, vectors: MultiVectors) -> Stored:
        """N documents, float32 or int8 with scales, as they are stored."""
        if self.bits == 1 and self.signs is not None:
            return self.signs.encode(vectors)
        if self.bits == DEFAULT_BITS:
            return vectors if vectors.scales is not None else maxsim.quantize(vectors)
        dtype = np.float16 if self.bits == 16 else np.float32
        if vectors.scales is None and vectors.tokens.dtype == dtype:
            return vectors
        return MultiVectors(floats_of(vectors).tokens.astype(dtype), vectors.offsets)

    def columns(self, name: str, vectors: MultiVectors) -> dict[str, Stored]:
        """The columns of a segment that hold these N documents."""
        columns = {name: self.store(vectors)}
        if self.signs is not None and self.bits > 1:
            columns[signs_of(name)] = self.signs.encode(vectors)
        return columns

    def spaces(self, name: str, dim: int) -> dict[str, Space]:
        """What those columns have in common."""
        spaces = {name: Space(dim, self.bits, self.signs if self.bits == 1 else None)}
        if self.signs is not None and self.bits > 1:
            spaces[signs_of(name)] = Space(dim, 1, self.signs)
        return spaces

    def told(self) -> dict[str, Any]:
        """What `stats` says of it."""
        return {"bits": self.bits, "signs": self.signs is not None, "ladder": dict(self.ladder) or None}

    def to_bytes(self) -> bytes:
        """As a record of the catalogue."""
        told = {"bits": self.bits, "ladder": self.ladder, "center": "", "spread": ""}
        if self.signs is not None:
            told |= {"center": _text(self.signs.center), "spread": _text(self.signs.spread)}
        return json.dumps(told, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, record: bytes) -> Form:
        """What `to_bytes` wrote.

        Raises:
            CorruptionError: it didn't.
        """
        try:
            told = json.loads(record)
            signs = Signs(_floats_in(told["center"]), _floats_in(told["spread"]))
            return cls(int(told["bits"]), signs if len(signs.center) else None, told["ladder"])
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptionError(f"the record of how vectors are stored can't be read ({error})") from None


def _text(values: FloatArray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _floats_in(text: str) -> FloatArray:
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32)


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
