"""Citations in an answer: numbers in brackets, what they stand for, and which sentence they belong to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from latewood.types import Passage

__all__ = ["Citation", "citation_of", "cited_numbers", "sentences_with_citations"]

_NUMBERS = re.compile(r"\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\]")
_END = re.compile(r"(?<=[.!?。！？…])(?:[\"'”’)»])*((?:\s*\[[\d,; ]+\])*)(?=\s|$)|\n+")


@dataclass(frozen=True, slots=True)
class Citation:
    """What a number in brackets stands for.

    Args:
        number: in the answer, from 1.
        id: of the passage.
        source_id: of the document that it comes from.
        source: where that came from, e.g. the path of a file; "" for unknown.
        page: of a paged document, from 1; None for others.
        span: characters of the document's text, end exclusive; None where the passage is the whole of it.
        title: the passage's headings; "" for none.
    """

    number: int
    id: str
    source_id: str
    source: str
    page: int | None = None
    span: tuple[int, int] | None = None
    title: str = ""

    @property
    def place(self) -> str:
        """Source, page and span, for people."""
        where = self.source or self.source_id
        page = f", page {self.page}" if self.page is not None else ""
        span = f", characters {self.span[0]}-{self.span[1]}" if self.span is not None else ""
        return where + page + span

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        return {
            "number": self.number,
            "id": self.id,
            "source_id": self.source_id,
            "source": self.source,
            "page": self.page,
            "span": list(self.span) if self.span else None,
            "title": self.title,
        }


def citation_of(number: int, passage: Passage) -> Citation:
    """Of a passage; page and span are where reading files put them, in its metadata."""
    page, span = passage.metadata.get("page"), passage.metadata.get("span")
    sound = isinstance(span, list | tuple) and len(span) == 2 and all(type(at) is int for at in span)
    return Citation(
        number=number,
        id=passage.id,
        source_id=passage.source_id,
        source=passage.source,
        page=page if type(page) is int else None,
        span=(span[0], span[1]) if sound and span is not None else None,
        title=passage.title,
    )


def cited_numbers(text: str) -> list[int]:
    """The numbers in brackets, in order of first appearance, each once."""
    found = [int(number) for group in _NUMBERS.findall(text) for number in re.findall(r"\d+", group)]
    return list(dict.fromkeys(found))


def sentences_with_citations(text: str, count: int) -> list[tuple[str, list[int]]]:
    """The sentences of an answer without their citations, each with the numbers that it cites.

    Args:
        text: the answer. A number after the full stop belongs to the sentence before it.
        count: how many texts there are; other numbers stand for nothing, and are left out.
    """
    found: list[tuple[str, list[int]]] = []
    start = 0
    ends = [match.end() for match in _END.finditer(text)]
    for end in [*ends, len(text)]:
        part = text[start:end]
        start = end
        sentence = " ".join(_NUMBERS.sub("", part).split())
        numbers = [number for number in cited_numbers(part) if 1 <= number <= count]
        if not re.search(r"\w", sentence):
            if found and numbers:
                found[-1] = found[-1][0], list(dict.fromkeys([*found[-1][1], *numbers]))
            continue
        found.append((sentence, numbers))
    return found


def numbered(passages: Sequence[Passage]) -> list[Citation]:
    """All passages as they may be cited."""
    return [citation_of(number, passage) for number, passage in enumerate(passages, start=1)]
