"""Run as a process: reads a collection that another process writes, and compares every answer with what must come.

    python reading_process.py COLLECTION SECONDS SEED

It moves on, or stays for some answers, or opens anew, at random. A text that compaction removed must be refused with a
StaleError, nothing else. Prints how many generations it saw, how often it searched, how often it was told to move on.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from script_of_changes import State, assert_answers, change

from latewood.errors import StaleError
from latewood.stores.embedded import EmbeddedStore


def main(path: Path, seconds: float, seed: int) -> None:
    rng = random.Random(seed)
    until = time.monotonic() + seconds
    state: State = {}
    reached = searches = stale = 0
    seen = set()
    store = EmbeddedStore.open(path)
    while time.monotonic() < until:
        if rng.random() < 0.1:
            store.close()
            store = EmbeddedStore.open(path)
        snapshot = store.snapshot()
        for n in range(reached + 1, snapshot.generation + 1):
            state = change(n, state)[2]
        reached = snapshot.generation
        seen.add(reached)
        for _ in range(rng.randint(1, 4)):
            searches += 1
            try:
                assert_answers(snapshot, state)
            except StaleError:
                stale += 1
                break
            time.sleep(rng.uniform(0, 0.02))
    store.close()
    sys.stdout.write(f"{len(seen)} {searches} {stale}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
