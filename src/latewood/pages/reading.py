"""Pages of PDF and image files: their words with boxes, and their pictures. Read by a process of its own (`worker`)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from latewood.errors import InputError, MissingExtra
from latewood.pages.geometry import PageGeometry
from latewood.types import FloatArray, Page

__all__ = ["IMAGE_DPI", "PAGE_KINDS", "PageFiles", "PageText", "Unreadable", "draw"]

PAGE_KINDS = {
    ".pdf": "pdf",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".gif"), "image"),
}
"""Files that are pages, by the end of their names, and what they are read as."""

MEMORY = 2 << 30
"""Bytes that reading may take: address space of the worker."""

SECONDS = 60.0
"""For one page."""

LONGEST = 4096
"""Pixels of the longer edge of a picture that is drawn."""

IMAGE_DPI = 150
"""Resolution of the pictures that models read."""

PIXELS = 25_000_000
"""Of a picture that is drawn."""

_GIVEN_UP_AFTER = 3
"""Pages in a row that break the reader: each costs a new process."""


@dataclass(frozen=True, slots=True, eq=False)
class PageText:
    """What is on one page.

    Args:
        number: from 1.
        geometry: its size, crop and rotation.
        text: its words, with blanks between; "" for none. Word i is the i-th run of non-blanks.
        boxes: [W, 4] float32, a box per word: left, top, right, bottom, fractions of the shown page.
        readable: False where the text layer is mostly characters without a meaning.
        blank: nothing at all is drawn on it.
        large: longer than 200 inches.
    """

    number: int
    geometry: PageGeometry
    text: str
    boxes: FloatArray
    readable: bool = True
    blank: bool = False
    large: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A page that can't be read, and why."""

    number: int
    reason: str


class PageFiles:
    """Reads pages of files, in a process that it starts when it is first needed. Close it, or use `with`.

    Args:
        memory: bytes of address space that reading may take.
        seconds: for one page.
    """

    def __init__(self, *, memory: int = MEMORY, seconds: float = SECONDS) -> None:
        self._memory = memory
        self._seconds = seconds
        self._worker: _Worker | None = None
        self._busy = False
        self._aside: PageFiles | None = None  # what is asked for while a file is being read: another process

    def close(self) -> None:
        """End the process. Closing twice is fine; reading again starts another one."""
        self._end()
        if self._aside is not None:
            self._aside.close()

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.end()
            self._worker = None

    def _other(self) -> PageFiles:
        self._aside = self._aside or PageFiles(memory=self._memory, seconds=self._seconds)
        return self._aside

    def __enter__(self) -> PageFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def count(self, path: Path) -> int:
        """Pages of a file.

        Raises:
            InputError: it can't be opened; the message is the reason alone.
            MissingExtra: pypdfium2 or Pillow isn't installed.
        """
        header, _ = self._ask({"op": "open"}, path)
        return int(header["pages"])

    def read(self, path: Path, pages: Sequence[int]) -> Iterator[PageText | Unreadable]:
        """These pages of a file, in this order; one at a time is held. A page that breaks the reader is named.

        Args:
            path: the file.
            pages: numbers from 1.

        Raises:
            InputError: the file can't be opened.
        """
        if self._busy:
            yield from self._other().read(path, pages)
            return
        self._busy = True
        try:
            yield from self._read(path, list(pages))
        except GeneratorExit:
            self._end()  # the rest of its answers are for nobody
            raise
        finally:
            self._busy = False

    def _read(self, path: Path, remaining: list[int]) -> Iterator[PageText | Unreadable]:
        broken_in_a_row = 0
        while remaining:
            if broken_in_a_row == _GIVEN_UP_AFTER:
                yield from (
                    Unreadable(number, "not read, since pages before it broke the reader") for number in remaining
                )
                return
            worker = self._running(path)
            worker.send({"op": "read", "pages": remaining, **_file(path)})
            try:
                while remaining:
                    header, payload = self._frame(worker)
                    broken_in_a_row = 0
                    yield _page(header, payload)
                    remaining.pop(0)
                self._frame(worker)  # the end
            except _Broken as broken:
                broken_in_a_row += 1
                if remaining:
                    yield Unreadable(remaining.pop(0), str(broken))

    def picture(
        self, path: Path, page: int, dpi: float, *, longest: int = LONGEST, pixels: int = PIXELS
    ) -> npt.NDArray[np.uint8]:
        """A page, drawn as it is shown.

        Args:
            path: the file.
            page: number from 1.
            dpi: resolution; less where the picture would be too large.
            longest: pixels of its longer edge at most.
            pixels: of the picture at most.

        Returns:
            [H, W, 3] uint8, RGB.

        Raises:
            InputError: the page can't be drawn; the message is the reason alone.
        """
        asked = {"op": "render", "page": page, "scale": dpi / 72, "longest": longest, "pixels": pixels}
        header, payload = self._ask(asked, path)
        return np.frombuffer(payload, np.uint8).reshape(header["height"], header["width"], 3)

    def _ask(self, asked: dict[str, Any], path: Path) -> tuple[dict[str, Any], bytes]:
        if self._busy:
            return self._other()._ask(asked, path)
        worker = self._running(path)
        worker.send({**asked, **_file(path)})
        try:
            return self._frame(worker)
        except _Broken as broken:
            raise InputError(str(broken)) from None

    def _running(self, path: Path) -> _Worker:
        _need(PAGE_KINDS.get(path.suffix.lower(), "pdf"))
        if self._worker is None or not self._worker.alive:
            self._worker = _Worker(self._memory)
        return self._worker

    def _frame(self, worker: _Worker) -> tuple[dict[str, Any], bytes]:
        try:
            found = worker.frames.get(timeout=self._seconds)
        except Empty:
            self._end()
            raise _Broken(f"it took more than {self._seconds:.0f} seconds") from None
        if found is None:
            self._end()
            raise _Broken("it broke the reader, or took more memory than is allowed")
        header, payload = found
        if "error" in header and "page" not in header:
            raise InputError(header["error"])
        return header, payload


class _Broken(Exception):
    """The worker is gone."""


def draw(files: PageFiles, page: Page, dpi: float = IMAGE_DPI) -> npt.NDArray[np.uint8]:
    """The picture of a page that is or was indexed, [H, W, 3] uint8, from its file.

    Raises:
        InputError: the file isn't where it was, or the page can't be drawn.
    """
    if page.metadata.get("uploaded"):  # its source is what a client called it, and no path
        raise InputError(f"{page.id} was uploaded, and its file was not kept: there is nothing to draw it from")
    path = Path(page.source)
    if not path.is_file():
        raise InputError(
            f"{page.id}: there is no {path} any more to draw it from; put the file back, or index it where it is"
        )
    try:
        return files.picture(path, int(page.metadata["page"]), dpi)
    except InputError as error:
        raise InputError(f"{page.id} can't be drawn: {error}") from None


def _file(path: Path) -> dict[str, str]:
    return {"path": str(path.absolute()), "kind": PAGE_KINDS.get(path.suffix.lower(), "pdf")}


def _need(kind: str) -> None:
    module, package = ("pypdfium2", "pypdfium2") if kind == "pdf" else ("PIL", "pillow")
    if find_spec(module) is None:
        raise MissingExtra("reading pages", package, "pages")


def _page(header: dict[str, Any], payload: bytes) -> PageText | Unreadable:
    number = int(header["page"])
    if "error" in header:
        return Unreadable(number, header["error"])
    cut = 16 * int(header["words"])
    boxes = np.frombuffer(payload[:cut], np.float32).reshape(-1, 4)
    flags = {name: bool(header[name]) for name in ("readable", "blank", "large")}
    return PageText(number, PageGeometry.of(header["geometry"]), payload[cut:].decode(), boxes, **flags)


class _Worker:
    """The process, and the frames that come from it: (header, payload), None at its end."""

    def __init__(self, memory: int) -> None:
        home = Path(__file__).resolve().parents[2]
        places = os.pathsep.join(place for place in sys.path if place)
        # One thread: each would cost address space, of which there is only so much.
        environment = {**os.environ, "PYTHONPATH": places, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "latewood.pages.worker", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env=environment,
        )
        # A few pages are read ahead, no more: the pipe and this queue hold the worker back.
        self.frames: Queue[tuple[dict[str, Any], bytes] | None] = Queue(maxsize=4)
        self._ended = False
        assert self._process.stdout is not None
        Thread(target=self._pump, args=(self._process.stdout,), daemon=True).start()

    @property
    def alive(self) -> bool:
        return not self._ended and self._process.poll() is None

    def send(self, asked: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone, as the next frame will tell
            self._process.stdin.write(json.dumps(asked).encode() + b"\n")
            self._process.stdin.flush()

    def end(self) -> None:
        self._ended = True
        self._process.kill()
        with contextlib.suppress(Empty):
            while True:  # make room, so that the thread sees the end
                self.frames.get_nowait()
        self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _pump(self, pipe: IO[bytes]) -> None:
        with pipe:
            while True:
                size = pipe.read(4)
                head = pipe.read(int.from_bytes(size, "big")) if len(size) == 4 else b""
                if not head:
                    break
                try:
                    header = json.loads(head)
                except ValueError:
                    break
                payload = pipe.read(header["bytes"])
                if len(payload) != header["bytes"] or self._ended:
                    break
                self.frames.put((header, payload))
        if not self._ended:
            self.frames.put(None)
