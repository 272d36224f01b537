"""Files and folders: which are taken, as what, and the passages that they become."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from latewood.errors import InputError
from latewood.ingest.chunking import Chunk, Chunker
from latewood.ingest.decoding import decode
from latewood.ingest.document import Document, Section
from latewood.ingest.markup import read_html, read_markdown, read_text
from latewood.pages import PAGE_KINDS
from latewood.types import Passage

__all__ = [
    "MAX_BYTES",
    "MAX_PAGE_BYTES",
    "Found",
    "Listing",
    "Rules",
    "Skipped",
    "chunked",
    "digest",
    "find_files",
    "passages_of",
]

MAX_BYTES = 16 << 20
"""Files above this are not taken, unless asked for: they are mostly data."""

MAX_PAGE_BYTES = 1 << 30
"""The same for PDF and image files, which are read page by page."""

KINDS = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), "markdown"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".txt", ".text", ".rst", ".adoc", ".org", ".tex", ""), "text"),
    ".jsonl": "jsonl",
    ".pdf": "pdf",
}
"""What a file is read as, by the end of its name."""

_READERS = {"text": read_text, "markdown": read_markdown, "html": read_html}
_VERSION = b"1"
"""Raised when readers or chunking change what they give, so that files are read again."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which files of a folder are taken.

    Args:
        include: globs; where there are any, a file must match one, and one of another type is read as text.
        exclude: globs; a file or folder that matches one is not taken.
        max_bytes: larger files are not taken, and named.
        max_page_bytes: the same for PDF and image files.
    """

    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    max_bytes: int = MAX_BYTES
    max_page_bytes: int = MAX_PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read: where it is, its id (its path relative to the folder that was given), and as what."""

    path: Path
    source_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not taken, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Listing:
    """What is in the paths that were given.

    Args:
        files: to read, in the order of their names.
        skipped: not taken, named.
        other_types: files that no reader is for, counted by the end of their names.
        excluded: files and folders that a glob or a leading dot left out.
    """

    files: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    other_types: Counter[str] = field(default_factory=Counter)
    excluded: int = 0


def find_files(paths: Sequence[Path], rules: Rules, apart: Path | None = None) -> Listing:
    """List the files of these folders, and these files.

    Links to files are followed, links to folders are not. Names that begin with a dot are left out.

    Args:
        paths: folders and files.
        rules: which are taken.
        apart: a folder to stay out of: the collection's own.

    Raises:
        InputError: a path isn't there, or two files would bear the same id.
    """
    listing = Listing()
    for path in paths:
        if path.is_dir():
            _walk(path, rules, apart.resolve() if apart is not None else None, listing)
        elif path.exists():
            _take(path, path.name, rules, listing, named=True)
        else:
            raise InputError(f"{path}: nothing is there; expected a folder or a file to index")
    seen: dict[str, Path] = {}
    for file in listing.files:
        other = seen.setdefault(file.source_id, file.path)
        if other != file.path:
            raise InputError(
                f"{other} and {file.path} would both be '{file.source_id}': index a folder that holds both instead"
            )
    listing.files = [replace(file, path=seen[name]) for name, file in {f.source_id: f for f in listing.files}.items()]
    return listing


def _walk(root: Path, rules: Rules, apart: Path | None, listing: Listing) -> None:
    def refused(error: OSError) -> None:
        listing.skipped.append(Skipped(str(error.filename), error.strerror or str(error)))

    for folder, folders, names in os.walk(root, onerror=refused):
        here = Path(folder)
        kept = []
        for name in sorted(folders):
            path = here / name
            if name.startswith(".") or _matches((path.relative_to(root)).as_posix(), rules.exclude):
                listing.excluded += 1
            elif path.is_symlink():
                listing.skipped.append(Skipped(str(path), "a link to a folder"))
            elif apart is None or path.resolve() != apart:
                kept.append(name)
        folders[:] = kept
        for name in sorted(names):
            _take(here / name, (here / name).relative_to(root).as_posix(), rules, listing, named=False)


def _take(path: Path, source_id: str, rules: Rules, listing: Listing, *, named: bool) -> None:
    """Put a file where it belongs in the listing. One that was named itself is taken whatever its type is."""
    wanted = named or _matches(source_id, rules.include)
    if not named and (
        path.name.startswith(".") or _matches(source_id, rules.exclude) or (rules.include and not wanted)
    ):
        listing.excluded += 1
        return
    # Pictures in a folder are mostly logos and figures: they are pages where they were asked for.
    suffix = path.suffix.lower()
    kind = KINDS.get(suffix, PAGE_KINDS.get(suffix, "text") if wanted else "")
    if not kind:
        listing.other_types[suffix] += 1
        return
    reason = _refusal(path, source_id, rules.max_page_bytes if kind in ("pdf", "image") else rules.max_bytes)
    if reason:
        listing.skipped.append(Skipped(str(path).encode(errors="replace").decode(), reason))
    else:
        listing.files.append(Found(path, source_id, kind))


def _refusal(path: Path, source_id: str, max_bytes: int) -> str:
    """Why a file can't be taken, "" if it can."""
    if not source_id.isprintable() or source_id.encode(errors="replace").decode() != source_id:
        return "its name holds characters that an id can't"
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if found.st_size > max_bytes and path.suffix != ".jsonl":
        return f"{found.st_size:,} bytes, more than {max_bytes:,}"
    return ""


def _matches(source_id: str, globs: Sequence[str]) -> bool:
    """Whether a path, or its last part, matches one of these globs."""
    name = source_id.rpartition("/")[2]
    return any(fnmatchcase(source_id, glob) or fnmatchcase(name, glob) for glob in globs)


def digest(data: bytes, kind: str, chunker: Chunker) -> str:
    """Hex that changes when a file's passages may: its content, and how it is read and cut."""
    settings = f"{kind} {chunker.limit} {chunker.overlap} ".encode()
    return hashlib.blake2b(_VERSION + settings + data, digest_size=16).hexdigest()


def passages_of(file: Found, data: bytes, chunker: Chunker) -> tuple[list[Passage], str]:
    """The passages of a file, and the name of the encoding that it is in.

    Metadata: `span`, the characters [start, end] of the passage in the file's text (for HTML, in the text that was
    extracted); `digest`, of the file; `passages`, how many it has. `title` is the path of headings.

    Raises:
        InputError: it isn't text; the message is the reason alone.
        MissingExtra: a reader isn't installed.
    """
    text, encoding = decode(data, html=file.kind == "html")
    chunks = list(chunker.chunks(_READERS[file.kind](text)))
    if not chunks:
        raise InputError("no text in it")
    metadata = {"digest": digest(data, file.kind, chunker), "passages": len(chunks)}
    return [
        Passage(
            name,
            chunk.text,
            file.source_id,
            chunk.title,
            str(file.path),
            {"span": [chunk.start, chunk.end], **metadata},
        )
        for name, chunk in zip(_ids(file.source_id, chunks), chunks, strict=True)
    ], encoding


def chunked(passage: Passage, chunker: Chunker) -> Iterator[Passage]:
    """A JSONL document as passages that fit; itself if it does. `span` is in its text behind the title."""
    body = passage.text[len(passage.title) :].lstrip("\n") if passage.title else passage.text
    path = (passage.title,) if passage.title else ()
    chunks = list(chunker.chunks(Document(body, (Section(path, 0, len(body)),))))
    if len(chunks) < 2:
        yield passage
        return
    for name, chunk in zip(_ids(passage.source_id, chunks), chunks, strict=True):
        metadata = {**passage.metadata, "span": [chunk.start, chunk.end]}
        yield replace(passage, id=name, text=chunk.text, title=chunk.title, metadata=metadata)


def _ids(source_id: str, chunks: Sequence[Chunk]) -> list[str]:
    """`source_id#n` from 1, or the bare id of a source that is one passage."""
    return [source_id] if len(chunks) == 1 else [f"{source_id}#{n}" for n in range(1, len(chunks) + 1)]
