"""Every vector of a page has a rectangle on it, and patches tile it, whatever the layout."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood.errors import ShapeError
from latewood.pages import OVERVIEW, PATCH, PLACELESS, WORD, PageGeometry, PageGrid

small = st.integers(1, 9)
fraction = st.floats(0, 1, width=32)


@st.composite
def word_boxes(draw, most=12):
    count = draw(st.integers(0, most))
    xs = np.sort(draw(st.lists(fraction, min_size=2 * count, max_size=2 * count)))
    ys = np.sort(draw(st.lists(fraction, min_size=2 * count, max_size=2 * count)))
    return np.stack([xs[0::2], ys[0::2], xs[1::2], ys[1::2]], axis=1).astype(np.float32).reshape(-1, 4)


@st.composite
def grids(draw):
    """Any page that a model can give: patches or tiles, perhaps with a global tile, markers and text."""
    parts = []
    if draw(st.booleans()):
        plain = draw(st.sampled_from(["patches", "tiles"]))
        grid = (
            PageGrid.patches(draw(small), draw(small))
            if plain == "patches"
            else PageGrid.tiles(*(draw(st.integers(1, 4)) for _ in range(4)))
        )
        parts.append(threaded(draw, grid))
    if draw(st.booleans()):
        parts.append(threaded(draw, PageGrid.overview_of(draw(small), draw(small))))
    if draw(st.booleans()):
        parts.append(PageGrid.placeless(draw(st.integers(0, 6))))
    if draw(st.booleans()) or not parts:
        parts.append(PageGrid.words(draw(word_boxes())))
    return PageGrid.joined(draw(st.permutations(parts)))


def threaded(draw, grid):
    gaps = draw(st.lists(st.integers(0, len(grid)), max_size=5))
    placed = np.insert(np.ones(len(grid), bool), gaps, False)
    return grid.threaded(placed)


@given(grids())
@settings(deadline=None, max_examples=200)
def test_every_vector_has_a_rectangle_inside_the_page(grid):
    left, top, right, bottom = grid.boxes.T
    assert len(grid.boxes) == len(grid) == len(grid.kinds) == len(grid.cells)
    assert (grid.boxes >= 0).all()
    assert (grid.boxes <= 1).all()
    assert (left <= right).all()
    assert (top <= bottom).all()
    patch = (grid.kinds == PATCH) | (grid.kinds == OVERVIEW)
    assert (left < right)[patch].all()
    assert (top < bottom)[patch].all()
    assert (grid.boxes[grid.kinds == PLACELESS] == [0, 0, 1, 1]).all()


@given(grids(), fraction, fraction)
@settings(deadline=None, max_examples=300)
def test_patches_tile_the_page_without_gap_or_overlap(grid, x, y):
    for kind, shape in (PATCH, grid.shape), (OVERVIEW, grid.overview):
        there = grid.boxes[grid.kinds == kind]
        assert len(there) == shape[0] * shape[1]
        if len(there):
            # Each cell once, and any point of the page in exactly one rectangle.
            assert sorted(grid.cells[grid.kinds == kind]) == list(range(len(there)))
            assert len(grid.at(x, y, kind)) == 1
            for edge_x, edge_y in there[:, 2:]:
                assert len(grid.at(float(edge_x), float(edge_y), kind)) == 1


@given(grids())
@settings(deadline=None)
def test_rows_and_columns_give_the_rectangle_back(grid):
    rows, columns = grid.rows_and_columns()
    for i in range(len(grid)):
        if grid.kinds[i] in (PATCH, OVERVIEW):
            height, width = grid.shape if grid.kinds[i] == PATCH else grid.overview
            exact = (
                Fraction(int(columns[i]), width),
                Fraction(int(rows[i]), height),
                Fraction(int(columns[i]) + 1, width),
                Fraction(int(rows[i]) + 1, height),
            )
            assert grid.boxes[i].tolist() == [float(np.float32(float(edge))) for edge in exact]
        else:
            assert rows[i] == columns[i] == -1


@given(grids())
@settings(deadline=None, max_examples=200)
def test_a_layout_written_down_gives_the_same_grid(grid):
    again = PageGrid.of(grid.layout, grid.word_boxes())
    assert again.layout == grid.layout
    assert (again.shape, again.overview) == (grid.shape, grid.overview)
    for name in ("boxes", "kinds", "cells"):
        assert np.array_equal(getattr(again, name), getattr(grid, name)), name


def test_tiles_are_undone_as_the_models_make_them():
    # The image of an Idefics3-style model: pixels numbered row by row, cut into tiles, each tile row by row.
    tile_rows, tile_columns, rows, columns = 4, 3, 8, 8
    image = np.arange(32 * 24).reshape(32, 24)
    in_order = [
        image[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].ravel()
        for i in range(tile_rows)
        for j in range(tile_columns)
    ]
    grid = PageGrid.tiles(tile_rows, tile_columns, rows, columns)
    assert grid.shape == (32, 24)
    assert np.array_equal(grid.cells, np.concatenate(in_order))


def test_a_page_of_colpali_and_one_of_colmodernvbert():
    colpali = PageGrid.joined([PageGrid.patches(32, 32), PageGrid.placeless(6)])
    assert (len(colpali), colpali.layout) == (1030, "32x32+.6")
    assert colpali.boxes[33].tolist() == [1 / 32, 1 / 32, 2 / 32, 2 / 32]
    tiled = PageGrid.joined([PageGrid.tiles(4, 3, 8, 8), PageGrid.overview_of(8, 8)])
    assert (len(tiled), tiled.layout) == (832, "4x3/8x8+~8x8")
    # The second tile begins in the first row, a third of the page to the right.
    assert tiled.boxes[64].tolist() == pytest.approx([8 / 24, 0, 9 / 24, 1 / 32])
    assert tiled.boxes[-1].tolist() == [7 / 8, 7 / 8, 1, 1]
    assert tiled.kinds[-1] == OVERVIEW


@pytest.mark.parametrize(
    "layout",
    [
        "",
        "32",
        "32x",
        "0x4",
        "3x3+",
        "w3",
        "4x4@1,2",
        "4x4@,16",
        "4x4@-1,16",
        "9999x9999",
        ".9999999",
        "2x2+3x3",
        "x",
        "²x2",
    ],
)
def test_a_layout_that_is_none_is_refused(layout):
    with pytest.raises(ShapeError):
        PageGrid.of(layout)


def test_words_off_the_page_are_refused():
    with pytest.raises(ShapeError, match="within 0 to 1"):
        PageGrid.words(np.array([[0.5, 0.5, 1.5, 0.6]], np.float32))
    with pytest.raises(ShapeError, match="left <= right"):
        PageGrid.words(np.array([[0.5, 0.5, 0.4, 0.6]], np.float32))
    with pytest.raises(ShapeError, match="more boxes"):
        PageGrid.of("w1", np.zeros((2, 4), np.float32))
    assert PageGrid.words(np.zeros((1, 4), np.float32)).kinds.tolist() == [WORD]


turned = st.sampled_from([0, 90, 180, 270])
edge = st.floats(-300, 300)
length = st.floats(1, 2000)


@given(edge, edge, length, length, turned, word_boxes())
@settings(deadline=None, max_examples=200)
def test_the_shown_page_and_pdf_points_are_two_names_of_one_place(left, bottom, width, height, rotation, boxes):
    page = PageGeometry(left, bottom, left + width, bottom + height, rotation)
    points = page.to_points(boxes)
    assert (points[:, 0] >= left - 1e-6).all()
    assert (points[:, 2] <= left + width + 1e-6).all()
    assert (points[:, 1] >= bottom - 1e-6).all()
    assert (points[:, 3] <= bottom + height + 1e-6).all()
    assert np.allclose(page.to_shown(points), boxes, atol=1e-5)
    assert page.size == (
        (page.top - page.bottom, page.right - page.left)
        if rotation % 180
        else (page.right - page.left, page.top - page.bottom)
    )


def test_a_turned_page_by_hand():
    # A page of 200 x 100 points, its text at the upper left; turned clockwise it is shown at the upper right.
    page = PageGeometry(0, 0, 200, 100, 90)
    assert page.size == (100, 200)
    shown = page.to_shown(np.array([[20.0, 80.0, 40.0, 90.0]]))
    assert shown[0].tolist() == pytest.approx([0.8, 0.1, 0.9, 0.2])
    assert page.to_points(shown)[0].tolist() == pytest.approx([20, 80, 40, 90], abs=1e-4)
    assert PageGeometry.of(page.to_list()) == page


def test_a_page_without_area_is_refused():
    for values in (0, 0, 0, 10, 0), (0, 0, float("inf"), 10, 0), (0, 0, 10, 10, 45), (0, 0, 1):
        with pytest.raises(ShapeError):
            PageGeometry.of(values)
