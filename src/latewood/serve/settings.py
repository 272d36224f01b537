"""What a service is started with: its limits, and who may ask."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latewood.errors import InputError, StorageError
from latewood.stores.conditions import check_where

__all__ = ["ApiKey", "Limits", "Settings", "matching_key", "read_keys"]

_SHORTEST_KEY = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, and all of them together, may take. Beyond it a client gets a 4xx that says so.

    Args:
        body: bytes of a request's body.
        upload: bytes of an upload of documents, which goes to the disk and not to memory.
        documents: texts or ids in one request, and candidates of a stage.
        tokens: tokens of all texts in one request.
        seconds: how long a request may run.
        body_seconds: how long a client may be silent while it sends its body.
        running: requests that work at the same time.
        waiting: requests that wait for those; more are refused.
        batch: questions that are encoded together.
    """

    body: int = 16 << 20
    upload: int = 1 << 30
    documents: int = 2000
    tokens: int = 1_000_000
    seconds: float = 120.0
    body_seconds: float = 30.0
    running: int = 32
    waiting: int = 256
    batch: int = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: its name for the logs, and what its bearer sees.

    Args:
        name: shown in logs; never the key.
        digest: SHA-256 of the key.
        where: conditions on metadata that every passage it sees must meet; None for all. Such a key only reads.
    """

    name: str
    digest: bytes
    where: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """All that `latewood serve` was told.

    Args:
        limits: see `Limits`.
        keys: who may ask; none to let everybody.
        hosts: values of the Host header that are answered; () for any.
        pipelines: offered on the page; the first is the default. Of `cross` stages, only those named here may run.
        slow_ms: a request that took longer is written to the slow-query log.
        slow_log: its file; None for standard error.
        threads: torch's threads; None for its own choice.
        live_share: of the questions that an approximate search answered, how many are ranked exhaustively, too.
        reports: HTML files that `compare` or `audit` wrote, linked from the page.
    """

    limits: Limits = field(default_factory=Limits)
    keys: tuple[ApiKey, ...] = ()
    hosts: tuple[str, ...] = ()
    pipelines: tuple[str, ...] = ()
    slow_ms: float = 1000.0
    slow_log: Path | None = None
    threads: int | None = None
    live_share: float = 0.01
    reports: tuple[Path, ...] = ()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys: a JSON array of {"name", "key" or "sha256", "where"}.

    Raises:
        InputError: it isn't that, or a key is too short or there twice.
        StorageError: it can't be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: could not be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f'{path}: not JSON ({error}); expected [{{"name": "…", "key": "…"}}]') from error
    if not isinstance(found, list) or not found:
        raise InputError(f'{path}: expected an array of at least one key: [{{"name": "…", "key": "…"}}]')
    keys = tuple(_key(entry, f"{path}: key {i}") for i, entry in enumerate(found, 1))
    if len({key.digest for key in keys}) < len(keys):
        raise InputError(f"{path}: the same key is there twice; give each its own")
    return keys


def _key(entry: Any, where: str) -> ApiKey:
    if not isinstance(entry, dict) or set(entry) - {"name", "key", "sha256", "where"}:
        raise InputError(f'{where}: expected {{"name": …, "key" or "sha256": …, "where": {{…}}}}, got {entry!r:.80}')
    name, key, digest = entry.get("name"), entry.get("key"), entry.get("sha256")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: no name; it is what the logs show")
    if isinstance(key, str) and digest is None:
        if len(key) < _SHORTEST_KEY:
            raise InputError(f"{where}: '{name}' has {len(key)} characters, expected {_SHORTEST_KEY} or more")
        value = digest_of(key)
    elif isinstance(digest, str) and key is None and len(digest) == 64:
        try:
            value = bytes.fromhex(digest)
        except ValueError:
            raise InputError(f"{where}: '{name}' has a sha256 that is not hexadecimal") from None
    else:
        raise InputError(f"{where}: '{name}' needs either key, a text, or sha256, 64 hexadecimal digits")
    if entry.get("where") is not None:
        check_where(entry["where"])
    return ApiKey(name, value, entry.get("where"))


def digest_of(key: str) -> bytes:
    """SHA-256 of a key. Keys are long random texts, so a slow hash would protect nothing more."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def matching_key(keys: Sequence[ApiKey], given: str) -> ApiKey | None:
    """The key that was given, or None. Takes the same time whichever it is, and whether it is one."""
    digest, found = digest_of(given), None
    for key in keys:
        if hmac.compare_digest(digest, key.digest):
            found = key
    return found
