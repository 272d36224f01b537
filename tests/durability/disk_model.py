"""A disk that can lose power: the log of `disk_recorder.c`, and what may be left of a folder after any prefix of it."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def build_recorder(folder: Path) -> Path:
    """Compile the recorder, or skip the test."""
    compiler = shutil.which("cc")
    if compiler is None or os.uname().sysname != "Linux":
        pytest.skip("recording file calls needs Linux and a C compiler (cc)")
    library = folder / "disk_recorder.so"
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-O1",
        "-o",
        str(library),
        str(HERE / "disk_recorder.c"),
        "-ldl",
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    return library


class Kind(IntEnum):
    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    RENAME = 5
    LINK = 6
    UNLINK = 7
    MKDIR = 8
    RMDIR = 9


@dataclass(frozen=True)
class Event:
    kind: Kind
    path: str
    second: str
    offset: int
    data: bytes


def read_log(path: Path) -> list[Event]:
    content, position, events = path.read_bytes(), 0, []
    while position < len(content):
        kind, first, second, offset, length = struct.unpack_from("<IIIQQ", content, position)
        position += 28
        cuts = [position, position + first, position + first + second, position + first + second + length]
        names = [content[cuts[i] : cuts[i + 1]].decode() for i in range(2)]
        events.append(Event(Kind(kind), *names, offset, content[cuts[2] : cuts[3]]))
        position = cuts[3]
    return events


@dataclass
class File:
    """`durable` is what the last sync saw; `pending` the writes since, each (offset, data) or (length, None)."""

    now: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def do(self, offset: int, data: bytes | None) -> None:
        _change(self.now, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        self.durable, self.pending = bytes(self.now), []


@dataclass
class Folder:
    """`durable` are the names that the last sync saw."""

    now: dict[str, File | Folder] = field(default_factory=dict)
    durable: dict[str, File | Folder] = field(default_factory=dict)

    def sync(self) -> None:
        self.durable = dict(self.now)


def _change(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
    else:
        content.extend(bytes(max(0, offset - len(content))))
        content[offset : offset + len(data)] = data


class Disk:
    """The folder `root` as the log changes it."""

    def __init__(self, root: Path) -> None:
        self._prefix = f"{root}/"
        self.root = Folder()

    def _find(self, path: str) -> tuple[Folder, str]:
        folder = self.root
        *parents, name = path.removeprefix(self._prefix).split("/")
        for parent in parents:
            folder = folder.now[parent]
        return folder, name

    def do(self, event: Event) -> None:
        if event.path + "/" == self._prefix:
            assert event.kind == Kind.SYNC
            self.root.sync()
            return
        folder, name = self._find(event.path)
        match event.kind:
            case Kind.CREATE:
                folder.now[name] = File()
            case Kind.MKDIR:
                folder.now[name] = Folder()
            case Kind.WRITE:
                folder.now[name].do(event.offset, event.data)
            case Kind.TRUNCATE:
                folder.now[name].do(event.offset, None)
            case Kind.SYNC:
                folder.now[name].sync()
            case Kind.UNLINK | Kind.RMDIR:
                del folder.now[name]
            case Kind.RENAME:
                target, new = self._find(event.second)
                target.now[new] = folder.now.pop(name)
            case Kind.LINK:
                target, new = self._find(event.second)
                target.now[new] = folder.now[name]

    def left_after_cut(self, into: Path, how: str, seed: int = 0) -> None:
        """Write what a power cut now leaves.

        Args:
            into: a new folder.
            how: "kept": everything arrived (this is also what a kill leaves). "dropped": nothing arrived that wasn't
                synced. "names": names arrived, contents didn't. "contents": the other way round. "torn": of every
                file and folder some of what wasn't synced, chosen by the seed.
        """
        _write(self.root, into, how, random.Random(seed))


def _write(folder: Folder, into: Path, how: str, rng: random.Random) -> None:
    into.mkdir()
    for name, node in _names(folder, how, rng):
        if isinstance(node, Folder):
            _write(node, into / name, how, rng)
        else:
            (into / name).write_bytes(_content(node, how, rng))


def _names(folder: Folder, how: str, rng: random.Random) -> Iterator[tuple[str, File | Folder]]:
    if how == "torn":
        for name in sorted({*folder.now, *folder.durable}):
            choices = [some[name] for some in (folder.now, folder.durable) if name in some]
            if len(choices) == 2 or rng.random() < 0.5:
                yield name, rng.choice(choices)
    else:
        yield from (folder.now if how in {"kept", "names"} else folder.durable).items()


def _content(file: File, how: str, rng: random.Random) -> bytes:
    if how in {"kept", "contents"}:
        return bytes(file.now)
    content = bytearray(file.durable)
    if how == "torn":
        for offset, data in file.pending:
            if rng.random() < 0.5:
                part = data if data is None or rng.random() < 0.5 else data[: rng.randrange(len(data) + 1)]
                _change(content, offset, part)
    return bytes(content)
