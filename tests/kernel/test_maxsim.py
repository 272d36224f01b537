"""The kernel against its meaning in NumPy: scores, rankings, similarities, on every instruction set."""

from __future__ import annotations

from pathlib import Path

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latewood import _kernel, _reference, maxsim
from latewood.types import MultiVectors


def check(query, docs, rows=None):
    got, want = maxsim.scores(query, docs, rows), _reference.scores(query, docs, rows)
    assert got.dtype == np.float32
    assert got.shape == want.shape
    if docs.scales is not None:
        np.testing.assert_array_equal(got, want)
    else:
        empty = np.isneginf(want)
        np.testing.assert_array_equal(np.isneginf(got), empty)
        np.testing.assert_allclose(got[~empty], want[~empty], rtol=0, atol=cases.tolerance(query, docs))


@pytest.mark.parametrize("form", cases.FORMATS)
@pytest.mark.parametrize("count", cases.QUERY_COUNTS)
def test_every_query_count(isa, count, form):
    rng = np.random.default_rng(count)
    for dim in (20, 48):
        check(cases.vectors(rng, count, dim), cases.documents(rng, cases.LENGTHS, dim, form))


@pytest.mark.parametrize("form", cases.FORMATS)
@pytest.mark.parametrize("dim", cases.DIMS)
def test_every_dimension(isa, dim, form):
    rng = np.random.default_rng(dim)
    for count in (3, 10, 32):
        query = cases.misaligned(cases.vectors(rng, count, dim))
        check(query, cases.documents(rng, cases.LENGTHS, dim, form))


@pytest.mark.parametrize("form", cases.FORMATS)
@pytest.mark.parametrize("length", [*range(1, 30), 47, 48, 49, 95, 96, 97, 331, 1030])
def test_every_length(isa, length, form):
    rng = np.random.default_rng(length)
    check(cases.vectors(rng, 11, 24), cases.documents(rng, [length], 24, form))


@pytest.mark.parametrize("form", cases.FORMATS)
def test_one_vector_documents_with_one_query_vector(isa, form):
    """What scoring by a single vector is."""
    rng = np.random.default_rng(0)
    check(cases.vectors(rng, 1, 384), cases.documents(rng, [1] * 101, 384, form))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 40),
    dim=st.integers(1, 80),
    lengths=st.lists(st.integers(0, 60), max_size=20),
    form=st.sampled_from(cases.FORMATS),
    data=st.data(),
)
def test_any_shape(isa, seed, count, dim, lengths, form, data):
    rng = np.random.default_rng(seed)
    query, docs = cases.vectors(rng, count, dim), cases.documents(rng, lengths, dim, form)
    check(query, docs)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=30)) if lengths else []
    check(query, docs, np.array(rows, np.int64))


@pytest.mark.parametrize("form", cases.FORMATS)
def test_a_score_is_the_same_however_it_is_reached(isa, form):
    rng = np.random.default_rng(5)
    for dim, count in ((33, 13), (128, 32), (48, 10), (384, 19)):
        query, docs = cases.vectors(rng, count, dim), cases.documents(rng, [*cases.LENGTHS, 400, 3, 900] * 3, dim, form)
        whole = maxsim.scores(query, docs)
        rows = rng.permutation(len(docs)).astype(np.int64)
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(maxsim.scores(query, docs, threads=threads), whole)
            np.testing.assert_array_equal(maxsim.scores(query, docs, rows, threads=threads), whole[rows])
        for row in (1, 5, 20, len(docs) - 1):
            np.testing.assert_array_equal(maxsim.scores(query, docs, np.array([row])), whole[[row]])
            alone = MultiVectors.of([docs[row]]) if docs.scales is None else None
            if alone is not None:
                np.testing.assert_array_equal(maxsim.scores(query, alone), whole[[row]])


def test_float16_is_float32_of_the_same_values(isa):
    rng = np.random.default_rng(6)
    for dim in (24, 31, 128):
        query, half = cases.vectors(rng, 10, dim), cases.documents(rng, cases.LENGTHS, dim, "float16")
        single = MultiVectors(half.tokens.astype(np.float32), half.offsets)
        np.testing.assert_array_equal(maxsim.scores(query, half), maxsim.scores(query, single))


def test_every_float16_value_is_converted_exactly(isa):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)].reshape(-1, 8)
    docs = MultiVectors(every, np.array([0, len(every)], np.int64))
    got = maxsim.similarities(np.eye(8, dtype=np.float32), docs, 0)
    np.testing.assert_array_equal(got, every.T.astype(np.float32))


def test_int8_is_equal_bit_for_bit_on_every_instruction_set():
    rng = np.random.default_rng(7)
    query, docs = cases.vectors(rng, 45, 384), cases.documents(rng, [200, 1, 30, 77] * 5, 384, "int8")
    before, seen = _kernel.isa(), []
    for name in _kernel.usable():
        _kernel.force(name)
        seen.append(maxsim.scores(query, docs).tobytes())
    _kernel.force(before)
    assert len(set(seen)) == 1


@pytest.mark.parametrize("dim", [1024, 2048, 2049, 5000])
def test_int8_never_overflows(isa, dim):
    """The largest integers that there are, all of one sign: -128 is not what quantize() makes, but it is an int8."""
    for value in (-128, 127):
        docs = MultiVectors(np.full((13, dim), value, np.int8), np.array([0, 13]), np.ones(13, np.float32))
        for sign in (1.0, -1.0):
            check(np.full((9, dim), sign, np.float32), docs)


@pytest.mark.parametrize("form", cases.FORMATS)
def test_similarities_and_argmax(isa, form):
    rng = np.random.default_rng(8)
    for count, dim in ((1, 16), (7, 33), (19, 96), (32, 128)):
        query, docs = cases.vectors(rng, count, dim), cases.documents(rng, cases.LENGTHS, dim, form)
        whole, bound = maxsim.scores(query, docs), cases.tolerance(query, docs)
        for row in range(len(docs)):
            got, want = maxsim.similarities(query, docs, row), _reference.similarities(query, docs, row)
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=0, atol=0 if form == "int8" else bound)
            if got.shape[1] == 0:
                continue
            positions, best = maxsim.argmax(query, docs, row)
            np.testing.assert_array_equal(best, got.max(axis=1))
            np.testing.assert_array_equal(positions, got.argmax(axis=1))
            total = np.float32(0)
            for similarity in best:
                total += similarity
            assert total == whole[row]


def test_argmax_takes_the_first_of_equals(isa):
    docs = MultiVectors.of([np.array([[0, 1], [1, 0], [1, 0], [0, 1]], np.float32)])
    positions, best = maxsim.argmax(np.array([[1, 0], [0, 2]], np.float32), docs, 0)
    assert positions.tolist() == [1, 0]
    assert best.tolist() == [1.0, 2.0]


def test_negative_similarities_are_not_lost_to_padding(isa):
    """Zeros that fill a register or a tile must not win the maximum."""
    for lengths in ([1], [13, 1, 12, 5], [48, 1]):
        docs = MultiVectors.of([np.full((n, 16), -1, np.float32) for n in lengths])
        for count in (1, 5, 10):
            got = maxsim.scores(np.ones((count, 16), np.float32), docs)
            np.testing.assert_array_equal(got, np.full(len(lengths), -16.0 * count))


@pytest.mark.parametrize("form", cases.FORMATS)
def test_top_k_is_the_sorted_head_of_the_scores(isa, form):
    rng = np.random.default_rng(9)
    query, docs = cases.vectors(rng, 10, 32), cases.documents(rng, cases.LENGTHS * 4, 32, form)
    whole = maxsim.scores(query, docs)
    rows = rng.permutation(len(docs))[:40].astype(np.int64)
    for chosen in (None, rows):
        reachable = np.arange(len(docs)) if chosen is None else chosen
        reachable = reachable[np.isfinite(whole[reachable])]
        for k in (0, 1, 10, 1000):
            found, values = maxsim.top_k(query, docs, k, chosen)
            want = reachable[np.lexsort((reachable, -whole[reachable]))][:k]
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, want)
            np.testing.assert_array_equal(values, whole[want])


def test_top_k_breaks_ties_by_number(isa):
    docs = MultiVectors.of([np.full((1, 8), v, np.float32) for v in (1, 2, 1, 2, 1)])
    query = np.ones((2, 8), np.float32)
    assert maxsim.top_k(query, docs, 4)[0].tolist() == [1, 3, 0, 2]
    assert maxsim.top_k(query, docs, 4, np.array([4, 3, 2, 1]))[0].tolist() == [1, 3, 2, 4]


def test_nothing_to_score(isa):
    query = np.ones((3, 8), np.float32)
    none = MultiVectors.of([], dim=8)
    assert maxsim.scores(query, none).shape == (0,)
    assert [len(a) for a in maxsim.top_k(query, none, 5)] == [0, 0]
    empty = MultiVectors(np.zeros((0, 8), np.float32), np.zeros(4, np.int64))
    assert np.isneginf(maxsim.scores(query, empty)).all()
    assert [len(a) for a in maxsim.top_k(query, empty, 5)] == [0, 0]
    assert maxsim.similarities(query, empty, 1).shape == (3, 0)


@pytest.mark.parametrize("form", cases.FORMATS)
def test_a_read_only_memory_map_is_scored_where_it_is(tmp_path: Path, isa, form):
    rng = np.random.default_rng(10)
    query, docs = cases.vectors(rng, 10, 48), cases.documents(rng, cases.LENGTHS, 48, form)
    paths = {}
    for name in ("tokens", "offsets", "scales"):
        if getattr(docs, name) is not None:
            paths[name] = tmp_path / f"{name}.npy"
            np.save(paths[name], getattr(docs, name))
    mapped = MultiVectors(**{name: np.load(path, mmap_mode="r") for name, path in paths.items()})
    assert not mapped.tokens.flags.writeable
    np.testing.assert_array_equal(maxsim.scores(query, mapped), maxsim.scores(query, docs))
