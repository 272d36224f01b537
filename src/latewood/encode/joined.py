"""Two models as one encoder: single vectors by one, token vectors by the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from latewood.protocols import Encoder
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, TokenLabel

__all__ = ["Joined"]


class Joined:
    """An `Encoder` of two: what a team's collection was made with, and the model that late interaction uses.

    Args:
        dense: gives the single vectors.
        late: gives the token vectors; the same object where one model gives both.
    """

    def __init__(self, dense: Encoder, late: Encoder) -> None:
        self._dense = dense
        self._late = late
        one, other = dense.spec, late.spec
        both = hashlib.sha256(f"{one.model_hash} {other.model_hash}".encode()).hexdigest()
        self._spec = EncoderSpec(
            name=f"{one.name} + {other.name}",
            model_hash=both,
            dim=other.dim,
            dense_dim=one.dense_dim,
            max_length=min(one.max_length, other.max_length),
            overlap=other.overlap,
            truncate=one.truncate or other.truncate,
            libraries={**one.libraries, **other.libraries},
        )

    @property
    def spec(self) -> EncoderSpec:
        """Of both together."""
        return self._spec

    def encode_passages(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> EncodedPassages:
        """Encode N texts by both."""
        late = self._late.encode_passages(texts, progress)
        dense = late if self._dense is self._late else self._dense.encode_passages(texts)
        return EncodedPassages(late.tokens, dense.dense, late.cut + (0 if dense is late else dense.cut))

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query by both."""
        late = self._late.encode_query(text)
        if self._dense is self._late:
            return late
        dense = self._dense.encode_query(text)
        return EncodedQuery(text, dense.dense, late.tokens, late.labels, max(dense.cut, late.cut))

    def label(self, text: str) -> list[TokenLabel]:
        """One label per token vector."""
        return self._late.label(text)

    def count_tokens(self, text: str) -> int:
        """Tokens as the late-interaction model reads them."""
        return self._late.count_tokens(text)
