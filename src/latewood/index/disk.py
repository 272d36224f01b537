"""Files that survive a power cut, and what a disk's refusal means."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latewood.errors import StorageError

__all__ = ["TEMPORARY", "disk_errors", "flush_folder", "publish", "write_all"]

TEMPORARY = ".tmp"
"""Ending of a file that isn't finished; whatever bears it when a writer opens is a leftover."""

_ADVICE = {
    errno.ENOSPC: "free some space and try again",
    errno.EDQUOT: "the quota is used up: free some space and try again",
    errno.EFBIG: "the file would be larger than this process may write: raise its limit (ulimit -f)",
    errno.EROFS: "it is on a read-only file system: choose another folder",
    errno.EACCES: "check the permissions of the folder",
    errno.EPERM: "check the permissions of the folder",
    errno.EMFILE: "every segment needs one open file: raise the limit (ulimit -n)",
    errno.ENOENT: "check the path",
}


@contextmanager
def disk_errors(path: Path, action: str) -> Iterator[None]:
    """Turn the operating system's refusals into a StorageError of one line. A missing file is left to the caller.

    Args:
        path: what is worked on.
        action: "write", "open", …
    """
    try:
        yield
    except FileNotFoundError:
        if action == "open":
            raise
        raise StorageError(f"can't {action} {path}: no such folder; check the path") from None
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the disk")
        raise StorageError(f"can't {action} {path}: {error.strerror or error}; {advice}") from error


def write_all(descriptor: int, content: bytes | memoryview) -> None:
    """Write every byte; `os.write` may stop short."""
    with memoryview(content) as view:
        done = 0
        while done < len(view):
            done += os.write(descriptor, view[done:])


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # On macOS fsync only reaches the drive's own cache.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush a folder to the disk: its names survive a power cut from here on. Windows does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def publish(path: Path) -> Iterator[int]:
    """A new file that appears under its name whole and flushed, or not at all.

    Yields:
        A descriptor to write to.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
    try:
        try:
            yield descriptor
            _flush(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - the same call, and the one that the name says
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    flush_folder(path.parent)
