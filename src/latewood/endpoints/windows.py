"""Windows of a text whose tokenizer isn't at hand: cut at spaces, by our estimate of tokens."""

from __future__ import annotations

import re

from latewood.endpoints.estimate import tokens_in

__all__ = ["windows"]

# A word with the space before it; what is longer than words are (or has no spaces) in parts of eight letters.
_PIECES = re.compile(r"\s?\S{1,24}(?!\S)|\s?\S{1,8}|\s")


def windows(text: str, room: int, overlap: int) -> list[str]:
    """Parts of a text of at most `room` tokens, neighbours sharing about `overlap`.

    Args:
        text: any text.
        room: tokens, by `tokens_in`.
        overlap: tokens; less than `room`.

    Returns:
        The text itself if it fits; every character of a longer one is in at least one part.
    """
    if tokens_in(text) <= room:
        return [text]
    pieces = _PIECES.findall(text)
    sizes = [tokens_in(piece) for piece in pieces]
    found = []
    start = 0
    while True:
        end, total = start, 0
        while end < len(pieces) and (end == start or total + sizes[end] <= room):
            total += sizes[end]
            end += 1
        found.append("".join(pieces[start:end]))
        if end == len(pieces):
            return found
        following, shared = end, 0
        while following - 1 > start and shared + sizes[following - 1] <= overlap:
            following -= 1
            shared += sizes[following]
        start = following
