"""kill -9 at random moments of add, replace, delete, compact loses nothing acknowledged, shows nothing half-done."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from disk_model import HERE
from script_of_changes import assert_holds, states

from latewood.stores.embedded import EmbeddedStore


def generations(path):
    text = path.read_text() if path.exists() else ""
    return [int(line) for line in text.splitlines()]


def kill_one(collection, acknowledged, rng):
    """Let a process change the collection and kill it at a random moment; the last generation that it acknowledged."""
    before = len(generations(acknowledged))
    script = [sys.executable, str(HERE / "changing_process.py"), str(collection), str(acknowledged), "1000", "7", "12"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    with subprocess.Popen(script, env=environment) as process:
        target = before + rng.randint(1, 4)
        while len(generations(acknowledged)) < target:
            assert process.poll() is None, "the process ended by itself"
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        process.send_signal(signal.SIGKILL)
    return generations(acknowledged)[-1]


def kill_often(folder, times, seed):
    rng = random.Random(seed)
    collection, acknowledged = folder / "kb.lw", folder / "acknowledged"
    moved = set()
    for _ in range(times):
        promised = kill_one(collection, acknowledged, rng)
        store = EmbeddedStore.open(collection)
        generation = store.snapshot().generation
        # One commit more than was acknowledged can be there: killed between the commit and its acknowledgement.
        assert generation in (promised, promised + 1)
        assert_holds(store, states(generation)[-1])
        store.start_writing()
        known = {segment.record.file for segment in store._index.snapshot().segments}
        known |= {one.file for one in store._index.retired()}
        assert {path.name for path in (collection / "segments").iterdir()} == known
        assert not list(collection.glob("derived/bm25/building"))
        store.close()
        moved.add(generation)
    assert len(moved) > times // 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_eight_kills(tmp_path):
    kill_often(tmp_path, 8, seed=1)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_two_hundred_kills(tmp_path):
    kill_often(tmp_path, 200, seed=2)
