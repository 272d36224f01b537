"""Columns of strings as arrays, and the hashes that ids are looked up by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latewood.types import IntArray

__all__ = ["Hashes", "Strings", "hash_ids"]

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Strings:
    """N strings as UTF-8, end to end.

    Args:
        content: [B] uint8.
        offsets: [N + 1] int64; string i is content[offsets[i]:offsets[i + 1]].
    """

    content: npt.NDArray[np.uint8]
    offsets: IntArray

    @classmethod
    def of(cls, values: Sequence[str]) -> Strings:
        """Encode strings; a lone surrogate is a UnicodeEncodeError."""
        encoded = [value.encode() for value in values]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(value) for value in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    def __len__(self) -> int:
        """N."""
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> str:
        return self.content[self.offsets[i] : self.offsets[i + 1]].tobytes().decode()


def hash_ids(ids: Sequence[str]) -> Hashes:
    """[N] 64-bit BLAKE2b of the ids: the same on every machine, so it can be stored."""
    encoded = (one.encode(errors="surrogatepass") for one in ids)  # no stored id has surrogates, but one asked for may
    return np.frombuffer(b"".join(hashlib.blake2b(one, digest_size=8).digest() for one in encoded), "<u8")
