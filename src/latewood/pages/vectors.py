"""The grid of all vectors of a stored page: those of its text, each in the box of its word, then those of its image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latewood.errors import EncoderMismatch
from latewood.pages.grid import PageGrid
from latewood.pages.words import word_spans
from latewood.types import FloatArray, IntArray, Page, TokenLabel

__all__ = ["grid_of", "word_at"]


def grid_of(page: Page, labels: Sequence[TokenLabel], vectors: int) -> PageGrid:
    """Where each stored vector of a page is.

    Args:
        page: with the boxes of its words, and the layout of its image's vectors if it has some.
        labels: one for each vector of its text, which come first.
        vectors: how many are stored.

    Raises:
        EncoderMismatch: text and layout don't account for so many.
    """
    text = _of_text(page, labels)
    grid = PageGrid.joined([text, PageGrid.of(page.layout)]) if page.layout else text
    if len(grid) != vectors:
        raise EncoderMismatch(
            f"page {page.id!r} has {vectors} stored vectors, its text and layout account for {len(grid)}: "
            f"index it again with this encoder"
        )
    return grid


def _of_text(page: Page, labels: Sequence[TokenLabel]) -> PageGrid:
    """A token has the box of the word that it begins in; one of no characters ([CLS]) has no place."""
    spans = word_spans(page.text)
    starts = np.array([label.start for label in labels], np.int64)
    owners = word_at(spans, starts)
    placed = np.array([label.end > label.start for label in labels], bool) & (owners >= 0)
    boxes: FloatArray = page.boxes[owners[placed]] if len(page.boxes) else np.zeros((0, 4), np.float32)
    return PageGrid.words(np.ascontiguousarray(boxes)).threaded(placed)


def word_at(spans: IntArray, characters: IntArray) -> IntArray:
    """[n] int64, the word that holds each of these characters, the one before where it is a blank; -1 before all."""
    return np.searchsorted(spans[:, 0], characters, "right") - 1
