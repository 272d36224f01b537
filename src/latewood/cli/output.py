"""How commands talk: JSON and tables on standard output, progress and remarks on standard error."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Task as ProgressTask
from rich.text import Text

__all__ = [
    "SCHEMA",
    "console",
    "emit_json",
    "print_json",
    "progress_bar",
    "remark",
    "remarks_from_warnings",
    "steps_bar",
]

SCHEMA = 1
"""Version of the JSON that commands print."""

console = Console(highlight=False, soft_wrap=True)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def emit_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object with its schema number."""
    print_json({"schema": SCHEMA, **value})


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object; a float that JSON can't hold is a bug, not a NaN in the output."""
    console.file.write(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


def remark(text: str) -> None:
    """Say something beside the result."""
    _errors.print(text, markup=False)


@contextmanager
def remarks_from_warnings() -> Iterator[None]:
    """Print latewood's own warnings as one line each, without file and line number."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", module=r"latewood(\.|$)")
        try:
            yield
        finally:
            for warning in caught:
                remark(f"note: {warning.message}")


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: ProgressTask) -> Text:
        """The rate, or nothing before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "")


_SPEED_OVER = 60.0
"""Seconds that a rate is the mean of."""

_LINE_EVERY = 30.0
"""Seconds between lines of progress where standard error is no terminal."""


class Bar:
    """Progress of one task: called with the number of items done since the last call.

    On a terminal it is a bar; in a log it is a line now and then.
    """

    def __init__(self, progress: Progress, what: str, total: int | None, *, lines: bool) -> None:
        """Use `progress_bar`."""
        self._progress = progress
        self._task = progress.add_task(what, total=total)
        self._lines = lines
        self._said = time.monotonic()

    def __call__(self, n: int) -> None:
        """So many more are done."""
        self._progress.advance(self._task, n)
        now = time.monotonic()
        if self._lines and now - self._said >= _LINE_EVERY:
            self._said = now
            remark(self._line())

    def expect(self, total: int) -> None:
        """So many there will be in all, as far as is known by now."""
        self._progress.update(self._task, total=total)

    def _line(self) -> str:
        task = self._progress.tasks[0]
        parts = [f"{int(task.completed):,}" + (f" of {int(task.total):,}" if task.total else "")]
        if task.speed:
            parts.append(f"{task.speed:,.1f}/s")
        if task.time_remaining is not None:
            parts.append(f"{timedelta(seconds=int(task.time_remaining))} left")
        return f"{task.description}: {', '.join(parts)}"


@contextmanager
def progress_bar(what: str, total: int | None, quiet: bool = False) -> Iterator[Bar]:
    """Progress on standard error, with items per second and the time left; gives what to advance it with."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    terminal = _errors.is_terminal
    with Progress(
        *columns, console=_errors, disable=quiet or not terminal, transient=True, speed_estimate_period=_SPEED_OVER
    ) as progress:
        yield Bar(progress, what, total, lines=not quiet and not terminal)


@contextmanager
def steps_bar(what: str, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for work in steps; gives the function that says step, units done and units in all."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors, disable=quiet or not _errors.is_terminal, transient=True) as progress:
        task = progress.add_task(what, total=None)
        current = ""

        def show(step: str, done: int, total: int) -> None:
            nonlocal current
            if step != current:
                progress.reset(task, total=total or None, description=f"{what}: {step}")
                current = step
            progress.update(task, completed=done, total=total or None)

        yield show
