"""A file as text with headings: what every reader gives and the chunker takes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Document", "Outline", "Section"]


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of text under one heading, up to the next heading.

    Args:
        path: the headings above it, outermost first; () before the first heading.
        start: its first character in the document's text.
        end: behind its last one.
    """

    path: tuple[str, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """Text, and the sections that divide it: in order, none overlapping; between them only headings and blanks."""

    text: str
    sections: tuple[Section, ...]


class Outline:
    """The headings above the place where a reader is."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> None:
        """Meet a heading; it closes all of its own level and below."""
        self._open = [(other, name) for other, name in self._open if other < level]
        if words := " ".join(title.split()):
            self._open.append((level, words))

    @property
    def path(self) -> tuple[str, ...]:
        """The headings, outermost first."""
        return tuple(name for _, name in self._open)
