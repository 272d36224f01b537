"""A text in pieces, each with what of the question it matched and how strongly: what the page shades."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from latewood.types import Match

__all__ = ["Shade", "Word", "query_words", "shaded", "unwrapped"]

LEVELS = 5
_WIDTH = 360
_WRAPPED = re.compile(r"(?<=\S)\n[ \t]*(?=[a-z(])")


@dataclass(frozen=True, slots=True)
class Shade:
    """Some characters of a text.

    Args:
        text: they.
        level: 0 for unmarked, 1 to 5 by how strong the match is.
        words: the numbers of the query's tokens that matched here, best first.
        said: the same for people: `wood 0.83, late 0.41`.
    """

    text: str
    level: int = 0
    words: tuple[int, ...] = ()
    said: str = ""

    @property
    def numbers(self) -> str:
        """`words` as an attribute of HTML."""
        return " ".join(map(str, self.words))


@dataclass(frozen=True, slots=True)
class Word:
    """A token of the query, for people: its number, and what it is called."""

    number: int
    text: str
    special: bool


def query_words(matches: Sequence[Match]) -> list[Word]:
    """The tokens of the query, in order, as any hit's matches have them."""
    return [Word(i, _plain(match.query_token), _is_special(match.query_token)) for i, match in enumerate(matches)]


def unwrapped(text: str, title: int = 0) -> str:
    """A text whose lines were broken at some width, with those breaks as blanks; no character moves.

    Args:
        text: of a passage.
        title: characters of the title, whose line stays one.
    """
    return text[: title + 1] + _WRAPPED.sub(lambda found: " " * len(found[0]), text[title + 1 :])


def shaded(text: str, matches: Sequence[Match], width: int | None = _WIDTH) -> list[Shade]:
    """Cut a text into shaded pieces.

    A token of the text is as strong as the best match that ended there. Strengths are relative within the hit: the
    weakest half is left unmarked where everything would be marked otherwise.

    Args:
        text: of a passage.
        matches: of a hit.
        width: characters to show, where most of it matched; None for all.
    """
    places: dict[tuple[int, int], list[tuple[float, int, str]]] = {}
    for number, match in enumerate(matches):
        # Special tokens stand for no word, and punctuation for little.
        if match.end > match.start and any(map(str.isalnum, text[match.start : match.end])):
            found = (match.similarity, number, _plain(match.query_token))
            places.setdefault((match.start, match.end), []).append(found)
    spans = sorted(places)
    strengths = {span: max(places[span])[0] for span in spans}
    start, end = _window(text, strengths, width)
    pieces: list[Shade] = [Shade("… ")] if start else []
    at = start
    for left, right in spans:
        if left < at or right > end:
            continue
        if left > at:
            pieces.append(Shade(text[at:left]))
        pieces.append(_shade(text[left:right], strengths[left, right], places[left, right]))
        at = right
    if at < end:
        pieces.append(Shade(text[at:end]))
    if end < len(text):
        pieces.append(Shade(" …"))
    return pieces


def _shade(text: str, strength: float, found: list[tuple[float, int, str]]) -> Shade:
    best = sorted(found, key=lambda each: (-each[0], each[1]))
    # Similarities of contextual tokens seldom fall below 0.2, so the scale begins there.
    level = min(LEVELS, max(1, 1 + int((strength - 0.2) / 0.8 * LEVELS)))
    said = ", ".join(f"{name} {similarity:.2f}" for similarity, _, name in best)
    return Shade(text, level, tuple(number for _, number, _ in best), said)


def _window(text: str, strengths: dict[tuple[int, int], float], width: int | None) -> tuple[int, int]:
    """Where the strongest matches lie together, from the start of a word."""
    if width is None or len(text) <= width:
        return 0, len(text)
    best, most = 0, -1.0
    for left, _ in strengths:
        held = sum(value**2 for (a, b), value in strengths.items() if a >= left and b <= left + width - 60)
        if held > most:
            best, most = max(0, left - 60), held
    if best < 60:
        return 0, width
    begin = text.find(" ", best) + 1
    begin = begin if 0 < begin < best + 60 else best
    return begin, min(len(text), begin + width)


def _is_special(token: str) -> bool:
    return token.startswith("[") and token.endswith("]") and len(token) > 2


def _plain(token: str) -> str:
    """A token without what tokenizers mark the joints of words with."""
    return token.removeprefix("##").lstrip("▁Ġ") or token
