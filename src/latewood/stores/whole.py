"""Collections that appear whole or not at all: made under another name, and renamed when they are done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latewood.index import WriteLock, disk_errors, flush_folder
from latewood.index.live import LOCK

__all__ = ["appearing"]


@contextmanager
def appearing(path: Path, doing: str) -> Iterator[Path]:
    """A folder to fill, locked; it is called `path` when the block ends, and gone if it raises.

    Args:
        path: a new folder, or an empty one; its parent must exist.
        doing: "creating", "copying"; a part of its name until then.

    Raises:
        LockedError: another process is doing the same.
        StorageError: the disk refused.
    """
    building = path.with_name(f".{path.name}.{doing}")
    with disk_errors(path, "create"):
        building.mkdir(exist_ok=True)
    lock = WriteLock(building / LOCK)
    lock.acquire()
    try:
        with disk_errors(path, "create"):
            _clear(building)
            yield building
            flush_folder(building)
            if os.name == "nt" and path.exists():
                path.rmdir()
            building.rename(path)
            flush_folder(path.absolute().parent)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    finally:
        lock.release()


def _clear(folder: Path) -> None:
    """Of what an interrupted process has left."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()
