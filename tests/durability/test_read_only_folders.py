"""Collections that may be read and not written: closed, beside a writer with other rights, and left unmended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from disk_model import HERE
from script_of_changes import SPEC, apply, states

from latewood.stores.embedded import EmbeddedStore

pytestmark = pytest.mark.skipif(not hasattr(os, "setuid"), reason="needs POSIX permissions")
as_root = pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="two users are needed: run as root")

AS_NOBODY = """
import os, sys, tempfile
from pathlib import Path
import latewood.errors
from script_of_changes import SPEC, apply, assert_holds, encoded, passage, states
from latewood.stores.embedded import EmbeddedStore

# The interpreter may lie where others may not look, so whatever is imported on the way is imported before.
with tempfile.TemporaryDirectory() as folder:
    warm = EmbeddedStore.create(Path(folder) / "kb.lw", SPEC)
    assert_holds(warm, apply(warm, 1, {}))
    warm.snapshot().bm25("copper", 1)
    warm.close()
if os.getuid() == 0:  # permissions mean nothing to root
    os.setgid(65534)
    os.setuid(65534)
path = Path(sys.argv[1])
"""
READ = """
store = EmbeddedStore.open(path)
assert_holds(store, states(store.snapshot().generation)[-1])
print(store.snapshot().generation, len(store.snapshot().bm25("copper harbour", 5)), *sorted(os.listdir(path)))
"""
WRITE = """
try:
    store = EmbeddedStore.open(path)
    store.add([passage(1, 1)], encoded([passage(1, 1)]))
except latewood.errors.StorageError as error:
    print(error)
"""
FOLLOW = """
store = EmbeddedStore.open(path)
first = store.snapshot().generation
print(first, flush=True)
while store.snapshot().generation < first + 2:
    pass
assert_holds(store, states(first + 2)[-1])
print(store.snapshot().generation)
"""


def as_nobody(path, code):
    """What the code prints, run by somebody who may read the folder and not write it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    command = [sys.executable, "-c", AS_NOBODY + code, str(path)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process.stdout.readline().strip()
        rest, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        yield rest.strip()


def said_by_nobody(path, code):
    return "\n".join(as_nobody(path, code)).strip()


@pytest.fixture
def shared(tmp_path_factory):
    """A store at generation 4, open, whose folder others can reach and not write."""
    folder = tmp_path_factory.mktemp("shared")
    store = EmbeddedStore.create(folder / "kb.lw", SPEC)
    state = {}
    for n in range(1, 5):
        state = apply(store, n, state)
    for parent in (folder, *folder.parents[:2]):  # pytest keeps its folders to itself
        parent.chmod(parent.stat().st_mode | 0o055)
    yield store
    store.close()
    (store.path / "segments").chmod(0o755)
    store.path.chmod(0o755)


def test_a_closed_collection_can_be_read(shared):
    shared.close()
    (shared.path / "segments").chmod(0o555)
    (shared.path / "lock").chmod(0o444)
    shared.path.chmod(0o555)
    generation, found, *names = said_by_nobody(shared.path, READ).split()
    assert generation == "4"
    assert int(found)
    assert names == ["catalogue.sqlite", "lock", "segments"]
    assert said_by_nobody(shared.path, WRITE).startswith(f"can't write {shared.path / 'lock'}: Permission denied")


@as_root
@pytest.mark.parametrize("closed", [True, False])
def test_a_reader_follows_a_writer_who_has_the_rights(shared, closed):
    if closed:
        shared.close()
    reader = as_nobody(shared.path, FOLLOW)
    assert next(reader) == "4"
    writer = EmbeddedStore.open(shared.path) if closed else shared
    apply(writer, 6, apply(writer, 5, states(4)[-1]))
    assert next(reader) == "6"
    writer.close()


@as_root
def test_a_log_that_cannot_be_mended_is_said(shared):
    copy = shared.path.with_name("copy.lw")
    shutil.copytree(shared.path, copy)  # while it is open, so with SQLite's log
    assert said_by_nobody(copy, READ).startswith("4 ")
    (copy / "catalogue.sqlite-shm").unlink()
    assert said_by_nobody(copy, WRITE).startswith(f"{copy} wasn't closed by whoever wrote it last")
