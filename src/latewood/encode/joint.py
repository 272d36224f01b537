"""Pages as vectors: those of a page's text and, by a model that reads images, those of its image behind them.

Both are of one model and lie in one space, so that one MaxSim over all of them finds a page by what is written on it
and by what is drawn on it: a query vector takes the better of the two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from latewood.errors import InputError
from latewood.protocols import Encoder, PageEncoder
from latewood.types import EncodedPassages, MultiVectors, Page, Passage

__all__ = ["encode_joint", "without_blank_pages"]

_AT_ONCE = 8
"""Pictures that are held: 150 dots an inch make 6 MB of a page."""

Picture = npt.NDArray[np.uint8]


def encode_joint(
    encoder: Encoder,
    passages: Sequence[Passage],
    draw: Callable[[Page], Picture],
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Passage], EncodedPassages]:
    """Encode passages with a model that reads page images: pages by text and image, others by text.

    A page that can't be drawn has the vectors of its text alone, and a warning says so.

    Args:
        encoder: a `PageEncoder`.
        passages: N of them.
        draw: gives the picture of a page, [H, W, 3] uint8; an InputError where it can't.
        progress: called with the number of passages finished since the last call.

    Returns:
        The passages, pages with their layouts; and their vectors.
    """
    assert isinstance(encoder, PageEncoder)
    encoded = without_blank_pages(passages, encoder.encode_passages([passage.text for passage in passages]))
    pages = [i for i, passage in enumerate(passages) if isinstance(passage, Page)]
    placed = list(passages)
    parts = [[encoded.tokens[i]] for i in range(len(passages))]
    if progress is not None:
        progress(len(passages) - len(pages))
    for start in range(0, len(pages), _AT_ONCE):
        some = pages[start : start + _AT_ONCE]
        pictures = {i: picture for i in some if (picture := _drawn(passages[i], draw)) is not None}
        read = encoder.encode_pages([_image(picture) for picture in pictures.values()]) if pictures else None
        for number, i in enumerate(pictures):
            page = placed[i]
            assert read is not None
            assert isinstance(page, Page)
            parts[i].append(read.tokens[number])
            placed[i] = replace(page, layout=read.layouts[number])
        if progress is not None:
            progress(len(some))
    tokens = MultiVectors.of([np.concatenate(part) for part in parts], encoder.spec.dim)
    return placed, replace(encoded, tokens=tokens)


def _drawn(page: Passage, draw: Callable[[Page], Picture]) -> Picture | None:
    assert isinstance(page, Page)
    try:
        return draw(page)
    except InputError as error:
        warnings.warn(f"{error}; until then it is found by its text alone", RuntimeWarning, stacklevel=5)
        return None


def _image(picture: Picture) -> object:
    from PIL import Image

    return Image.fromarray(picture)


def without_blank_pages(passages: Sequence[Passage], encoded: EncodedPassages) -> EncodedPassages:
    """The same, but no vectors for pages without text: those of special tokens alone would find them by chance."""
    blank = np.array([isinstance(passage, Page) and not passage.text for passage in passages], bool)
    if not blank.any():
        return encoded
    return replace(encoded, tokens=_emptied(encoded.tokens, blank), dense=_emptied(encoded.dense, blank))


def _emptied(many: MultiVectors, which: npt.NDArray[np.bool_]) -> MultiVectors:
    lengths = np.diff(many.offsets)
    kept = np.repeat(~which, lengths)
    offsets = np.concatenate([[0], np.cumsum(np.where(which, 0, lengths))]).astype(np.int64)
    scales = None if many.scales is None else many.scales[kept]
    return MultiVectors(np.ascontiguousarray(many.tokens[kept]), offsets, scales)
