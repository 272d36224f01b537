"""An index that is added to and deleted from, against a dictionary and the reference scores."""

from __future__ import annotations

import random
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from latewood import _reference, maxsim
from latewood.errors import CorruptionError, InputError, LockedError, ShapeError
from latewood.index import Catalogue, Index, Space
from latewood.index import ids as ids_module
from latewood.index import segment as segment_module
from latewood.index import snapshot as snapshot_module
from latewood.index.format import SegmentFile
from latewood.index.live import CATALOGUE
from latewood.types import MultiVectors

D = 16
SPACES = {"late": Space(D, 8), "dense": Space(D)}


def vectors_of(key):
    rng = np.random.default_rng(list(key.encode()))
    return rng.standard_normal((rng.integers(0, 5), D), dtype=np.float32)


def columns(keys):
    late = _reference.quantize(MultiVectors.of([vectors_of(key) for key in keys], D))
    dense = MultiVectors.of([vectors_of(key + "!")[:1] for key in keys], D)
    return {"late": late, "dense": dense}


def opened(folder):
    return Index(folder, Catalogue.open(folder / CATALOGUE), SPACES)


@pytest.fixture
def index(tmp_path):
    Index.create(tmp_path, "", {})
    made = opened(tmp_path)
    yield made
    made.close()


def put(index, keys):
    return index.commit(keys, columns(keys), {"upper": [key.upper() for key in keys]}, 7, lambda rows: None)


def assert_equals(snapshot, model):
    """`model` maps each live id to its row."""
    keys = sorted(model)
    rows = snapshot.rows(keys)
    assert rows.tolist() == [model[key] for key in keys]
    assert snapshot.live_rows.tolist() == sorted(model.values())
    assert snapshot.ids(rows) == keys
    assert snapshot.strings("upper", rows) == [key.upper() for key in keys]
    query = np.random.default_rng(3).standard_normal((4, D), dtype=np.float32)
    for column in SPACES:
        stored = snapshot.vectors(column, rows)
        expected = columns(keys)[column]
        assert np.array_equal(stored.tokens, expected.tokens)
        assert np.array_equal(stored.offsets, expected.offsets)
        scores = _reference.scores(query, expected)
        order = sorted((-score, key) for score, key in zip(scores.tolist(), keys, strict=True) if score > -np.inf)
        found = snapshot.search(column, query, max(1, len(keys)))
        assert snapshot.ids(found.rows) == [key for _, key in order]
        np.testing.assert_allclose(found.scores, [-score for score, _ in order], rtol=1e-5)
        assert found.unscored == len(keys) - len(order)
        assert found.exact


def test_a_life_of_an_index_equals_a_dictionary(index):
    rng = random.Random(5)
    model, history = {}, []
    rows = 0
    for step in range(25):
        if step % 4 == 3:
            doomed = rng.sample(sorted(model), 2)
            assert index.bury([*doomed, "never"]) == 2
            model = {key: row for key, row in model.items() if key not in doomed}
        else:
            keys = rng.sample([f"k{i}" for i in range(30)], rng.randint(1, 6))
            head = put(index, keys)
            assert head.generation == step + 1
            model = {**model, **{key: rows + i for i, key in enumerate(keys)}}
            rows += len(keys)
        history.append((index.snapshot(), model))
        assert_equals(*history[-1])
    for generation, (snapshot, then) in enumerate(history, 1):
        assert snapshot.generation == generation
        assert_equals(snapshot, then)  # unchanged by all that came after
    fresh = opened(index.folder)
    assert_equals(fresh.snapshot(), model)
    assert fresh.findings() == []
    fresh.close()


def test_ids_whose_hashes_collide_are_told_apart(tmp_path, monkeypatch):
    for module in ids_module, segment_module:
        monkeypatch.setattr(module, "hash_ids", lambda keys: np.array([len(key) % 2 for key in keys], np.uint64))
    Index.create(tmp_path, "", {})
    index = opened(tmp_path)
    put(index, ["a", "bb", "ccc", "dddd"])
    put(index, ["ccc", "e"])
    assert index.bury(["bb", "x", "yy"]) == 1
    assert_equals(index.snapshot(), {"a": 0, "ccc": 4, "dddd": 3, "e": 5})
    index.close()


def test_searching_some_rows(index):
    for start in range(0, 40, 4):  # ten segments: more than are scored where they lie
        put(index, [f"k{i}" for i in range(start, start + 4)])
    index.bury(["k5", "k22"])
    snapshot = index.snapshot()
    query = np.random.default_rng(1).standard_normal((3, D), dtype=np.float32)
    everything = snapshot.search("late", query, 40)
    score = dict(zip(everything.rows.tolist(), everything.scores.tolist(), strict=True))
    for rows in [39, 5, 0, 17, 22, 38, 0], list(range(39, -1, -1)), [21, 22, 23], [5], []:
        found = snapshot.search("late", query, 40, np.array(rows, np.int64))
        alive = set(rows) - {5, 22}
        expected = sorted((r for r in alive if r in score), key=lambda r: (-score[r], f"k{r}"))
        assert found.rows.tolist() == expected
        assert found.scores.tolist() == [score[r] for r in expected]
        assert found.unscored == len(alive) - len(expected)
    assert snapshot.search("late", query, 3, np.arange(40)).rows.tolist() == everything.rows[:3].tolist()
    assert len(snapshot.vectors("late", np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize("rows", [[-1], [0, 4], [10**9]])
def test_rows_that_were_never_given_are_refused(index, rows):
    put(index, ["a", "b", "c", "d"])
    snapshot = index.snapshot()
    for use in snapshot.ids, lambda r: snapshot.vectors("late", r), lambda r: snapshot.search("late", QUERY, 1, r):
        with pytest.raises(ShapeError, match="this generation has rows 0 to 3"):
            use(np.array(rows))


QUERY = np.ones((1, D), np.float32)


@pytest.mark.parametrize(
    "query", [np.ones(D, np.float32), np.ones((1, D + 1), np.float32), np.ones((0, D), np.float32), QUERY * np.nan]
)
@pytest.mark.parametrize("keys", [[], ["a"]])
def test_queries_of_another_shape_are_refused(index, query, keys):
    if keys:
        put(index, keys)
    with pytest.raises(ShapeError, match="query"):
        index.snapshot().search("late", query, 1)


def test_an_unknown_id_is_named(index):
    put(index, ["a"])
    with pytest.raises(InputError, match="no passage 'zebra'"):
        index.snapshot().rows(["a", "zebra"])
    assert index.snapshot().find(["\ud800", "a"]).tolist() == [-1, 0]


def test_the_same_commits_give_the_same_segments(tmp_path):
    contents = []
    for name in "one", "two":
        (tmp_path / name).mkdir()
        Index.create(tmp_path / name, "", {})
        index = opened(tmp_path / name)
        put(index, ["b", "a", "c"])
        index.close()
        contents.append((tmp_path / name / "segments" / "000001.seg").read_bytes())
    assert contents[0] == contents[1]


def test_what_fails_in_the_callers_tables_fails_the_commit(index):
    put(index, ["a"])

    def refuse(rows):
        assert rows.tolist() == [1, 2]
        raise InputError("no")

    with pytest.raises(InputError):
        index.commit(["a", "b"], columns(["a", "b"]), {"upper": ["A", "B"]}, 7, refuse)
    assert_equals(index.snapshot(), {"a": 0})
    put(index, ["b"])
    assert_equals(index.snapshot(), {"a": 0, "b": 1})


def test_one_writer_at_a_time(index):
    put(index, ["a"])
    other = opened(index.folder)
    with pytest.raises(LockedError, match=r"being written by this process \(\d+\), which opened it twice"):
        put(other, ["b"])
    assert_equals(other.snapshot(), {"a": 0})
    index.close()
    put(other, ["b"])
    assert_equals(other.snapshot(), {"a": 0, "b": 1})
    other.close()


def test_a_writer_sweeps_what_no_commit_knows(index):
    put(index, ["a"])
    folder = index.folder / "segments"
    index.close()
    for name in "000002.seg", "000007.seg.tmp", "notes.txt":
        (folder / name).write_text("left")
    index = opened(index.folder)
    assert len(list(folder.iterdir())) == 4  # a reader touches nothing
    put(index, ["b"])
    # A number that was given once isn't given again, and what isn't ours stays.
    assert sorted(path.name for path in folder.iterdir()) == ["000001.seg", "000008.seg", "notes.txt"]
    index.close()


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE commits SET died = x'0000000000000000' WHERE generation = 2", "commit 2"),
        ("UPDATE commits SET died = x'00' WHERE generation = 2", "commit 2"),
        ("DELETE FROM commits WHERE generation = 2", "commit 2"),
        ("DELETE FROM commits WHERE generation = 3", "log of commits up to 3"),
        ("UPDATE commits SET content = 8 WHERE generation = 1", "commit 1"),
        ("UPDATE commits SET content = 'x' WHERE generation = 1", "commit 1"),
        ("UPDATE commits SET segment = 1 WHERE generation = 3", "commit 3"),
        ("UPDATE segments SET first_row = 1 WHERE number = 1", "segment 1"),
        ("UPDATE segments SET bytes = 'x' WHERE number = 1", "segment 1"),
        ("DELETE FROM segments WHERE number = 1", "commit 1"),
        ("UPDATE meta SET value = replace(value, '3', '2') WHERE key = 'head'", "record 'head' of meta"),
        ("DELETE FROM meta WHERE key = 'head'", "record 'head' of meta"),
        ("DROP TABLE commits", "no such table: commits"),
    ],
)
def test_an_altered_catalogue_is_noticed(index, statement, named):
    put(index, ["a", "b"])
    put(index, ["b"])
    index.bury(["a"])
    index.close()
    catalogue = Catalogue.open(index.folder / CATALOGUE)
    catalogue.execute(statement)
    catalogue.close()
    altered = opened(index.folder)
    with pytest.raises(CorruptionError, match=named):
        altered.snapshot()
    assert any(named in finding for finding in altered.findings())
    altered.close()


def verified_blocks(monkeypatch):
    """Every block whose checksum is worked out from now on, by file."""
    seen = []
    real = SegmentFile._verify_block

    def verify(self, name, entry, block):
        seen.append(self.path.name)
        real(self, name, entry, block)

    monkeypatch.setattr(SegmentFile, "_verify_block", verify)
    return seen


def test_what_this_process_wrote_counts_as_verified_until_it_is_copied(index, monkeypatch):
    seen = verified_blocks(monkeypatch)
    model = {}
    for n in range(20):
        put(index, [f"k{n}", f"l{n}"])
        model |= {f"k{n}": 2 * n, f"l{n}": 2 * n + 1}
        if n % 5 == 0:
            assert_equals(index.snapshot(), model)
    assert seen == []
    assert index.compact_once()
    old = set(seen)
    assert len(old) == 20  # every one of them, before its rows went into the new file
    assert_equals(index.snapshot(), model)
    assert len(index.snapshot().segments) == 1
    assert set(seen) == old
    other = opened(index.folder)
    assert_equals(other.snapshot(), model)
    assert set(seen) == old | {index.snapshot().segments[0].record.file}
    count = len(seen)
    put(index, ["m"])
    assert_equals(other.snapshot(), model | {"m": 40})
    assert set(seen[count:]) == {index.snapshot().segments[-1].record.file}  # what was verified stays so
    other.close()


def test_what_was_damaged_since_it_was_written_is_not_copied(index):
    for n in range(16):
        put(index, [f"k{n}"])
    segment = index.snapshot().segments[7]
    with segment.file.path.open("r+b") as file:
        file.seek(segment.file._entries["late"].offset)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(CorruptionError, match=r"block 0 of 'late'"):
        index.compact_once()
    assert len(index.snapshot().segments) == 16


def mapped_bytes(path):
    """Of a file, resident in this process."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.split()[0][-1] != ":":
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) << 10
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has mapped is read from /proc")
def test_a_large_columns_pages_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot_module, "_LARGE", 1 << 20)
    monkeypatch.setattr(snapshot_module, "_LEAST_HELD", 0)
    rng = np.random.default_rng(0)
    documents = MultiVectors.of([rng.standard_normal((1000, D), dtype=np.float32) for _ in range(400)])
    Index.create(tmp_path, "", {})
    with closing(opened(tmp_path)) as writer:
        keys = [str(number) for number in range(len(documents))]
        dense = MultiVectors.of([documents[i][:1] for i in range(len(documents))])
        writer.commit(keys, {"late": maxsim.quantize(documents), "dense": dense}, {}, 0, lambda rows: None)
    with closing(opened(tmp_path)) as index:
        snapshot = index.snapshot()
        path = tmp_path / "segments" / snapshot.segments[0].record.file
        query = rng.standard_normal((4, D), dtype=np.float32)
        expected = _reference.scores(query, maxsim.quantize(documents))
        whole = snapshot.segments[0].file.bytes_of("late")
        for rows in np.array_split(rng.permutation(len(documents)), 50):
            np.testing.assert_allclose(snapshot.scores("late", query, rows), expected[rows], rtol=1e-5)
            assert mapped_bytes(path) < whole / 3
        assert mapped_bytes(path) > 0
        assert np.array_equal(snapshot.vectors("late", np.arange(9)).tokens, maxsim.quantize(documents).tokens[:9000])
