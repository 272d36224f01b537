"""The nearest centres of tokens, against NumPy, on every instruction set."""

from __future__ import annotations

import kernel_cases as cases
import numpy as np
import pytest

from latewood import _reference, maxsim
from latewood.errors import ShapeError
from latewood.types import MultiVectors


def tokens(rng, count, dim, kind):
    many = MultiVectors(cases.vectors(rng, count, dim), np.array([0, count], np.int64))
    if kind == "int8":
        return _reference.quantize(many)
    return MultiVectors(many.tokens.astype(kind), many.offsets)


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
@pytest.mark.parametrize("centres", [1, 7, 16, 33, 181])
@pytest.mark.parametrize("dim", [16, 44, 128])
def test_they_are_those_of_numpy(isa, kind, centres, dim):
    rng = np.random.default_rng(centres * dim)
    many, places = tokens(rng, 101, dim, kind), cases.vectors(rng, centres, dim)
    bias = rng.standard_normal(centres).astype(np.float32)
    most = min(centres, 5)
    numbers, values = maxsim.nearest(many, places, bias, most)
    exact = _reference.similarities(places, many, 0).T + bias
    assert numbers.shape == values.shape == (101, most)
    # Each value is that of its centre, and no centre that was left out is better.
    np.testing.assert_allclose(np.take_along_axis(exact, numbers.astype(int), 1), values, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(-np.sort(-exact, axis=1)[:, :most], values, rtol=1e-4, atol=1e-4)
    assert all(len(set(row)) == most for row in numbers.tolist())


def test_equals_go_to_the_lower_number(isa):
    many = MultiVectors(np.ones((3, 16), np.float32), np.array([0, 3], np.int64))
    numbers, _ = maxsim.nearest(many, np.ones((40, 16), np.float32), most=3)
    assert numbers.tolist() == [[0, 1, 2]] * 3


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_rows_and_threads_change_nothing(isa, kind):
    rng = np.random.default_rng(5)
    many, places = tokens(rng, 9000, 32, kind), cases.vectors(rng, 50, 32)
    numbers, values = maxsim.nearest(many, places, most=2)
    rows = rng.integers(0, 9000, 5000)
    for threads in (1, 2, 3):
        some, theirs = maxsim.nearest(many, places, most=2, rows=rows, threads=threads)
        np.testing.assert_array_equal(some, numbers[rows])
        np.testing.assert_array_equal(theirs, values[rows])


def test_wrong_input_is_refused():
    rng = np.random.default_rng(0)
    many, places = tokens(rng, 10, 16, "float32"), cases.vectors(rng, 4, 16)
    with pytest.raises(ShapeError, match="most: got 5, expected 1 to 4"):
        maxsim.nearest(many, places, most=5)
    with pytest.raises(ShapeError, match="bias"):
        maxsim.nearest(many, places, np.zeros(3, np.float32))
    with pytest.raises(ShapeError, match="rows: got 0 to 10, expected 0 to 9"):
        maxsim.nearest(many, places, rows=np.array([0, 10]))
    with pytest.raises(ShapeError, match="D = 16"):
        maxsim.nearest(many, cases.vectors(rng, 4, 17))
