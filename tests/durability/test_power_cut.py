"""A power cut at any instant loses nothing that was acknowledged and shows nothing half-done.

A real run is recorded, write by write and sync by sync; every prefix of it is played back onto a model of a disk that
drops what wasn't synced (or keeps it, or parts of it), and the real code opens what is left.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from disk_model import HERE, Disk, Kind, build_recorder, read_log
from script_of_changes import apply, assert_holds, states

from latewood.errors import InputError
from latewood.stores.embedded import EmbeddedStore

VARIANTS = ("dropped", "kept", "names", "contents", "torn")


def record(folder, changes, session, words):
    """Events of a run of `changing_process`, under folder / "disk"."""
    library = build_recorder(folder)
    root, log = folder / "disk", folder / "log"
    root.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
        "LD_PRELOAD": str(library),
        "LATEWOOD_DISK_ROOT": str(root),
        "LATEWOOD_DISK_LOG": str(log),
    }
    script = [sys.executable, str(HERE / "changing_process.py"), str(root / "kb.lw"), str(root / "acknowledged")]
    subprocess.run([*script, str(changes), str(session), str(words)], env=environment, check=True)
    return root, read_log(log)


def assert_survives(left, acknowledged, expected, words):
    """What is left of a disk opens as a generation at least as new as the last acknowledged one."""
    collection = left / "kb.lw"
    if not collection.exists():
        assert acknowledged is None
        with pytest.raises(InputError, match="not a collection"):
            EmbeddedStore.open(collection)
        return
    store = EmbeddedStore.open(collection)
    try:
        generation = store.snapshot().generation
        assert generation >= (acknowledged or 0)
        assert_holds(store, expected[generation])
        store.start_writing()
        known = {segment.record.file for segment in store._index.snapshot().segments}
        known |= {one.file for one in store._index.retired()}
        assert {path.name for path in (collection / "segments").iterdir()} == known
        after = apply(store, generation + 1, expected[generation], words)
        assert_holds(store, after)
    finally:
        store.close()


def play(folder, root, events, changes, words, cuts):
    """Cut the power after each of the chosen (number of events, variants)."""
    expected = states(changes, words)
    disk, acknowledged, left = Disk(root), None, folder / "left"
    for number, event in enumerate(events):
        disk.do(event)
        if event.path == f"{root}/acknowledged" and event.kind == Kind.WRITE:
            acknowledged = int(event.data)
        for variant in cuts.get(number, ()):
            disk.left_after_cut(left, variant, seed=number)
            try:
                assert_survives(left, acknowledged, expected, words)
            except Exception as error:
                when = f"power cut after event {number} ({event.kind.name} {event.path}), unsynced data {variant}"
                raise AssertionError(when) from error
            shutil.rmtree(left)
    return acknowledged


def test_power_cut_at_sampled_moments(tmp_path):
    root, events = record(tmp_path, 8, 5, 12)
    cuts = {number: (VARIANTS[number % 5],) for number in range(0, len(events), 4)}
    assert play(tmp_path, root, events, 8, 12, cuts) == 8


@pytest.mark.long
def test_power_cut_at_every_moment(tmp_path):
    root, events = record(tmp_path, 14, 4, 12)
    cuts = dict.fromkeys(range(len(events)), VARIANTS)
    assert play(tmp_path, root, events, 14, 12, cuts) == 14


@pytest.mark.long
def test_power_cut_while_sqlite_moves_its_log_into_the_file(tmp_path):
    # Texts so long that the log passes the thousand pages after which SQLite checkpoints by itself.
    words, changes = 60_000, 24
    root, events = record(tmp_path, changes, 1000, words)
    pages = [
        i for i, event in enumerate(events) if event.path.endswith("catalogue.sqlite") and event.kind == Kind.WRITE
    ]
    middle = [i for i in pages if i < len(events) - 1000]
    assert middle, "no checkpoint happened before the collection was closed"
    chosen = {i for start in (middle[0], middle[-1]) for i in range(start - 20, start + 20)} | set(pages[::25])
    cuts = {number: (VARIANTS[number % 5],) for number in chosen}
    assert play(tmp_path, root, events, changes, words, cuts) == changes
