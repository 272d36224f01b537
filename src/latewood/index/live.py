"""The index of one collection: its catalogue, its segments, and the one way to change them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from latewood.errors import LatewoodError, StorageError
from latewood.index.catalogue import Catalogue, Commit, Head, SegmentRecord
from latewood.index.disk import TEMPORARY, disk_errors
from latewood.index.ids import IdTable
from latewood.index.levels import Stored
from latewood.index.lock import WriteLock
from latewood.index.segment import Segment
from latewood.index.snapshot import IndexSnapshot, Space
from latewood.types import IntArray

__all__ = ["Index", "noted"]

CATALOGUE = "catalogue.sqlite"
SEGMENTS = "segments"
LOCK = "lock"

_SEGMENT_FILE = re.compile(rf"(\d+)\.seg({re.escape(TEMPORARY)})?")


class Index:
    """Rows with vectors and strings, in immutable segments under one catalogue.

    Reading needs no lock. `start_writing` takes the write lock, `close` gives it back.
    """

    def __init__(self, folder: Path, catalogue: Catalogue, spaces: Mapping[str, Space]) -> None:
        """Use `open`.

        Args:
            folder: of the collection.
            catalogue: open.
            spaces: its columns of vectors.
        """
        self.folder = folder
        self.catalogue = catalogue
        self._lock = WriteLock(folder / LOCK)
        self._newest = IndexSnapshot(
            Head(0, 0, 0), (), np.zeros(0, bool), IdTable(), spaces, {column: np.zeros(0, bool) for column in spaces}
        )
        self._next_segment = 0
        self._mutex = threading.Lock()

    @staticmethod
    def create(folder: Path, tables: str, meta: Mapping[str, bytes]) -> None:
        """Make an index without rows in an existing, empty folder.

        Args:
            folder: of the collection.
            tables: SQL that makes further tables, which `commit` may write to.
            meta: records that never change.
        """
        with disk_errors(folder, "write"):
            (folder / SEGMENTS).mkdir()
        Catalogue.create(folder / CATALOGUE, tables, meta)

    def close(self) -> None:
        """Give files and the lock back. Closing twice is fine."""
        self.catalogue.close()
        self._lock.release()

    # -- reading ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> IndexSnapshot:
        """The newest committed generation.

        Raises:
            CorruptionError: the log of commits, or a segment's header, is not what was written.
        """
        with self._mutex:
            self._newest = self._moved_on(self._newest)
            return self._newest

    def keep(self, spaces: Mapping[str, Space]) -> None:
        """Say how columns are stored, where that was left open until their first vectors came."""
        with self._mutex:
            known = self._newest
            touched = {column: np.zeros(len(known.alive), bool) for column in spaces}
            self._newest = replace(known, spaces={**known.spaces, **spaces}, touched={**known.touched, **touched})

    def _moved_on(self, known: IndexSnapshot) -> IndexSnapshot:
        head = self.catalogue.head()
        if head == known.head:
            return known
        if head.generation <= known.generation:
            raise self.catalogue.corrupt(f"the newest commit (generation {head.generation}, was {known.generation})")
        commits = self.catalogue.commits(known.head, head)
        added = [Segment(self.folder / SEGMENTS, c.segment) for c in commits if c.segment is not None]
        new = np.ones(head.rows - known.head.rows, bool)
        alive = np.concatenate([known.alive, new])
        for commit in commits:
            alive[commit.died] = False
        touched = {column: np.concatenate([seen, ~new]) for column, seen in known.touched.items()}
        return replace(known, head=head, segments=(*known.segments, *added), alive=alive, touched=touched)

    # -- writing ---------------------------------------------------------------------------------------------------

    def start_writing(self) -> bool:
        """Take the write lock, and remove what a writer that was interrupted has left; False if it was held already.

        Raises:
            LockedError: another process is writing.
            StorageError: the folder can't be written.
        """
        if self._lock.held:
            return False
        self._lock.acquire()
        try:
            self._next_segment = self._sweep()
        except BaseException:
            self._lock.release()
            raise
        return True

    def commit(
        self,
        ids: Sequence[str],
        vectors: Mapping[str, Stored],
        strings: Mapping[str, Sequence[str]],
        content: int,
        record: Callable[[IntArray], None],
    ) -> Head:
        """Add N rows, and let the live rows that bear their ids die, in one commit.

        Args:
            ids: N ids, each once.
            vectors: columns of vectors of N rows.
            strings: further columns of strings of N rows.
            content: checksum of what `record` will write, kept in the log.
            record: called inside the transaction with the N new row numbers, to write to the caller's own tables.

        Raises:
            LatewoodError: nothing was committed; the collection is as before.
        """
        self.start_writing()
        replaced = self.snapshot().find(ids)
        number, self._next_segment = self._next_segment, self._next_segment + 1
        path = self.folder / SEGMENTS / f"{number:06d}.seg"
        seal = Segment.write(path, vectors, ids, strings)
        head = self._newest.head
        segment = SegmentRecord(number, head.rows, len(ids), seal)
        return self._append(
            Commit(head.generation + 1, segment, content, np.unique(replaced[replaced >= 0])),
            lambda: record(np.arange(head.rows, head.rows + len(ids))),
        )

    def bury(self, ids: Sequence[str]) -> int:
        """Let the live rows that bear these ids die, in one commit; how many there were (no commit if none)."""
        self.start_writing()
        found = self.snapshot().find(ids)
        died = np.unique(found[found >= 0])
        if len(died):
            self._append(Commit(self._newest.generation + 1, None, died=died), lambda: None)
        return len(died)

    def _append(self, commit: Commit, record: Callable[[], None]) -> Head:
        # A segment whose transaction failed stays behind for the next sweep. Removing it here could lose data: where
        # the disk failed late, SQLite may find the transaction complete after a crash.
        head = self._newest.head
        with self.catalogue.transaction():
            if self.catalogue.head() != head:
                raise StorageError(f"{self.folder} was changed by somebody who doesn't hold its lock; open it again")
            record()
            return self.catalogue.append(commit, head)

    def _sweep(self) -> int:
        """Remove files that no commit knows; the number of the next segment."""
        known = {segment.record.file for segment in self.snapshot().segments}
        highest = max((segment.record.number for segment in self._newest.segments), default=0)
        with disk_errors(self.folder / SEGMENTS, "clean up"):
            for path in sorted((self.folder / SEGMENTS).iterdir()):
                ours = _SEGMENT_FILE.fullmatch(path.name)
                if ours and path.name not in known:
                    path.unlink()
                    # Its number isn't given again: see `_append` for why somebody may still remember it.
                    highest = max(highest, int(ours[1]))
        return highest + 1

    # -- verifying -------------------------------------------------------------------------------------------------

    def findings(self) -> list[str]:
        """One line for everything in the newest generation that is not what was written. Reads all."""
        found = noted(self.catalogue.findings)
        try:
            snapshot = self.snapshot()
        except LatewoodError as error:
            return [*found, str(error)]
        for segment in snapshot.segments:
            found += noted(partial(self._segment_findings, segment.record))
        return found + noted(lambda: self._id_findings(snapshot))

    def _segment_findings(self, record: SegmentRecord) -> list[str]:
        # Mapped afresh, so that blocks that were verified long ago are read again.
        return Segment(self.folder / SEGMENTS, record).file.findings()

    def _id_findings(self, snapshot: IndexSnapshot) -> list[str]:
        ids = snapshot.ids(snapshot.live_rows)
        seen: dict[str, int] = {}
        found = []
        for row, name in zip(snapshot.live_rows.tolist(), ids, strict=True):
            if name in seen:
                found.append(f"{self.folder}: rows {seen[name]} and {row} both bear the id '{name}'")
            seen[name] = row
        if not found and not np.array_equal(snapshot.find(ids), snapshot.live_rows):
            found.append(f"{self.folder}: the table of ids doesn't lead to the rows that bear them")
        return found


def noted(look: Callable[[], list[str]]) -> list[str]:
    """What `look` finds, or the error that keeps it from looking, as a finding."""
    try:
        return look()
    except LatewoodError as error:
        return [str(error)]
