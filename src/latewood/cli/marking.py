"""What matched, marked in the text: bold on a terminal, «so» elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from latewood.types import Hit, Match

__all__ = ["explanation", "snippet"]


def snippet(hit: Hit, console: Console, width: int = 280) -> Text:
    """The part of a hit's text where most of it matched, on one line.

    Args:
        hit: with its passage; with matches, if they are to be marked.
        console: decides how to mark.
        width: characters to show.
    """
    text = hit.passage.text if hit.passage else ""
    spans = _words(text, hit.matches or ())
    start = _densest(spans, width)
    start = 0 if start < 40 else text.find(" ", start) + 1
    end = min(len(text), start + width)
    line = Text("… " if start else "")
    at = start
    for left, right in spans:
        if left < at or right > end:
            continue
        line.append(_flat(text[at:left]))
        word = _flat(text[left:right])
        line.append(word, style="bold magenta") if console.is_terminal else line.append(f"«{word}»")
        at = right
    line.append(_flat(text[at:end]))
    if end < len(text):
        line.append(" …")
    return line


def explanation(matches: Sequence[Match]) -> str:
    """`query token → matched token similarity`, in the order of the query."""
    return ", ".join(f"{m.query_token} → {m.token} {m.similarity:.2f}" for m in matches)


def _words(text: str, matches: Sequence[Match]) -> list[tuple[int, int]]:
    """Spans of the words that matched best.

    Of the pairs that join two words (not punctuation, not special tokens), the better half is marked: a page on which
    everything is marked shows nothing. A word piece marks its whole word.
    """
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
    return " ".join(text.split()) if text.strip() == text else _keep_edges(text)


def _keep_edges(text: str) -> str:
    left = " " if text[:1].isspace() else ""
    right = " " if text[-1:].isspace() and text.strip() else ""
    return left + " ".join(text.split()) + right
