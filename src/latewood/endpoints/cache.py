"""Answers that were paid for once, kept on disk by what was asked.

One SQLite file in the user's cache folder; LATEWOOD_CACHE names another folder, or is "off". A key is a SHA-256 over
everything that decides the answer: the endpoint's address, the model, its options, the texts. Never the API key.
An entry that is not what was written is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from latewood.errors import StorageError

__all__ = ["Cache", "cache_folder", "default_cache", "key_of"]

_FILE = "answers.sqlite"
_TABLE = "CREATE TABLE IF NOT EXISTS answer (key BLOB PRIMARY KEY, crc INTEGER NOT NULL, value BLOB NOT NULL)"
_AT_ONCE = 500  # keys in one SELECT; SQLite takes 999 parameters where it is old


def key_of(*parts: Any) -> bytes:
    """SHA-256 over values that JSON can hold; other values, or another order of them, give another key."""
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True, sort_keys=True).encode()).digest()


def cache_folder() -> Path | None:
    """Where answers are kept: LATEWOOD_CACHE, else the user's cache folder; None when it is "off"."""
    given = os.environ.get("LATEWOOD_CACHE", "")
    if given.lower() in {"off", "0", "no", "false"}:
        return None
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "latewood"


class Cache:
    """Keys to bytes. Threads share one; processes share its file.

    Args:
        folder: made if it isn't there, for this user alone; None keeps nothing.

    Raises:
        StorageError: the folder can't be written, or holds a file that isn't a cache.
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / _FILE
        self._lock = threading.Lock()
        self._connection = None if self.path is None else self._open(self.path)

    def _open(self, path: Path) -> Any:
        import sqlite3

        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Texts of the user's are in here: the file is theirs alone.
            path.touch(mode=0o600)
            connection = sqlite3.connect(path, timeout=60, check_same_thread=False, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_TABLE)
        except (OSError, sqlite3.Error) as error:
            raise self._refused(path, error) from error
        return connection

    @staticmethod
    def _refused(path: Path, error: Exception) -> StorageError:
        return StorageError(
            f"the cache of answers at {path} can't be used: {error}; name another folder by LATEWOOD_CACHE, or set it "
            f"to off; a damaged file can be deleted"
        )

    def get(self, key: bytes) -> bytes | None:
        """What was kept under a key, or None."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """What was kept under these keys; those that aren't there are left out.

        Raises:
            StorageError: the file can't be read.
        """
        import sqlite3

        found: dict[bytes, bytes] = {}
        if self._connection is None:
            return found
        try:
            with self._lock:
                for start in range(0, len(keys), _AT_ONCE):
                    some = keys[start : start + _AT_ONCE]
                    marks = ",".join("?" * len(some))
                    rows = self._connection.execute(f"SELECT key, crc, value FROM answer WHERE key IN ({marks})", some)
                    found |= {key: value for key, crc, value in rows if zlib.crc32(value) == crc}
        except sqlite3.Error as error:
            assert self.path is not None
            raise self._refused(self.path, error) from error
        return found

    def put_many(self, answers: dict[bytes, bytes]) -> None:
        """Keep these, in one transaction.

        Raises:
            StorageError: the disk refused.
        """
        import sqlite3

        if self._connection is None or not answers:
            return
        rows = [(key, zlib.crc32(value), value) for key, value in answers.items()]
        try:
            with self._lock:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    self._connection.executemany("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", rows)
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            assert self.path is not None
            raise self._refused(self.path, error) from error

    def put(self, key: bytes, value: bytes) -> None:
        """Keep one answer."""
        self.put_many({key: value})

    def close(self) -> None:
        """Give the file back. Closing twice is fine."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


_opened: dict[Path | None, Cache] = {}
_opening = threading.Lock()


def default_cache() -> Cache:
    """The user's cache, opened once for a process and folder."""
    folder = cache_folder()
    with _opening:
        cache = _opened.get(folder)
        if cache is None or (cache.path is not None and not cache.path.exists()):
            cache = _opened[folder] = Cache(folder)
        return cache
