"""Words of a picture by tesseract, a program of its own: where it is installed, pages without a text layer are read."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latewood.errors import InputError, MissingExtra, UnavailableError, UsageError
from latewood.pages.words import Words

__all__ = ["OCR_DPI", "Tesseract"]

OCR_DPI = 300
"""Resolution of the pictures that tesseract gets: at 150 it found 10 words of a slide where it finds 58 at 300."""

LEAST_CONFIDENCE = 30.0
"""Of 100. Below it stand mostly the edges of photographs, read as letters."""

SECONDS = 180.0
"""For one page."""


@dataclass(frozen=True, slots=True)
class Tesseract:
    """The program, and the languages that it is to read.

    Args:
        path: of the program.
        version: as it says, e.g. "5.3.0".
        language: as tesseract names them: "eng", "deu+eng".
    """

    path: str
    version: str
    language: str = "eng"

    @classmethod
    def find(cls, language: str = "eng") -> Tesseract | None:
        """The installed program; None where there is none.

        Raises:
            UsageError: it doesn't know the language.
            UnavailableError: it is there and doesn't run.
        """
        path = shutil.which("tesseract")
        if path is None:
            return None
        try:
            version = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=True)
            listed = subprocess.run([path, "--list-langs"], capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise UnavailableError(f"{path} doesn't run ({error}): mend it, or leave it out by --ocr off") from None
        known = listed.stdout.split("\n")[1:]
        for name in language.split("+"):
            if name not in known:
                raise UsageError(
                    f"tesseract has no language {name!r} (it has {', '.join(filter(None, known))}): "
                    f"install its data, tesseract-ocr-{name} on Debian, or give another one"
                )
        said = (version.stdout or version.stderr).split()
        return cls(path, said[1] if len(said) > 1 else "unknown", language)

    def words(self, picture: npt.NDArray[np.uint8]) -> Words:
        """The words of a picture in reading order.

        Args:
            picture: [H, W, 3] uint8, RGB, of about 300 dots an inch.

        Returns:
            Words whose boxes are left, top, right, bottom, fractions of the picture.

        Raises:
            InputError: it can't read the picture, or takes too long; the message is the reason alone.
            MissingExtra: Pillow isn't installed.
        """
        command = [self.path, "-", "-", "--dpi", str(OCR_DPI), "-l", self.language, "tsv"]
        # One thread: more make it slower, by its own makers' word.
        environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
        try:
            done = subprocess.run(command, input=_png(picture), capture_output=True, timeout=SECONDS, env=environment)
        except subprocess.TimeoutExpired:
            raise InputError(f"tesseract took more than {SECONDS:.0f} seconds") from None
        except OSError as error:
            raise InputError(f"tesseract doesn't run: {error.strerror}") from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().split("\n")[-1]
            raise InputError(f"tesseract failed: {said or done.returncode}")
        return _from_table(done.stdout.decode(errors="replace"), picture.shape[1], picture.shape[0])


def _png(picture: npt.NDArray[np.uint8]) -> bytes:
    try:
        from PIL import Image
    except ImportError:
        raise MissingExtra("reading pictures of text", "pillow", "pages") from None
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _from_table(table: str, width: int, height: int) -> Words:
    """Tesseract's tab-separated rows: level, page, block, paragraph, line, word, box in pixels, confidence, text."""
    parts: list[str] = []
    boxes: list[list[float]] = []
    before: list[str] = []
    for row in table.split("\n")[1:]:
        fields = row.split("\t")
        if len(fields) != 12 or fields[0] != "5":
            continue
        # Blanks inside a word would make two of it, and there is one box.
        text = "".join(c for c in fields[11] if c.isprintable() and not c.isspace())
        if not text or float(fields[10]) < LEAST_CONFIDENCE:
            continue
        line = fields[1:5]
        left, top, across, down = (float(value) for value in fields[6:10])
        parts.append(("" if not parts else " " if line == before else "\n") + text)
        boxes.append([left / width, top / height, (left + across) / width, (top + down) / height])
        before = line
    return Words("".join(parts), np.clip(np.array(boxes).reshape(-1, 4), 0.0, 1.0))
