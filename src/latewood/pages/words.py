"""Characters on a page to words with boxes, and the text that they make."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latewood.errors import ShapeError
from latewood.types import IntArray

__all__ = ["Words", "word_spans", "words_of"]

_WORD = re.compile(r"\S+")

_LINE_END_HYPHENS = (0x02, 0xFFFE)
"""What PDFium gives for a hyphen at the end of a line, in place of it and of the line's end."""

_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}


@dataclass(frozen=True, slots=True, eq=False)
class Words:
    """The words of a page in reading order.

    Args:
        text: the words, with a space or a line's end between two: word i is the i-th run of non-blanks in it, so
            nothing but the boxes has to be kept beside a text to find its words on the page.
        boxes: [W, 4] float, in the frame of the boxes that they were made of.
    """

    text: str
    boxes: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        found = len(word_spans(self.text))
        if self.boxes.shape != (found, 4):
            raise ShapeError(f"words: {found} came with boxes of shape {self.boxes.shape}, expected ({found}, 4)")


def word_spans(text: str) -> IntArray:
    """[W, 2] the characters start:end of each word of a page's text, rising."""
    return np.array([match.span() for match in _WORD.finditer(text)], np.int64).reshape(-1, 2)


def words_of(codes: IntArray, boxes: npt.NDArray[np.float64], page: tuple[float, float, float, float]) -> Words:
    """Put characters together to words.

    A word ends at a blank, at a line's end, and at a hyphen that a line's end follows: its second half stands
    elsewhere. Ligatures become letters. Words wholly outside the part of the page that is shown are left out.

    Args:
        codes: [C] code points in reading order, as PDFium gives them.
        boxes: [C, 4] left, bottom, right, top of each, PDF points; anything for blanks.
        page: left, bottom, right, top of what is shown.
    """
    parts: list[str] = []
    kept: list[npt.NDArray[np.float64]] = []
    letters: list[str] = []
    gap = ""  # what stands before the next word
    first = 0

    def finish(end: int) -> None:
        nonlocal gap
        word = "".join(letters)
        letters.clear()
        # What a glyph stands for may hold blanks, or nothing that can be shown.
        word = "".join(word.split())
        if not word:
            return
        box = _around(boxes[first:end])
        if _is_outside(box, page):
            return
        parts.append((gap if parts else "") + word)
        kept.append(box)
        gap = " "

    for i, code in enumerate(codes.tolist()):
        character = _character(code)
        if code in _LINE_END_HYPHENS:
            letters.append("-")
            finish(i + 1)
            gap = "\n"
            first = i + 1
        elif character.isspace():
            finish(i)
            first = i + 1
            if code in (10, 13):
                gap = "\n"
        else:
            letters.append(character)
    finish(len(codes))
    return Words("".join(parts), np.stack(kept) if kept else np.zeros((0, 4)))


def _character(code: int) -> str:
    if code in _LIGATURES:
        return _LIGATURES[code]
    if not 0 < code < 0x110000 or 0xD800 <= code < 0xE000:
        return "�" if code else ""
    character = chr(code)
    # Soft hyphens, joiners and other characters without a shape only keep words from being found.
    return character if character.isprintable() or character.isspace() or 0xE000 <= code < 0xF900 else ""


def _around(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The box around boxes; those without area (glyphs without ink) don't count where others have some."""
    inked = boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])]
    some = inked if len(inked) else boxes
    return np.concatenate([some[:, :2].min(axis=0), some[:, 2:].max(axis=0)])


def _is_outside(box: npt.NDArray[np.float64], page: tuple[float, float, float, float]) -> bool:
    left, bottom, right, top = page
    return bool(box[2] < left or box[0] > right or box[3] < bottom or box[1] > top)
