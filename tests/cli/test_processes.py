"""What only a process of its own can show: exit by signal, a closed pipe, no extras installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from functools import partial
from pathlib import Path

import pytest

import latewood
from latewood.collection import BATCH, Collection

LATEWOOD = [sys.executable, "-m", "latewood"]


@pytest.mark.skipif(os.name == "nt", reason="signals to a process group are POSIX")
def test_ctrl_c_leaves_the_collection_as_it_was_before_the_running_batch(tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    lines = (json.dumps({"_id": str(i), "text": f"tree {i} of {i % 97} rings"}) for i in range(6 * BATCH))
    corpus.write_text("\n".join(lines), encoding="utf-8")
    kb = tmp_path / "kb.lw"
    command = [*LATEWOOD, "index", "--jsonl", str(corpus), "-c", str(kb)]
    # Started in the background, a shell's children don't hear Ctrl-C; this one shall.
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear)
    deadline = time.monotonic() + 300
    while not list(kb.glob("segments/*.seg")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130
    assert said.strip().splitlines() == [
        "latewood: interrupted; what was committed before is kept, the running batch is not"
    ]
    with Collection.open(kb) as opened:
        kept = sorted(map(int, opened.sources()))
        assert kept == list(range(len(kept)))
        assert len(kept) % BATCH == 0
        assert len(kept) < 6 * BATCH
        assert opened.check() == []


def test_a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one(tmp_path, minilm):
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        kb.add([latewood.Passage("a", "words " * 50)])
    asked = ["search", str(tmp_path / "kb.lw"), "words", "--pipeline=bm25", "--json"]
    command = [sys.executable, "-m", "latewood", *asked]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 3
        assert done.stderr == "latewood: the output can't be written: No space left on device\n"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """A Python that has NumPy, latewood and nothing else."""
    import numpy as np

    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    where = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    for package in (np, latewood):
        source = Path(package.__file__).parent
        (Path(where) / source.name).symlink_to(source)
        for beside in source.parent.glob(f"{source.name}.libs"):
            (Path(where) / beside.name).symlink_to(beside)
    return python


def test_without_extras_the_kernel_works_and_what_is_missing_is_one_line(bare_python, tmp_path):
    code = """
import numpy as np, latewood as lw
documents = lw.MultiVectors.of([np.eye(2, 8, dtype=np.float32), -np.eye(3, 8, dtype=np.float32)])
print(lw.maxsim.scores(np.eye(2, 8, dtype=np.float32), documents).tolist(), lw.parse("dense:50 >> late:5"))
try:
    lw.Collection.create("kb.lw")
except lw.errors.MissingExtra as error:
    print(error)
"""
    done = subprocess.run([bare_python, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == "[2.0, 0.0] dense:50 >> late:5"
    assert "pip install 'latewood[encode]'" in second
    done = subprocess.run([bare_python, "-m", "latewood", "demo"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3
    assert "pip install 'latewood[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1
