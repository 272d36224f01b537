"""The chunks that today's system searches, as far as an audit needs to know them: ids, sources, texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from latewood.errors import InputError
from latewood.types import Passage

__all__ = ["Corpus", "source_of"]

_NUMBERED = re.compile(r"(?P<source>.+)#[0-9]+")
_PAGE = re.compile(r".+\.pdf#[0-9]+", re.IGNORECASE)
_BATCH = 1000
"""Passages that are read at a time when all of them are looked through."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """What can be found.

    Args:
        sources: passage id → id of the document that it is a part of; the id itself where it is one.
        read: ids → their passages, in this order.
    """

    sources: Mapping[str, str]
    read: Callable[[Sequence[str]], Sequence[Passage]]

    def __len__(self) -> int:
        """The number of chunks."""
        return len(self.sources)

    @property
    def pages(self) -> int:
        """Chunks that are pages of a PDF, told by their ids: `FILE.pdf#PAGE`."""
        return sum(_PAGE.fullmatch(passage_id) is not None for passage_id in self.sources)

    def passages(self) -> Iterator[Passage]:
        """All of them, in the order of `sources`."""
        ids = list(self.sources)
        for start in range(0, len(ids), _BATCH):
            yield from self.read(ids[start : start + _BATCH])

    @classmethod
    def of(cls, passages: Iterable[Passage]) -> Corpus:
        """Hold passages in memory.

        A passage's source is its `source_id`; where that is the id itself, the member `source_id` of its metadata,
        or what stands before `#` and a number at the end of the id.

        Raises:
            InputError: an id that comes twice, or no passages.
        """
        held: dict[str, Passage] = {}
        for passage in passages:
            if passage.id in held:
                raise InputError(f"the corpus has {passage.id!r} twice; give each chunk its own id")
            held[passage.id] = replace(passage, source_id=_source(passage))
        if not held:
            raise InputError("the corpus is empty; expected the chunks that today's system searches")
        return cls(
            {passage_id: passage.source_id for passage_id, passage in held.items()},
            lambda ids: [held[passage_id] for passage_id in ids],
        )


def source_of(passage_id: str) -> str:
    """The document of a chunk by its id alone: `guide.md` of `guide.md#3`, else the id itself."""
    found = _NUMBERED.fullmatch(passage_id)
    return found["source"] if found else passage_id


def _source(passage: Passage) -> str:
    if passage.source_id != passage.id:
        return passage.source_id
    stated = passage.metadata.get("source_id")
    return stated if isinstance(stated, str) and stated else source_of(passage.id)
