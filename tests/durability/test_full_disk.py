"""A disk that is full, or fails, at any write: one StorageError, and the collection as before."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from disk_model import HERE, build_recorder


def run(tmp_path, *arguments):
    root = tmp_path / "disk"
    root.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
        "LD_PRELOAD": str(build_recorder(tmp_path)),
        "LATEWOOD_DISK_ROOT": str(root),
    }
    script = [sys.executable, str(HERE / "failing_process.py"), str(root), *arguments]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


# How many changes to the disk each takes, about: fewer would mean that nothing was exercised.
CHANGES = {"add": 20, "delete": 5, "create": 30, "search": 60, "compact": 25, "copy": 25}


@pytest.mark.parametrize(
    ("what", "how", "step"),
    [("add", "full", 1), ("delete", "broken", 2), ("create", "full", 5), ("compact", "full", 3), ("copy", "full", 7)],
)
def test_some_writes_fail_in_turn(tmp_path, what, how, step):
    assert run(tmp_path, what, how, str(step)) >= CHANGES[what]


def test_a_search_that_cannot_write_ranks_the_same(tmp_path):
    assert run(tmp_path, "search", "full", "13") >= CHANGES["search"]


@pytest.mark.long
@pytest.mark.parametrize("how", ["full", "full once", "broken"])
@pytest.mark.parametrize("what", CHANGES)
def test_each_write_fails_in_turn(tmp_path, what, how):
    assert run(tmp_path, what, how, "1") >= CHANGES[what]
