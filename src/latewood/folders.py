"""Files and folders into a collection: what is unchanged is not read twice, what shrank or went leaves nothing behind.

Every passage of a file carries the digest of the file and their number, so the collection itself knows which files are
whole and unchanged; there is no list beside it that could disagree.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from latewood.collection import AddReport, Collection, Progress
from latewood.errors import InputError, StorageError
from latewood.ingest import (
    Chunker,
    Found,
    Listing,
    PageReader,
    PageReport,
    Reading,
    Rules,
    Skipped,
    chunked,
    count_jsonl,
    digest,
    find_files,
    passages_of,
    read_jsonl,
)
from latewood.types import Passage

__all__ = ["FolderReport", "index_paths"]

_AT_ONCE = 2048
_SURVEYED = 100
"""Files, or documents of a JSONL file, that are cut to tell how many passages all will give."""

_PAGES = ("pdf", "image")
"""Kinds of files that are read page by page, and not cut: a page is a passage."""

_LIMIT = 256
"""Tokens of a passage where the model would take more: longer ones are found worse and shown worse."""


@dataclass(slots=True)
class FolderReport:
    """What `index_paths` did.

    Args:
        passages: what `Collection.add` did with passages.
        listing: what was found; `skipped` also holds what turned out to be unreadable.
        read: files whose content was new or changed.
        unchanged: files that were as they were.
        surplus: passages removed because their source has fewer now.
        pruned: sources removed because they are gone.
        decoded: files that are not UTF-8, with their encoding.
        pages: what became of the pages of PDF and image files that were read.
    """

    passages: AddReport = field(default_factory=AddReport)
    listing: Listing = field(default_factory=Listing)
    read: int = 0
    unchanged: int = 0
    surplus: int = 0
    pruned: list[str] = field(default_factory=list)
    decoded: dict[str, str] = field(default_factory=dict)
    pages: PageReport = field(default_factory=PageReport)


@dataclass(slots=True)
class _Stored:
    """A source as the collection has it."""

    ids: set[str] = field(default_factory=set)
    versions: set[tuple[str, int]] = field(default_factory=set)
    source: str = ""

    def is_whole(self, content: str) -> bool:
        """Whether all its passages are of a file with this digest, and none is missing or left over.

        Pages are encoded while they are read, so only the last one knows how many there are.
        """
        return self.versions - {(content, 0)} == {(content, len(self.ids))}


def index_paths(
    kb: Collection,
    paths: Sequence[Path],
    *,
    rules: Rules | None = None,
    chunk_jsonl: bool = False,
    prune: bool = False,
    progress: Progress | None = None,
    kind: str = "",
    expect: Callable[[int], None] | None = None,
    vectors_from: Collection | None = None,
    reading: Reading | None = None,
) -> FolderReport:
    """Bring a collection up to the files and folders at `paths`.

    Args:
        kb: the collection.
        paths: folders and files. The id of a file is its path relative to the folder; JSONL documents bring theirs.
        rules: which files of folders are taken.
        chunk_jsonl: cut JSONL documents as other files are; else each is one passage.
        prune: remove what came from these paths and isn't found any more. A file that can't be read isn't gone.
        progress: called with the number of passages done since the last call.
        kind: what all the files are read as, e.g. "jsonl"; "" to go by their names.
        expect: called, before and now and then, with how many passages there will be in all: an estimate from a sample
            of the files that changed, until all are read.
        vectors_from: as of `Collection.add`.
        reading: how PDF and image files are read; None for all pages, with tesseract where it is needed and installed.
            Pages without text are taken where the collection's encoder reads images.

    Raises:
        InputError: a path isn't there, or two files would bear the same id.
        MissingExtra: a reader isn't installed.
        UsageError: tesseract doesn't know the language, or is forced and isn't installed.
    """
    listing = find_files(paths, rules or Rules(), kb.path)
    if kind:
        listing.files = [replace(file, kind=kind) for file in listing.files]
    reading = reading or Reading()
    with PageReader(replace(reading, images=reading.images or bool(kb.spec.image_prompt))) as reader:
        run = _Run(kb, listing, chunk_jsonl, reader, expect)
        run.check_origins()
        if expect is not None:
            run.survey()
        run.report.passages = kb.add(run.passages(), progress, vectors_from=vectors_from)
    run.report.surplus = kb.delete(run.surplus) if run.surplus else 0
    if prune:
        run.prune(paths)
    return run.report


class _Run:
    """One pass over the files of a listing."""

    def __init__(
        self,
        kb: Collection,
        listing: Listing,
        chunk_jsonl: bool,
        reader: PageReader,
        expect: Callable[[int], None] | None = None,
    ) -> None:
        limit = min(kb.spec.max_length, _LIMIT)
        # The encoder is asked for when the first text is cut, and not before: loading it takes seconds.
        self._chunker = Chunker(
            lambda text: kb.encoder.count_tokens(text), limit, min(kb.spec.overlap, (limit - 1) // 2)
        )
        self._kb = kb
        self._chunk_jsonl = chunk_jsonl
        self._reader = reader
        self._stored = _stored_sources(kb)
        self._seen: set[str] = set()
        self._expect = expect
        self._ahead: dict[str, float] = {}
        self._given = 0
        self.surplus: list[str] = []
        self.report = FolderReport(listing=listing, pages=reader.report)

    def check_origins(self) -> None:
        """Refuse to put a file over another one that bears the same id and is still there."""
        for file in self.report.listing.files:
            stored = self._stored.get(file.source_id)
            other = Path(stored.source) if stored is not None and file.kind != "jsonl" else file.path
            if other != file.path and other.is_file() and not other.samefile(file.path):
                raise InputError(
                    f"{file.path} would replace {other}, which is '{file.source_id}' in {self._kb.path}: "
                    f"index a folder that holds both, or use another collection"
                )

    def passages(self) -> Iterator[Passage]:
        """The passages of all files that are not as they were, and of all JSONL documents."""
        for file in self.report.listing.files:
            for passage in self._of(file):
                self._given += 1
                yield passage
            if self._ahead.pop(str(file.path), 0.0) and self._expect is not None:
                self._expect(self._given + round(sum(self._ahead.values())))

    def _of(self, file: Found) -> Iterable[Passage]:
        if file.kind == "jsonl":
            return self._records(file)
        return self._pages(file) if file.kind in _PAGES else self._file(file)

    def survey(self) -> None:
        """Tell how many passages there will be: those of a sample of the files to be read, by their bytes."""
        changed = [file for file in self.report.listing.files if not self._is_unchanged(file)]
        sizes = {str(file.path): float(file.path.stat().st_size) for file in changed if file.path.is_file()}
        dense: dict[str, list[float]] = {}  # passages and bytes of what was sampled, by kind of file
        step = max(1, len(changed) // _SURVEYED)
        for file in changed[step // 2 :: step]:
            passages = self._count(file)
            if passages is not None and str(file.path) in sizes:
                of_kind = dense.setdefault(file.kind, [0.0, 0.0])
                of_kind[0] += passages
                of_kind[1] += sizes[str(file.path)]
        total = [sum(values) for values in zip(*dense.values(), strict=True)] or [0.0, 1.0]
        for file in changed:
            passages_in, bytes_in = dense.get(file.kind, total)
            self._ahead[str(file.path)] = passages_in / max(1.0, bytes_in) * sizes.get(str(file.path), 0.0)
        if self._expect is not None:
            self._expect(round(sum(self._ahead.values())))

    def _is_unchanged(self, file: Found) -> bool:
        if file.kind == "jsonl":
            return False
        try:
            content = self._digest(file)
        except OSError:
            return True  # told of when its turn comes
        return self._stored.get(file.source_id, _Stored()).is_whole(content)

    def _digest(self, file: Found) -> str:
        if file.kind in _PAGES:
            return self._reader.digest(file.path, file.kind)
        return digest(file.path.read_bytes(), file.kind, self._chunker)

    def _count(self, file: Found) -> int | None:
        """Passages of one file; None where it can't be read, which is told of when its turn comes."""
        try:
            if file.kind in _PAGES:
                return self._reader.count(file.path)
            if file.kind != "jsonl":
                return len(passages_of(file, file.path.read_bytes(), self._chunker)[0])
            count = count_jsonl(file.path)
            if not self._chunk_jsonl:
                return count
            step = max(1, count // _SURVEYED)
            sample = list(islice(read_jsonl(file.path), step // 2, None, step))
            cut = sum(len(list(chunked(document, self._chunker))) for document in sample)
            return round(cut / max(1, len(sample)) * count)
        except (InputError, StorageError, OSError):
            return None

    def _file(self, file: Found) -> list[Passage]:
        self._seen.add(file.source_id)
        try:
            data = file.path.read_bytes()
        except OSError as error:
            self._skip(file, error.strerror or str(error))
            return []
        stored = self._stored.get(file.source_id, _Stored())
        if stored.is_whole(digest(data, file.kind, self._chunker)):
            self.report.unchanged += 1
            return []
        try:
            passages, encoding = passages_of(file, data, self._chunker)
        except InputError as error:
            self._skip(file, str(error))
            return []
        if encoding != "utf-8":
            self.report.decoded[str(file.path)] = encoding
        self.report.read += 1
        self.surplus += sorted(stored.ids - {passage.id for passage in passages})
        return passages

    def _pages(self, file: Found) -> Iterator[Passage]:
        """Pages as they are read; one that was there and isn't any more is found when the last one has been."""
        self._seen.add(file.source_id)
        stored = self._stored.get(file.source_id, _Stored())
        given: set[str] = set()
        try:
            if stored.is_whole(self._reader.digest(file.path, file.kind)):
                self.report.unchanged += 1
                return
            for page in self._reader.pages(file):
                given.add(page.id)
                yield page
        except InputError as error:
            self._skip(file, str(error))
            return
        except OSError as error:
            self._skip(file, error.strerror or str(error))
            return
        self.report.read += 1
        self.surplus += sorted(stored.ids - given)

    def _records(self, file: Found) -> Iterator[Passage]:
        try:
            count_jsonl(file.path)
        except (InputError, StorageError) as error:
            self._skip(file, str(error).removeprefix(f"{file.path}:").strip())
            return
        self.report.read += 1
        for document in read_jsonl(file.path):
            passages = list(chunked(document, self._chunker)) if self._chunk_jsonl else [document]
            if document.source_id in self._stored:
                self.surplus += sorted(self._stored[document.source_id].ids - {passage.id for passage in passages})
            self._seen.add(document.source_id)
            yield from passages

    def _skip(self, file: Found, reason: str) -> None:
        self.report.listing.skipped.append(Skipped(str(file.path), reason))

    def prune(self, paths: Sequence[Path]) -> None:
        """Remove the sources that came from these paths and were not met."""
        roots = [os.path.normpath(path) for path in paths]
        kept = {os.path.normpath(skipped.path) for skipped in self.report.listing.skipped}
        for name, stored in sorted(self._stored.items()):
            source = os.path.normpath(stored.source) if stored.source else ""
            ours = any(_lies_in(source, root) for root in roots)
            # Nor is anything gone that lies in a folder which couldn't be read.
            unread = any(_lies_in(source, path) for path in kept)
            if ours and not unread and name not in self._seen:
                self.report.pruned.append(name)
        gone = [name for source in self.report.pruned for name in sorted(self._stored[source].ids)]
        if gone:
            self._kb.delete(gone)


def _lies_in(source: str, path: str) -> bool:
    """Whether a normal path is this one, or of something inside."""
    if path == os.curdir:
        return bool(source) and not Path(source).is_absolute() and not source.startswith(os.pardir)
    return source == path or source.startswith(path.rstrip(os.sep) + os.sep)


def _stored_sources(kb: Collection) -> dict[str, _Stored]:
    """All sources of a collection, by their ids."""
    names = list(kb.sources())
    found: dict[str, _Stored] = {}
    for start in range(0, len(names), _AT_ONCE):
        for passage in kb.get(names[start : start + _AT_ONCE]):
            stored = found.setdefault(passage.source_id, _Stored())
            stored.ids.add(passage.id)
            stored.versions.add((str(passage.metadata.get("digest")), int(passage.metadata.get("passages") or 0)))
            stored.source = passage.source
    return found
