"""The values that cross rooms. Frozen; this module imports nothing of ours but the errors.

Letters in shapes: N documents, Q query vectors, T document vectors, W windows, D dimensions, k results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import ShapeError

__all__ = [
    "BitVectors",
    "Candidates",
    "EncodedPages",
    "EncodedPassages",
    "EncodedQuery",
    "EncoderSpec",
    "FloatArray",
    "Hit",
    "IntArray",
    "Match",
    "MultiVectors",
    "Page",
    "Passage",
    "Ranking",
    "StageTiming",
    "TokenLabel",
]

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_CHECKED = 1 << 13  # rows that are looked at together
_STORED_DTYPES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(np.int8))


@dataclass(frozen=True, slots=True)
class Passage:
    """The unit that is encoded, ranked and shown.

    Args:
        id: unique in a collection; `source_id` or `source_id#n`.
        text: the whole text as it is indexed and shown. A title, where there is one, is its first line,
            so every character span in latewood is a span of this field.
        source_id: the document that the passage comes from; the id itself when the document is one passage.
        title: the title alone, "" for none.
        source: where it came from, e.g. a file path; "" for unknown.
        metadata: JSON object of the caller's own fields.
    """

    id: str
    text: str
    source_id: str = ""
    title: str = ""
    source: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.source_id:
            object.__setattr__(self, "source_id", self.id)


@dataclass(frozen=True, slots=True, eq=False)
class Page(Passage):
    """A passage that is a page of a PDF or image file, with the place of each of its words.

    Its metadata must hold `page`, its number from 1, and `page_box`: left, bottom, right, top of what is shown of it in
    PDF points, and the degrees clockwise by which it is turned. Two pages are equal if they are equal as passages.

    Args:
        boxes: [W, 4] float32, one for each of the W words (runs of non-blanks) of `text`, in their order: left, top,
            right, bottom, as fractions of the page as it is shown.
        layout: where the vectors of its image lie (`latewood.pages.PageGrid`), which are stored behind those of its
            text; "" where no model has read its image. A collection fills it in.

    Raises:
        ShapeError: boxes of another shape or dtype, or metadata without number and box.
    """

    boxes: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    layout: str = ""

    def __post_init__(self) -> None:
        Passage.__post_init__(self)
        box = self.metadata.get("page_box")
        if not isinstance(self.metadata.get("page"), int) or not isinstance(box, list | tuple) or len(box) != 5:
            raise ShapeError(
                f"page {self.id!r}: its metadata must hold page, a number, and page_box, "
                f"five numbers (left, bottom, right, top, rotation); got {dict(self.metadata)!r}"
            )
        words = len(self.text.split())
        if self.boxes.shape != (words, 4) or self.boxes.dtype != np.float32:
            raise ShapeError(
                f"page {self.id!r}: boxes of shape {self.boxes.shape} {self.boxes.dtype} came with {words} words, "
                f"expected ({words}, 4) float32"
            )


def _is_finite(values: npt.NDArray[Any]) -> bool:
    """Whether [T, D] values are; by parts, as a mask of all of them would be fresh memory, slower than the check."""
    return all(bool(np.isfinite(values[i : i + _CHECKED]).all()) for i in range(0, len(values), _CHECKED))


@dataclass(frozen=True, slots=True, eq=False)
class MultiVectors:
    """Ragged vectors of N documents: document i owns rows offsets[i]:offsets[i+1] of `tokens`.

    Validated once, here; the kernel trusts what it is given. The arrays may be memory maps.

    Args:
        tokens: [T, D], C-contiguous, float32, float16 or int8.
        offsets: [N + 1] int64, from 0 to T, never falling. Equal neighbours: a document without vectors.
        scales: [T] float32, finite and > 0 (0 for a zero vector); given if and only if tokens are int8.
            The vector that row t stands for is `tokens[t] * scales[t]`.

    Raises:
        ShapeError: on any other shape, dtype or order, and on NaN or infinity.
    """

    tokens: npt.NDArray[Any]
    offsets: IntArray
    scales: FloatArray | None = None

    def __post_init__(self) -> None:
        tokens, offsets, scales = self.tokens, self.offsets, self.scales
        if tokens.ndim != 2 or tokens.dtype not in _STORED_DTYPES or not tokens.flags.c_contiguous:
            raise ShapeError(
                f"tokens: got {tokens.shape} {tokens.dtype}, expected [T, D] C-contiguous float32, float16 or int8"
            )
        if offsets.ndim != 1 or offsets.dtype != np.int64 or len(offsets) == 0:
            raise ShapeError(f"offsets: got shape {offsets.shape} {offsets.dtype}, expected [N + 1] int64")
        if offsets[0] != 0 or offsets[-1] != len(tokens) or bool(np.any(np.diff(offsets) < 0)):
            raise ShapeError(f"offsets: expected to rise from 0 to {len(tokens)}, got {offsets[0]} to {offsets[-1]}")
        if (tokens.dtype == np.int8) != (scales is not None):
            raise ShapeError(f"scales go with int8 tokens and only with them; tokens are {tokens.dtype}")
        if scales is not None:
            if scales.shape != (len(tokens),) or scales.dtype != np.float32:
                raise ShapeError(f"scales: got {scales.shape} {scales.dtype}, expected ({len(tokens)},) float32")
            if not bool(np.isfinite(scales).all()) or bool((scales < 0).any()):
                raise ShapeError("scales: expected finite values >= 0; the vectors that they came from were not finite")
        elif not _is_finite(tokens):
            raise ShapeError("tokens hold NaN or infinity; check the encoder that made them")

    @classmethod
    def none(cls, count: int) -> MultiVectors:
        """`count` documents without vectors, D 0: what an encoder gives of the kind that it doesn't make."""
        return cls(np.zeros((0, 0), np.float32), np.zeros(count + 1, np.int64))

    @classmethod
    def of(cls, arrays: Sequence[npt.NDArray[Any]], dim: int | None = None) -> MultiVectors:
        """Join a list of [T_i, D] float arrays (what encoders return). `dim` is needed for an empty list."""
        if not arrays:
            if dim is None:
                raise ShapeError("an empty list of vectors has no dimension: give dim=")
            return cls(np.zeros((0, dim), np.float32), np.zeros(1, np.int64))
        dims = {a.shape[1] if a.ndim == 2 else -1 for a in arrays}
        if len(dims) != 1 or -1 in dims:
            shapes = sorted({a.shape for a in arrays})
            raise ShapeError(f"expected arrays of shape [T, D] with one D, got shapes {shapes}")
        offsets = np.concatenate([[0], np.cumsum([len(a) for a in arrays])]).astype(np.int64)
        return cls(np.ascontiguousarray(np.concatenate(arrays)), offsets)

    @classmethod
    def joined(cls, parts: Sequence[MultiVectors]) -> MultiVectors:
        """The documents of all parts, one part after the other. At least one part; all of one D, dtype and kind."""
        if len(parts) == 1:
            return parts[0]
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        scales = [part.scales for part in parts if part.scales is not None]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        tokens = np.concatenate([part.tokens for part in parts])
        return cls(tokens, offsets, np.concatenate(scales) if scales else None)

    def __len__(self) -> int:
        """N, the number of documents."""
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """D."""
        return int(self.tokens.shape[1])

    def __getitem__(self, i: int) -> npt.NDArray[Any]:
        """The stored rows [T_i, D] of document i (int8 rows are not scaled)."""
        return self.tokens[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True, slots=True, eq=False)
class BitVectors:
    """Ragged vectors of N documents, one bit per dimension: document i owns rows offsets[i]:offsets[i+1] of `codes`.

    Bit d % 8 of byte d // 8 is 1 where the vector, less `center`, is >= 0. It stands for +1, a 0 for -1. A code is
    for choosing candidates: scores with it order documents nearly as the vectors would, on a scale of their own.

    Args:
        codes: [T, ceil(D / 8)] uint8, C-contiguous; bits beyond D are ignored.
        offsets: [N + 1] int64, from 0 to T, never falling.
        dim: D, 1 to 65535.
        center: [D] float32 that was subtracted before the signs were taken, or None.

    Raises:
        ShapeError: on any other shape, dtype or order.
    """

    codes: npt.NDArray[np.uint8]
    offsets: IntArray
    dim: int
    center: FloatArray | None = None

    def __post_init__(self) -> None:
        codes, offsets, dim = self.codes, self.offsets, self.dim
        if not 1 <= dim <= 65535:
            raise ShapeError(f"dim: got {dim}, expected 1 to 65535")
        if codes.shape[1:] != ((dim + 7) // 8,) or codes.dtype != np.uint8 or not codes.flags.c_contiguous:
            raise ShapeError(
                f"codes: got shape {codes.shape} {codes.dtype}, expected [T, {(dim + 7) // 8}] C-contiguous uint8"
            )
        if offsets.ndim != 1 or offsets.dtype != np.int64 or len(offsets) == 0:
            raise ShapeError(f"offsets: got shape {offsets.shape} {offsets.dtype}, expected [N + 1] int64")
        if offsets[0] != 0 or offsets[-1] != len(codes) or bool(np.any(np.diff(offsets) < 0)):
            raise ShapeError(f"offsets: expected to rise from 0 to {len(codes)}, got {offsets[0]} to {offsets[-1]}")
        if self.center is not None and (self.center.shape != (dim,) or self.center.dtype != np.float32):
            raise ShapeError(f"center: got shape {self.center.shape} {self.center.dtype}, expected ({dim},) float32")

    def __len__(self) -> int:
        """N, the number of documents."""
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> npt.NDArray[np.uint8]:
        """The codes [T_i, ceil(D / 8)] of document i."""
        return self.codes[self.offsets[i] : self.offsets[i + 1]]


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """What one vector stands for: a token as the tokenizer prints it, and its span of characters in the text.

    Special tokens ([CLS], [SEP]) have the empty span 0:0.
    """

    token: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class EncodedQuery:
    """A query as vectors.

    Args:
        text: as it was given.
        dense: [D] float32, unit length, or None where the encoder has no single vector.
        tokens: [Q, D] float32; [0, 0] where the encoder has no token vectors.
        labels: Q labels, one per row of `tokens`.
        cut: tokens beyond the model's limit that were left out (0 is the rule; shown to the user when not).
    """

    text: str
    dense: FloatArray | None
    tokens: FloatArray
    labels: tuple[TokenLabel, ...]
    cut: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPassages:
    """N passages as vectors.

    Args:
        tokens: MultiVectors of N passages, float32; windows of a long text concatenated. `MultiVectors.none(N)` where
            the encoder has no token vectors.
        dense: MultiVectors of N passages, float32: one vector per window, W_i >= 1 rows for passage i.
            `MultiVectors.none(N)` where the encoder has no single vector.
        cut: tokens left out because the encoder truncates (always 0 when it windows).
    """

    tokens: MultiVectors
    dense: MultiVectors
    cut: int = 0

    def __len__(self) -> int:
        """N."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPages:
    """N page images as vectors.

    Args:
        tokens: MultiVectors of N pages, float32.
        layouts: of each page, where its vectors lie, as `latewood.pages.PageGrid.of` reads it.
    """

    tokens: MultiVectors
    layouts: tuple[str, ...]

    def __len__(self) -> int:
        """N."""
        return len(self.layouts)


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """What a collection remembers of the encoder that filled it. All but `libraries` must agree for a match.

    Args:
        name: how to get it again: "minilm", or a folder.
        model_hash: SHA-256 over the weights and the tokenizer files, hex.
        dim: D of the token vectors, 0 where it gives none.
        dense_dim: D of the single vector, 0 where it gives none.
        max_length: tokens per window, special tokens included.
        overlap: tokens that neighbouring windows share.
        truncate: texts are cut at max_length instead of windowed.
        query_prompt: put before a query; around it where it holds "{}", in the place of which the query stands.
        passage_prompt: put before a passage.
        libraries: versions that made the vectors, e.g. {"torch": "2.13.0"}; a difference is a warning.
        dtype: what the model computes in: "float32", "bfloat16" or "float16".
        image_prompt: what stands around the patches of a page image; "" for models of texts.
    """

    name: str
    model_hash: str
    dim: int
    dense_dim: int
    max_length: int
    overlap: int
    truncate: bool = False
    query_prompt: str = ""
    passage_prompt: str = ""
    libraries: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    image_prompt: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What one stage hands to the next: rows of a store, best first.

    Order: score descending, then id ascending. `rows` are the store's own stable numbers of passages.

    Args:
        rows: [k] int64.
        scores: [k] float32; for fusion [k] of reciprocal-rank sums.
        exact: False if an approximate step chose them.
        unscored: passages in reach that could not be scored, having no vectors.
    """

    rows: IntArray
    scores: FloatArray
    exact: bool = True
    unscored: int = 0

    def __len__(self) -> int:
        """The number of candidates."""
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Match:
    """One query vector and the document vector that it matched best.

    The similarities of a hit's matches sum to its score (MaxSim is that sum).

    Args:
        query_token: as the tokenizer prints it.
        token: the same of the passage; for a patch of a page's image its row and column.
        start: its first character in the passage's text; 0 for what stands for no characters, `end` too.
        end: behind its last one.
        similarity: of the two vectors.
        modality: "text", or "image" for a vector of a page's image.
        box: on a page, where it is: left, top, right, bottom, fractions of the page as it is shown. None for what has
            no place of its own, and in passages that are no pages.
    """

    query_token: str
    token: str
    start: int
    end: int
    similarity: float
    modality: str = "text"
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One ranked passage. `passage` is None where only ids were asked for.

    `folded`, where results were asked to differ: the ids of passages below that it stands for, as far as was looked.
    """

    id: str
    source_id: str
    score: float
    rank: int
    passage: Passage | None = None
    matches: tuple[Match, ...] | None = None
    folded: tuple[str, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """As `latewood search --json` prints it (docs/json.md); "matches", "folded" only where they were asked for."""
        value: dict[str, Any] = {
            "id": self.id,
            "source_id": self.source_id,
            "score": self.score,
            "rank": self.rank,
        }
        if self.passage is not None:
            value |= {
                "source": self.passage.source,
                "text": self.passage.text,
                "metadata": dict(self.passage.metadata),
            }
        if self.matches is not None:
            value["matches"] = [
                {"query_token": m.query_token, "token": m.token, "span": [m.start, m.end], "similarity": m.similarity}
                for m in self.matches
            ]
        if self.folded is not None:
            value["folded"] = list(self.folded)
        return value


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Wall time of one stage, and how many candidates it left."""

    stage: str
    ms: float
    candidates: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer to one query.

    Args:
        query: its text.
        pipeline: what produced it, in the grammar's canonical text.
        hits: best first, ranks from 1.
        exact: True if no approximate step took part.
        unscored: passages that could not be scored, having no vectors.
        pool: ids that the last stage chose from, best first; the hits' own ids when there is one stage only.
        timings: one per stage, in the order they ran; query encoding is the first, named "encode".
        cut: query tokens beyond the model's limit.
    """

    query: str
    pipeline: str
    hits: tuple[Hit, ...]
    exact: bool
    unscored: int
    pool: tuple[str, ...]
    timings: tuple[StageTiming, ...]
    cut: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `latewood search --json` prints it (docs/json.md), without the schema number."""
        return {
            "query": self.query,
            "pipeline": self.pipeline,
            "exact": self.exact,
            "unscored": self.unscored,
            "hits": [hit.to_json() for hit in self.hits],
        }
