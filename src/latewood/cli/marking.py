"""What matched, marked in the text: bold on a terminal, «so» elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from latewood.evaluate.marks import excerpt
from latewood.types import Hit, Match

__all__ = ["explanation", "snippet"]


def snippet(hit: Hit, console: Console, width: int = 280) -> Text:
    """The part of a hit's text where most of it matched, on one line.

    Args:
        hit: with its passage; with matches, if they are to be marked.
        console: decides how to mark.
        width: characters to show.
    """
    line = Text()
    for piece in excerpt(hit.passage.text if hit.passage else "", hit.matches or (), width):
        if not piece.marked:
            line.append(piece.text)
        elif console.is_terminal:
            line.append(piece.text, style="bold magenta")
        else:
            line.append(f"«{piece.text}»")
    return line


def explanation(matches: Sequence[Match]) -> str:
    """`query token → matched token similarity`, in the order of the query."""
    return ", ".join(f"{m.query_token} → {m.token} {m.similarity:.2f}" for m in matches)
