"""The late-interaction index: each step against NumPy, the whole against exhaustive scoring."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import cascade_in_numpy as oracle
import numpy as np
import pytest

from latewood import _kernel, maxsim
from latewood.errors import CorruptionError, InputError, ShapeError, UsageError
from latewood.index import LATE_FOLDER, Depths, LateIndex, MultiVectorIndex, late_build, overlap
from latewood.index import multivector as multivector_module
from latewood.index.codebook import Codebook, take, train
from latewood.index.late_manifest import MANIFEST
from latewood.types import MultiVectors

D = 32


def documents(count, seed=0, dim=D, most=40):
    """Documents of tokens that lie around 60 topics, as those of a model do around meanings."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(99).standard_normal((60, dim))
    arrays = []
    for _ in range(count):
        own = rng.choice(60, 5)
        array = topics[rng.choice(own, rng.integers(0 if count > 50 else 1, most))] + 0.6 * rng.standard_normal(dim)
        array = array + 0.5 * rng.standard_normal(array.shape)
        arrays.append((array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9)).astype(np.float32))
    return arrays


def queries(count, seed=1, dim=D):
    return [array[:12] for array in documents(3 * count, seed, dim) if len(array) >= 5][:count]


@pytest.fixture
def small_batches(monkeypatch):
    """Segments of about a hundred documents instead of 128 MB."""
    monkeypatch.setattr(multivector_module, "_SEGMENT_BYTES", 100 * 20 * D * 4)


@pytest.fixture
def built(tmp_path, small_batches):
    with MultiVectorIndex.build(tmp_path / "ix", documents(600), threads=2) as index:
        yield index


def parts_of(late):
    read = late.file.read
    lists = np.split(read("numbers"), read("number_offsets")[1:-1])
    return read("centroids"), [sorted(numbers.tolist()) for numbers in lists]


# -- the steps -------------------------------------------------------------------------------------------------------


def test_each_token_is_listed_under_its_nearest_centroid(built):
    centroids, lists = parts_of(built._late)
    stored = built._snapshot.vectors("tokens", np.arange(600))
    tokens = stored.tokens * stored.scales[:, None]
    near = (tokens @ centroids.T - (centroids**2).sum(axis=1) / 2).argmax(axis=1)
    flat = [sorted(set(near[stored.offsets[i] : stored.offsets[i + 1]].tolist())) for i in range(600)]
    # Only the centroids of a few cells were looked at, so a few tokens have a nearer one elsewhere.
    same = sum(len(set(a) & set(b)) for a, b in zip(lists, flat, strict=True))
    assert same >= 0.97 * sum(len(numbers) for numbers in flat)
    postings = np.split(built._late.file.read("postings"), built._late.file.read("posting_offsets")[1:-1])
    assert [(c, row) for c, rows in enumerate(postings) for row in rows.tolist()] == sorted(
        (c, row) for row, numbers in enumerate(lists) for c in numbers
    )


@pytest.mark.parametrize("isa", _kernel.usable())
def test_centroid_interaction_is_that_of_numpy(built, isa):
    before = _kernel.isa()
    centroids, lists = parts_of(built._late)
    try:
        _kernel.force(isa)
        for query in [*queries(5), np.tile(queries(1)[0], (9, 1))]:
            scores = dict(enumerate(oracle.interaction(oracle.table(query, centroids), lists)))
            there = {row: score for row, score in scores.items() if lists[row]}
            found = built._late.ranked(query, Depths(0, 0, 600, 1), 2)[0]
            assert found.tolist() == oracle.ranked(there)
    finally:
        _kernel.force(before)


@pytest.mark.parametrize("probe", [1, 3, 20])
def test_the_first_step_is_that_of_python(built, probe):
    centroids, lists = parts_of(built._late)
    mask = np.random.default_rng(2).integers(0, 2, 600).astype(np.uint8)
    for allowed in (None, mask):
        for query in queries(5):
            expected = oracle.ranked(oracle.points(oracle.table(query, centroids), lists, probe, allowed))
            rows, _, reached = built._late.ranked(query, Depths(probe, 600, 1, 1), 1, allowed=allowed)
            assert reached == len(expected)
            assert rows.tolist() == expected


def test_the_third_step_orders_by_signs(built):
    stored = built._snapshot.vectors("tokens", np.arange(600))
    floats = MultiVectors(stored.tokens * stored.scales[:, None], stored.offsets)
    bits = maxsim.binarize(floats, built._late.file.read("mean"))
    for query in queries(5):
        second = built._late.ranked(query, Depths(0, 0, 100, 1), 2)[0]
        third = built._late.ranked(query, Depths(0, 0, 100, 30))[0]
        assert third.tolist() == oracle.ranked(oracle.sign_scores(query, bits, second.tolist()))[:30]


@pytest.mark.parametrize("k", [10, 25])
@pytest.mark.parametrize("margin", [0.0, 0.02, 0.2, 0.5, 0.99])
def test_who_stands_too_far_behind_the_kth_leaves_no_step(built, margin, k):
    centroids, lists = parts_of(built._late)
    stored = built._snapshot.vectors("tokens", np.arange(600))
    floats = MultiVectors(stored.tokens * stored.scales[:, None], stored.offsets)
    bits = maxsim.binarize(floats, built._late.file.read("mean"))
    mask = np.random.default_rng(2).integers(0, 2, 600).astype(np.uint8)
    for query in queries(5):
        cells, deep = oracle.table(query, centroids), Depths(6, 600, 600, 600)
        for allowed in (None, mask):
            points = oracle.near(oracle.points(cells, lists, 6, allowed), k, margin)
            at, scores, _ = built._late.ranked(query, replace(deep, gathered_margin=margin), 1, k=k, allowed=allowed)
            assert dict(zip(at.tolist(), scores.tolist(), strict=True)) == points
            assert at.tolist() == oracle.ranked(points)
        there = {row: score for row, score in enumerate(oracle.interaction(cells, lists)) if lists[row]}
        above = oracle.near({row: score - 51 * len(query) for row, score in there.items()}, k, margin)
        at, scores, _ = built._late.ranked(query, replace(deep, n_probe=0, refined_margin=margin), 2, k=k)
        assert dict(zip(at.tolist(), scores.tolist(), strict=True)) == above
        assert at.tolist() == oracle.ranked(above)
        signs = oracle.near(oracle.sign_scores(query, bits, list(there)), k, margin)
        at, _, _ = built._late.ranked(query, replace(deep, n_probe=0, full_margin=margin), k=k)
        assert at.tolist() == oracle.ranked(signs)
        assert len(at) >= k


def test_margins_hold_where_nobody_is_similar(built):
    """Where the k-th scores less than zero, it is itself the floor: a share of it would lie above it."""
    query = -np.stack([array.mean(axis=0) for array in queries(12)]).mean(axis=0, keepdims=True).astype(np.float32)
    for last, margins in ((2, {"refined_margin": 0.3}), (3, {"full_margin": 0.3})):
        every, scores, _ = built._late.ranked(query, Depths(0, 0, 600, 600), last)
        below = np.zeros(600, np.uint8)
        below[every[scores < 0]] = 1
        left, scores = every[scores < 0], scores[scores < 0]
        assert len(left) > 20
        at, _, _ = built._late.ranked(query, Depths(0, 0, 600, 600, **margins), last, allowed=below)
        assert at.tolist() == left[scores >= scores[9]].tolist()
        assert len(at) < len(left)


# -- the whole -------------------------------------------------------------------------------------------------------


def test_scores_are_exact_and_almost_all_of_the_best_are_found(built):
    asked = queries(60)
    kept = []
    for query in asked:
        ids, scores = built.search(query, 10)
        exact, exact_scores = built.search(query, 20, exact=True)
        every = dict(zip(*built.search(query, 600, exact=True), strict=True))
        assert scores.tolist() == [every[name] for name in ids]
        assert list(zip(-scores, ids, strict=True)) == sorted(zip(-scores, ids, strict=True))
        kept.append(overlap(np.array(ids, int), np.array(exact, int), exact_scores))
    assert np.mean(kept) >= 0.98


def test_depths_can_be_given(built):
    query = queries(1)[0]
    exact = built.search(query, 10, exact=True)
    for found in (built.search(query, 10, n_probe=0, n_refined=600, n_full_scores=600), built.search(query, 600)[:2]):
        assert found[0][:10] == exact[0]
        assert found[1][:10].tolist() == exact[1].tolist()
    with pytest.raises(UsageError, match="no depth is called 'ncells'"):
        built.search(query, 10, ncells=4)
    with pytest.raises(UsageError, match="n_full_scores: got 0, expected at least 1"):
        built.search(query, 10, n_full_scores=0)
    with pytest.raises(UsageError, match=r"full_margin: got 2, expected a share from 0 to 1"):
        built.search(query, 10, full_margin=2)


def test_more_results_are_searched_for_deeper(built):
    for query in queries(10, seed=4):
        ids, _ = built.search(query, 100)
        exact, scores = built.search(query, 120, exact=True)
        assert overlap(np.array(ids, int), np.array(exact, int), scores, 100) >= 0.97


def test_search_many_is_search(built):
    asked = queries(8)
    one = [built.search(query, 5) for query in asked]
    for threads in (1, 2, 3):
        for (ids, scores), (names, values) in zip(built.search_many(asked, 5, threads=threads), one, strict=True):
            assert (ids, scores.tolist()) == (names, values.tolist())


def test_a_certificate_compares_with_exhaustive_scoring(built):
    found = built.certify(queries(20))
    assert len(found.overlaps) == len(found.index_ms) == 20
    assert np.mean(found.overlaps) >= 0.97
    assert len(built.certify(samples=15).overlaps) == 15


# -- changes ---------------------------------------------------------------------------------------------------------


def test_later_and_dead_rows_are_treated_as_they_are(built):
    late, column = built._late, "tokens"
    added = documents(50, seed=7)
    built._index.commit(
        [f"new{i}" for i in range(50)], {column: maxsim.quantize(MultiVectors.of(added, D))}, {}, 0, lambda rows: None
    )
    built._index.bury([str(i) for i in range(0, 600, 7)])
    snapshot = built._index.snapshot()
    kept = []
    for query in queries(30):
        exact = snapshot.search(column, query, 20)
        found = late.search(snapshot, column, query, 10)
        assert snapshot.alive[found.rows].all()
        kept.append(overlap(found.rows, exact.rows, exact.scores))
        new = np.arange(600, 650)
        assert set(exact.rows[:10]) & set(new) <= set(found.rows)
    assert np.mean(kept) >= 0.98


@pytest.mark.parametrize("share", [0.01, 0.1, 0.6])
def test_an_allow_set_never_starves_a_result(built, share):
    rng = np.random.default_rng(3)
    snapshot, late = built._snapshot, built._late
    lengths = np.diff(late.file.read("offsets"))
    for query in queries(10):
        rows = np.flatnonzero(rng.random(600) < share)
        found = late.search(snapshot, "tokens", query, 10, rows)
        exact = snapshot.search("tokens", query, 20, rows)
        assert set(found.rows) <= set(rows)
        assert len(found) == min(10, np.count_nonzero(lengths[rows]))
        assert overlap(found.rows, exact.rows, exact.scores) >= 0.8


# -- building --------------------------------------------------------------------------------------------------------


def file_of(index):
    return (index._index.folder / LATE_FOLDER / index._late.manifest.file).read_bytes()


def test_the_same_vectors_give_the_same_bytes_for_any_number_of_threads(tmp_path, small_batches):
    made = []
    for threads in (1, 2, 3):
        with MultiVectorIndex.build(tmp_path / str(threads), iter(documents(300)), threads=threads) as index:
            made.append((file_of(index), index._late.depths))
    assert made[0] == made[1] == made[2]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5, 6, 7])
def test_an_interrupted_build_goes_on_and_ends_in_the_same_bytes(tmp_path, small_batches, monkeypatch, after):
    arrays = documents(300)
    with MultiVectorIndex.build(tmp_path / "whole", arrays) as index:
        expected = file_of(index)
    written, real = [], late_build.write_segment

    def write(path, content):
        if len(written) == after:
            raise Killed
        written.append(path.name)
        return real(path, content)

    real_commit = multivector_module.Index.commit

    def commit(self, *arguments):
        if len(written) == after:
            raise Killed
        written.append("commit")
        return real_commit(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(late_build, "write_segment", write)
        patch.setattr(multivector_module.Index, "commit", commit)
        try:
            MultiVectorIndex.build(tmp_path / "cut", arrays).close()
        except Killed:
            with pytest.raises(InputError, match=r"its build didn't end|is not an index"):
                MultiVectorIndex.open(tmp_path / "cut")
    done = len(written)
    with monkeypatch.context() as patch:
        patch.setattr(
            late_build, "write_segment", lambda path, content: written.append(path.name) or real(path, content)
        )
        with MultiVectorIndex.build(tmp_path / "cut", arrays) as index:
            assert file_of(index) == expected
    # What was finished wasn't done again.
    assert len(set(written[done:]) & set(written[:done]) - {"commit"}) == 0


def test_other_documents_are_not_mixed_with_those_of_an_interrupted_build(tmp_path, small_batches):
    MultiVectorIndex.build(tmp_path / "ix", documents(300)).close()
    with pytest.raises(InputError, match="holds 300 documents, but only 50 came"):
        MultiVectorIndex.build(tmp_path / "ix", documents(50))


def test_ids_and_empty_documents(tmp_path):
    arrays = [*documents(40), np.zeros((0, D), np.float32)]
    names = [f"doc-{i:03d}" for i in range(41)]
    with MultiVectorIndex.build(tmp_path / "ix", arrays, ids=iter(names)) as index:
        assert len(index) == 41
        ids, _ = index.search(arrays[7][:5], 41)
        assert ids[0] == "doc-007"
        assert len(ids) == 40  # the empty one is never ranked
    with MultiVectorIndex.open(tmp_path / "ix") as again:
        assert again.search(arrays[7][:5], 1)[0] == ["doc-007"]


def test_a_projection_is_fitted_stored_and_applied(tmp_path):
    arrays = documents(300, dim=64)
    with MultiVectorIndex.build(tmp_path / "ix", arrays, dim=24) as index:
        assert index.stats()["dim"] == 24
        assert index.search(arrays[11][:9], 1)[0] == ["11"]
    with MultiVectorIndex.open(tmp_path / "ix") as again:
        assert again.search(arrays[11][:9], 1)[0] == ["11"]
        with pytest.raises(ShapeError, match=r"expected \[Q, 64\]"):
            again.search(arrays[0][:, :24], 1)


def test_pooling_is_that_of_sentence_transformers(tmp_path):
    torch = pytest.importorskip("torch", reason="token pooling is sentence-transformers'")
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    arrays = documents(60)
    expected = HierarchicalTokenPooling(pool_factor=2).pool([torch.from_numpy(a) for a in arrays if len(a)])
    with MultiVectorIndex.build(tmp_path / "ix", arrays, pool_factor=2) as index:
        stored = index._snapshot.vectors("tokens", np.flatnonzero([len(a) for a in arrays]))
        for i, array in enumerate(expected):
            assert len(stored[i]) == len(array)
        values = stored.tokens * stored.scales[:, None]
        np.testing.assert_allclose(values, torch.cat(expected).numpy(), atol=5e-3)
    with pytest.raises(UsageError, match=r"pool_factor: got 0\.5"):
        MultiVectorIndex.build(tmp_path / "other", arrays, pool_factor=0.5)


def test_wrong_input_is_refused(tmp_path):
    build = MultiVectorIndex.build
    with pytest.raises(UsageError, match="no documents"):
        build(tmp_path / "a", [])
    with pytest.raises(UsageError, match="target_overlap: got 1"):
        build(tmp_path / "b", documents(20), target_overlap=1)
    with pytest.raises(ShapeError, match=r"document 1: got shape \(2, 8\) float32, expected \[T, 32\]"):
        build(tmp_path / "c", [documents(1)[0], np.zeros((2, 8), np.float32)])
    with pytest.raises(ShapeError, match="NaN"):
        build(tmp_path / "d", [np.full((2, 8), np.nan, np.float32)])
    with pytest.raises(UsageError, match="ids: there are 1, fewer than documents"):
        build(tmp_path / "e", documents(2), ids=["one"])
    with pytest.raises(UsageError, match="memory_budget: "):
        build(tmp_path / "f", documents(200), memory_budget=1000)
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "file").touch()
    with pytest.raises(InputError, match="not empty"):
        build(tmp_path / "g", documents(2))


# -- damage ----------------------------------------------------------------------------------------------------------


def read_all(folder, catalogue):
    """Open the index and verify what opening doesn't read: gaps, and arrays that only a further build wants."""
    for finding in LateIndex.of(folder, catalogue).findings():
        raise CorruptionError(finding)


def test_damage_is_named(built):
    folder = built._index.folder / LATE_FOLDER
    path = folder / built._late.manifest.file
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in [*rng.integers(0, len(whole), 30).tolist(), len(whole) - 1]:
        broken = bytearray(whole)
        broken[at] ^= 1 << int(rng.integers(8))
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        (copy / path.name).write_bytes(broken)
        shutil.copy(folder / MANIFEST, copy)
        with pytest.raises((CorruptionError, InputError), match=re.escape(path.name)):
            read_all(copy, built._index.catalogue)
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace("0.99", "0.98"))
    with pytest.raises(CorruptionError, match="latewood build"):
        LateIndex.of(folder, built._index.catalogue)


# -- parts -----------------------------------------------------------------------------------------------------------


def test_a_codebook_is_made_of_means():
    rng = np.random.default_rng(0)
    places = rng.standard_normal((9, 16)).astype(np.float32) * 5
    values = np.repeat(places, 50, axis=0) + 0.01 * rng.standard_normal((450, 16)).astype(np.float32)
    many = MultiVectors(values, np.array([0, 450], np.int64))
    book = train(many, 64)
    assert book.residual < 0.1
    assert len(book.centroids) <= 64
    assert np.abs(book.mean - values.mean(axis=0)).max() < 1e-5
    assigned = book.assign(many)
    assert np.linalg.norm(values - book.centroids[assigned], axis=1).max() < 0.2
    assert np.array_equal(assigned, book.assign(many, threads=3))
    assert isinstance(book, Codebook)
    assert len(take(many, np.array([3, 1])).tokens) == 2


def test_fewer_distinct_vectors_than_centroids():
    values = np.repeat(np.eye(4, 16, dtype=np.float32), 10, axis=0)
    book = train(MultiVectors(values, np.array([0, 40], np.int64)), 16)
    assert np.allclose(book.centroids[book.assign(MultiVectors(values, np.array([0, 40], np.int64)))], values)


def test_overlap_by_hand():
    exact, scores = np.array([5, 3, 9, 1]), np.array([4.0, 3.0, 2.0, 1.99995])
    assert overlap(np.array([3, 5, 9]), exact, scores, 3) == 1
    assert overlap(np.array([3, 5, 1]), exact, scores, 3) == 1  # 1 ties with 9
    assert overlap(np.array([3, 5, 8]), exact, scores, 3) == pytest.approx(2 / 3)
    assert overlap(np.array([], int), exact, scores, 3) == 0
    assert overlap(np.array([], int), np.array([], int), np.array([]), 3) == 1
