"""Several encodings of one collection: folders inside it, and one small file that says which is in use.

kb.lw/                    the first encoding is the collection's own folder
  encodings/
    current               replaced as a whole: the name of the one in use, that of the one before it, and a line
                        of the format's number and the CRC-32 of the two names (format 1 of a file had the names alone)
    NAME/                 a whole collection: the same passages by another encoder
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

from latewood.errors import CorruptionError, InputError
from latewood.index import disk_errors
from latewood.index.disk import publish, write_all
from latewood.index.live import CATALOGUE, noted
from latewood.stores.embedded import EmbeddedStore

__all__ = ["FIRST", "current_names", "findings", "folder_of", "names", "set_current"]

FIRST = "first"
"""The encoding that the collection was made with, which lies in its own folder."""

_FOLDER = "encodings"
_CURRENT = "current"
_FORMAT = 2
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def names(path: Path) -> list[str]:
    """The encodings of the collection in `path`, the first one first."""
    inside = path / _FOLDER
    found = sorted(inside.iterdir()) if inside.is_dir() else []
    return [FIRST, *(folder.name for folder in found if (folder / CATALOGUE).is_file())]


def folder_of(path: Path, name: str) -> Path:
    """Where an encoding lies, or would.

    Raises:
        InputError: no name for one.
    """
    if name == FIRST:
        return path
    if not _NAME.fullmatch(name):
        raise InputError(f"no encoding can be called {name!r}; expected letters, digits, '.', '_' and '-'")
    return path / _FOLDER / name


def current_names(path: Path) -> tuple[str, str]:
    """The name of the encoding in use, and of the one that was before it; both `FIRST` if none was ever chosen.

    Raises:
        CorruptionError: the file that says so is not what was written, or what it names isn't there.
    """
    file = path / _FOLDER / _CURRENT
    if not file.is_file():
        return FIRST, FIRST
    with disk_errors(file, "read"):
        content = file.read_text(encoding="utf-8", errors="replace")
    lines, there = content.split("\n"), names(path)
    told = lines[2].split() if len(lines) == 4 else []
    if told[:1] and told[0].isdigit() and int(told[0]) > _FORMAT:
        raise InputError(f"{file} has format {told[0]}, this latewood reads up to {_FORMAT}: upgrade latewood")
    if (content != _content(*lines[:2]) and (len(lines) != 3 or lines[2])) or lines[0] not in there:
        raise CorruptionError(
            f"{file} is not what was written, or names an encoding that isn't there: remove the file to use the first "
            f"encoding, or restore the collection from a copy"
        )
    return lines[0], lines[1] if lines[1] in there else FIRST


def findings(path: Path, besides: Path) -> list[str]:
    """One line for everything in the encodings, `besides` left out, that is not what was written. Reads all."""
    found = noted(lambda: _named(path))
    for name in names(path):
        folder = folder_of(path, name)
        if folder != besides:
            found += noted(lambda folder=folder: _checked(folder))  # type: ignore[misc]
    inside = path / _FOLDER
    for folder in sorted(inside.iterdir()) if inside.is_dir() else []:
        if folder.is_dir() and not folder.name.startswith(".") and not (folder / CATALOGUE).is_file():
            found.append(f"{folder}: there is no {CATALOGUE} in it; restore it from a copy, or remove the folder")
    return found


def _named(path: Path) -> list[str]:
    current_names(path)
    return []


def _checked(folder: Path) -> list[str]:
    store = EmbeddedStore.open(folder)
    try:
        return store.check()
    finally:
        store.close()


def set_current(path: Path, name: str) -> None:
    """Put an encoding in use: what opens the collection from now on finds it. All at once, or not at all.

    Raises:
        InputError: it isn't there.
        StorageError: the disk refused; nothing was changed.
    """
    if name not in names(path):
        raise InputError(f"{path} has no encoding '{name}'; it has {', '.join(names(path))}")
    before, _ = current_names(path)
    with disk_errors(path, "write"):
        (path / _FOLDER).mkdir(exist_ok=True)
    file = path / _FOLDER / _CURRENT
    with disk_errors(file, "write"), publish(file) as descriptor:
        write_all(descriptor, _content(name, before).encode())


def _content(name: str, before: str = "") -> str:
    """What the file that says which encoding is in use holds."""
    both = f"{name}\n{before}\n"
    return f"{both}{_FORMAT} {zlib.crc32(both.encode()):08x}\n"
