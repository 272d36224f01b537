"""kill -9 at any moment of a build of the late-interaction index, and of its changes.

The next build goes on, to the same bytes. Changes are there that were acknowledged, and the answers are those of them.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from building_process import build
from disk_model import HERE
from index_changing_process import D, document, state_after

from latewood.index import LATE_FOLDER, MultiVectorIndex


def bytes_of(index):
    return (index._index.folder / LATE_FOLDER / index._late.manifest.file).read_bytes()


def kill_often(folder, times, seed):
    rng = random.Random(seed)
    with build(folder / "whole") as index:
        expected = bytes_of(index)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    script = [sys.executable, str(HERE / "building_process.py"), str(folder / "killed")]
    for _ in range(times):
        with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE) as process:
            for _ in range(rng.randint(1, 30)):
                if not process.stdout.readline():
                    break
            time.sleep(rng.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
    with build(folder / "killed") as index:
        assert bytes_of(index) == expected
        assert index._index.findings() == []
        left = {path.name for path in (folder / "killed" / LATE_FOLDER).iterdir()}
        assert left == {index._late.manifest.file, "manifest.json"}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_three_kills(tmp_path):
    kill_often(tmp_path, 3, seed=1)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_forty_kills(tmp_path):
    kill_often(tmp_path, 40, seed=2)


def kill_changes_often(folder, times, seed):
    rng = random.Random(seed)
    MultiVectorIndex.build(folder / "ix", [document(i, 0) for i in range(100)]).close()
    (folder / "built").touch()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    script = [sys.executable, str(HERE / "index_changing_process.py"), str(folder)]
    for turn in range(times):
        with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE) as process:
            for _ in range(rng.randint(1, 12)):
                promised = int(process.stdout.readline())
            time.sleep(rng.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            promised = max([promised, *map(int, process.stdout.read().split())])
        with MultiVectorIndex.open(folder / "ix") as index:
            generation = index._snapshot.generation
            assert generation in (promised, promised + 1)
            expected, _ = state_after(1, generation)
            ids = index._snapshot.ids(index._snapshot.live_rows)
            assert sorted(ids) == sorted(expected)
            assert index._index.findings() == []
            assert index._late.findings() == []
            with MultiVectorIndex.build(
                folder / f"fresh{turn}", [expected[key] for key in ids], ids=iter(ids)
            ) as fresh:
                for number in range(3):
                    query = np.random.default_rng(number).standard_normal((4, D)).astype(np.float32)
                    found, wanted = (one.search(query, 20, exact=True) for one in (index, fresh))
                    assert found[0] == wanted[0]
                    assert found[1].tolist() == wanted[1].tolist()
                    assert set(index.search(query, 20)[0]) <= set(expected)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_three_kills_of_changes(tmp_path):
    kill_changes_often(tmp_path, 3, seed=1)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_a_hundred_kills_of_changes(tmp_path):
    kill_changes_often(tmp_path, 100, seed=2)
