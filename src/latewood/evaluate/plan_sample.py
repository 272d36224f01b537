"""A sample of a user's files to what is planned for: token vectors per chunk, by the model's real tokenizer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from latewood.errors import InputError
from latewood.evaluate.plan_sizes import Workload
from latewood.protocols import Encoder
from latewood.types import Passage

__all__ = ["SAMPLE", "Sample", "stated", "workload_of"]

SAMPLE = 1000
"""Passages whose tokens are counted: their mean has a standard error of 2 % where lengths vary as in BEIR."""

_SEED = 17

_TEXT_BYTES_PER_TOKEN = 4.6
"""English prose under WordPiece, special tokens and the overlap of windows counted: BEIR's corpora have 4.1 to 5.0."""

_STATED_ID_BYTES = 12


@dataclass(frozen=True, slots=True)
class Sample:
    """Passages drawn evenly from a corpus that was read once, whatever its length.

    Args:
        passages: up to `SAMPLE` of them, in the order of the corpus.
        seen: how many there were.
    """

    passages: tuple[Passage, ...]
    seen: int

    @classmethod
    def of(cls, passages: Iterable[Passage], size: int = SAMPLE) -> Sample:
        """Draw `size` passages, each as likely as any other, always the same ones.

        Raises:
            InputError: there are none.
        """
        rng = random.Random(_SEED)
        kept: list[tuple[int, Passage]] = []
        seen = 0
        for seen, passage in enumerate(passages, start=1):
            if len(kept) < size:
                kept.append((seen, passage))
            elif (place := rng.randrange(seen)) < size:
                kept[place] = seen, passage
        if not kept:
            raise InputError("a corpus without passages: expected at least one record to plan for")
        return cls(tuple(passage for _, passage in sorted(kept, key=lambda pair: pair[0])), seen)

    @property
    def texts(self) -> list[str]:
        """Their texts."""
        return [passage.text for passage in self.passages]


def workload_of(
    sample: Sample,
    encoder: Encoder,
    *,
    chunks: int | None = None,
    dim: int | None = None,
    dense_dim: int | None = None,
    pages: int | None = None,
) -> Workload:
    """What the sample stands for.

    Args:
        sample: of the corpus.
        encoder: its tokenizer counts; one label is one token vector.
        chunks: N, where the files are a sample of a larger corpus; None for what was in them.
        dim: D of another model than the encoder; None for the encoder's.
        dense_dim: the same for single vectors.
        pages: page images; None for as many as chunks.
    """
    special = max(1, len(encoder.label("")))
    lengths, windows = [], []
    for text in sample.texts:
        labels = encoder.label(text)
        lengths.append(len(labels))
        # Every window begins and ends with the same tokens that stand for no characters.
        nowhere = sum(label.start == label.end == 0 for label in labels)
        windows.append(max(1, nowhere // special))
    number = sample.seen if chunks is None else chunks
    return Workload(
        chunks=number,
        lengths=np.array(lengths, np.int64),
        dim=encoder.spec.dim if dim is None else dim,
        dense_dim=encoder.spec.dense_dim if dense_dim is None else dense_dim,
        windows=float(np.mean(windows)),
        text_bytes=_mean_bytes(sample.texts),
        record_bytes=_mean_bytes(
            [p.title + p.source + json.dumps(dict(p.metadata), ensure_ascii=False) for p in sample.passages]
        ),
        id_bytes=_mean_bytes([p.id for p in sample.passages]),
        pages=number if pages is None else pages,
        obtained=f"counted by the tokenizer of '{encoder.spec.name}' on {len(lengths):,} of {sample.seen:,} passages",
    )


def stated(
    chunks: int, tokens_per_chunk: int, dim: int, dense_dim: int, max_length: int = 256, *, pages: int | None = None
) -> Workload:
    """What stated counts stand for; bytes of texts are assumed from the tokens.

    Args:
        chunks: N.
        tokens_per_chunk: T, the same for all.
        dim: D of the token vectors.
        dense_dim: D of the single vectors.
        max_length: tokens of one window, for the number of single vectors per chunk.
        pages: page images; None for as many as chunks.

    Raises:
        UsageError: a count below 1.
    """
    return Workload(
        chunks=chunks,
        lengths=np.array([tokens_per_chunk], np.int64),
        dim=dim,
        dense_dim=dense_dim,
        windows=float(-(-tokens_per_chunk // max_length)),
        text_bytes=_TEXT_BYTES_PER_TOKEN * tokens_per_chunk,
        record_bytes=0.0,
        id_bytes=_STATED_ID_BYTES,
        pages=chunks if pages is None else pages,
        obtained="stated, the same for every chunk",
    )


def _mean_bytes(values: Sequence[str]) -> float:
    return sum(len(value.encode(errors="surrogatepass")) for value in values) / len(values)
