"""The write lock: one writer at a time, and a process that dies lets go of it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from latewood.errors import LockedError, StorageError
from latewood.index.disk import disk_errors, write_all

__all__ = ["WriteLock"]


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which stays readable to others
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class WriteLock:
    """A lock of the operating system on a file that also says who holds it.

    Args:
        path: the lock file; it is made if missing and never removed, since another process may be waiting on it.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is locked yet."""
        self._path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, or say at once who has it.

        Raises:
            LockedError: another process, or another object of this one, holds it.
            StorageError: the lock file can't be opened for writing.
        """
        if self._descriptor is not None:
            return
        with disk_errors(self._path, "write"):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with disk_errors(self._path, "lock"):
                _lock(descriptor)
        except StorageError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if isinstance(error.__cause__, BlockingIOError | PermissionError):
                raise LockedError(
                    f"{self._path.parent} is being written by {holder}: wait until it has finished, or stop it"
                ) from None
            raise
        # Who holds it is a courtesy to others: a full disk must not keep the lock from being held.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            write_all(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go. Doing so twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 32).decode(errors="replace").strip()
    if text == str(os.getpid()):
        return f"this process ({text}), which opened it twice"
    return f"process {text}" if text.isdigit() else "another process"
