"""Readers beside a writer: each sees one generation, and moves on when it asks to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from disk_model import HERE
from script_of_changes import SPEC, apply, assert_holds, states

from latewood.errors import LockedError
from latewood.stores.embedded import EmbeddedStore

CHANGES = 24


def writing(collection, acknowledged, changes, keep=3600):
    script = [
        sys.executable,
        str(HERE / "changing_process.py"),
        str(collection),
        str(acknowledged),
        str(changes),
        "5",
        "12",
        str(keep),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    return subprocess.Popen(script, env=environment)


def test_a_reader_sees_one_generation_while_another_process_writes(tmp_path):
    collection = tmp_path / "kb.lw"
    EmbeddedStore.create(collection, SPEC).close()
    expected = states(CHANGES)
    reader = EmbeddedStore.open(collection)
    held, rankings, seen = [], [], []
    query = np.ones((3, SPEC.dim), np.float32)
    with writing(collection, tmp_path / "acknowledged", CHANGES) as process:
        while not seen or seen[-1] < CHANGES:
            assert process.poll() in (None, 0)
            snapshot = reader.snapshot()
            seen.append(snapshot.generation)
            if not held or held[-1].generation < snapshot.generation:
                held.append(snapshot)
                rankings.append(snapshot.late(query, 99).rows.tolist())
            assert len(snapshot) == len(expected[snapshot.generation])
    assert seen == sorted(seen)
    assert len(held) > 3
    for snapshot, ranking in zip(held, rankings, strict=True):
        state = expected[snapshot.generation]
        rows = snapshot.rows(sorted(state))
        assert snapshot.passages(rows) == [state[key] for key in sorted(state)]
        assert snapshot.late(query, 99).rows.tolist() == ranking
    assert_holds(reader, expected[CHANGES])
    reader.close()


def test_a_second_writer_is_told_who_writes_and_a_dead_one_lets_go(tmp_path):
    collection, ready = tmp_path / "kb.lw", tmp_path / "ready"
    code = f"""
import sys, time
from pathlib import Path
from script_of_changes import SPEC, apply
from latewood.stores.embedded import EmbeddedStore
store = EmbeddedStore.create(Path({str(collection)!r}), SPEC)
apply(store, 1, {{}})
Path({str(ready)!r}).touch()
time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
        while not ready.exists():
            assert process.poll() is None
            time.sleep(0.01)
        store = EmbeddedStore.open(collection)
        for change in lambda: store.delete(["x"]), lambda: apply(store, 2, states(1)[-1]), store.start_writing:
            with pytest.raises(LockedError, match=f"is being written by process {process.pid}: wait until"):
                change()
        assert_holds(store, states(1)[-1])
        process.kill()
    assert_holds(store, apply(store, 2, states(1)[-1]))
    store.close()


def test_threads_share_a_reader(tmp_path):
    store = EmbeddedStore.create(tmp_path / "kb.lw", SPEC)
    state = {}
    for n in range(1, 9):
        state = apply(store, n, state)
    store.close()
    store = EmbeddedStore.open(tmp_path / "kb.lw")
    errors = []

    def read():
        try:
            for _ in range(10):
                assert_holds(store, state)
                assert len(store.snapshot().bm25("copper harbour", 5))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    store.close()


def read_beside_a_writer(folder, readers, seconds, keep):
    collection, acknowledged = folder / "kb.lw", folder / "acknowledged"
    EmbeddedStore.create(collection, SPEC).close()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    script = [sys.executable, str(HERE / "reading_process.py"), str(collection), str(seconds)]
    with writing(collection, acknowledged, 10**9, keep) as writer:
        started = [
            subprocess.Popen([*script, str(seed)], env=environment, stdout=subprocess.PIPE, text=True)
            for seed in range(readers)
        ]
        said = [process.communicate()[0] for process in started]
        assert writer.poll() is None, "the writer ended by itself"
        writer.kill()
    assert [process.returncode for process in started] == [0] * readers
    seen = [[int(number) for number in line.split()] for line in said]  # generations, searches, told to move on
    assert all(generations > 3 and searches >= generations for generations, searches, _ in seen)
    store = EmbeddedStore.open(collection)
    generation = store.snapshot().generation
    assert_holds(store, states(generation)[-1])
    store.close()
    return sum(stale for _, _, stale in seen)


def test_two_readers_beside_a_writer_that_compacts(tmp_path):
    assert read_beside_a_writer(tmp_path, 2, 4, keep=3600) == 0


@pytest.mark.long
@pytest.mark.parametrize(("keep", "seconds"), [(0, 300), (900, 600)])
def test_eight_readers_beside_a_writer_for_ten_minutes(tmp_path, keep, seconds):
    stale = read_beside_a_writer(tmp_path, 8, seconds, keep)
    assert keep == 0 or stale == 0
