"""Bytes to text. What isn't text is refused with a reason; what had to be guessed is said."""

from __future__ import annotations

import codecs
import re

from latewood.errors import InputError, MissingExtra

__all__ = ["decode"]

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a]")
_HEAD = 4096
_SAMPLE = 64 << 10
"""Bytes that a guess looks at."""


def decode(data: bytes, *, html: bool = False) -> tuple[str, str]:
    """The text, and the name of the encoding: "utf-8", a marked one, or a guess. Line ends become LF.

    Args:
        data: a whole file.
        html: a `<meta charset>` counts, where the bytes aren't UTF-8.

    Raises:
        InputError: binary data, or in no encoding that is known; the message is the reason alone.
        MissingExtra: a guess is needed, and charset-normalizer isn't installed.
    """
    text, name = _decoded(data, html)
    return text.replace("\r\n", "\n").replace("\r", "\n"), name


def _decoded(data: bytes, html: bool) -> tuple[str, str]:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _strictly(data, name), name.removesuffix("-sig")
    if b"\0" in data[:_HEAD]:
        name = _unmarked_utf16(data[:_HEAD])
        text = _strictly(data, name)
        if _CONTROL.search(text):
            raise InputError("binary")
        return text, name
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    declared = _DECLARED.search(data[:_HEAD]) if html else None
    if declared is not None:
        name = declared[1].decode("ascii").lower()
        try:
            return data.decode(name), name
        except (LookupError, UnicodeDecodeError):
            pass
    name = _guess(data)
    return data.decode(name, errors="replace"), name


def _strictly(data: bytes, name: str) -> str:
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        raise InputError(f"begins as {name} and isn't: {error.reason} at byte {error.start}") from None


def _unmarked_utf16(head: bytes) -> str:
    """UTF-16 of mostly Latin text has a zero in every other byte; other zeros are no text."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half and odd > 0.4 * half and even < 0.05 * half:
        return "utf-16-le"
    if half and even > 0.4 * half and odd < 0.05 * half:
        return "utf-16-be"
    raise InputError("binary")


def _guess(data: bytes) -> str:
    try:
        from charset_normalizer import from_bytes
    except ImportError:
        raise MissingExtra("reading files that are not UTF-8", "charset-normalizer", "files") from None
    best = from_bytes(data[:_SAMPLE]).best()
    if best is None:
        raise InputError("binary, or in no encoding that is known")
    name: str = best.encoding
    # A byte that the sample didn't show may be foreign to what was guessed; that is still a text.
    return name
