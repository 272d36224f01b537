"""What the door refuses, and which instruction set answers."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from latewood import _kernel, maxsim
from latewood.errors import ShapeError, UsageError
from latewood.types import MultiVectors

DOCS = MultiVectors.of([np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32)])
QUERY = np.ones((3, 4), np.float32)


@pytest.mark.parametrize(
    "query",
    [
        QUERY[0],
        QUERY[:0],
        QUERY[:, :3].copy(),
        QUERY.astype(np.float64),
        QUERY.astype(np.float16),
        np.asfortranarray(QUERY),
        np.ones((3, 8), np.float32)[:, ::2],
        np.array([[1, np.nan, 0, 0]], np.float32),
        np.array([[1, 0, np.inf, 0]], np.float32),
    ],
)
@pytest.mark.parametrize(
    "call",
    [
        lambda query: maxsim.scores(query, DOCS),
        lambda query: maxsim.top_k(query, DOCS, 1),
        lambda query: maxsim.similarities(query, DOCS, 0),
        lambda query: maxsim.argmax(query, DOCS, 0),
    ],
)
def test_queries_that_are_none(call, query):
    with pytest.raises(ShapeError, match="query"):
        call(query)


@pytest.mark.parametrize("rows", [[-1], [2], [0, 5, 1]])
def test_rows_out_of_range(rows):
    with pytest.raises(ShapeError, match="expected 0 to 1"):
        maxsim.scores(QUERY, DOCS, np.array(rows, np.int64))


@pytest.mark.parametrize("rows", [np.zeros(2, np.int32), np.zeros((1, 1), np.int64), np.zeros(1)])
def test_rows_of_another_kind(rows):
    with pytest.raises(ShapeError, match="int64"):
        maxsim.top_k(QUERY, DOCS, 1, rows)


def test_rows_with_gaps_between_them():
    rows = np.array([0, 9, 1, 9, 0, 9], np.int64)[::2]
    np.testing.assert_array_equal(maxsim.scores(QUERY, DOCS, rows), [12, -np.inf, 12])


@pytest.mark.parametrize("row", [-1, 2])
def test_a_document_that_is_not_there(row):
    with pytest.raises(ShapeError, match="expected 0 to 1"):
        maxsim.similarities(QUERY, DOCS, row)


def test_nothing_matches_in_an_empty_document():
    with pytest.raises(ShapeError, match="no vectors"):
        maxsim.argmax(QUERY, DOCS, 1)


def test_numbers_below_their_least():
    with pytest.raises(UsageError, match="threads"):
        maxsim.scores(QUERY, DOCS, threads=0)
    with pytest.raises(UsageError, match="k: got -1"):
        maxsim.top_k(QUERY, DOCS, -1)


def python(code: str, isa: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LATEWOOD_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", _kernel.usable())
def test_an_instruction_set_can_be_forced(name):
    assert python("from latewood import maxsim; print(maxsim.isa())", name).stdout.strip() == name


@pytest.mark.parametrize("name", ["sse9", "AVX2"])
def test_an_unknown_instruction_set_is_one_clear_line(name):
    ran = python("from latewood import maxsim", name)
    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert "UsageError" in last
    assert name in last
    assert "baseline" in last


def test_the_best_set_is_the_default_and_baseline_is_always_there():
    assert python("from latewood import maxsim; print(maxsim.isa())", "").stdout.strip() == _kernel.usable()[0]
    assert _kernel.usable()[-1] == "baseline"
    assert _kernel.rejected() == []


def test_the_binding_itself_converts_nothing():
    tokens, offsets = DOCS.tokens, DOCS.offsets
    for bad in (tokens.astype(np.float64), np.asfortranarray(tokens), tokens.astype(np.int16)):
        with pytest.raises(TypeError):
            _kernel.scores(QUERY, bad, offsets, None, None, 1)
    with pytest.raises(TypeError):
        _kernel.scores(QUERY.astype(np.float64), tokens, offsets, None, None, 1)
    with pytest.raises(ValueError, match="scales"):
        _kernel.scores(QUERY, tokens.astype(np.int8), offsets, None, None, 1)
    with pytest.raises(IndexError, match="rows"):
        _kernel.scores(QUERY, tokens, offsets, None, np.array([7]), 1)
