"""Documents of one bit per dimension: equal to the reference bit for bit, on every instruction set."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latewood import _kernel, _reference, maxsim
from latewood.errors import ShapeError
from latewood.types import BitVectors, MultiVectors


def bits(rng, lengths, dim):
    codes = rng.integers(0, 256, (sum(lengths), (dim + 7) // 8), dtype=np.uint8)
    return BitVectors(cases.misaligned(codes), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), dim)


def check(query, docs, rows=None):
    np.testing.assert_array_equal(maxsim.scores(query, docs, rows), _reference.scores(query, docs, rows))


@pytest.mark.parametrize("dim", [*cases.DIMS, 2048, 4369, 4370])
def test_every_dimension(isa, dim):
    rng = np.random.default_rng(dim)
    for count in (3, 10, 32):
        docs = bits(rng, [*cases.LENGTHS, 31, 32, 33, 63, 64, 65, 0, 191, 192, 193], dim)
        check(cases.vectors(rng, count, dim), docs)
        check(rng.integers(0, 256, (count, (dim + 7) // 8), dtype=np.uint8), docs)


@pytest.mark.parametrize("count", cases.QUERY_COUNTS)
def test_every_query_count(isa, count):
    rng = np.random.default_rng(count)
    check(cases.vectors(rng, count, 44), bits(rng, cases.LENGTHS, 44))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 12),
    dim=st.integers(1, 200),
    lengths=st.lists(st.integers(0, 70), max_size=20),
    hamming=st.booleans(),
    data=st.data(),
)
def test_any_shape(isa, seed, count, dim, lengths, hamming, data):
    rng = np.random.default_rng(seed)
    docs = bits(rng, lengths, dim)
    query = cases.vectors(rng, count, dim)
    check(maxsim.signs(query) if hamming else query, docs)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=30)) if lengths else []
    check(maxsim.signs(query) if hamming else query, docs, np.array(rows, np.int64))


@pytest.mark.parametrize("dim", [128, 1024, 4369, 4370, 20_000, 65_535])
def test_sums_never_overflow(isa, dim):
    """All signs agree, or none does, with the largest integers that a query can have."""
    docs = BitVectors(np.full((5, (dim + 7) // 8), 255, np.uint8), np.array([0, 5]), dim)
    for sign in (1.0, -1.0):
        check(np.full((5, dim), sign, np.float32), docs)


def test_a_dimension_too_many(isa):
    with pytest.raises(ShapeError, match="65535"):
        BitVectors(np.zeros((1, 8192), np.uint8), np.array([0, 1]), 65_536)


def test_codes_against_codes_is_dimensions_less_twice_the_hamming_distance(isa):
    rng = np.random.default_rng(0)
    a, b = cases.vectors(rng, 4, 100), cases.vectors(rng, 9, 100)
    docs = maxsim.binarize(MultiVectors.of([b]))
    distance = ((a[:, None] >= 0) != (b[None] >= 0)).sum(axis=2)
    np.testing.assert_array_equal(maxsim.similarities(maxsim.signs(a), docs, 0), 100 - 2 * distance)


def test_similarities_sum_to_the_score_on_any_thread(isa):
    rng = np.random.default_rng(1)
    query, docs = cases.vectors(rng, 19, 96), bits(rng, [*cases.LENGTHS, 500] * 20, 96)
    whole = maxsim.scores(query, docs)
    np.testing.assert_array_equal(maxsim.scores(query, docs, threads=3), whole)
    for row in range(23):
        np.testing.assert_array_equal(maxsim.similarities(query, docs, row), _reference.similarities(query, docs, row))
        if len(docs[row]):
            total = np.float32(0)
            for similarity in maxsim.argmax(query, docs, row)[1]:
                total += similarity
            assert total == whole[row]
    found, values = maxsim.top_k(query, docs, 7)
    np.testing.assert_array_equal(values, whole[found])
    np.testing.assert_array_equal(found, _reference.top_k(query, docs, 7)[0])


def test_all_instruction_sets_agree():
    rng = np.random.default_rng(2)
    query, docs = cases.vectors(rng, 33, 384), bits(rng, [200, 1, 30, 77] * 5, 384)
    before, seen = _kernel.isa(), set()
    for name in _kernel.usable():
        _kernel.force(name)
        seen.add(maxsim.scores(query, docs).tobytes())
    _kernel.force(before)
    assert len(seen) == 1


@pytest.mark.parametrize("form", ["float32", "float16"])
def test_binarize_equals_the_reference(form):
    docs = cases.documents(np.random.default_rng(3), cases.LENGTHS, 37, form)
    center = docs.tokens.astype(np.float32).mean(axis=0)
    for middle in (None, center):
        got, want = maxsim.binarize(docs, middle), _reference.binarize(docs, middle)
        np.testing.assert_array_equal(got.codes, want.codes)
        assert got.center is middle


def test_bits_find_what_floats_find():
    """Documents near a query stay near: signs keep most of an exact top ten within their best fifty."""
    rng = np.random.default_rng(4)
    docs = cases.documents(rng, [20] * 500, 128)
    codes = maxsim.binarize(docs, docs.tokens.mean(axis=0))
    kept = 0
    for target in range(0, 500, 25):
        query = docs[target][:8] + 0.3 * cases.vectors(rng, 8, 128)
        kept += target in maxsim.top_k(query, codes, 5)[0]
    assert kept == 20


@pytest.mark.parametrize(
    ("codes", "offsets", "dim"),
    [
        (np.zeros((2, 2), np.uint8), [0, 2], 17),
        (np.zeros((2, 2), np.int8), [0, 2], 16),
        (np.zeros(4, np.uint8), [0, 4], 8),
        (np.zeros((2, 2), np.uint8), [0, 1], 16),
        (np.zeros((2, 2), np.uint8), [0, 2, 1, 2], 16),
    ],
)
def test_bits_that_are_none(codes, offsets, dim):
    with pytest.raises(ShapeError):
        BitVectors(codes, np.array(offsets, np.int64), dim)


def test_queries_that_do_not_fit(isa):
    docs = bits(np.random.default_rng(5), [3], 16)
    for query in (np.zeros((2, 3), np.uint8), np.zeros((0, 2), np.uint8), np.zeros(2, np.uint8)):
        with pytest.raises(ShapeError, match="query"):
            maxsim.scores(query, docs)
    with pytest.raises(ShapeError, match="query"):
        maxsim.scores(np.zeros((1, 16), np.uint8), cases.documents(np.random.default_rng(6), [2], 16))
