"""Documents to chunks that fit a model: paragraphs packed until the limit, never across a heading.

A paragraph that doesn't fit is divided at sentences, a sentence at words, a word in half. Neighbouring chunks of a
section share whole units of at most `overlap` tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from latewood.errors import UsageError
from latewood.ingest.document import Document, Section

__all__ = ["Chunk", "Chunker"]

SEPARATOR = " > "

_DIVISIONS = (
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"\n\s*|(?<=[.!?;])\s+|(?<=[。！？；])"),
    re.compile(r"\s+"),
)
_LEAST = 8
"""Tokens that a limit must have: some special ones, and room for a word of text."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage's worth of a document.

    Args:
        title: the headings above it, "Guide > Install"; "" for none. Outer ones are dropped if they take over half.
        start: its first character in the document's text.
        end: behind its last one.
        text: what a passage holds: the title on a line of its own, and the characters start:end.
    """

    title: str
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Chunker:
    """Cuts documents for one model.

    Args:
        count_tokens: tokens of a text as the model counts them, special ones included.
        limit: tokens that a chunk may have, its title and special tokens included.
        overlap: tokens that neighbouring chunks may share.

    Raises:
        UsageError: a limit below 8 tokens, or an overlap of half the limit and more.
    """

    count_tokens: Callable[[str], int]
    limit: int
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.limit < _LEAST or not 0 <= self.overlap < self.limit / 2:
            raise UsageError(
                f"chunks of {self.limit} tokens, {self.overlap} shared: expected {_LEAST} or more, under half shared"
            )

    def chunks(self, document: Document) -> Iterator[Chunk]:
        """The chunks of a document, in order. A heading with nothing below it is a chunk of its title alone."""
        for i, section in enumerate(document.sections):
            start, end = _stripped(document.text, section.start, section.end)
            title = self._title(section.path)
            if start < end:
                yield from self._section(document.text, (start, end), title)
            elif title and _is_leaf(document.sections, i):
                yield Chunk(title, start, start, title)

    def _title(self, path: tuple[str, ...]) -> str:
        for i in range(len(path)):
            title = SEPARATOR.join(path[i:])
            if self.count_tokens(title) <= self.limit // 2:
                return title
        return ""

    def _section(self, text: str, span: Span, title: str) -> Iterator[Chunk]:
        head = f"{title}\n" if title else ""
        if self._fits(head + text[span[0] : span[1]]):
            yield Chunk(title, *span, head + text[span[0] : span[1]])
            return
        units = list(self._units(text, span, head, 0))
        empty = self.count_tokens("")
        sizes = [self.count_tokens(text[a:b]) - empty for a, b in units]
        room = self.limit - self.count_tokens(head)
        first = 0
        while first < len(units):
            last, size = first + 1, sizes[first]
            while last < len(units) and size + sizes[last] <= room:
                size += sizes[last]
                last += 1
            # Sizes of parts are an estimate for tokenizers that merge across them: what counts is the whole.
            while last > first + 1 and not self._fits(head + text[units[first][0] : units[last - 1][1]]):
                last -= 1
            start, end = units[first][0], units[last - 1][1]
            yield Chunk(title, start, end, head + text[start:end])
            if last == len(units):
                return
            first = self._shared(sizes, first, last, room)

    def _shared(self, sizes: list[int], first: int, last: int, room: int) -> int:
        """The unit that the next chunk begins with: as far back as the overlap allows, and it must reach new text."""
        start, size = last, 0
        while start > first + 1 and size + sizes[start - 1] <= self.overlap:
            if size + sizes[start - 1] + sizes[last] > room:
                break
            start -= 1
            size += sizes[start]
        return start

    def _units(self, text: str, span: Span, head: str, level: int) -> Iterator[Span]:
        """Stretches that fit, each as large as its level of division allows."""
        start, end = span
        if self._fits(head + text[start:end]) or end - start == 1:
            yield span
        elif level == len(_DIVISIONS):
            middle = (start + end) // 2
            yield from self._units(text, (start, middle), head, level)
            yield from self._units(text, (middle, end), head, level)
        else:
            for part in _divided(text, span, _DIVISIONS[level]):
                yield from self._units(text, part, head, level + 1)

    def _fits(self, text: str) -> bool:
        return self.count_tokens(text) <= self.limit


def _divided(text: str, span: Span, division: re.Pattern[str]) -> Iterator[Span]:
    start = span[0]
    for match in division.finditer(text, *span):
        if match.start() > start:
            yield start, match.start()
        start = match.end()
    if start < span[1]:
        yield start, span[1]


def _stripped(text: str, start: int, end: int) -> Span:
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return start, start + len(inner.strip())


def _is_leaf(sections: tuple[Section, ...], i: int) -> bool:
    """Whether no section below it carries its headings on."""
    path = sections[i].path
    return i + 1 == len(sections) or sections[i + 1].path[: len(path)] != path
