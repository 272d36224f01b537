"""Run as a process of its own, to be killed: `reindexing_process.py COLLECTION MODEL build|switch`."""

from __future__ import annotations

import sys
from pathlib import Path

from latewood import collection, reindex


def say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    path, model, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    collection.BATCH = 8  # small batches: many moments to be killed at
    say("ready")
    brought = reindex.build(path, model, progress=lambda n: say(str(n)))
    if what == "switch":
        reindex.switch(path, brought.name)
    say("done")


if __name__ == "__main__":
    main()
