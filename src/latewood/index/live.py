"""The index of one collection: its catalogue, its segments, and the one way to change them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from latewood.errors import CorruptionError, LatewoodError, StorageError
from latewood.index.catalogue import Catalogue, Commit, Head, SegmentRecord
from latewood.index.compaction import KEEP_FOR, plan, rewrite
from latewood.index.disk import TEMPORARY, disk_errors, remove_unused
from latewood.index.ids import IdTable
from latewood.index.layout import Base, Retired, forget, oldest_retired, read_base, relay, retired
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

        What others may hang in: `after_commit` and `before_close` are called then; `purging` inside the transaction
        that removes what is left of dropped rows.
        """
        self.folder = folder
        self.catalogue = catalogue
        self._lock = WriteLock(folder / LOCK)
        self._newest = IndexSnapshot(
            Head(0, 0, 0), (), np.zeros(0, bool), IdTable(), spaces, {column: np.zeros(0, bool) for column in spaces}
        )
        self._next_segment = 0
        self._committed = -1  # the newest generation, while this process holds the write lock
        self._written: set[SegmentRecord] = set()  # by this process, and not opened yet
        self._mutex = threading.Lock()
        self.keep_for: float = KEEP_FOR
        self._oldest_retired: int | None = None
        # Who trains an index over the vectors holds the first, for minutes; who makes files of it the index, the other.
        self.deriving = threading.Lock()
        self.publishing = threading.RLock()
        self._rewriting = threading.Lock()
        self._writing = threading.RLock()  # commits, and the moments at which upkeep changes the catalogue
        self.after_commit: Callable[[], None] = lambda: None
        self.before_close: Callable[[], None] = lambda: None
        self.purging: Callable[[IntArray], None] = lambda rows: None

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
        self.before_close()
        self.catalogue.close()
        self._lock.release()

    # -- reading ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> IndexSnapshot:
        """The newest committed generation.

        Who writes knows it; others look. So searches and upkeep beside a stream of commits don't wait for the
        catalogue. The layout may then be the one before for a moment, whose files are still there.

        Raises:
            CorruptionError: the log of commits, or a segment's header, is not what was written.
        """
        newest = self._newest
        if self._lock.held and newest.generation == self._committed:
            return newest
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
        while True:
            with self.catalogue.reading():
                head = self.catalogue.head()
                if head == known.head:
                    return known
                if head.generation < known.generation or head.layout < known.head.layout:
                    said = f"generation {head.generation}, was {known.generation}"
                    raise self.catalogue.corrupt(f"the newest commit ({said})")
                relaid = head.layout != known.head.layout
                base = read_base(self.catalogue, head.layout) if relaid else None
                commits = self.catalogue.commits(base.head if base else known.head, head)
            try:
                return self._after(known, head, base, commits)
            except CorruptionError:
                # Compaction may have removed a file between the two readings; what it left is another layout.
                if self.catalogue.head().layout == head.layout:
                    raise

    def _after(self, known: IndexSnapshot, head: Head, base: Base | None, commits: Sequence[Commit]) -> IndexSnapshot:
        """The snapshot of `head`, which these commits led to from `base`, or from what is known."""
        records = list(base.segments) if base else [segment.record for segment in known.segments]
        records += [commit.segment for commit in commits if commit.segment is not None]
        before = base.alive if base else known.alive
        alive = np.concatenate([before, np.ones(head.rows - len(before), bool)])
        for commit in commits:
            alive[commit.died] = False
        return self._over(known, head, records, alive)

    def _over(
        self, known: IndexSnapshot, head: Head, records: Sequence[SegmentRecord], alive: npt.NDArray[np.bool_]
    ) -> IndexSnapshot:
        """A snapshot over these segments; those that are open already stay so.

        A stream of commits and merges makes every search meet files that nobody has read yet. Those that this process
        wrote needn't be verified, so a search beside the stream costs what it costs beside none.
        """
        opened = {segment.record: segment for segment in known.segments}
        written = {one for one in records if one in self._written}
        folder = self.folder / SEGMENTS
        segments = tuple(opened.get(one) or Segment(folder, one, written=one in written) for one in records)
        self._written -= written
        rest = np.zeros(head.rows - known.head.rows, bool)
        touched = {column: np.concatenate([seen, rest]) for column, seen in known.touched.items()}
        table = known.table
        if head.layout != known.head.layout:
            # What an older layout still knew may be dropped here, so each has a table of its own.
            table = IdTable(known.table)
        for segment in segments:
            if segment.record not in opened:
                for seen in touched.values():
                    seen[segment.record.first_row :][: len(segment)] = segment.record in written
        return replace(known, head=head, segments=segments, alive=alive, touched=touched, table=table)

    # -- writing ---------------------------------------------------------------------------------------------------

    def start_writing(self) -> bool:
        """Take the write lock, and remove what a writer that was interrupted has left; False if it was held already.

        Raises:
            LockedError: another process is writing.
            StorageError: the folder can't be written.
        """
        with self._writing:
            if self._lock.held:
                return False
            self._committed = -1
            self._lock.acquire()
            try:
                self._next_segment = self._sweep()
                self._committed = self._newest.generation
            except BaseException:
                self._lock.release()
                raise
        self.after_commit()
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
        with self._writing:
            replaced = self.snapshot().find(ids)
            number = self._new_number()
            seal = Segment.write(self.folder / SEGMENTS / f"{number:06d}.seg", vectors, ids, strings)
            head = self._newest.head
            segment = SegmentRecord(number, head.rows, len(ids), seal)
            self._written.add(segment)
            new = self._append(
                Commit(head.generation + 1, segment, content, np.unique(replaced[replaced >= 0])),
                lambda: record(np.arange(head.rows, head.rows + len(ids))),
            )
        self.after_commit()
        return new

    def bury(self, ids: Sequence[str]) -> int:
        """Let the live rows that bear these ids die, in one commit; how many there were (no commit if none)."""
        self.start_writing()
        with self._writing:
            found = self.snapshot().find(ids)
            died = np.unique(found[found >= 0])
            if len(died):
                self._append(Commit(self._newest.generation + 1, None, died=died), lambda: None)
        self.after_commit()
        return len(died)

    def _new_number(self) -> int:
        number, self._next_segment = self._next_segment, self._next_segment + 1
        return number

    def _append(self, commit: Commit, record: Callable[[], None]) -> Head:
        # A segment whose transaction failed stays behind for the next sweep. Removing it here could lose data: where
        # the disk failed late, SQLite may find the transaction complete after a crash.
        head = self._newest.head
        with self._transaction(head):
            record()
            new = self.catalogue.append(commit, head)
        # It is committed: a file that can't be opened is told by the next look.
        with self._mutex, suppress(LatewoodError):
            self._newest = self._after(self._newest, new, None, [commit])
        self._committed = new.generation
        return new

    @contextmanager
    def _transaction(self, head: Head) -> Iterator[None]:
        with self.catalogue.transaction():
            if self.catalogue.head() != head:
                raise StorageError(f"{self.folder} was changed by somebody who doesn't hold its lock; open it again")
            yield

    def _sweep(self) -> int:
        """Remove files that no commit knows; the number of the next segment."""
        known = {segment.record.file for segment in self.snapshot().segments}
        kept = retired(self.catalogue)
        self._oldest_retired = min((one.at for one in kept), default=None)
        known |= {one.file for one in kept}
        highest = max([0, *(s.record.number for s in self._newest.segments), *(one.number for one in kept)])
        with disk_errors(self.folder / SEGMENTS, "clean up"):
            for path in sorted((self.folder / SEGMENTS).iterdir()):
                ours = _SEGMENT_FILE.fullmatch(path.name)
                if ours and path.name not in known:
                    remove_unused(path)
                    # Its number isn't given again: see `_append` for why somebody may still remember it.
                    highest = max(highest, int(ours[1]))
        return highest + 1

    # -- compaction ------------------------------------------------------------------------------------------------

    def compact_once(self, *, everything: bool = False) -> bool:
        """Rewrite one run of segments, if that is worth it; False if nothing is. Others may commit meanwhile.

        Args:
            everything: leave no row that is dead, and no small segment beside another.

        Raises:
            CorruptionError: a block that would have been copied is not what was written.
            StorageError: the disk refused; the collection is as before.
        """
        self.start_writing()
        with self._rewriting:
            snapshot = self.snapshot()
            run = plan(snapshot, everything=everything)
            if run is None:
                return False
            # Mapped afresh: what this process has written or read long ago is verified before it is copied, too.
            old = [Segment(self.folder / SEGMENTS, one.record) for one in snapshot.segments[slice(*run)]]
            first, rows = old[0].record.first_row, sum(len(segment) for segment in old)
            with self._writing:
                number = self._new_number()
            path = self.folder / SEGMENTS / f"{number:06d}.seg"
            seal = rewrite(path, old, snapshot.alive[first : first + rows])
            new = SegmentRecord(number, first, rows, seal)
            with self._writing:
                self._written.add(new)
                now = self.snapshot()  # rows may have died and segments come since; those of the run are the same
                with self._transaction(now.head):
                    at = int(time.time())
                    relay(self.catalogue, now.head, now.alive, [one.record for one in old], new, at)
                self._oldest_retired = at if self._oldest_retired is None else self._oldest_retired
                with self._mutex:
                    self._newest = self._moved_on(self._newest)
            return True

    def is_purge_due(self) -> bool:
        """Whether it is time to `purge`: a tenth later, for many now and then, and not all the time for a few."""
        return self._oldest_retired is not None and time.time() - self._oldest_retired >= 1.1 * self.keep_for

    def purge(self, keep_for: float | None = None) -> int:
        """Remove files that compaction has replaced, and what is left of dropped rows; how many files.

        Args:
            keep_for: seconds that a file stays after it was replaced, for readers of older generations; None for
                the index's own `keep_for`.

        Raises:
            StorageError: the disk refused; what wasn't removed is for the next time.
        """
        self.start_writing()
        with self._writing:
            now = int(time.time())
            wanted = self.keep_for if keep_for is None else keep_for
            due = retired(self.catalogue, until=int(now - wanted))
            if not due:
                return 0
            rows = np.unique(np.concatenate([np.arange(one.first_row, one.first_row + one.rows) for one in due]))
            dropped = self.snapshot().dropped
            with self.catalogue.transaction():
                self.purging(rows[dropped[rows]])
                forget(self.catalogue, due)
            self._oldest_retired = oldest_retired(self.catalogue)
        with disk_errors(self.folder / SEGMENTS, "clean up"):
            for one in due:
                remove_unused(self.folder / SEGMENTS / one.file)
        return len(due)

    def retired(self) -> list[Retired]:
        """The files that compaction has replaced and that are still there."""
        return retired(self.catalogue)

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
