"""The part of a text where most of it matched, cut into pieces that are marked and pieces that aren't."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latewood.types import Match

__all__ = ["Piece", "excerpt"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters of an excerpt, on one line, and whether they are to be marked."""

    text: str
    marked: bool


def excerpt(text: str, matches: Sequence[Match], width: int = 280) -> tuple[Piece, ...]:
    """Cut the densest part out of a text.

    Of the pairs that join two words (not punctuation, not special tokens), the better half is marked: a page on which
    everything is marked shows nothing. A word piece marks its whole word.

    Args:
        text: of the passage.
        matches: what matched in it; none to get its beginning, unmarked.
        width: characters to show.

    Returns:
        Pieces that together are the excerpt on one line, with "…" where something is left out.
    """
    spans = _words(text, matches)
    start = _densest(spans, width)
    start = 0 if start < 40 else text.find(" ", start) + 1
    end = min(len(text), start + width)
    pieces = [Piece("… ", False)] if start else []
    at = start
    for left, right in spans:
        if left < at or right > end:
            continue
        pieces += [Piece(_flat(text[at:left]), False), Piece(_flat(text[left:right]), True)]
        at = right
    pieces.append(Piece(_flat(text[at:end]), False))
    if end < len(text):
        pieces.append(Piece(" …", False))
    return tuple(piece for piece in pieces if piece.text)


def _words(text: str, matches: Sequence[Match]) -> list[tuple[int, int]]:
    """Spans of the words that matched best."""
    words = [m for m in matches if text[m.start : m.end].isalnum() and m.query_token.strip("#").isalnum()]
    best = sorted(words, key=lambda match: -match.similarity)[: (len(words) + 1) // 2]
    spans = set()
    for match in best:
        left, right = match.start, match.end
        while left > 0 and text[left].isalnum() and text[left - 1].isalnum():
            left -= 1
        while right < len(text) and text[right - 1].isalnum() and text[right].isalnum():
            right += 1
        spans.add((left, right))
    return sorted(spans)


def _densest(spans: Sequence[tuple[int, int]], width: int) -> int:
    """The start of the window of `width` characters that holds most spans; the first such."""
    best, most = 0, 0
    for i, (left, _) in enumerate(spans):
        held = sum(right <= left + width for _, right in spans[i:])
        if held > most:
            best, most = max(0, left - 30), held
    return best


def _flat(text: str) -> str:
    """On one line, with a blank at an edge where there was one."""
    left = " " if text[:1].isspace() else ""
    right = " " if text[-1:].isspace() and text.strip() else ""
    return left + " ".join(text.split()) + right
