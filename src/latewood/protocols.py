"""The roles that concrete parts play. Structural: nothing inherits from these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from latewood.pipeline import Pipeline, Step
from latewood.types import (
    Candidates,
    EncodedPages,
    EncodedPassages,
    EncodedQuery,
    EncoderSpec,
    FloatArray,
    IntArray,
    MultiVectors,
    Passage,
    Ranking,
    TokenLabel,
)

__all__ = ["Compiled", "Compiling", "Encoder", "PageEncoder", "PairScorer", "Retriever", "Snapshot", "Store"]


@runtime_checkable
class Encoder(Protocol):
    """Texts to vectors; passages and queries may be treated differently.

    An encoder gives token vectors, a single vector, or both; `spec` says D of each, 0 for what it doesn't give.
    """

    @property
    def spec(self) -> EncoderSpec:
        """What a collection must remember to refuse another encoder."""
        ...

    def encode_passages(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> EncodedPassages:
        """Encode N texts, returned in the order given; a result never depends on the other texts.

        Args:
            texts: passages as they are stored.
            progress: called with the number of passages finished since the last call.
        """
        ...

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query."""
        ...

    def label(self, text: str) -> list[TokenLabel]:
        """One label per token vector that `encode_passages` gives for this text, in the same order."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a passage as the model reads it, special tokens included: what `spec.max_length` limits.

        An upper estimate where the model's tokenizer isn't at hand.
        """
        ...


@runtime_checkable
class PageEncoder(Encoder, Protocol):
    """An encoder that reads page images as well, into the space of its token vectors."""

    def encode_pages(self, images: Sequence[Any], progress: Callable[[int], None] | None = None) -> EncodedPages:
        """Encode N page images, returned in the order given; a result never depends on the other images.

        Args:
            images: PIL images.
            progress: called with the number of pages finished since the last call.
        """
        ...


class PairScorer(Protocol):
    """Question and passage read together, by a cross-encoder or a rerank endpoint."""

    @property
    def name(self) -> str:
        """What it is, for messages: a model, or a model at an address."""
        ...

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Score N passages for one question.

        Returns:
            [N] float32, finite, higher is better, in the order of `texts`. A scorer that gets fewer or other scores
            than it asked for raises; it never leaves a passage out.
        """
        ...


class Snapshot(Protocol):
    """One committed generation of a store, unchanged by whatever is written after.

    Searches return Candidates in the public order: score descending, then id ascending.
    `rows` restricts a search to those passages; None searches all.
    """

    @property
    def generation(self) -> int:
        """The number of commits that it has seen."""
        ...

    @property
    def live_rows(self) -> IntArray:
        """[N] int64, the rows of all its passages, rising."""
        ...

    def dense(self, vector: FloatArray, k: int, rows: IntArray | None = None) -> Candidates:
        """Best k passages by inner product with `vector` [D]; a passage's best window counts."""
        ...

    def bm25(self, text: str, k: int) -> Candidates:
        """Best k passages by BM25; passages that share no term are not returned."""
        ...

    def late(
        self,
        tokens: FloatArray,
        k: int,
        rows: IntArray | None = None,
        *,
        exact: bool = False,
        depths: Mapping[str, int] | None = None,
    ) -> Candidates:
        """Best k passages by MaxSim with `tokens` [Q, D] over the stored token vectors.

        `exact` has all of them scored; otherwise an index may choose whom to score, as deep as `depths` says.
        """
        ...

    def vectors(self, rows: IntArray) -> MultiVectors:
        """The stored token vectors of these passages, in this order."""
        ...

    def passages(self, rows: IntArray) -> list[Passage]:
        """Their texts and metadata, in this order."""
        ...

    def ids(self, rows: IntArray) -> list[str]:
        """Their ids, in this order."""
        ...

    def source_ids(self, rows: IntArray) -> list[str]:
        """The ids of their source documents, in this order."""
        ...

    def rows(self, ids: Sequence[str]) -> IntArray:
        """The rows of these ids; an id that isn't there is an InputError that names it."""
        ...


@dataclass(frozen=True, slots=True)
class Compiled:
    """How much of a pipeline a store runs by itself, in one go.

    Args:
        steps: so many leading steps.
        reason: why it takes no more; "" where it takes all.
    """

    steps: int
    reason: str = ""


@runtime_checkable
class Compiling(Protocol):
    """A snapshot that runs several steps as one query. Nobody sees the pool between them then."""

    def compile(self, pipeline: Pipeline) -> Compiled:
        """The leading steps that are one query."""
        ...

    def run_compiled(self, steps: Sequence[Step], depths: Sequence[int], query: EncodedQuery) -> Candidates:
        """Run steps that `compile` took; `depths` are the candidates that leave each."""
        ...


class Store(Protocol):
    """Where a collection lives: a folder of latewood's own, or a Qdrant."""

    @property
    def spec(self) -> EncoderSpec:
        """The encoder that filled it."""
        ...

    def add(self, passages: Sequence[Passage], encoded: EncodedPassages) -> int:
        """Add or replace these passages; the new generation."""
        ...

    def delete(self, ids: Sequence[str]) -> int:
        """Delete these ids; how many were there."""
        ...

    def snapshot(self) -> Snapshot:
        """What is committed now."""
        ...

    def compile(self, pipeline: Pipeline) -> Compiled:
        """How many leading steps of a pipeline it runs by itself, from what it stores, and why no more."""
        ...

    def digests(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The content digests of those of these ids that are there."""
        ...

    def close(self) -> None:
        """Give files, locks and connections back."""
        ...


class Retriever(Protocol):
    """Anything that ranks passages for a question: a collection with a pipeline, or somebody's own system."""

    def rank(self, query: str, k: int) -> Ranking:
        """The best k, ids and scores at least."""
        ...
