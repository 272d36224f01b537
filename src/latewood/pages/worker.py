"""The process that opens other people's PDFs and pictures: `python -m latewood.pages.worker BYTES`.

PDFium is native code and a file may be made to break it. Here a crash, an endless page or a page that eats all memory
costs this process and one line; `latewood.pages.reading` starts another one and goes on behind the page.

Requests are lines of JSON on standard input, answers are frames on standard output: four bytes, big-endian, with the
length of a JSON header, the header, and as many raw bytes as its "bytes" says.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from latewood.errors import InputError, ShapeError
from latewood.pages.geometry import PageGeometry
from latewood.pages.words import words_of

__all__ = ["main"]

MOST_CHARACTERS = 200_000
"""Of one page; a dense page has 8,000."""

LONGEST_EDGE = 14_400
"""Points, 200 inches: what the format's own limit was. Larger pages are named."""

_REOPENED_AFTER = 200
"""Pages, since PDFium keeps what it has parsed of a document; of very many pages, after a twentieth of them."""

Frame = tuple[dict[str, Any], bytes]


def main() -> None:
    """Serve requests until standard input ends."""
    _limit_memory(int(sys.argv[1]))
    out = sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever a library prints must not come between the frames
    opened = _Opened()
    for line in sys.stdin.buffer:
        for frame in _answers(opened, json.loads(line)):
            _send(out, *frame)


def _answers(opened: _Opened, asked: dict[str, Any]) -> Iterator[Frame]:
    try:
        file = opened.file(asked["path"], asked["kind"])
        if asked["op"] == "open":
            yield {"pages": file.count}, b""
        elif asked["op"] == "read":
            for number in asked["pages"]:
                yield _guarded(file, number)
            yield {"end": True}, b""
        else:
            yield file.render(asked["page"], asked["scale"], asked["longest"], asked["pixels"])
    except InputError as error:
        yield {"error": str(error)}, b""
    except MemoryError:
        yield {"error": "it takes more memory than is allowed for one file"}, b""


def _guarded(file: _Pdf | _Pictures, number: int) -> Frame:
    try:
        header, payload = file.read(number)
        return {"page": number, **header}, payload
    except (InputError, ShapeError) as error:
        return {"page": number, "error": str(error)}, b""
    except MemoryError:
        return {"page": number, "error": "it takes more memory than is allowed for one page"}, b""


def _send(out: BinaryIO, header: dict[str, Any], payload: bytes) -> None:
    head = json.dumps({**header, "bytes": len(payload)}).encode()
    out.write(len(head).to_bytes(4, "big") + head)
    out.write(payload)
    out.flush()


def _limit_memory(limit: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the time limit holds there, this one doesn't
        return
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Opened:
    """The file that was asked for last."""

    def __init__(self) -> None:
        self._key = ("", "")
        self._file: _Pdf | _Pictures | None = None

    def file(self, path: str, kind: str) -> _Pdf | _Pictures:
        if self._key != (path, kind) or self._file is None:
            if self._file is not None:
                self._file.close()
            self._key, self._file = ("", ""), None
            self._file = _Pdf(path) if kind == "pdf" else _Pictures(path)
            self._key = (path, kind)
        return self._file


class _Pdf:
    """A PDF file. Its scripts are never run: the build of PDFium that is used has no engine for them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read = 0
        self._document = self._open()
        self.count = len(self._document)

    def _open(self) -> Any:
        import pypdfium2 as pdfium

        if not Path(self._path).is_file():
            raise InputError("it isn't there any more")
        try:
            return pdfium.PdfDocument(self._path)
        except pdfium.PdfiumError as error:
            code = getattr(error, "err_code", None)
            reasons = {
                pdfium.raw.FPDF_ERR_PASSWORD: "it is encrypted, and opens only with a password",
                pdfium.raw.FPDF_ERR_SECURITY: "it is encrypted in a way that PDFium doesn't know",
            }
            raise InputError(reasons.get(code, "not a PDF, or broken beyond reading")) from None

    def close(self) -> None:
        self._document.close()

    def _page(self, number: int) -> Any:
        import pypdfium2 as pdfium

        if self._read >= max(_REOPENED_AFTER, self.count // 20):
            self._document.close()
            self._document, self._read = self._open(), 0
        self._read += 1
        if not 1 <= number <= self.count:
            raise InputError(f"no page {number}: the file has {self.count:,}")
        try:
            return self._document[number - 1]
        except pdfium.PdfiumError:
            raise InputError("PDFium can't load the page") from None

    def read(self, number: int) -> Frame:
        """Geometry, words and what else is on a page."""
        import pypdfium2 as pdfium

        page = self._page(number)
        try:
            geometry = _geometry(page)
            text_page = pdfium.raw.FPDFText_LoadPage(page.raw)
            if not text_page:
                raise InputError("PDFium can't read its text")
            try:
                codes, boxes = _characters(text_page)
            finally:
                pdfium.raw.FPDFText_ClosePage(text_page)
            words = words_of(codes, boxes, (geometry.left, geometry.bottom, geometry.right, geometry.top))
            shown = geometry.to_shown(words.boxes)
            header = {
                "geometry": geometry.to_list(),
                "words": len(shown),
                "readable": _readable(words.text),
                "blank": not pdfium.raw.FPDFPage_CountObjects(page.raw)
                and not pdfium.raw.FPDFPage_GetAnnotCount(page.raw),
                "large": max(geometry.size) > LONGEST_EDGE,
            }
            return header, shown.tobytes() + words.text.encode()
        finally:
            page.close()

    def render(self, number: int, scale: float, longest: int, pixels: int) -> Frame:
        """The page as it is shown, drawn; `scale` in pixels a point, less where the picture would be too large."""
        page = self._page(number)
        try:
            width, height = page.get_size()
            fitting = _fitting(width, height, scale, longest, pixels)
            bitmap = page.render(scale=fitting, rev_byteorder=True, may_draw_forms=False)
            array = np.ascontiguousarray(bitmap.to_numpy()[..., :3])
            return {"height": array.shape[0], "width": array.shape[1]}, array.tobytes()
        finally:
            page.close()


def _geometry(page: Any) -> PageGeometry:
    import pypdfium2 as pdfium

    box = pdfium.raw.FS_RECTF()
    if not pdfium.raw.FPDF_GetPageBoundingBox(page.raw, box):
        raise InputError("the page has no size")
    try:
        return PageGeometry(box.left, box.bottom, box.right, box.top, page.get_rotation())
    except ShapeError:
        raise InputError("the page has no size") from None


def _characters(text_page: Any) -> tuple[Any, Any]:
    """[C] code points and [C, 4] boxes in PDF points."""
    import pypdfium2 as pdfium

    raw = pdfium.raw
    count = raw.FPDFText_CountChars(text_page)
    if count < 0:
        raise InputError("PDFium can't read its text")
    if count > MOST_CHARACTERS:
        raise InputError(f"{count:,} characters, more than {MOST_CHARACTERS:,} on one page")
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    codes = np.zeros(count, np.int64)
    boxes = np.zeros((count, 4))
    for i in range(count):
        codes[i] = code = raw.FPDFText_GetUnicode(text_page, i)
        if code > 32 and raw.FPDFText_GetCharBox(text_page, i, left, right, bottom, top):
            boxes[i] = left.value, bottom.value, right.value, top.value
    return codes, np.nan_to_num(boxes, nan=0.0, posinf=0.0, neginf=0.0)


def _readable(text: str) -> bool:
    """Whether at least half of the characters have a meaning: a font without one gives others, or private ones."""
    strange = sum(c == "�" or 0xE000 <= ord(c) < 0xF900 for c in text)
    return 2 * strange <= len(text)


def _fitting(width: float, height: float, scale: float, longest: int, pixels: int) -> float:
    """Pixels per point: as asked for, or what keeps the picture within both limits."""
    return min(scale, longest / max(width, height, 1e-6), math.sqrt(pixels / max(width * height, 1e-6)))


class _Pictures:
    """An image file: each of its frames is a page without a text layer."""

    def __init__(self, path: str) -> None:
        from PIL import Image, UnidentifiedImageError

        Image.MAX_IMAGE_PIXELS = 300_000_000
        try:
            self._image: Any = Image.open(path)
            self.count = int(getattr(self._image, "n_frames", 1))
        except UnidentifiedImageError:
            raise InputError("not a picture that Pillow can read") from None
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"Pillow can't open it: {_one_line(error)}") from None

    def close(self) -> None:
        self._image.close()

    def _frame(self, number: int) -> Any:
        from PIL import Image, ImageOps

        if not 1 <= number <= self.count:
            raise InputError(f"no page {number}: the file has {self.count:,}")
        try:
            self._image.seek(number - 1)
            return ImageOps.exif_transpose(self._image).convert("RGB")
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            raise InputError(f"Pillow can't read it: {_one_line(error)}") from None

    def _points_per_pixel(self) -> float:
        """By the resolution that the file states, where that is one; else as a screen has it."""
        stated = self._image.info.get("dpi", (96, 96))[0]
        return 72 / float(stated) if 30 <= float(stated) <= 2400 else 72 / 96

    def read(self, number: int) -> Frame:
        frame = self._frame(number)
        unit = self._points_per_pixel()
        geometry = PageGeometry(0, 0, frame.width * unit, frame.height * unit)
        header = {"geometry": geometry.to_list(), "words": 0, "readable": True, "blank": False, "large": False}
        return header, b""

    def render(self, number: int, scale: float, longest: int, pixels: int) -> Frame:
        frame = self._frame(number)
        unit = self._points_per_pixel()
        # A picture is never drawn larger than it is: that would add nothing.
        fitting = min(1.0, _fitting(frame.width * unit, frame.height * unit, scale, longest, pixels) * unit)
        size = max(1, round(frame.width * fitting)), max(1, round(frame.height * fitting))
        array = np.asarray(frame if size == frame.size else frame.resize(size))
        return {"height": array.shape[0], "width": array.shape[1]}, array.tobytes()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    main()
