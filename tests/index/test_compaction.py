"""Compaction: the same answers and generation from fewer bytes; readers that stay behind; what is planned."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "durability"))

from script_of_changes import SPEC, apply, assert_holds, encoded, passage, states

from latewood.errors import CorruptionError, InputError, StaleError, StorageError
from latewood.index import catalogue as catalogue_module
from latewood.index.compaction import plan
from latewood.index.format import Pieces, SegmentFile, write_segment
from latewood.stores.embedded import EmbeddedStore


@pytest.fixture
def store(tmp_path):
    made = EmbeddedStore.create(tmp_path / "kb.lw", SPEC)
    made.upkeep.paused = True
    yield made
    made.close()


def grown(store, count):
    state = {}
    for n in range(1, count + 1):
        state = apply(store, n, state)
    return state


def answers(snapshot):
    query = np.random.default_rng(1).standard_normal((5, SPEC.dim), dtype=np.float32)
    late, dense = snapshot.late(query, 50), snapshot.dense(query[0, : SPEC.dense_dim], 50)
    bm25 = snapshot.bm25("copper harbour winter", 50)
    return [(snapshot.ids(found.rows), found.scores.tolist()) for found in (late, dense, bm25)]


def segment_files(store):
    return sorted(path.name for path in (store.path / "segments").iterdir())


def segment_bytes(store):
    return sum(path.stat().st_size for path in (store.path / "segments").iterdir())


def test_answers_ids_rows_and_generation_stay_and_bytes_go(store):
    state = grown(store, 40)
    before = store.snapshot()
    expected, rows = answers(before), before.rows(sorted(state))
    bytes_before = segment_bytes(store)
    assert store.compact(keep_for=0) == 1
    after = store.snapshot()
    assert after.generation == before.generation
    assert np.array_equal(after.rows(sorted(state)), rows)
    assert answers(after) == expected
    assert answers(before) == expected  # of which everything was mapped
    assert_holds(store, state)
    assert len(segment_files(store)) == store.stats()["segments"] == 1
    assert segment_bytes(store) < bytes_before / 2
    assert store.compact(keep_for=0) == 0
    store.close()
    again = EmbeddedStore.open(store.path)
    assert answers(again.snapshot()) == expected
    assert_holds(again, apply(again, 41, state))
    again.compact(keep_for=0)
    assert_holds(again, states(41)[-1])
    again.close()


def test_what_is_dead_has_no_vectors_and_no_strings(store):
    grown(store, 30)
    store.compact(keep_for=0)
    snapshot = store._index.snapshot()
    dead = np.flatnonzero(~snapshot.alive)
    assert len(dead) > 5
    assert np.array_equal(snapshot.dropped, ~snapshot.alive)
    assert not snapshot.lengths("tokens")[dead].any()
    assert set(snapshot.ids(dead)) == set(snapshot.strings("source_ids", dead)) == {""}
    stored = {row for (row,) in store._index.catalogue.execute("SELECT row FROM passages")}
    assert stored == set(snapshot.live_rows.tolist())


def test_it_goes_on_between_commits_and_while_others_read(store):
    state, reader = {}, EmbeddedStore.open(store.path)
    for n in range(1, 61):
        state = apply(store, n, state)
        if n % 7 == 0:
            store.compact(keep_for=0)
        if n % 5 == 0:
            assert_holds(reader, state)
            store.snapshot()
            assert_holds(store, state)
    reader.close()


def test_files_stay_for_a_while_and_then_go(store, monkeypatch):
    state = grown(store, 20)
    files = segment_files(store)
    now = [1_000_000]
    monkeypatch.setattr("latewood.index.live.time.time", lambda: now[0])
    store.compact(keep_for=600)
    assert set(files) < set(segment_files(store))
    assert len(store._index.retired()) == len(files)
    store.close()
    again = EmbeddedStore.open(store.path, write=True)  # whose sweep leaves them alone
    assert set(files) < set(segment_files(again))
    now[0] += 599
    again._index.keep_for = 600
    assert not again._index.is_purge_due()
    assert again._index.purge() == 0
    now[0] += 1
    assert not again._index.is_purge_due()  # a tenth later, for many at a time
    now[0] += 60
    assert again._index.is_purge_due()
    assert again._index.purge() == len(files)
    assert len(segment_files(again)) == 1
    assert_holds(again, state)
    again.close()


def test_a_reader_that_stays_gets_its_answers_or_is_told_to_move_on(store):
    state = grown(store, 12)
    reader = EmbeddedStore.open(store.path)
    held = reader.snapshot()
    rows = held.rows(sorted(state))
    expected = answers(held)
    doomed = sorted(state)[:4]
    store.delete(doomed)
    store.compact(keep_for=3600)
    assert answers(held) == expected
    assert held.passages(rows) == [state[key] for key in sorted(state)]
    store.compact(keep_for=0)
    assert answers(held)[:2] == expected[:2]
    with pytest.raises(StaleError, match=r"refresh\(\) it"):
        held.passages(rows)
    with pytest.raises(InputError, match=f"no passage '{doomed[0]}'"):
        reader.snapshot().rows(doomed)
    assert held.rows(doomed).tolist() == rows[:4].tolist()
    assert_holds(reader, {key: one for key, one in state.items() if key not in doomed})
    reader.close()


def test_a_reader_that_opens_while_a_file_goes_reads_again(store, monkeypatch):
    state = grown(store, 10)
    reader = EmbeddedStore.open(store.path)
    store.add([passage(5, 9)], encoded([passage(5, 9)]))
    state[passage(5, 9).id] = passage(5, 9)
    real = catalogue_module.Catalogue.commits
    done = []

    def commits(self, after, upto):
        found = real(self, after, upto)
        if self is reader._index.catalogue and not done:
            done.append(True)
            store.compact(keep_for=0)
        return found

    monkeypatch.setattr(catalogue_module.Catalogue, "commits", commits)
    assert_holds(reader, state)
    assert done
    reader.close()


def test_the_log_is_not_kept_from_its_checkpoints_by_a_reader(store):
    state = grown(store, 3)
    reader = EmbeddedStore.open(store.path)
    held = reader.snapshot()
    for n in range(4, 40):
        state = apply(store, n, state, 6000)
    held.late(np.ones((2, SPEC.dim), np.float32), 5)
    log = store.path / "catalogue.sqlite-wal"
    assert log.stat().st_size < 3 * (1000 * 4096 + 4 * 6000 * 9)
    reader.close()


def test_damage_is_not_sealed_anew(store):
    grown(store, 20)
    path = store.path / "segments" / segment_files(store)[4]
    content = bytearray(path.read_bytes())
    file = store._index.snapshot().segments[4].file
    at = file._entries["tokens"].offset
    store.close()
    content[at] ^= 1
    path.write_bytes(content)
    again = EmbeddedStore.open(store.path)
    again.upkeep.paused = True
    before = again.snapshot().generation
    with pytest.raises(CorruptionError, match=r"block 0 of 'tokens'"):
        again.compact(keep_for=0)
    assert again.snapshot().generation == before
    assert len(segment_files(again)) == again.stats()["segments"]
    again.close()


@pytest.mark.parametrize("key", ["base", "head"])
def test_a_damaged_record_is_named(store, key):
    grown(store, 10)
    store.compact()
    catalogue = store._index.catalogue
    value = bytearray(catalogue.get(key))
    value[-2] ^= 1
    catalogue.execute("UPDATE meta SET value = ? WHERE key = ?", (bytes(value), key))
    store.close()
    with pytest.raises(CorruptionError, match=f"record '{key}'"):
        EmbeddedStore.open(store.path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM segments WHERE number = (SELECT max(number) FROM segments WHERE first_row < 10)",
        "UPDATE segments SET rows = rows + 1 WHERE first_row = 0",
        "UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'golden') WHERE key = 'base'",
    ],
)
def test_a_record_that_is_lost_or_another_is_noticed(store, statement):
    state = grown(store, 10)
    store.compact()
    apply(store, 11, state)
    store._index.catalogue.execute(statement)
    store.close()
    with pytest.raises(CorruptionError):
        EmbeddedStore.open(store.path)


# -- what is planned, and when -------------------------------------------------------------------------------------


def test_upkeep_bounds_the_number_of_segments(tmp_path):
    store = EmbeddedStore.create(tmp_path / "kb.lw", SPEC)
    state = {}
    for n in range(300):
        one = passage(n, 0)
        store.add([one], encoded([one]))
        state[one.id] = one
    store.upkeep.wait()
    assert store.stats()["segments"] <= 32
    assert store.upkeep.error is None
    assert_holds(store, state)
    generation = store.snapshot().generation
    assert generation == 300
    store.close()
    again = EmbeddedStore.open(tmp_path / "kb.lw")
    assert_holds(again, state)
    assert again.snapshot().generation == generation
    again.close()


def test_upkeep_that_fails_says_so_and_leaves_everything(store, monkeypatch):
    state = grown(store, 40)
    store.upkeep.paused = False
    monkeypatch.setattr(
        "latewood.index.compaction.write_segment", lambda *_: (_ for _ in ()).throw(StorageError("full"))
    )
    state = apply(store, 41, state)
    with pytest.raises(StorageError, match="full"):
        store.upkeep.wait()
    assert store.stats()["upkeep_error"] == "full"
    assert_holds(store, state)


class Planned:
    """What `plan` looks at."""

    class Segment:
        def __init__(self, first, rows, size, kept):
            seal = type("Seal", (), {"bytes": size})
            self.record = type("Record", (), {"first_row": first, "seal": seal})
            self.rows, self.kept = rows, kept

        def __len__(self):
            return self.rows

    def __init__(self, sizes, dead=()):
        self.segments = [self.Segment(10 * i, 10, size, 10) for i, size in enumerate(sizes)]
        self.alive = np.ones(10 * len(sizes), bool)
        for i, count in dict(dead).items():
            self.alive[10 * i : 10 * i + count] = False


KB, MB = 1 << 10, 1 << 20


def test_plans_by_hand():
    small, middle, big = 4 * KB, 300 * KB, 20 * MB
    assert plan(Planned([big, *[small] * 15])) is None
    assert plan(Planned([big, *[small] * 16])) == (1, 17)
    assert plan(Planned([big, *[middle] * 15, *[small] * 15])) is None
    assert plan(Planned([big, *[middle] * 16, *[small] * 3])) == (1, 20)
    assert plan(Planned([*[middle] * 8, big, *[middle] * 8])) is None
    assert plan(Planned([big, middle, big], [(1, 1)])) is None
    assert plan(Planned([big, middle, big], [(1, 2)])) == (1, 2)
    assert plan(Planned([big, small, big], [(1, 10)])) is None
    assert plan(Planned([])) is None


def test_plans_of_everything_by_hand():
    small, big = 4 * KB, 20 * MB
    assert plan(Planned([big, small, big]), everything=True) is None
    assert plan(Planned([big, small, big], [(1, 1)]), everything=True) == (1, 2)
    assert plan(Planned([big, small, big], [(2, 1)]), everything=True) == (2, 3)
    assert plan(Planned([big, small, small]), everything=True) == (1, 3)
    assert plan(Planned([15 * MB] * 40), everything=True) == (0, 17)
    assert plan(Planned([big, big], [(0, 1)]), everything=True) == (0, 1)


def test_pieces_are_written_as_the_whole(tmp_path):
    rng = np.random.default_rng(3)
    parts = [rng.integers(0, 9, (n, 7), np.int8) for n in (0, 1, 90_000, 3, 12_345)]
    whole = write_segment(tmp_path / "a", {"x": np.concatenate(parts), "y": np.arange(3)})
    cut = write_segment(tmp_path / "b", {"x": Pieces(parts), "y": np.arange(3)})
    assert whole == cut
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert np.array_equal(SegmentFile(tmp_path / "b", cut).read("x"), np.concatenate(parts))
