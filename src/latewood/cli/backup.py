"""`latewood snapshot` and `latewood restore`: a copy of one moment while others write, and back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from latewood.cli.options import CollectionArgument, JsonOption
from latewood.cli.output import console, emit_json
from latewood.stores.backup import copy_collection

__all__ = ["restore", "snapshot"]


def snapshot(
    collection: CollectionArgument,
    destination: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the copy goes; a new folder.")],
    link: Annotated[
        bool, typer.Option("--link", help="Link unchanging files instead of copying them, on one file system.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Copy a collection as it is at one moment, while others write, and verify the copy."""
    return _copy(collection, destination, "snapshot", link=link, as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SNAPSHOT", help="What latewood snapshot made.")],
    destination: Annotated[Path, typer.Argument(metavar="COLLECTION", help="A new folder.")],
    as_json: JsonOption = False,
) -> int:
    """Make a collection of a snapshot, which stays as it is."""
    return _copy(source, destination, "restored", link=False, as_json=as_json)


def _copy(source: Path, destination: Path, said: str, *, link: bool, as_json: bool) -> int:
    started = time.perf_counter()
    found = copy_collection(source, destination, link=link)
    seconds = time.perf_counter() - started
    if as_json:
        numbers = {
            "generation": found.generation,
            "passages": found.passages,
            "files": found.files,
            "bytes": found.bytes,
        }
        emit_json({"collection": str(source), "made": str(destination), **numbers, "seconds": seconds})
    else:
        console.print(
            f"{destination}: {said} of generation {found.generation}, {found.passages:,} passages, "
            f"{found.bytes:,} bytes in {seconds:.1f} s, verified",
            markup=False,
        )
    return 0
