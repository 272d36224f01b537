"""Copies of a collection: of one moment, whatever is written meanwhile; whole, or not there."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from disk_model import HERE
from script_of_changes import SPEC, apply, assert_holds, encoded, passage, states

from latewood.cli import main
from latewood.errors import CorruptionError, InputError, LockedError
from latewood.index import WriteLock, extend_late
from latewood.stores.backup import copy_collection
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.encodings import current_names, set_current

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}


def filled(path, changes=9):
    store = EmbeddedStore.create(path, SPEC)
    state = {}
    for n in range(1, changes + 1):
        state = apply(store, n, state)
    store.snapshot().bm25("copper", 1)
    store.close()
    return state


def copy_while_written(folder, times, link):
    """A process adds, replaces, deletes and compacts, and removes what it has replaced at once; copies are taken."""
    collection = folder / "kb.lw"
    script = [
        sys.executable,
        str(HERE / "changing_process.py"),
        str(collection),
        str(folder / "said"),
        "9999",
        "9999",
        "12",
    ]
    generations = []
    with subprocess.Popen(script, env=ENVIRONMENT) as process:
        try:
            while not (folder / "said").exists() or len((folder / "said").read_text().splitlines()) < 12:
                assert process.poll() is None
                time.sleep(0.01)
            for number in range(times):
                found = copy_collection(collection, folder / f"{number}.lw", link=link)
                store = EmbeddedStore.open(folder / f"{number}.lw")
                assert store.snapshot().generation == found.generation
                assert_holds(store, states(found.generation)[-1])
                apply(store, found.generation + 1, states(found.generation)[-1])  # it can be gone on with
                store.compact(keep_for=0)
                assert_holds(store, states(found.generation + 1)[-1])
                store.close()
                generations.append(found.generation)
                shutil.rmtree(folder / f"{number}.lw")
            assert process.poll() is None, "the writer ended"
        finally:
            process.kill()
    assert generations == sorted(generations)
    assert generations[-1] > generations[0]
    store = EmbeddedStore.open(collection)
    assert_holds(store, states(store.snapshot().generation)[-1])
    store.close()


@pytest.mark.parametrize("link", [False, True])
def test_copies_while_somebody_writes_and_compacts(tmp_path, link):
    copy_while_written(tmp_path, 4, link)


@pytest.mark.long
@pytest.mark.parametrize("link", [False, True])
def test_a_hundred_copies_while_somebody_writes_and_compacts(tmp_path, link):
    copy_while_written(tmp_path, 100, link)


def kill_copies(folder, times, seed):
    rng = random.Random(seed)
    state = filled(folder / "kb.lw")
    (folder / "copies").mkdir()
    script = [sys.executable, str(HERE / "copying_process.py"), str(folder / "kb.lw"), str(folder / "copies")]
    done = 0
    for number in range(times):
        with subprocess.Popen(script + ["link"] * (number % 2), env=ENVIRONMENT) as process:
            while not list((folder / "copies").glob(".*.copying")):
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
        for path in sorted((folder / "copies").iterdir()):
            if path.name.startswith("."):
                copy_collection(folder / "kb.lw", path.with_name(path.name[1:].removesuffix(".copying")))
                path = path.with_name(path.name[1:].removesuffix(".copying"))
            store = EmbeddedStore.open(path)
            assert_holds(store, state)
            store.close()
            shutil.rmtree(path)
            done += 1
        assert not list((folder / "copies").iterdir())
    store = EmbeddedStore.open(folder / "kb.lw")
    assert_holds(store, state)
    store.close()
    assert done >= times // 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_four_kills_of_a_copy(tmp_path):
    kill_copies(tmp_path, 4, seed=1)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_sixty_kills_of_a_copy(tmp_path):
    kill_copies(tmp_path, 60, seed=2)


def test_the_late_index_bm25_and_other_encodings_come_along(tmp_path):
    path = tmp_path / "kb.lw"
    store = EmbeddedStore.create(path, SPEC)
    passages = [passage(n, n, words=40) for n in range(300)]
    passages = list({one.id: one for one in passages}.values())
    store.add(passages, encoded(passages))
    store.build_late(target_overlap=0.5, centroids=64)
    more = [passage(n, n, words=40) for n in range(300, 320)]
    store.add(more, encoded(more))
    assert extend_late(store._index, "tokens", least=1).manifest.extensions
    query = np.random.default_rng(0).standard_normal((3, SPEC.dim), dtype=np.float32)

    def answers(store):
        snapshot = store.snapshot()
        late = snapshot.late(query, 5, depths={"n_full_scores": 20, "n_refined": 60})
        assert not late.exact
        return late.rows.tolist(), late.scores.tolist(), snapshot.bm25("copper harbour", 9).scores.tolist()

    expected = answers(store)
    store.close()
    (path / "encodings").mkdir()
    state = filled(path / "encodings" / "other", 5)
    set_current(path, "other")
    found = copy_collection(path, tmp_path / "copy.lw")
    assert (found.generation, found.passages) == (5, len(state))  # of the encoding that is in use
    assert current_names(tmp_path / "copy.lw") == ("other", "first")
    store = EmbeddedStore.open(tmp_path / "copy.lw")
    assert answers(store) == expected
    assert store.stats()["late_index"]["extensions"] == 1
    assert (tmp_path / "copy.lw" / "derived" / "bm25").is_dir()
    assert store.check() == []
    store.close()


def test_links_share_files_and_copies_do_not(tmp_path):
    filled(tmp_path / "kb.lw")
    copy_collection(tmp_path / "kb.lw", tmp_path / "copy.lw")
    copy_collection(tmp_path / "kb.lw", tmp_path / "links.lw", link=True)
    for segment in (tmp_path / "kb.lw" / "segments").iterdir():
        assert segment.samefile(tmp_path / "links.lw" / "segments" / segment.name)
        assert not segment.samefile(tmp_path / "copy.lw" / "segments" / segment.name)
    # What the original does to itself is nothing to its copies.
    store = EmbeddedStore.open(tmp_path / "kb.lw")
    store.delete(sorted(states(9)[-1])[:3])
    store.compact(keep_for=0)
    store.close()
    for name in "copy.lw", "links.lw":
        store = EmbeddedStore.open(tmp_path / name)
        assert_holds(store, states(9)[-1])
        store.close()


def test_what_is_damaged_is_not_copied(tmp_path):
    filled(tmp_path / "kb.lw")
    segment = sorted((tmp_path / "kb.lw" / "segments").iterdir())[0]
    content = bytearray(segment.read_bytes())
    content[-9] ^= 1
    segment.write_bytes(content)
    with pytest.raises(CorruptionError, match=segment.name):
        copy_collection(tmp_path / "kb.lw", tmp_path / "copy.lw")
    segment.unlink()
    with pytest.raises(CorruptionError, match=segment.name):
        copy_collection(tmp_path / "kb.lw", tmp_path / "copy.lw")
    assert [path.name for path in tmp_path.iterdir()] == ["kb.lw"]


def test_where_a_copy_can_not_go(tmp_path):
    filled(tmp_path / "kb.lw", 1)
    with pytest.raises(InputError, match="something is there"):
        copy_collection(tmp_path / "kb.lw", tmp_path / "kb.lw")
    with pytest.raises(InputError, match="is not a folder"):
        copy_collection(tmp_path / "kb.lw", tmp_path / "no" / "kb.lw")
    with pytest.raises(InputError, match="not a collection"):
        copy_collection(tmp_path, tmp_path / "copy.lw")
    (tmp_path / ".copy.lw.copying").mkdir()
    other = WriteLock(tmp_path / ".copy.lw.copying" / "lock")
    other.acquire()
    with pytest.raises(LockedError):
        copy_collection(tmp_path / "kb.lw", tmp_path / "copy.lw")
    other.release()
    copy_collection(tmp_path / "kb.lw", tmp_path / "copy.lw")


def test_the_commands(tmp_path, capsys):
    state = filled(tmp_path / "kb.lw")

    def run(*words):
        with pytest.raises(SystemExit) as left:
            main([*map(str, words)])
        return left.value.code or 0, capsys.readouterr().out

    code, out = run("snapshot", tmp_path / "kb.lw", tmp_path / "copy.lw", "--link", "--json")
    said = json.loads(out)
    assert (code, said["generation"], said["passages"]) == (0, 9, len(state))
    shutil.rmtree(tmp_path / "kb.lw")
    code, out = run("restore", tmp_path / "copy.lw", tmp_path / "kb.lw")
    assert code == 0
    assert "verified" in out
    store = EmbeddedStore.open(tmp_path / "kb.lw")
    assert_holds(store, state)
    store.close()
    assert run("restore", tmp_path / "copy.lw", tmp_path / "kb.lw")[0] == 2
