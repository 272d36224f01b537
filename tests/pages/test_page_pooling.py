"""Row, column and block means: against what lies side by side on the page, for every layout."""

from __future__ import annotations

import numpy as np
import pytest

from latewood import maxsim
from latewood.errors import ShapeError
from latewood.pages import OVERVIEW, PATCH, PageGrid, column_means, row_means, tile_means
from latewood.types import MultiVectors

LAYOUTS = [
    "32x32@0,1024,6",
    "23x32",
    "5x3@2,15,4",
    "1x7",
    "9x1",
    "3x4/8x8+~8x8",
    "2x3/4x2@1,8,1,8,1,8,2,8,1,8,1,8,1+~2x2@3,4,1",
]
WORDS = np.array([[0.1, 0.1, 0.2, 0.15], [0.3, 0.1, 0.4, 0.15]], np.float32)


def page(layout, words=False, dim=12):
    grid = PageGrid.of(layout + ("+w2" if words else ""), WORDS if words else None)
    return np.random.default_rng(len(layout)).standard_normal((len(grid), dim)).astype(np.float32), grid


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_means_are_of_what_lies_side_by_side(layout, words):
    """By the rectangles alone: patches whose middle is in a strip of the page."""
    vectors, grid = page(layout, words)
    rows, columns = grid.shape
    middle = (grid.boxes[:, :2] + grid.boxes[:, 2:]) / 2
    patch = grid.kinds == PATCH
    for pool, count, axis in (row_means, rows, 1), (column_means, columns, 0):
        means, pooled = pool(vectors, grid)
        for strip in range(count):
            inside = patch & (middle[:, axis] * count >= strip) & (middle[:, axis] * count < strip + 1)
            assert np.count_nonzero(inside) == rows * columns // count
            np.testing.assert_allclose(means[strip], vectors[inside].mean(axis=0), atol=1e-5)
        others = vectors[~patch]
        assert len(means) == len(pooled) == count + len(others)
        assert sorted(map(tuple, means[count:].tolist())) == sorted(map(tuple, others.tolist()))
        again = PageGrid.of(pooled.layout, pooled.word_boxes() if words else None)
        assert np.array_equal(again.boxes, pooled.boxes)
        assert np.array_equal(
            np.sort(pooled.boxes[:count, axis]), np.sort((np.arange(count) / count).astype(np.float32))
        )


def test_the_copied_snippet_is_wrong_where_pages_are_not_square():
    """`view(columns, rows, D).mean(1)` on patches that lie row by row: fine for 32 x 32, not for 23 x 32."""
    for rows, columns, agrees in (32, 32, True), (23, 32, False):
        vectors, grid = page(f"{rows}x{columns}")
        snippet = vectors.reshape(columns, rows, -1).mean(axis=1)
        means, _ = row_means(vectors, grid)
        assert (snippet.shape == means.shape and np.allclose(snippet, means, atol=1e-5)) == agrees


def test_a_product_with_a_mean_is_the_mean_of_the_products():
    vectors, grid = page("6x4")
    query = np.random.default_rng(1).standard_normal((5, 12)).astype(np.float32)
    means, _ = row_means(vectors, grid)
    expected = (query @ vectors.T).reshape(5, 6, 4).mean(axis=2).max(axis=1).sum()
    assert maxsim.scores(query, MultiVectors.of([means]))[0] == pytest.approx(expected, rel=1e-5)


def test_blocks_of_tiles_are_the_tiles():
    vectors, grid = page("3x4/8x8+~8x8")
    means, pooled = tile_means(vectors, grid, 8, 8)
    np.testing.assert_allclose(means[:12], vectors[:768].reshape(12, 64, -1).mean(axis=1), atol=1e-5)
    assert pooled.layout == "3x4+~8x8"
    assert np.count_nonzero(pooled.kinds == OVERVIEW) == 64


def test_pages_of_text_alone_come_back_and_wrong_numbers_are_refused():
    vectors = np.ones((2, 4), np.float32)
    means, grid = row_means(vectors, PageGrid.words(WORDS))
    assert (means.tolist(), grid.layout) == (vectors.tolist(), "w2")
    with pytest.raises(ShapeError, match=r"got shape \(2, 4\), expected \[6, D\]"):
        row_means(vectors, PageGrid.patches(2, 3))
    with pytest.raises(ShapeError, match="don't tile a page of 2 x 3"):
        tile_means(np.ones((6, 4), np.float32), PageGrid.patches(2, 3), 2, 2)
