"""What clients send to be indexed, to passages. An upload is data: its name becomes an id and never a path."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from latewood.errors import InputError, LatewoodError
from latewood.ingest import Chunker, Found, PageReader, Reading, chunked, count_jsonl, passages_of, read_jsonl
from latewood.ingest.files import KINDS
from latewood.serve.lanes import LaneEncoder
from latewood.serve.problems import Refusal
from latewood.types import Passage

__all__ = ["Upload", "chunker_of", "kind_of", "shown_name"]

_LIMIT = 256
"""Tokens of a passage where the model would take more, as `latewood index` has it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Upload:
    """Something that was sent, spooled to the disk.

    Args:
        path: where it lies now, under a name of ours.
        name: what the client calls it.
        kind: "jsonl", or one of the kinds of `latewood.ingest`.
    """

    path: Path
    name: str
    kind: str

    def count(self, chunker: Chunker) -> int:
        """Read all of it once, before anything is changed; the number of passages.

        Raises:
            InputError: in words that name the upload, its line, and nothing of this machine.
        """
        return sum(1 for _ in self.passages(chunker, chunk=False)) if self.kind != "jsonl" else self._count()

    def passages(self, chunker: Chunker, *, chunk: bool) -> Iterator[Passage]:
        """Its passages. A JSONL document is one, unless it is to be cut; a file is cut always."""
        if self.kind == "jsonl":
            for document in read_jsonl(self.path):
                document = replace(document, source=self.name)
                yield from chunked(document, chunker) if chunk else [document]
            return
        if self.kind == "pdf":
            yield from self._pages()
            return
        try:
            found, _ = passages_of(Found(self.path, self.name, self.kind), self.path.read_bytes(), chunker)
        except LatewoodError as error:
            raise InputError(f"{self.name}: {self._said(error)}") from None
        for passage in found:
            yield replace(passage, source=self.name)

    def _pages(self) -> Iterator[Passage]:
        """Its pages that have text. The file isn't kept, so they can't be drawn."""
        try:
            with PageReader(Reading(ocr="off")) as reader:
                for page in reader.pages(Found(self.path, self.name, "pdf")):
                    yield replace(page, source=self.name, metadata={**page.metadata, "uploaded": True})
        except LatewoodError as error:
            raise InputError(f"{self.name}: {self._said(error)}") from None

    def _count(self) -> int:
        try:
            return count_jsonl(self.path)
        except InputError as error:
            raise InputError(self._said(error)) from None

    def _said(self, error: LatewoodError) -> str:
        return str(error).replace(str(self.path), self.name)


def chunker_of(encoder: LaneEncoder) -> Chunker:
    """Cuts texts as `latewood index` does."""
    limit = min(encoder.spec.max_length, _LIMIT)
    return Chunker(encoder.count_tokens, limit, min(encoder.spec.overlap, (limit - 1) // 2))


def shown_name(given: str | None) -> str:
    """The last part of a file's name, which is all that is taken of it.

    Raises:
        Refusal: nothing is left.
    """
    name = PurePosixPath((given or "").replace("\\", "/")).name
    name = _CONTROL.sub("", name).encode("utf-8", "replace").decode()[:200]
    if not name or name in {".", ".."}:
        raise Refusal(422, "a file without a name: its name becomes the id of its document", "files")
    return name


def kind_of(name: str) -> str:
    """How a file is read, by the end of its name.

    Raises:
        Refusal: 415, nobody reads it.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".jsonl":
        return "jsonl"
    if suffix not in KINDS:
        raise Refusal(415, f"{name}: can't read '{suffix}': expected {', '.join(sorted({*KINDS, '.jsonl'}))}", "files")
    return KINDS[suffix]
