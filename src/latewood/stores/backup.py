"""A copy of a collection, of one moment, while others write; and back from it, which is the same.

What is copied is a collection itself: it can be opened, searched and checked where it lies. The catalogue comes first,
by SQLite's own backup, and says which segments belong to it; those never change. Compaction may remove one before it
was copied: then all is done again with the catalogue of that later moment.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from latewood.errors import CorruptionError, InputError, LatewoodError
from latewood.index import LATE_FOLDER, Catalogue, LateIndex, Manifest, flush_folder
from latewood.index.disk import publish, write_all
from latewood.index.live import CATALOGUE, LOCK, SEGMENTS
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.encodings import current_names, folder_of, names, set_current
from latewood.stores.whole import appearing

__all__ = ["Copied", "copy_collection"]

_BM25 = "derived/bm25"
_ATTEMPTS = 50
"""Compactions that may come between: each takes longer than the copying of a segment."""

_PIECE = 1 << 22


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied.

    Args:
        generation: of the encoding in use.
        passages: how many it has.
        files: of all encodings.
        bytes: of these; links count, too.
    """

    generation: int
    passages: int
    files: int
    bytes: int


def copy_collection(source: str | Path, destination: str | Path, *, link: bool = False) -> Copied:
    """Copy a collection, all of its encodings, as it is at one moment, and verify it. It appears whole or not at all.

    Others may read, write and compact meanwhile. Every block, row and file of the copy is read once more before it
    gets its name. A late-interaction index or BM25 files that are being replaced are left out: they can be made anew.

    Args:
        source: the folder of the collection.
        destination: a new folder; its parent must exist.
        link: segments and derived files become links to those of the source, where the file system can: next to no
            space and time, but damage to one is damage to both.

    Raises:
        InputError: the source is no collection, or the destination is there.
        CorruptionError: what would have been copied is not what was written.
        LockedError: another process copies to the same place.
        StorageError: the disk refused; nothing is left at the destination.
    """
    source, destination = Path(source), Path(destination)
    current, before = current_names(source)
    if not destination.absolute().parent.is_dir():
        raise InputError(f"can't write {destination}: its parent {destination.parent} is not a folder")
    if destination.exists():
        raise InputError(f"can't write {destination}: something is there; choose another folder, or move it away first")
    if not (source / CATALOGUE).is_file():
        raise InputError(f"{source} is not a collection: there is no {CATALOGUE} in it")
    with appearing(destination, "copying") as building:
        for name in names(source):
            _copy_one(folder_of(source, name), folder_of(building, name), link)
        for name in (before, current):  # in this order, so that `current` is in use and `before` the one before
            if (source / "encodings").is_dir():
                set_current(building, name)
        return _described(building, current)


def _copy_one(source: Path, target: Path, link: bool) -> None:
    """One encoding: a folder with a catalogue."""
    target.mkdir(parents=True, exist_ok=True)
    _copy_late(source / LATE_FOLDER, target / LATE_FOLDER, link)  # before the catalogue, which then knows its commit
    catalogue = Catalogue.open(source / CATALOGUE)
    try:
        for attempt in range(_ATTEMPTS):
            catalogue.back_up(target / CATALOGUE)
            try:
                _copy_segments(source / SEGMENTS, target, link)
                break
            except FileNotFoundError as error:
                if attempt + 1 == _ATTEMPTS or catalogue.head() == _head(target):
                    raise CorruptionError(
                        f"{error.filename} is missing, and the catalogue says that it is there; restore it from a copy"
                    ) from None
        _copy_derived(source / _BM25, target / _BM25, link)
        _drop_unusable(target)
        flush_folder(target)
    finally:
        catalogue.close()
    store = EmbeddedStore.open(target)
    try:
        findings = store.check()
    finally:
        store.close()
    if findings:
        raise CorruptionError(f"{findings[0]} (in a copy of {source}, which is as damaged; latewood check names all)")


def _copy_segments(source: Path, target: Path, link: bool) -> None:
    into = target / SEGMENTS
    into.mkdir(exist_ok=True)
    catalogue = Catalogue.open(target / CATALOGUE)
    try:
        wanted = {record.file for record in catalogue.segments(0)}
    finally:
        catalogue.close()
    for path in into.iterdir():
        if path.name not in wanted:  # of an attempt before
            path.unlink()
    for name in sorted(wanted):
        if not (into / name).exists():
            _copy_file(source / name, into / name, link)
    flush_folder(into)


def _copy_late(source: Path, target: Path, link: bool) -> None:
    """The files of the late-interaction index; a writer may replace some of them meanwhile, every second or so."""
    for _ in range(_ATTEMPTS):
        shutil.rmtree(target, ignore_errors=True)
        try:
            manifest = Manifest.read(source)
            if manifest is None:
                return
            target.mkdir(parents=True)
            for name in manifest.files:
                _copy_file(source / name, target / name, link)
        except FileNotFoundError:
            continue
        except CorruptionError:  # `latewood check` says so of the source; the copy can do without
            return
        manifest.write(target)
        return
    shutil.rmtree(target, ignore_errors=True)


def _copy_derived(source: Path, target: Path, link: bool) -> None:
    """Files that can be made anew: the newest of them, as far as they can be had."""
    try:
        folders = sorted((p for p in source.iterdir() if p.name.isdigit()), key=lambda p: int(p.name))[-1:]
        for folder in [source, *folders]:
            into = target / folder.relative_to(source)
            into.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.name.endswith((".tmp", ".lock")):
                    _copy_file(path, into / path.name, link)
            flush_folder(into)
    except FileNotFoundError:
        shutil.rmtree(target, ignore_errors=True)


def _drop_unusable(target: Path) -> None:
    """Derived files that were replaced while they were copied belong to nothing."""
    catalogue = Catalogue.open(target / CATALOGUE)
    try:
        if LateIndex.of(target / LATE_FOLDER, catalogue) is None:
            shutil.rmtree(target / LATE_FOLDER, ignore_errors=True)
    except LatewoodError:
        shutil.rmtree(target / LATE_FOLDER, ignore_errors=True)
    finally:
        catalogue.close()
    store = EmbeddedStore.open(target)
    try:
        if store.bm25_findings():
            shutil.rmtree(target / _BM25, ignore_errors=True)
    finally:
        store.close()


def _copy_file(source: Path, target: Path, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            pass
        else:
            return
    with source.open("rb") as file, publish(target) as descriptor:
        while piece := file.read(_PIECE):
            write_all(descriptor, piece)


def _head(target: Path) -> object:
    catalogue = Catalogue.open(target / CATALOGUE)
    try:
        return catalogue.head()
    finally:
        catalogue.close()


def _described(building: Path, current: str) -> Copied:
    store = EmbeddedStore.open(folder_of(building, current))
    try:
        snapshot = store.snapshot()
        generation, passages = snapshot.generation, len(snapshot)
    finally:
        store.close()
    sizes = [path.stat().st_size for path in building.rglob("*") if path.is_file() and path.name != LOCK]
    return Copied(generation, passages, len(sizes), sum(sizes))
