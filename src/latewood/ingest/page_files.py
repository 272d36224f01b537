"""PDF and image files to pages, one passage each; pages without a text layer are read by tesseract, or named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import numpy as np

from latewood.errors import InputError, UsageError
from latewood.ingest.files import Found, Skipped
from latewood.pages import OCR_DPI, PageFiles, PageText, Tesseract, Unreadable
from latewood.types import Page

__all__ = ["OCR_MODES", "PageRanges", "PageReader", "PageReport", "Reading"]

OCR_MODES = ("auto", "off", "force")

_VERSION = b"pages 1"
"""Raised when reading changes what it gives, so that files are read again."""

_RANGE = re.compile(r"(\d+)(?:(-)(\d+)?)?")


@dataclass(frozen=True, slots=True)
class PageRanges:
    """Which pages of a file are taken: "1-20,35,90-" as text; "" for all.

    Raises:
        UsageError: it can't be read as ranges of numbers from 1.
    """

    text: str = ""

    def __post_init__(self) -> None:
        self.of(1)

    def of(self, count: int) -> list[int]:
        """The pages of a file of `count` pages, each once, rising."""
        if not self.text:
            return list(range(1, count + 1))
        taken: set[int] = set()
        for part in self.text.replace(" ", "").split(","):
            found = _RANGE.fullmatch(part)
            first = int(found[1]) if found else 0
            if found is None or first < 1 or (found[3] and int(found[3]) < first):
                raise UsageError(
                    f"pages {self.text!r}: can't read {part!r}, expected numbers from 1, as in 1-20,35,90-"
                )
            last = int(found[3]) if found[3] else count if found[2] else first
            taken.update(range(first, min(last, count) + 1))
        return sorted(taken)


@dataclass(frozen=True, slots=True)
class Reading:
    """How pages are read.

    Args:
        pages: which are taken.
        ocr: "auto" has tesseract read pages without a usable text layer, where it is installed; "off" never;
            "force" reads all of them so.
        language: of the text, as tesseract names it.
        images: take pages without text, too: a model is to read their images.

    Raises:
        UsageError: another mode.
    """

    pages: PageRanges = field(default_factory=PageRanges)
    ocr: str = "auto"
    language: str = "eng"
    images: bool = False

    def __post_init__(self) -> None:
        if self.ocr not in OCR_MODES:
            raise UsageError(f"ocr {self.ocr!r}: expected {', '.join(OCR_MODES)}")


@dataclass(slots=True)
class PageReport:
    """What became of pages.

    Args:
        taken: are passages, since they have text or their image is to be read.
        recognised: of them, read by tesseract.
        without_text: pictures of something; left out and named, unless their image is to be read.
        blank: have nothing on them; left out, named.
        unreadable: broke the reader, or are beyond its limits; left out, named.
        large: longer than 200 inches; taken, named.
        notes: a line for each file with pages that are to be named.
    """

    taken: int = 0
    recognised: int = 0
    without_text: int = 0
    blank: int = 0
    unreadable: int = 0
    large: int = 0
    notes: list[Skipped] = field(default_factory=list)


class PageReader:
    """Reads PDF and image files into pages. Close it, or use `with`.

    Args:
        reading: how.
        files: opens the files; None for the usual limits of memory and time.

    Raises:
        UsageError: tesseract is to read, and doesn't know the language, or isn't installed and is forced to.
    """

    def __init__(self, reading: Reading | None = None, files: PageFiles | None = None) -> None:
        self.reading = reading or Reading()
        self.report = PageReport()
        self._files = files or PageFiles()
        self._tesseract: Tesseract | None = None
        self._looked = False

    def close(self) -> None:
        """End what reads. Closing twice is fine."""
        self._files.close()

    def __enter__(self) -> PageReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def tesseract(self) -> Tesseract | None:
        """What reads pictures of text, if it is installed and wanted."""
        if not self._looked:
            self._looked = True
            if self.reading.ocr != "off":
                self._tesseract = Tesseract.find(self.reading.language)
            if self.reading.ocr == "force" and self._tesseract is None:
                raise UsageError("--ocr force needs tesseract, which is not installed: install tesseract-ocr")
        return self._tesseract

    def digest(self, path: Path, kind: str) -> str:
        """Hex that changes when a file's pages may: its content, and how it is read.

        Raises:
            OSError: the file can't be read.
        """
        by = f"{self.tesseract.version} {self.reading.language}" if self.tesseract else "nobody"
        images = "images " if self.reading.images else ""
        settings = f"{kind} {self.reading.pages.text} {self.reading.ocr} {by} {images}".encode()
        hashed = hashlib.blake2b(_VERSION + settings, digest_size=16)
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                hashed.update(block)
        return hashed.hexdigest()

    def count(self, path: Path) -> int:
        """Pages of a file that are wanted.

        Raises:
            InputError: it can't be opened; the message is the reason alone.
        """
        return len(self.reading.pages.of(self._files.count(path)))

    def pages(self, file: Found) -> Iterator[Page]:
        """The pages of a file that have text, or whose image is to be read, one at a time; the others are in `report`.

        Metadata: `page`, its number from 1; `page_box`, see `Page`; `digest`, of the file; `ocr`, true for what
        tesseract read. The last page has `passages`, how many these are: where it is, the file was read to its end.

        Raises:
            InputError: the file can't be opened, or none of its pages has text; the message is the reason alone.
        """
        count = self._files.count(file.path)
        wanted = self.reading.pages.of(count)
        if not wanted:
            raise InputError(f"it has {count:,} pages, and none of those that are wanted ({self.reading.pages.text})")
        digest = self.digest(file.path, file.kind)
        named: dict[str, list[int]] = {}
        held: Page | None = None
        before = self.report.taken
        for found in self._files.read(file.path, wanted):
            page = self._page(file, found, digest, named)
            if page is not None:
                if held is not None:
                    yield held
                held = page
        self._name(file, count, named)
        if held is None:
            raise InputError(f"none of its {len(wanted):,} pages has text" if not named else _listed(named, count))
        yield replace(held, metadata={**held.metadata, "passages": self.report.taken - before})

    def _page(self, file: Found, found: PageText | Unreadable, digest: str, named: dict[str, list[int]]) -> Page | None:
        """A page as a passage; None, and named, for one that has nothing to be found by."""
        if isinstance(found, Unreadable):
            self.report.unreadable += 1
            named.setdefault(found.reason, []).append(found.number)
            return None
        text, boxes = (found.text, found.boxes) if found.readable else ("", found.boxes[:0])
        recognised = False
        reasons = []
        if (self.reading.ocr == "force" or not text) and not found.blank and self.tesseract is not None:
            try:
                picture = self._files.picture(file.path, found.number, OCR_DPI, longest=10_000)
                words = self.tesseract.words(picture)
                text, boxes, recognised = words.text, words.boxes.astype(np.float32), bool(words.text)
            except InputError as error:
                reasons.append(str(error))
        if found.large:
            self.report.large += 1
            width, height = (side * 0.0254 / 72 for side in found.geometry.size)
            reasons.append(f"{width:,.4g} x {height:,.4g} m large")
        if not text:
            reason = self._without_text(found)
            if not self.reading.images or found.blank:
                reasons.append(reason)
        for reason in reasons:
            named.setdefault(reason, []).append(found.number)
        if not text and (found.blank or not self.reading.images):
            return None
        self.report.taken += 1
        self.report.recognised += recognised
        metadata = {"page": found.number, "page_box": found.geometry.to_list(), "digest": digest}
        if recognised:
            metadata["ocr"] = True
        return Page(f"{file.source_id}#{found.number}", text, file.source_id, "", str(file.path), metadata, boxes)

    def _without_text(self, found: PageText) -> str:
        if found.blank:
            self.report.blank += 1
            return "blank"
        self.report.without_text += 1
        what = "without text" if found.readable else "with a text layer of characters without a meaning"
        if self.tesseract is not None:
            return f"{what}, and tesseract finds none"
        return what if self.reading.ocr == "off" else f"{what}, and tesseract, which could read it, is not installed"

    def _name(self, file: Found, count: int, named: dict[str, list[int]]) -> None:
        if named:
            self.report.notes.append(Skipped(str(file.path), _listed(named, count)))


def _listed(named: dict[str, list[int]], count: int) -> str:
    """Reasons with their pages, on one line."""
    return "; ".join(f"{_numbers(pages)} of {count:,} {reason}" for reason, pages in named.items())


def _numbers(pages: Sequence[int], most: int = 8) -> str:
    """Pages 3, 5-14."""
    runs: list[list[int]] = []
    for page in pages:
        if runs and page == runs[-1][1] + 1:
            runs[-1][1] = page
        else:
            runs.append([page, page])
    told = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:most]]
    if len(runs) > most:
        told.append(f"… ({len(pages):,} pages)")
    return f"{'page' if len(pages) == 1 else 'pages'} {', '.join(told)}"
