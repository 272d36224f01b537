"""Run under `disk_recorder.c`: lets one change to the disk after another fail, until nothing fails any more.

    python failing_process.py FOLDER add|delete|compact|copy|create|search "full"|"full once"|"broken" STEP

The first to fail, then the one STEP later, and so on. Prints how many there were to fail. An assertion that doesn't
hold ends it with its traceback.
"""

from __future__ import annotations

import ctypes
import errno
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from script_of_changes import SPEC, apply, assert_holds, encoded, passage, states

from latewood.errors import StorageError
from latewood.stores.backup import copy_collection
from latewood.stores.embedded import EmbeddedStore

GENERATION = 6
MODES = {"full": (errno.ENOSPC, 1), "full once": (errno.ENOSPC, 0), "broken": (errno.EIO, 1)}

disk = ctypes.CDLL(None)
disk.disk_changes.restype = ctypes.c_long


def failing(at: int, how: str, work: Callable[[], object]) -> tuple[bool, bool]:
    """Do the work while the at-th change to the disk fails; whether it came so far, and whether it was refused."""
    disk.disk_fail(ctypes.c_long(at), *MODES[how])
    refused = None
    try:
        work()
    except StorageError as error:
        refused = error
    finally:
        reached = disk.disk_changes() >= at
        disk.disk_fail(ctypes.c_long(0), 0, 0)
    if refused is not None:
        assert reached
        assert "\n" not in str(refused)
    return reached, refused is not None


def change(what: str, folder: Path, how: str, at: int) -> bool:
    path = folder / f"{at}.lw"
    shutil.copytree(folder / "base.lw", path)
    state = states(GENERATION)[-1]
    store = EmbeddedStore.open(path, write=True)
    if what == "add":
        added = [passage(n, 1000) for n in range(4)]
        after = {**state, **{one.id: one for one in added}}
        reached, refused = failing(at, how, lambda: store.add(added, encoded(added)))
    else:
        doomed = sorted(state)[:2]
        after = {key: one for key, one in state.items() if key not in doomed}
        reached, refused = failing(at, how, lambda: store.delete(doomed))
    for _ in range(2):
        # In this process, and after opening anew.
        assert store.snapshot().generation == GENERATION + (not refused)
        assert_holds(store, state if refused else after)
        store.close()
        store = EmbeddedStore.open(path)
    if refused:
        assert_holds(store, apply(store, GENERATION + 1, state))
    store.close()
    return reached


def compact(folder: Path, how: str, at: int) -> bool:
    """Refused or not, the generation and what it holds stay; another try succeeds."""
    path = folder / f"{at}.lw"
    shutil.copytree(folder / "base.lw", path)
    state = states(GENERATION)[-1]
    store = EmbeddedStore.open(path, write=True)
    reached, _ = failing(at, how, lambda: store.compact(keep_for=0))
    for _ in range(2):
        assert store.snapshot().generation == GENERATION
        assert_holds(store, state)
        store.close()
        store = EmbeddedStore.open(path)
    store.compact(keep_for=0)
    assert store.stats()["segments"] == 1
    assert len(list((path / "segments").iterdir())) == 1
    assert_holds(store, state)
    assert_holds(store, apply(store, GENERATION + 1, state))
    store.close()
    return reached


def copy(folder: Path, how: str, at: int) -> bool:
    """The copy is there, whole, or it isn't; the next attempt makes it, and the source stays what it was."""
    path = folder / f"{at}.lw"
    reached, refused = failing(at, how, lambda: copy_collection(folder / "base.lw", path))
    assert path.exists() or refused
    if not path.exists():
        copy_collection(folder / "base.lw", path)
    for one in path, folder / "base.lw":
        store = EmbeddedStore.open(one)
        assert_holds(store, states(GENERATION)[-1])
        store.close()
    return reached


def create(folder: Path, how: str, at: int) -> bool:
    path = folder / f"{at}.lw"
    reached, refused = failing(at, how, lambda: EmbeddedStore.create(path, SPEC).close())
    if not path.exists():
        assert refused
        EmbeddedStore.create(path, SPEC).close()
    store = EmbeddedStore.open(path)
    assert_holds(store, {})
    assert_holds(store, apply(store, 1, {}))
    store.close()
    return reached


def remove(folder: Path) -> None:
    """With patience: a thread of tantivy may still put down a file of a build whose disk has just failed."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


def search(folder: Path, how: str, at: int) -> bool:
    """A search may have to write BM25's files; where it can't, it must give the same answer all the same."""
    path = folder / f"{at}.lw"
    shutil.copytree(folder / "base.lw", path)
    shutil.rmtree(path / "derived", ignore_errors=True)
    store = EmbeddedStore.open(path)
    snapshot = store.snapshot()
    rankings = []
    reached, refused = failing(at, how, lambda: rankings.append(snapshot.bm25("copper harbour winter", 20)))
    store.close()
    store = EmbeddedStore.open(path)
    rankings.append(store.snapshot().bm25("copper harbour winter", 20))
    assert not refused
    assert rankings[0].rows.tolist() == rankings[1].rows.tolist()
    assert rankings[0].scores.tolist() == rankings[1].scores.tolist()
    assert_holds(store, states(GENERATION)[-1])
    store.close()
    return reached


def main(folder: Path, what: str, how: str, step: int) -> int:
    store = EmbeddedStore.create(folder / "base.lw", SPEC)
    state: dict = {}
    for n in range(1, GENERATION + 1):
        state = apply(store, n, state)
    store.close()
    at = 1
    attempt = {"create": create, "search": search, "compact": compact, "copy": copy}.get(what, partial(change, what))
    while attempt(folder, how, at):
        remove(folder / f"{at}.lw")
        at += step
    return at - 1


if __name__ == "__main__":
    sys.stdout.write(str(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
