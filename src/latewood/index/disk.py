"""Files that survive a power cut, files mapped without limit, and what a disk's refusal means."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from latewood.errors import StorageError

__all__ = [
    "TEMPORARY",
    "disk_errors",
    "file_bytes",
    "flush_file",
    "flush_folder",
    "map_file",
    "publish",
    "release",
    "remove_unused",
    "write_all",
]

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


def file_bytes(path: Path) -> int:
    """Length of a file; 0 for one that has gone in the meantime."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


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


def flush_file(path: Path) -> None:
    """Flush a file that somebody else wrote to the disk."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        _flush(descriptor)
    finally:
        os.close(descriptor)


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


def remove_unused(path: Path) -> None:
    """Remove a file that is of no more use. Windows refuses while somebody has it mapped: it is swept another time."""
    with suppress(FileNotFoundError, *([PermissionError] if os.name == "nt" else [])):
        path.unlink()


def map_file(path: Path) -> memoryview:
    """A file as read-only memory, mapped as long as anything refers to it. No descriptor stays open.

    Raises:
        OSError: it can't be opened or mapped.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return memoryview(b"")
        if sys.version_info >= (3, 13):
            return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ, trackfd=False))
        if sys.platform == "win32":
            return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
        return _map_without_descriptor(descriptor, size)
    finally:
        os.close(descriptor)


def release(content: memoryview) -> None:
    """Let go of the whole pages of a part of a mapped file; they are mapped again when they are read.

    Pages that were read once count as a process's memory for as long as the file is mapped. Does nothing but on Linux.
    """
    if sys.platform != "linux" or not len(content):
        return
    start = np.frombuffer(content, np.uint8).ctypes.data
    first, stop = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, (start + len(content)) // mmap.PAGESIZE * mmap.PAGESIZE
    if stop > first:
        libc = ctypes.CDLL(None)
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(stop - first), mmap.MADV_DONTNEED)


def _map_without_descriptor(descriptor: int, size: int) -> memoryview:
    """Before Python 3.13 every `mmap.mmap` holds a descriptor; a process may have 1,024."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == ctypes.c_void_p(-1).value:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    content = (ctypes.c_ubyte * size).from_address(address)
    # At exit the system unmaps by itself, and arrays may outlive this call there.
    weakref.finalize(content, libc.munmap, address, size).atexit = False
    return memoryview(content).cast("B").toreadonly()
