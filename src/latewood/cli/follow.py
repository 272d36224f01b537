"""`latewood index --follow`: records from standard input, committed as they come."""

from __future__ import annotations

import json
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from latewood.cli.output import console
from latewood.collection import Collection
from latewood.following import Committed, Follower
from latewood.late_index import WORTHWHILE

__all__ = ["follow"]


def follow(kb: Collection, path: Path, most: int, within: float, *, as_json: bool) -> int:
    """Commit the lines of standard input until it ends or SIGTERM comes, and say so after each commit."""
    started = time.perf_counter()
    follower = Follower(kb, sys.stdin.fileno(), most=most, within=within)
    kb.keep_late_index(WORTHWHILE)
    before = signal.signal(signal.SIGTERM, lambda number, frame: follower.stop())
    try:
        count = follower.run(_as_json if as_json else _print)
    finally:
        signal.signal(signal.SIGTERM, before)
    if not as_json:
        seconds = time.perf_counter() - started
        console.print(f"{count:,} lines in {seconds:.1f} s, all committed to {path}", markup=False)
    return 0


def _as_json(done: Committed) -> None:
    told = {"schema": 1, "lines": done.lines, **asdict(done.passages), "deleted": done.deleted}
    _say(json.dumps({**told, "generation": done.generation, "seconds": round(done.seconds, 3)}))


def _print(done: Committed) -> None:
    passages = done.passages
    _say(
        f"committed up to line {done.lines:,}: added {passages.added:,}, replaced {passages.replaced:,}, "
        f"unchanged {passages.unchanged:,}, deleted {done.deleted:,}; generation {done.generation:,}"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    with suppress(BrokenPipeError):  # nobody listens any more; the stream goes on
        sys.stdout.flush()
