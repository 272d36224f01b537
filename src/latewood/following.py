"""A stream of records into a collection: what comes close together is encoded and committed together.

A commit costs a few flushes of the disk however many passages it brings, so a stream of single passages is gathered for
a moment. Each commit is told when it is on the disk: what was acknowledged survives whatever happens next.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from latewood.collection import AddReport, Collection
from latewood.errors import UsageError
from latewood.ingest import passage_of
from latewood.types import Passage

__all__ = ["Committed", "Follower"]

_WAITING = 4096  # lines that are held; whoever writes faster waits
_CHUNK = 1 << 16

Line = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Committed:
    """What is on the disk now.

    Args:
        lines: of the stream, all up to here.
        passages: what the last of them did.
        deleted: passages that were there and were deleted.
        generation: that readers must have to see it.
        seconds: from the first line of this commit to its end.
    """

    lines: int
    passages: AddReport
    deleted: int
    generation: int
    seconds: float


class Follower:
    """Reads JSON lines from a descriptor and commits them to a collection.

    Args:
        kb: the collection.
        descriptor: of a pipe or a file.
        most: lines of a commit.
        within: seconds that a line waits for others.
        name: of the stream, for errors and as the passages' source.
    """

    def __init__(
        self, kb: Collection, descriptor: int, *, most: int = 256, within: float = 1.0, name: str = "standard input"
    ) -> None:
        """Nothing is read yet.

        Raises:
            UsageError: a setting that is less than 1, or less than no time.
        """
        if most < 1 or within < 0:
            raise UsageError(f"a commit every {most} lines or {within} s: expected at least 1 line and 0 s")
        self._kb, self._descriptor, self._most, self._within, self._name = kb, descriptor, most, within, name
        self._lines: SimpleQueue[Line | None] = SimpleQueue()
        self._room = threading.Semaphore(_WAITING)
        self._stopping = False
        self._failed: OSError | None = None

    def stop(self) -> None:
        """Read no more: what has been read whole is committed, and `run` ends. May be called by a signal's handler."""
        self._stopping = True
        self._lines.put(None)

    def run(self, told: Callable[[Committed], None]) -> int:
        """Commit until the stream ends or `stop` is called; how many lines there were.

        Args:
            told: called after every commit.

        Raises:
            InputError: a line that is no record; what came before it is committed.
            LockedError: another process is writing.
            StorageError: the disk refused; what was told is safe.
        """
        self._kb.start_writing()
        threading.Thread(target=self._read, name="latewood-follow", daemon=True).start()
        count, ended = 0, False
        while not ended:
            batch, ended, started = self._gather()
            if not batch:
                continue
            count = batch[-1][0]
            self._commit(batch, started, told)
        if self._failed is not None:
            raise UsageError(f"{self._name}: could not be read: {self._failed.strerror or self._failed}")
        return count

    def _gather(self) -> tuple[list[Line], bool, float]:
        """Lines for one commit, whether they are the last, and when the first came."""
        batch: list[Line] = []
        started = time.monotonic()
        while len(batch) < self._most:
            wait = None if not batch else max(0.0, started + self._within - time.monotonic())
            try:
                line = self._lines.get_nowait() if self._stopping else self._lines.get(timeout=wait)
            except Empty:
                return batch, self._stopping, started
            if line is None:
                if self._stopping:
                    continue
                return batch, True, started
            if not batch:
                started = time.monotonic()
            self._room.release()
            batch.append(line)
        return batch, False, started

    def _commit(self, batch: list[Line], started: float, told: Callable[[Committed], None]) -> None:
        last: dict[str, Passage | None] = {}
        error, lines = None, 0
        for number, line in batch:
            try:
                record = passage_of(line, f"{self._name}:{number}", self._name)
            except UsageError as found:
                error = found
                break
            # What a line says of an id, a later one takes back.
            key, passage = (record, None) if isinstance(record, str) else (record.id, record)
            last.pop(key, None)
            last[key] = passage
            lines = number
        if last:
            report = self._kb.add(passage for passage in last.values() if passage is not None)
            doomed = [key for key, passage in last.items() if passage is None]
            deleted = self._kb.delete(doomed) if doomed else 0
            seconds = time.monotonic() - started
            told(Committed(lines, report, deleted, self._kb.snapshot.generation, seconds))
        if error is not None:
            raise error

    def _read(self) -> None:
        """On a thread: lines of the stream. By its descriptor, as a buffered reader can't be left while it waits."""
        number, rest = 0, b""
        try:
            while not self._stopping and (chunk := os.read(self._descriptor, _CHUNK)):
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    number += 1
                    self._put(number, line)
            if not self._stopping and rest:
                self._put(number + 1, rest)
        except OSError as error:
            self._failed = error
        self._lines.put(None)

    def _put(self, number: int, line: bytes) -> None:
        if line.strip():
            self._room.acquire()
            self._lines.put((number, line))
