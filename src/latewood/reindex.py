"""Another encoder for a collection: built from the stored texts beside the old one, put in use when told, and back.

Nothing that exists is changed before the switch, which is the replacement of one small file. What is interrupted goes
on where it was; what was added or deleted in the meantime is brought over first, whichever way one goes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from latewood import encode
from latewood.collection import AddReport, Collection, Progress, differences
from latewood.encode import Placement
from latewood.errors import InputError, UsageError
from latewood.index import DEFAULT_BITS, disk_errors
from latewood.stores.encodings import FIRST, current_names, folder_of, names, set_current
from latewood.types import EncoderSpec, Passage

__all__ = ["Brought", "Encoding", "back", "build", "drop", "encodings", "switch"]

_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Encoding:
    """One encoding of a collection.

    Args:
        name: how to name it.
        current: it is the one in use.
        encoder: the model that made it.
        passages: how many it has.
        bytes: on disk.
    """

    name: str
    current: bool
    encoder: str
    passages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Brought:
    """What it took to bring an encoding up to date.

    Args:
        name: of the encoding.
        passages: what was added to it.
        removed: passages that the collection has no more.
    """

    name: str
    passages: AddReport
    removed: int


def encodings(path: str | Path) -> list[Encoding]:
    """The encodings of a collection, the first one first."""
    path = Path(path)
    current, _ = current_names(path)
    found = []
    for name in names(path):
        with Collection.open(path, encoding=name) as kb:
            stats = kb.stats()
            found.append(Encoding(name, name == current, kb.spec.name, stats["passages"], int(stats["bytes"]["total"])))
    return found


def build(
    path: str | Path,
    model: str,
    *,
    truncate: bool = False,
    placement: Placement | None = None,
    download: bool = False,
    progress: Progress | None = None,
) -> Brought:
    """Encode all passages of a collection with another model, beside the encoding in use. Resumes what was begun.

    Args:
        path: of the collection.
        model: as `latewood.encode.load` takes it.
        truncate: cut texts at the model's limit.
        placement: its device, dtype and batch size.
        download: fetch a model of the hub that isn't on this machine.
        progress: called with the number of passages done since the last call.

    Raises:
        UsageError: the collection is of this encoder already.
        ModelError: the model isn't there.
        LockedError: another process is writing to this encoding.
    """
    path = Path(path)
    encoder = encode.load(model, truncate=truncate, placement=placement, download=download)
    with Collection.open(path) as source:
        if not differences(source.spec, encoder.spec):
            raise UsageError(f"{path} is of this encoder already, '{source.spec.name}': give another one")
        name = _name_for(path, encoder.spec)
        folder = folder_of(path, name)
        if name not in names(path):
            with disk_errors(path, "write"):
                folder.parent.mkdir(exist_ok=True)
            settings = source.stats()["settings"]
            bits = settings.get("bits", DEFAULT_BITS)
            Collection.create(folder, encoder, language=settings["analyzer"], bits=bits).close()
        with Collection.open(path, encoder, placement, encoding=name) as target:
            return _bring(source, target, name, progress)


def switch(path: str | Path, name: str, progress: Progress | None = None) -> Brought:
    """Bring an encoding up to date and put it in use. Who has the collection open keeps the old one until it reopens.

    Both encodings are locked meanwhile, so nothing is added that the new one would lack.

    Args:
        path: of the collection.
        name: of the encoding.
        progress: called with the number of passages done since the last call.

    Raises:
        InputError: no such encoding.
        LockedError: another process is writing.
        ModelError: something changed, and the model to encode it with isn't there.
    """
    path = Path(path)
    if name not in names(path):
        raise InputError(f"{path} has no encoding '{name}'; it has {', '.join(names(path))}")
    current, _ = current_names(path)
    if name == current:
        raise UsageError(f"{path} uses the encoding '{name}' already")
    with Collection.open(path, encoding=current) as source, Collection.open(path, encoding=name) as target:
        source.start_writing()
        brought = _bring(source, target, name, progress)
        set_current(path, name)
    return brought


def back(path: str | Path, progress: Progress | None = None) -> Brought:
    """Put the encoding that was in use before in use again; see `switch`.

    Raises:
        UsageError: there is none.
    """
    current, before = current_names(Path(path))
    if before == current:
        raise UsageError(f"{path} has used no other encoding than '{current}': there is nothing to go back to")
    return switch(path, before, progress)


def drop(path: str | Path, name: str) -> None:
    """Remove an encoding that isn't in use.

    Raises:
        UsageError: it is in use, or the first one, in whose folder the others lie.
        InputError: no such encoding.
        LockedError: another process is writing to it.
    """
    path = Path(path)
    if name not in names(path):
        raise InputError(f"{path} has no encoding '{name}'; it has {', '.join(names(path))}")
    if name == FIRST:
        raise UsageError("the first encoding can't be dropped: the others lie in its folder; index into a new one")
    if name == current_names(path)[0]:
        raise UsageError(f"'{name}' is in use: go --back first")
    with Collection.open(path, encoding=name) as kb:
        kb.start_writing()
        with disk_errors(path, "remove"):
            shutil.rmtree(folder_of(path, name))


def _bring(source: Collection, target: Collection, name: str, progress: Progress | None) -> Brought:
    """Make the target hold exactly the source's passages."""
    source.refresh()
    report = target.add(_passages(source), progress)
    there = source.sources().keys()
    gone = [passage_id for passage_id in target.sources() if passage_id not in there]
    return Brought(name, report, target.delete(gone) if gone else 0)


def _passages(kb: Collection) -> Iterator[Passage]:
    snapshot = kb.snapshot
    rows = snapshot.live_rows
    for start in range(0, len(rows), _AT_ONCE):
        yield from snapshot.passages(rows[start : start + _AT_ONCE])


def _name_for(path: Path, spec: EncoderSpec) -> str:
    """The encoding that this encoder made already, or a name for a new one: readable, and its own."""
    for name in names(path):
        with Collection.open(path, encoding=name) as kb:
            if not differences(kb.spec, spec):
                return name
    told = {key: value for key, value in asdict(spec).items() if key not in ("name", "libraries")}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(spec.name).name).strip("-._")[:40] or "model"
    return f"{plain}-{digest}"
