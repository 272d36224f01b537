"""Vectors that are stored already, by the text that they were made of: no text is encoded twice.

A passage whose metadata changed, or that moved within its document, has the vectors that it had; so has a passage of
another collection of the same encoder. Where both keep int8, token vectors are taken over as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from latewood import maxsim
from latewood.index import floats_of
from latewood.stores.snapshot import EmbeddedSnapshot
from latewood.types import EncodedPassages, IntArray, MultiVectors

__all__ = ["KnownVectors", "encode_unknown"]

_AT_ONCE = 2000


class KnownVectors:
    """The stored vectors of one generation's passages, found by text.

    Args:
        snapshot: where they are.
        rows: which passages; None for all. Their texts are read here, once.
    """

    def __init__(self, snapshot: EmbeddedSnapshot, rows: IntArray | None = None) -> None:
        self.snapshot = snapshot
        self._rows: dict[bytes, int] = {}
        rows = snapshot.live_rows if rows is None else rows
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            for row, passage in zip(some.tolist(), snapshot.passages(some), strict=True):
                self._rows[_key(passage.text)] = row

    def row(self, text: str) -> int | None:
        """A passage of exactly this text, None if there is none."""
        return self._rows.get(_key(text))


def encode_unknown(
    texts: Sequence[str],
    known: Sequence[KnownVectors],
    encode: Callable[[list[str]], EncodedPassages],
    *,
    int8: bool = True,
) -> tuple[EncodedPassages, int]:
    """Vectors of N texts, encoded only where no one has them.

    Args:
        texts: of passages.
        known: where to look, in this order; of encoders equal to the one that encodes.
        encode: makes the vectors of the others.
        int8: they will be kept as int8. Otherwise they come as floats.

    Returns:
        The vectors, token vectors as int8 with scales where any was known and int8 is to be kept; and how many texts
        were known.
    """
    places: list[tuple[int, int] | None] = [_place(text, known) for text in texts]
    fresh = [text for text, place in zip(texts, places, strict=True) if place is None]
    if len(fresh) == len(texts):
        return encode(fresh), 0
    parts: list[tuple[MultiVectors, MultiVectors]] = []
    taken = [list[int]() for _ in range(len(known) + 1)]  # positions in `texts`: of each source, and of what is fresh
    for position, place in enumerate(places):
        taken[len(known) if place is None else place[0]].append(position)
    for number, source in enumerate(known):
        rows = np.array([place[1] for place in places if place is not None and place[0] == number], np.int64)
        tokens, dense = source.snapshot.stored(rows)
        parts.append((_as(tokens, int8), dense))
    cut = 0
    if fresh:
        encoded = encode(fresh)
        cut = encoded.cut
        parts.append((_as(encoded.tokens, int8), encoded.dense))
    order = np.argsort(np.array([position for some in taken for position in some], np.int64), kind="stable")
    tokens = _joined([tokens for tokens, _ in parts], order)
    return EncodedPassages(tokens, _joined([dense for _, dense in parts], order), cut), len(texts) - len(fresh)


def _as(tokens: MultiVectors, int8: bool) -> MultiVectors:
    if not tokens.dim:
        return tokens
    if int8:
        return tokens if tokens.scales is not None else maxsim.quantize(tokens)
    floats = floats_of(tokens)
    return MultiVectors(floats.tokens.astype(np.float32, copy=False), floats.offsets)


def _joined(parts: Sequence[MultiVectors], order: IntArray) -> MultiVectors:
    """The documents of all parts, one part after the other, put in this order. At least one document, one dtype."""
    filled = [part for part in parts if len(part)]
    lengths = np.concatenate([np.diff(part.offsets) for part in filled])
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.concatenate([part.tokens[: part.offsets[-1]] for part in filled])
    scales = [part.scales for part in filled if part.scales is not None]
    offsets = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    rows = np.repeat(starts[order] - offsets[:-1], lengths[order]) + np.arange(offsets[-1])
    return MultiVectors(np.ascontiguousarray(tokens[rows]), offsets, np.concatenate(scales)[rows] if scales else None)


def _place(text: str, known: Sequence[KnownVectors]) -> tuple[int, int] | None:
    for number, source in enumerate(known):
        row = source.row(text)
        if row is not None:
            return number, row
    return None


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
