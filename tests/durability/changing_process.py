"""Run as a process: does change after change to a collection, and says so after each.

    python changing_process.py COLLECTION ACKNOWLEDGEMENTS CHANGES SESSION WORDS [KEEP]

Every fourth change is followed by a compaction, in turns of everything and of one run, with what it replaces kept for
KEEP seconds (0). Upkeep is at work besides. Acknowledgements go to a file, one line with the generation each, written
when the change has returned. The collection is created if it isn't there (acknowledged as 0) and closed and opened
again after every SESSION changes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from script_of_changes import SPEC, apply, states

from latewood.stores.embedded import EmbeddedStore


def main(path: Path, acknowledgements: Path, changes: int, session: int, words: int, keep: int = 0) -> None:
    log = os.open(acknowledgements, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    store = EmbeddedStore.open(path) if path.exists() else EmbeddedStore.create(path, SPEC)
    generation = store.snapshot().generation
    state = states(generation, words)[-1]
    os.write(log, f"{generation}\n".encode())
    for n in range(generation + 1, generation + changes + 1):
        state = apply(store, n, state, words)
        os.write(log, f"{n}\n".encode())
        if n % 3 == 0:
            store.snapshot().bm25("copper harbour", 5)
        if n % 8 == 6:
            store.compact(keep_for=keep)
        if n % 8 == 2:
            store._index.compact_once(everything=True)
            store._index.purge(keep_for=keep)
        if n % session == 0:
            store.close()
            store = EmbeddedStore.open(path)
    store.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
