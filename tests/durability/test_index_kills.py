"""kill -9 at any moment of a build of the late-interaction index: the next build goes on, to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from building_process import build
from disk_model import HERE

from latewood.index import LATE_FOLDER


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
