"""What a corpus takes on disk and in memory, by formula: our own layout byte for byte, the others by their rules.

This room doesn't see the store, so the layout is said again here, and tests/plan holds every constant to collections
that are built for it. docs/planner.md has the formulas in prose, with where each came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latewood.errors import UsageError
from latewood.types import IntArray

__all__ = ["OPTIONS", "PAGE_DIM", "PAGE_VECTORS", "SEGMENT_CHUNKS", "SINGLE", "Option", "Size", "Workload", "sizes"]

SEGMENT_CHUNKS = 1024
"""Chunks of one segment: what a collection encodes and commits together."""

PAGE_VECTORS = 1030
"""Vectors of a page image in ColPali: 1,024 patches and 6 tokens of its prompt."""

PAGE_DIM = 128
"""D of ColPali's vectors."""

_TABLE_BYTES = 48
"""Per chunk, six columns of 8: offsets of ids, of source ids, of token and of single vectors; hash and order of ids."""

_CHECKSUM_SHARE = 1 + 4 / (256 * 1024)
"""A CRC-32 for every block of 256 KB."""

_SEGMENT_BYTES = 2048
"""Header and alignment of one segment."""

_RECORD_BYTES = 46
"""Per chunk in the catalogue beside its own content: digest 16, checksum 4, lengths of nine fields, row number."""

_PAGE_FILL = 1.25
"""SQLite's bytes over what it holds: records of a kilobyte leave parts of its pages of 4 KB empty."""

_CATALOGUE_BYTES = 65_536
"""A catalogue without passages, the golden vectors among it."""

_BM25_SHARE = 0.28
"""Tantivy's bytes over those of the texts, English, stemmed, no positions."""

_QDRANT_POINT = 200
"""Qdrant Edge 0.9.0 per point beside float32 vectors and payload: offsets, id, version. Its write-ahead log, 48 to
288 MB when measured (benchmarks/planner.py qdrant), comes and goes, and isn't counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """What is to be stored, as means per chunk.

    Args:
        chunks: N, passages to be indexed.
        lengths: [n] int64, token vectors of n chunks, each at least 1: the distribution of T.
        dim: D of the token vectors.
        dense_dim: D of the single vectors.
        windows: single vectors per chunk, 1 for chunks that fit the model's limit.
        text_bytes: UTF-8 bytes of a text.
        record_bytes: UTF-8 bytes of its title, source and metadata.
        id_bytes: UTF-8 bytes of its id.
        pages: page images, should the corpus be indexed as such.
        obtained: how T was obtained, in words.

    Raises:
        UsageError: a count that nothing can be planned for.
    """

    chunks: int
    lengths: IntArray
    dim: int
    dense_dim: int
    windows: float
    text_bytes: float
    record_bytes: float
    id_bytes: float
    pages: int
    obtained: str

    def __post_init__(self) -> None:
        for name in ("chunks", "dim", "dense_dim", "pages"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: got {getattr(self, name)}, expected 1 or more")
        if not len(self.lengths) or int(self.lengths.min()) < 1:
            raise UsageError("tokens per chunk: expected 1 or more; an empty text has its special tokens")

    @property
    def tokens_per_chunk(self) -> float:
        """The mean of T."""
        return float(self.lengths.mean())


@dataclass(frozen=True, slots=True)
class Option:
    """One way to store the vectors of a corpus.

    Args:
        name: as the tables have it.
        bits: of one dimension of a token vector; 0 where none are stored.
        scaled: each vector has a float32 scale beside it.
        pool: token vectors that are averaged into one, 1 for none.
        page: the corpus as page images instead of text.
        kernel: dtype that latewood's kernel scores, "" where it can't.
        stored: latewood stores it today; what it can't is an estimate.
    """

    name: str
    bits: int
    scaled: bool = False
    pool: int = 1
    page: bool = False
    kernel: str = ""
    stored: bool = False

    def lengths(self, workload: Workload) -> IntArray:
        """[n] int64, vectors of n chunks as this option stores them."""
        if self.page:
            return np.array([PAGE_VECTORS])
        if not self.bits:
            return np.zeros(1, np.int64)
        if self.pool == 1:
            return workload.lengths
        # The first token stays itself, the others fall in clusters, as PyLate pools.
        pooled: IntArray = np.minimum(workload.lengths, 1 + np.maximum((workload.lengths - 1) // self.pool, 1))
        return pooled

    def dim(self, workload: Workload) -> int:
        """D of its vectors."""
        return PAGE_DIM if self.page else workload.dim

    def count(self, workload: Workload) -> int:
        """N: chunks, or pages."""
        return workload.pages if self.page else workload.chunks


SINGLE = "single-vector"
QDRANT = "qdrant"
OPTIONS = (
    Option(SINGLE, bits=0, stored=True),
    Option("float32", bits=32, kernel="float32"),
    Option("float16", bits=16, kernel="float16"),
    Option("int8", bits=8, scaled=True, kernel="int8", stored=True),
    Option("int8-pool2", bits=8, scaled=True, pool=2, kernel="int8"),
    Option("int8-pool3", bits=8, scaled=True, pool=3, kernel="int8"),
    Option("bits", bits=1),
    Option("pages-int8", bits=8, scaled=True, page=True, kernel="int8"),
    Option(QDRANT, bits=32),
)


@dataclass(frozen=True, slots=True)
class Size:
    """What an option takes.

    Args:
        option: which.
        vectors: token vectors in all; for the single-vector baseline its single vectors.
        vector_bytes: those vectors alone, with their scales.
        bytes: everything on disk: vectors, single vectors for the first stage, ids, checksums, texts, BM25.
        resident_bytes: what must lie in memory for a query to be answered without reading the disk.
        scanned_bytes: the part of it that every query reads; the rest is mapped and may stay on a fast disk.
        obtained: how `bytes` and `resident_bytes` were obtained, in words.
    """

    option: Option
    vectors: int
    vector_bytes: int
    bytes: int
    resident_bytes: int
    scanned_bytes: int
    obtained: str


def sizes(workload: Workload, options: Sequence[Option] = OPTIONS) -> list[Size]:
    """The size of a corpus under each option.

    Args:
        workload: the corpus.
        options: what to price.
    """
    return [_size(workload, option) for option in options]


def _size(workload: Workload, option: Option) -> Size:
    count, dim = option.count(workload), option.dim(workload)
    vectors = round(count * float(option.lengths(workload).mean()))
    width = -(-dim * option.bits // 8)
    scales = 4 * vectors if option.scaled else 0
    single = 4 * workload.dense_dim * round(count * (1.0 if option.page else workload.windows))
    tables = count * (_QDRANT_POINT if option.name == QDRANT else _TABLE_BYTES + 2 * workload.id_bytes)
    indexed = width * vectors + scales + single + tables
    segments = indexed * _CHECKSUM_SHARE + _SEGMENT_BYTES * -(-count // SEGMENT_CHUNKS)
    if option.name == QDRANT:
        segments, texts = indexed, workload.chunks * (workload.text_bytes + workload.record_bytes + workload.id_bytes)
    else:
        texts = 0.0 if option.page else _text_bytes(workload)
    none = not option.bits
    return Size(
        option,
        round(count * workload.windows) if none else vectors,
        single if none else width * vectors + scales,
        round(segments + texts),
        round(indexed),
        round(scales + single + tables) if option.stored else round(indexed),
        _obtained(option),
    )


def _text_bytes(workload: Workload) -> float:
    """The catalogue and BM25."""
    record = workload.text_bytes + workload.record_bytes + 2 * workload.id_bytes + _RECORD_BYTES
    return workload.chunks * (_PAGE_FILL * record + _BM25_SHARE * workload.text_bytes) + _CATALOGUE_BYTES


def _obtained(option: Option) -> str:
    if option.stored:
        return "measured layout: the formula of latewood's own files, held to real collections by its tests"
    if option.name == QDRANT:
        return "estimate by formula: float32 vectors, as Qdrant Edge 0.9.0 laid them out when measured, and the payload"
    if option.page:
        return f"estimate by formula: {PAGE_VECTORS} vectors of D {PAGE_DIM} a page, without the images themselves"
    if option.pool > 1:
        return f"estimate by formula: one vector for every {option.pool}, the first token kept"
    bits = f"{option.bits} bit{'s' * (option.bits > 1)}"
    return f"estimate by formula: {bits} a dimension; int8 is stored unless --bits says otherwise"
