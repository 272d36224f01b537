"""Upkeep: what a writing process does beside its commits, on a thread of its own, and what `compact` does at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from latewood.errors import LatewoodError
from latewood.index.compaction import KEEP_FOR, plan
from latewood.index.live import Index

__all__ = ["Stopped", "Task", "Upkeep", "compact"]

_BEHIND = 96
"""Segments from which on a commit waits for upkeep: a writer must not outrun it without end."""


class Task(Protocol):
    """Something else to look after."""

    def is_due(self) -> bool:
        """Whether there is something to do; asked after every commit, so it must be cheap."""
        ...

    def do(self, check: Callable[[], None]) -> bool:
        """Do one piece of work, and say whether there was any. `check` is called now and then, and may raise."""
        ...


class Stopped(Exception):
    """Upkeep was told to end in the middle of a piece of work, which is as if it hadn't begun."""


def compact(index: Index, keep_for: float = KEEP_FOR) -> int:
    """Rewrite what has dead rows, merge small segments, and remove what they replace; how many files were written.

    Args:
        index: its write lock is taken.
        keep_for: seconds that replaced files, and texts of dropped rows, stay for readers of older generations.

    Raises:
        LockedError: another process is writing.
        StorageError: the disk refused; the collection is as before, and nothing is lost.
    """
    index.start_writing()
    written = 0
    while index.compact_once(everything=True):
        written += 1
    index.purge(keep_for)
    index.catalogue.vacuum()
    return written


class _Worker:
    """A thread that does one piece of work after another, started when there is some, and gone when there is none."""

    def __init__(self, name: str, is_due: Callable[[], bool], step: Callable[[], bool]) -> None:
        self.error: LatewoodError | None = None
        self.stopping = False
        self._name, self._is_due, self._step = name, is_due, step
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._again = False

    def nudge(self) -> None:
        with self._mutex:
            if self._thread is not None and self._thread.is_alive():
                self._again = True
            elif not self.stopping and self._is_worth_starting():
                self._again = False
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def _is_worth_starting(self) -> bool:
        try:
            return self._is_due()
        except LatewoodError as error:  # what was committed is committed: no reason for the commit to fail
            self.error = error
            return False

    def _work(self) -> None:
        try:
            while True:
                while self._step():
                    self.error = None
                with self._mutex:
                    if not self._again or self.stopping:
                        self._thread = None
                        return
                    self._again = False
        except Stopped:
            pass
        except LatewoodError as error:
            # Nothing was changed. A full disk will also be told by the next commit, by its own error.
            if not self.stopping:
                self.error = error

    def is_working(self) -> bool:
        with self._mutex:
            return self._thread is not None and self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        with self._mutex:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)


class Upkeep:
    """Threads that look after an index that is being written: one rewrites files, and one for each other task.

    They are started by a commit that leaves something to do, end when there is nothing left, and are stopped by `close`
    of the index. What fails is kept as `error` and told by `stats`; the next commit tries again.
    """

    def __init__(self, index: Index, tasks: Sequence[Task] = ()) -> None:
        """Hang into an index.

        Args:
            index: to be looked after.
            tasks: done beside the rewriting and beside each other: a training may take minutes.
        """
        self.paused = False
        self._index = index
        self._files = _Worker("latewood-upkeep", self._is_worth_a_look, self._rewrite)
        self._tasks = [
            _Worker(f"latewood-task-{i}", task.is_due, partial(self._do, i, task)) for i, task in enumerate(tasks)
        ]
        index.after_commit = self._nudge
        index.before_close = self.stop

    @property
    def error(self) -> LatewoodError | None:
        """What kept it from its work, the last time."""
        return next((worker.error for worker in self._workers if worker.error is not None), None)

    @property
    def _workers(self) -> list[_Worker]:
        return [self._files, *self._tasks]

    def _nudge(self) -> None:
        """Called after each commit: cheap, and mostly nothing."""
        if self.paused:
            return
        for worker in self._workers:
            worker.nudge()
        if len(self._index.snapshot().segments) >= _BEHIND and self._files.error is None:
            self._files.join(timeout=1.0)

    def _is_worth_a_look(self) -> bool:
        return plan(self._index.snapshot()) is not None or self._index.is_purge_due()

    def _rewrite(self) -> bool:
        # Not to be interrupted: a writer that opens, adds one passage and closes must get on with it, too.
        if self._index.compact_once():
            return True
        if self._index.is_purge_due():
            self._index.purge()
        return False

    def _do(self, number: int, task: Task) -> bool:
        def check() -> None:
            if self._tasks[number].stopping:
                raise Stopped

        done = task.is_due() and task.do(check)
        if done:  # and it may have left something to do for others: an index that was extended may be outgrown
            for worker in self._tasks:
                worker.nudge()
        return done

    def stop(self) -> None:
        """End it when nothing is left but training, which ends in its middle and is gone on with another time."""
        for worker in self._workers:
            worker.stopping = True
        for worker in self._workers:
            worker.join()

    def wait(self) -> None:
        """Wait until there is nothing left to do.

        Raises:
            LatewoodError: what kept it from its work.
        """
        while any(worker.is_working() for worker in self._workers):
            for worker in self._workers:
                worker.join()
        if self.error is not None:
            raise self.error
