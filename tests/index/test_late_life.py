"""An index while its vectors change: extended, trained again, as right as one that is built of what is left."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import cascade_in_numpy as oracle
import numpy as np
import pytest

from latewood.errors import CorruptionError, ShapeError, UsageError
from latewood.index import Depths, MultiVectorIndex, is_outgrown, late_build, late_life, overlap, uncovered
from latewood.index import late as late_module
from latewood.index.late import LateIndex
from latewood.index.late_build import BUILDING
from latewood.index.late_life import LATE_FOLDER, build_late, extend_late
from latewood.index.late_manifest import MANIFEST, Extension, Manifest, _crc
from latewood.index.late_upkeep import LateUpkeep

D = 32


def documents(count, seed=0, about=0.0):
    rng = np.random.default_rng(7)
    topics = rng.standard_normal((60, D)) + about
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        array = topics[rng.integers(0, 60, rng.integers(2, 30))] + 0.6 * rng.standard_normal(D)
        made.append((array / np.linalg.norm(array, axis=1, keepdims=True)).astype(np.float32))
    return made


QUERIES = [one[:9] for one in documents(30, seed=99)]


@pytest.fixture
def story(tmp_path):
    """An index of 500 after a fifth came, a fifth went and a tenth was replaced; the documents that are left by id."""
    arrays = documents(600)
    index = MultiVectorIndex.build(tmp_path / "changed", arrays[:500])
    index.upkeep.paused = True
    left = {str(i): array for i, array in enumerate(arrays)}
    assert index.add(arrays[500:]) == [str(i) for i in range(500, 600)]
    assert index.delete([str(i) for i in range(0, 500, 5)]) == 100
    index.add([arrays[i - 1] for i in range(1, 500, 10)], ids=[str(i) for i in range(1, 500, 10)])
    left |= {str(i): arrays[i - 1] for i in range(1, 500, 10)}
    for i in range(0, 500, 5):
        del left[str(i)]
    yield index, left
    index.close()


def kept(index):
    shares = []
    for query in QUERIES:
        exact = index._snapshot.search("tokens", query, 20)
        shares.append(overlap(index._snapshot.rows(index.search(query, 10)[0]), exact.rows, exact.scores))
    return float(np.mean(shares))


def rankings(index, **depths):
    return [(ids, scores.tolist()) for ids, scores in (index.search(query, 10, **depths) for query in QUERIES)]


def test_exact_answers_are_those_of_what_is_left(story, tmp_path):
    index, left = story
    index.compact(keep_for=0)
    ids = index._snapshot.ids(index._snapshot.live_rows)
    assert sorted(ids) == sorted(left)
    with MultiVectorIndex.build(tmp_path / "fresh", [left[name] for name in ids], ids=iter(ids)) as fresh:
        assert rankings(index, exact=True) == rankings(fresh, exact=True)


def test_an_extended_index_covers_everything_with_the_centroids_that_there_are(story, monkeypatch):
    index, left = story
    before = index._late
    assert uncovered(len(before), index._snapshot, "tokens") > 0
    with monkeypatch.context() as patch:
        patch.setattr(late_life, "_LIVE", 0.6)
        assert extend_late(index._index, "tokens") is None  # too little for that
    late = extend_late(index._index, "tokens", least=1)
    index.refresh()
    assert index._late.manifest == late.manifest
    assert np.array_equal(late.file.read("centroids"), before.file.read("centroids"))
    assert late.manifest.depths == before.manifest.depths
    assert uncovered(len(late), index._snapshot, "tokens") == 0
    assert late.manifest.vectors == sum(map(len, left.values()))
    assert late.manifest.passages == len(left)
    lengths = np.diff(late.file.read("offsets"))
    counts = np.diff(late.file.read("number_offsets"))
    dead = ~index._snapshot.alive
    assert not lengths[dead].any()
    assert not counts[dead].any()
    assert late.manifest.appended == late.manifest.vectors - sum(lengths[: len(before)])
    assert 0.5 < late.manifest.drift < 2
    assert kept(index) >= 0.98
    assert len(list((index._index.folder / LATE_FOLDER).glob("late-*"))) == 1
    assert index._index.findings() == []


def test_an_extended_part_is_what_assigning_gives(story):
    """The oracle of the lists: each vector's centroid, one by one."""
    index, _ = story
    late = extend_late(index._index, "tokens", least=1)
    index.refresh()
    book = late_life.codebook_in(late.file)
    numbers, cuts = late.file.read("numbers"), late.file.read("number_offsets")
    rows = np.flatnonzero(index._snapshot.alive)[[0, 7, 300, -51, -1]]
    for row in rows.tolist():
        vectors = index._snapshot.vectors("tokens", np.array([row]))
        assert numbers[cuts[row] : cuts[row + 1]].tolist() == sorted(set(book.assign(vectors).tolist()))
    postings, starts = late.file.read("postings"), late.file.read("posting_offsets")
    for centroid in range(0, len(starts) - 1, 17):
        expected = [row for row in range(len(cuts) - 1) if centroid in numbers[cuts[row] : cuts[row + 1]]]
        assert postings[starts[centroid] : starts[centroid + 1]].tolist() == expected


def test_built_again_it_ranks_as_an_index_of_what_is_left(story, tmp_path):
    index, left = story
    index.compact(keep_for=0)
    ids = index._snapshot.ids(index._snapshot.live_rows)
    late = build_late(index._index, "tokens")
    index.refresh()
    with MultiVectorIndex.build(tmp_path / "fresh", [left[name] for name in ids], ids=iter(ids)) as fresh:
        assert late.manifest.depths == fresh._late.manifest.depths
        assert rankings(index) == rankings(fresh)


def test_allowed_rows_are_found_whatever_came_and_went(story):
    index, _ = story
    rows = np.random.default_rng(3).permutation(index._snapshot.live_rows)[:12]
    for query in QUERIES[:5]:
        found = index._late.search(index._snapshot, "tokens", query, 10, rows)
        exact = index._snapshot.search("tokens", query, 10, np.sort(rows))
        assert found.rows.tolist() == exact.rows.tolist()


def test_few_allowed_rows_are_scored_exactly_however_shallow_the_search(story, monkeypatch):
    index, _ = story
    rows = np.sort(np.random.default_rng(4).permutation(index._snapshot.live_rows)[:30])
    depths = index._late.depths.but({"n_full_scores": 2, "n_refined": 2})
    monkeypatch.setattr("latewood.index.late._EXACT_SHARE", 0.1)
    for query in QUERIES[:5]:
        found = index._late.search(index._snapshot, "tokens", query, 5, rows, depths)
        assert found.exact
        assert found.rows.tolist() == index._snapshot.search("tokens", query, 5, rows).rows.tolist()


def test_upkeep_extends_and_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(late_life, "_LEAST_TAIL", 500)
    arrays = documents(300)
    with MultiVectorIndex.build(tmp_path / "ix", arrays[:200]) as index:
        trained = index._late.file.read("centroids")
        index.add(arrays[200:])
        index.upkeep.wait()
        index.refresh()
        assert uncovered(len(index._late), index._snapshot, "tokens") == 0
        assert np.array_equal(index._late.file.read("centroids"), trained)
        assert not is_outgrown(index._late.manifest)
        index.add(documents(300, seed=5, about=4.0))
        index.upkeep.wait()
        index.refresh()
        assert not np.array_equal(index._late.file.read("centroids"), trained)
        assert index._late.manifest.appended == 0
        assert index._late.manifest.target == 0.99
        assert kept(index) >= 0.97


def test_training_takes_the_questions_that_were_given(tmp_path):
    with MultiVectorIndex.build(tmp_path / "ix", documents(200), queries=QUERIES) as index:
        stored = late_life.questions_in(index._late.file)
        assert all(np.array_equal(a, b) for a, b in zip(stored, QUERIES, strict=True))
        index.upkeep.paused = True
        index.add(documents(300, seed=5))
        late = extend_late(index._index, "tokens", least=1)
        assert len(late_life.questions_in(late.file)) == len(QUERIES)
        extending, training = LateUpkeep(index._index, "tokens", trains=True).tasks
        assert not extending.is_due()
        assert training.is_due()
        assert training.do(lambda: None)
        assert not training.is_due()
        index.refresh()
        assert (index._late.manifest.queries, index._late.manifest.tuned_on) == ("given", len(QUERIES))


def test_drift_is_told(tmp_path):
    with MultiVectorIndex.build(tmp_path / "ix", documents(200)) as index:
        assert index.stats()["late_index"]["drift"] == 1.0
        index.upkeep.paused = True
        index.add(documents(40, seed=5))
        alike = extend_late(index._index, "tokens", least=1).manifest.drift
        rng = np.random.default_rng(0)
        index.add([rng.standard_normal((20, D)).astype(np.float32) / 5 for _ in range(60)])
        index.compact()
        assert index.stats()["late_index"]["drift"] > 1.1 * alike
        assert is_outgrown(index._late.manifest)


def test_a_reader_behind_keeps_the_index_that_it_has(tmp_path):
    arrays = documents(300)
    with MultiVectorIndex.build(tmp_path / "ix", arrays[:200]) as index:
        index.upkeep.paused = True
        with MultiVectorIndex.open(tmp_path / "ix") as reader:
            held, snapshot = reader._late, reader._snapshot
            index.add(arrays[200:])
            index.compact()
            folder = tmp_path / "ix" / LATE_FOLDER
            assert LateIndex.at(folder, index._index.catalogue, snapshot, held) is held
            assert LateIndex.at(folder, index._index.catalogue, snapshot) is None
            reader.refresh()
            assert reader._late.manifest.generation == reader._snapshot.generation


def test_a_manifest_of_format_1_counts_as_just_trained(tmp_path):
    with MultiVectorIndex.build(tmp_path / "ix", documents(50)) as index:
        path = tmp_path / "ix" / LATE_FOLDER / MANIFEST
        content = json.loads(path.read_text())
        for key in ("trained", "crowding", "passages", "appended", "appended_residual", "crc32"):
            del content[key]
        content["format"] = 1
        path.write_text(json.dumps({**content, "crc32": _crc(content)}))
        manifest = Manifest.read(path.parent)
        assert (manifest.trained, manifest.passages, manifest.appended) == (manifest.vectors, 50, 0)
        index.refresh()
        assert index.stats()["late_index"]["drift"] == 1.0


def test_a_manifest_of_format_3_has_depths_without_margins(tmp_path):
    with MultiVectorIndex.build(tmp_path / "ix", documents(50)) as index:
        depths = index._late.depths
        path = tmp_path / "ix" / LATE_FOLDER / MANIFEST
        content = json.loads(path.read_text())
        del content["crc32"]
        content["depths"] = {key: value for key, value in content["depths"].items() if "margin" not in key}
        content["format"] = 3
        path.write_text(json.dumps({**content, "crc32": _crc(content)}))
        index.refresh()
        fixed = replace(depths, gathered_margin=1.0, refined_margin=1.0, full_margin=1.0)
        assert index._late.depths == fixed != depths
        assert index.search(QUERIES[0], 5)[0] == index.search(QUERIES[0], 5, exact=True)[0]


def test_wrong_input_is_refused(tmp_path):
    with MultiVectorIndex.build(tmp_path / "ix", documents(20)) as index:
        with pytest.raises(ShapeError, match=rf"document 20: got shape \(2, 8\) float32, expected \[T, {D}\]"):
            index.add([np.zeros((2, 8), np.float32)])
        with pytest.raises(UsageError, match="ids: 'a' came twice"):
            index.add(documents(2), ids=["a", "a"])
        assert index.delete(["nobody"]) == 0
        assert len(index) == 20


def test_a_projection_and_bits_take_further_documents(tmp_path):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((9, 48)).astype(np.float32) for _ in range(60)]
    for name, settings in (("projected", {"dim": 16}), ("bits", {"bits": 1}), ("both", {"bits": "1+8"})):
        with MultiVectorIndex.build(tmp_path / name, arrays[:40], **settings) as index:
            index.add(arrays[40:])
            index.delete(["3"])
            index.compact(keep_for=0)
            assert len(index) == 59
            assert index.search(arrays[50], 1)[0] == ["50"]
            assert index._index.findings() == []


def test_what_comes_while_it_is_trained_is_covered_before_the_training_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(late_life, "_LEAST_TAIL", 500)
    arrays = documents(400)
    with MultiVectorIndex.build(tmp_path / "ix", arrays[:200]) as index:
        folder = index._index.folder / LATE_FOLDER
        before = index._late.manifest
        coming = iter(np.split(np.arange(200, 400), 4))
        tails, building = [], []

        def check():  # called again and again by the training, on whose thread this is
            building.append((folder / BUILDING).is_dir())
            if building[-1]:
                index.add([arrays[row] for row in next(coming, [])])
                index.upkeep.wait()  # the extension, on a thread of its own
                index.refresh()
                assert index._late.manifest.trained == before.trained
                tails.append(uncovered(len(index._late), index._snapshot, "tokens"))

        with monkeypatch.context() as patch:
            patch.setattr(LateUpkeep, "is_to_be_trained", lambda self: False)  # but this once
            assert LateUpkeep(index._index, "tokens", trains=True).tasks[1].do(check)
        assert len(tails) > 10
        assert building.index(False, 2) == len(building) - 1  # its files stay until it ends
        assert sum(map(len, arrays[200:])) > 2000
        assert max(tails) < 500
        index.refresh()
        after = index._late.manifest
        assert after.trained == before.trained  # what there was when it began
        assert after.file != before.file
        assert after.appended == sum(map(len, arrays[200:]))
        assert [each.rows for each in after.extensions] == [200]
        assert uncovered(len(index._late), index._snapshot, "tokens") == 0
        assert after.vectors == sum(map(len, arrays))
        assert sorted(path.name for path in folder.iterdir() if path.name != MANIFEST) == sorted(after.files)
        assert kept(index) >= 0.97
        assert index._index.findings() == []


# -- extensions ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[1, 1 << 12], ids=["with postings", "without"])
def grown(tmp_path, monkeypatch, request):
    """An index of 200 that was extended by 20, nine times, with some dead among all of them."""
    monkeypatch.setattr(late_build, "LISTED", request.param)
    arrays = documents(380)
    with MultiVectorIndex.build(tmp_path / "grown", arrays[:200]) as index:
        index.upkeep.paused = True
        for first in range(200, 380, 20):
            index.add(arrays[first : first + 20])
            index.delete([str(first - 7), str(first - 150)])
            assert extend_late(index._index, "tokens", least=1) is not None
            index.refresh()
        yield index


def test_a_few_extensions_cover_many_small_adds(grown):
    manifest, folder = grown._late.manifest, grown._index.folder / LATE_FOLDER
    assert 1 <= len(manifest.extensions) <= 3
    assert sum(each.rows for each in manifest.extensions) == 180
    assert (manifest.first_rows, manifest.rows) == (200, 380)
    lengths = np.concatenate([np.diff(part.file.read("offsets")) for part in grown._late.parts])
    assert manifest.vectors == lengths.sum()
    assert manifest.passages == np.count_nonzero(lengths)
    assert all("centroids" not in part.file for part in grown._late.parts[1:])
    assert sorted(path.name for path in folder.iterdir()) == sorted([*manifest.files, MANIFEST])
    assert grown.stats()["bytes"]["late_index"] == sum((folder / name).stat().st_size for name in manifest.files)
    assert grown.stats()["late_index"]["extensions"] == len(manifest.extensions)


def test_extensions_are_merged_as_their_sizes_say():
    sizes, written = [], []
    for _ in range(1000):
        there = [Extension("", 0, 0, size, size, size) for size in sizes]
        kept_as_they_are = late_life._merged_from(there, 1)
        sizes = [*sizes[:kept_as_they_are], 1 + sum(sizes[kept_as_they_are:])]
        written.append(sizes[-1])
        assert len(sizes) <= 6
    assert sum(sizes) == 1000
    assert sum(written) <= 12 * 1000  # one file over everything would be written anew for each: 500 times as much


def test_extensions_hold_what_one_file_would(grown):
    """The oracle: everything written again as one file, and the cascade in NumPy."""
    extended, folder = grown._late, grown._index.folder / LATE_FOLDER
    whole = extend_late(grown._index, "tokens", whole=True)
    assert whole.manifest.extensions == ()
    assert sorted(path.name for path in folder.iterdir()) == sorted([whole.manifest.file, MANIFEST])
    centroids, offsets = whole.file.read("centroids"), whole.file.read("number_offsets")
    lists = [numbers.tolist() for numbers in np.split(whole.file.read("numbers"), offsets[1:-1])]
    alive = grown._snapshot.alive.astype(np.uint8)
    lists = [numbers if living else [] for numbers, living in zip(lists, alive, strict=True)]
    everything = Depths(0, 0, 400, 400)
    for query in QUERIES[:10]:
        table = oracle.table(query, centroids)
        scores = {row: score for row, score in enumerate(oracle.interaction(table, lists)) if lists[row]}
        for late in (extended, whole):
            assert late.ranked(query, everything, 2, allowed=alive)[0].tolist() == oracle.ranked(scores)
        assert (
            extended.ranked(query, everything, allowed=alive)[0].tolist()
            == whole.ranked(query, everything, allowed=alive)[0].tolist()
        )
        points = oracle.points(table, lists, 4, alive)
        unlisted = [] if "postings" in extended.parts[-1].file else range(extended.manifest.first_rows, 380)
        expected = oracle.ranked({row: score for row, score in points.items() if row not in unlisted})
        expected += [row for row in unlisted if lists[row]]
        rows, _, reached = extended.ranked(query, Depths(4, 400, 1, 1), 1, allowed=alive)
        assert rows.tolist() == expected
        assert reached == len(expected)


def test_an_index_with_extensions_finds_what_there_is(grown, tmp_path):
    assert kept(grown) >= 0.98
    found = rankings(grown)
    grown.close()
    with MultiVectorIndex.open(tmp_path / "grown") as again:
        assert rankings(again) == found
        assert again._late.findings() == []


def test_files_that_were_read_are_not_read_again(grown, monkeypatch):
    opened, real = [], late_module.SegmentFile
    monkeypatch.setattr(
        late_module, "SegmentFile", lambda path, *a, **k: opened.append(path.name) or real(path, *a, **k)
    )
    grown.add(documents(5, seed=3))
    late = extend_late(grown._index, "tokens", least=1, known=grown._late)
    assert opened == [late.manifest.extensions[-1].file]
    grown.refresh()
    assert opened == 2 * [late.manifest.extensions[-1].file]
    before = grown._late
    grown.refresh()
    assert grown._late is before


def test_damage_in_an_extension_is_named(grown, tmp_path):
    name = grown._late.manifest.extensions[0].file
    exact = [grown.search(query, 10, exact=True) for query in QUERIES]
    grown.close()
    path = tmp_path / "grown" / LATE_FOLDER / name
    broken = bytearray(path.read_bytes())
    broken[-1] ^= 1
    path.write_bytes(broken)
    with pytest.raises(CorruptionError, match=name):
        MultiVectorIndex.open(tmp_path / "grown")
    path.unlink()
    with pytest.raises(CorruptionError, match=f"{name} is missing.* remove .*late, and every search is exact"):
        MultiVectorIndex.open(tmp_path / "grown")
    shutil.rmtree(tmp_path / "grown" / LATE_FOLDER)
    with MultiVectorIndex.open(tmp_path / "grown") as healed:
        for query, (ids, scores) in zip(QUERIES, exact, strict=True):
            assert healed.search(query, 10)[0] == ids
            np.testing.assert_array_equal(healed.search(query, 10)[1], scores)


def test_what_an_extension_that_was_killed_left_is_removed(grown):
    folder = grown._index.folder / LATE_FOLDER
    (folder / "late-00000099.seg").touch()
    (folder / "late-00000099.seg.tmp").touch()
    grown.add(documents(5, seed=3))
    late = extend_late(grown._index, "tokens", least=1)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*late.manifest.files, MANIFEST])
