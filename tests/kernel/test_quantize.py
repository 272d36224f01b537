"""int8 with one scale per vector: what quantize() promises, and how little of a ranking it costs."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest

from latewood import _reference, maxsim
from latewood.errors import ShapeError
from latewood.types import MultiVectors


@pytest.mark.parametrize("form", ["float32", "float16"])
def test_equals_the_reference(form):
    docs = cases.documents(np.random.default_rng(0), cases.LENGTHS, 48, form)
    got, want = maxsim.quantize(docs), _reference.quantize(docs)
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.scales, want.scales)
    np.testing.assert_array_equal(got.offsets, docs.offsets)


def test_error_is_half_a_step():
    docs = cases.documents(np.random.default_rng(1), [100], 96)
    got = maxsim.quantize(docs)
    error = np.abs(got.tokens * got.scales[:, None] - docs.tokens)
    assert (error <= got.scales[:, None] * 0.5001).all()


def test_zeros_and_extremes():
    smallest, largest = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    rows = np.array([[0, 0], [smallest, 0], [200 * smallest, -100 * smallest], [largest, -largest]], np.float32)
    docs = MultiVectors(rows, np.array([0, 4]))
    got, want = maxsim.quantize(docs), _reference.quantize(docs)
    np.testing.assert_array_equal(got.tokens, want.tokens)
    np.testing.assert_array_equal(got.scales, want.scales)
    assert got.scales[0] == 0
    assert got.scales[1] == 0
    assert got.tokens[3].tolist() == [127, -127]


def test_more_vectors_than_one_part():
    docs = cases.documents(np.random.default_rng(2), [40_000], 2)
    got = maxsim.quantize(docs)
    np.testing.assert_array_equal(got.scales, np.abs(docs.tokens).max(axis=1) / np.float32(127))


def test_twice_is_an_error():
    once = maxsim.quantize(cases.documents(np.random.default_rng(3), [3], 8))
    with pytest.raises(ShapeError, match="already"):
        maxsim.quantize(once)


def test_query_vectors_of_zeros_and_of_any_size(isa):
    rng = np.random.default_rng(4)
    docs = cases.documents(rng, [7, 30], 24, "int8")
    query = cases.vectors(rng, 6, 24)
    query[0] = 0
    query[1] *= np.float32(1e-30)
    query[2] *= np.float32(1e30)
    query[3] = np.finfo(np.float32).smallest_subnormal
    np.testing.assert_array_equal(maxsim.scores(query, docs), _reference.scores(query, docs))


def test_rounding_of_the_query_is_negligible():
    """The integers of the query hold 14 bits: their error is a hundredth of what int8 documents bring."""
    rng = np.random.default_rng(5)
    query, docs = cases.vectors(rng, 20, 384), cases.documents(rng, [50] * 20, 384, "int8")
    exact = MultiVectors((docs.tokens * docs.scales[:, None]).astype(np.float32), docs.offsets)
    want = _reference.scores(query, exact)
    assert np.abs(maxsim.scores(query, docs) - want).max() < 1e-4 * np.abs(want).max()
