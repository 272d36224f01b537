"""Changes an index of vectors for ever: index_changing_process.py FOLDER. Made to be killed.

Change n makes generation n behind that of the build; odd ones add or replace five documents, even ones delete three.
The index is extended after every change, and files are merged and purged.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from latewood.index import MultiVectorIndex, late_life

D = 16


def document(number, version):
    rng = np.random.default_rng((number, version))
    return rng.standard_normal((int(rng.integers(1, 12)), D)).astype(np.float32)


def change(n):
    """Ids to put with their documents, and ids to delete."""
    rng = np.random.default_rng(n)
    if n % 2:
        return {str(i): document(i, n) for i in set(rng.integers(0, 150, 5).tolist())}, []
    return {}, [str(i) for i in rng.integers(0, 150, 3)]


def state_after(base, generation):
    """The documents by id after a build of 100 in `base` commits and the changes behind them."""
    state = {str(i): document(i, 0) for i in range(100)}
    done, n = base, 0
    while done < generation:
        n += 1
        added, doomed = change(n)
        there = [name for name in doomed if name in state]
        state |= added
        for name in there:
            state.pop(name, None)
        done += bool(added or there)
    return state, n


def main(folder):
    late_life._LEAST_TAIL = 1
    if not (Path(folder) / "built").exists():
        MultiVectorIndex.build(Path(folder) / "ix", [document(i, 0) for i in range(100)]).close()
        (Path(folder) / "built").touch()
    with MultiVectorIndex.open(Path(folder) / "ix") as index:
        n = state_after(1, index._snapshot.generation)[1]
        while True:
            n += 1
            added, doomed = change(n)
            if added:
                index.add(added.values(), ids=added)
            else:
                index.delete(doomed)
            sys.stdout.write(f"{index._snapshot.generation}\n")
            sys.stdout.flush()
            if n % 3 == 0:
                index.compact(keep_for=0)


if __name__ == "__main__":
    main(sys.argv[1])
