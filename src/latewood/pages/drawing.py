"""Heat on a picture of a page."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import MissingExtra, ShapeError
from latewood.pages.geometry import check_boxes
from latewood.pages.grid import PATCH, WORD, PageGrid
from latewood.types import FloatArray

__all__ = ["drawn", "png_of", "shrunk", "smooth"]

Picture = npt.NDArray[np.uint8]

_WEAK, _STRONG = np.array([255, 205, 60], np.float32), np.array([225, 40, 30], np.float32)
_EDGE = np.array([150, 20, 20], np.float32)
_OPACITY = 0.2, 0.6
_MARGIN = 0.0025
"""Of the longer edge, around a word: its box is as tight as its ink."""


def smooth(similarities: FloatArray, grid: PageGrid) -> tuple[FloatArray, FloatArray]:
    """The smooth map: how near any of the question is to each place, though only the best place of each token scores.

    The maximum over the question's tokens, not their mean, which is mostly noise; one scale for the whole page, from
    its median to its maximum. Where a page has several vectors, as the windows of a text do, the best counts.

    Args:
        similarities: [Q, T] of the tokens that are to be drawn with all vectors of the page.
        grid: of its T vectors.

    Returns:
        [n, 4] float32 boxes, fractions of the shown page, and [n] float32 strengths from 0 to 1.

    Raises:
        ShapeError: similarities of another number of vectors.
    """
    if similarities.ndim != 2 or similarities.shape[1] != len(grid) or not len(similarities):
        raise ShapeError(
            f"similarities: got shape {similarities.shape}, expected [Q, {len(grid)}] with Q of at least 1"
        )
    placed = (grid.kinds == WORD) | (grid.kinds == PATCH)
    boxes, which = np.unique(grid.boxes[placed], axis=0, return_inverse=True)
    if not len(boxes):
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    best = np.full(len(boxes), -np.inf, np.float32)
    np.maximum.at(best, which.reshape(-1), similarities.max(axis=0)[placed])
    low, high = float(np.median(best)), float(best.max())
    strengths = np.clip((best - low) / (high - low), 0, 1) if high > low else np.ones(len(best))
    shown = strengths > 0
    return boxes[shown].astype(np.float32), strengths[shown].astype(np.float32)


def drawn(picture: Picture, boxes: FloatArray, strengths: FloatArray, *, edges: bool = True) -> Picture:
    """A picture of a page with rectangles tinted by their strength.

    Args:
        picture: [H, W, 3] uint8.
        boxes: [n, 4] float32, left, top, right, bottom, fractions of the shown page.
        strengths: [n] from 0 to 1.
        edges: draw the rectangles' edges, too.

    Returns:
        A new [H, W, 3] uint8. Where rectangles overlap, the stronger one is seen.

    Raises:
        ShapeError: rectangles off the page, or of another number than strengths.
    """
    check_boxes(boxes)
    if strengths.shape != (len(boxes),):
        raise ShapeError(f"strengths: got shape {strengths.shape}, expected ({len(boxes)},)")
    height, width = picture.shape[:2]
    margin = max(1.0, max(height, width) * _MARGIN)
    heat = np.zeros((height, width), np.float32)
    edge = np.zeros((height, width), bool)
    for box, strength in zip(boxes * np.array([width, height, width, height]), strengths.tolist(), strict=True):
        left, top = (max(0, int(v - margin)) for v in box[:2])
        right, bottom = min(width, int(box[2] + margin) + 1), min(height, int(box[3] + margin) + 1)
        part = heat[top:bottom, left:right]
        # A strength of 0 is still a match: it must be seen.
        np.maximum(part, max(strength, 1e-3), out=part)
        if edges:
            thick = max(1, round(margin / 3))
            edge[top : top + thick, left:right] = edge[max(top, bottom - thick) : bottom, left:right] = True
            edge[top:bottom, left : left + thick] = edge[top:bottom, max(left, right - thick) : right] = True
    tinted = heat > 0
    out = picture.astype(np.float32)
    strength = heat[tinted][:, None]
    opacity = _OPACITY[0] + (_OPACITY[1] - _OPACITY[0]) * strength
    tint = _WEAK + (_STRONG - _WEAK) * strength
    # Multiplied, as a marker on paper is: what is printed stays as dark as it was.
    out[tinted] *= 1 - opacity + opacity * tint / 255
    out[edge] = 0.3 * out[edge] + 0.7 * _EDGE
    return np.clip(out, 0, 255).astype(np.uint8)


def shrunk(picture: Picture, longest: int) -> Picture:
    """A thumbnail: at most `longest` pixels on the longer edge, never larger than the picture.

    Raises:
        MissingExtra: Pillow isn't installed.
    """
    image = _image(picture)
    image.thumbnail((longest, longest))
    return np.asarray(image)


def png_of(picture: Picture) -> bytes:
    """The bytes of a PNG file.

    Raises:
        MissingExtra: Pillow isn't installed.
    """
    buffer = io.BytesIO()
    _image(picture).save(buffer, "PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def _image(picture: Picture) -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("drawing pages", "pillow", "pages") from None
    return Image.fromarray(picture)
