"""Where each vector of a page is: one type for patches, tiles and words. It serves pooling, heatmaps and citations.

A grid is made of parts in the order of the vectors. `layout` writes it down in a few characters, and `PageGrid.of`
reads them back; word boxes alone are stored beside. The grammar:

    layout  := part { "+" part }
    part    := HxW              H rows of W patches over the whole page, row by row       32x32, 32x23
             | RxC/HxW          R rows of C tiles, tile by tile, each of H x W patches    4x3/8x8
             | "~" HxW          the same page once more as an overview (a global tile)    ~8x8
             | "." N            N vectors that stand for no place of their own            .6
             | "w" N            N vectors of words, each with a box                       w412
    and any part may be threaded:  part "@" N { "," N }: vectors without a place among its own, as runs that alternate,
    placeless ones first                                                                  2x1/2x2@1,4,2,4,1
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from latewood.errors import ShapeError
from latewood.pages.geometry import check_boxes
from latewood.types import FloatArray, IntArray

__all__ = ["OVERVIEW", "PATCH", "PLACELESS", "WORD", "PageGrid"]

PLACELESS, PATCH, OVERVIEW, WORD = range(4)
"""What a vector of a page stands for: the page as a whole (prompt and marker tokens), one of the patches that tile it,
a coarse patch of a global tile, or a word of the text."""

_PART = re.compile(
    r"(?:(?P<tr>\d+)x(?P<tc>\d+)/)?(?P<h>\d+)x(?P<w>\d+)|~(?P<oh>\d+)x(?P<ow>\d+)|\.(?P<none>\d+)|w(?P<words>\d+)"
)
_MOST = 1 << 20
"""Vectors of one page that are believed; a larger number is damage."""


@dataclass(frozen=True, slots=True, eq=False)
class PageGrid:
    """The rectangle of every vector of one page. Use `patches`, `tiles`, `words`, `joined` and `threaded`.

    Args:
        boxes: [T, 4] float32: left, top, right, bottom, fractions 0 to 1 of the page as it is shown. A vector without
            a place has the whole page.
        kinds: [T] uint8: PLACELESS, PATCH, OVERVIEW or WORD.
        cells: [T] int64: for a PATCH, row * columns + column on the lattice `shape`; for an OVERVIEW, on its own
            lattice `overview`; else -1.
        shape: rows and columns of the patches that tile the page, tiles put together; (0, 0) without patches.
        overview: rows and columns of the global tile; (0, 0) without one.
        layout: as text, see the module.

    Raises:
        ShapeError: arrays of other shapes, or a rectangle that leaves the page.
    """

    boxes: FloatArray
    kinds: npt.NDArray[np.uint8]
    cells: IntArray
    shape: tuple[int, int] = (0, 0)
    overview: tuple[int, int] = (0, 0)
    layout: str = ""

    def __post_init__(self) -> None:
        check_boxes(self.boxes)
        if self.kinds.shape != (len(self.boxes),) or self.cells.shape != (len(self.boxes),):
            raise ShapeError(f"{len(self.boxes)} boxes came with {len(self.kinds)} kinds and {len(self.cells)} cells")

    def __len__(self) -> int:
        """T, the number of vectors."""
        return len(self.boxes)

    # -- making ----------------------------------------------------------------------------------------------------

    @classmethod
    def patches(cls, rows: int, columns: int) -> PageGrid:
        """One lattice over the whole page, row by row: ColPali (32 x 32), ColQwen2 (as `image_grid_thw` says).

        Raises:
            ShapeError: no rows, no columns, or more than 2^20 patches.
        """
        _check_counts(rows, columns)
        cells = np.arange(rows * columns, dtype=np.int64)
        return _lattice(cells, (rows, columns), PATCH, f"{rows}x{columns}")

    @classmethod
    def tiles(cls, tile_rows: int, tile_columns: int, rows: int, columns: int) -> PageGrid:
        """Tiles of `rows` x `columns` patches each, tile by tile in reading order: ColSmol, ColModernVBERT.

        Join it with `overview_of` for the global tile that comes last there.

        Raises:
            ShapeError: a count below 1, or more than 2^20 patches.
        """
        _check_counts(tile_rows, tile_columns, rows, columns)
        shape = (tile_rows * rows, tile_columns * columns)
        lattice = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(tile_rows, rows, tile_columns, columns)
        cells = np.ascontiguousarray(lattice.transpose(0, 2, 1, 3)).reshape(-1)
        return _lattice(cells, shape, PATCH, f"{tile_rows}x{tile_columns}/{rows}x{columns}")

    @classmethod
    def overview_of(cls, rows: int, columns: int) -> PageGrid:
        """A global tile: the whole page once more in `rows` x `columns` coarse patches.

        Raises:
            ShapeError: no rows, no columns, or more than 2^20 patches.
        """
        _check_counts(rows, columns)
        cells = np.arange(rows * columns, dtype=np.int64)
        return _lattice(cells, (rows, columns), OVERVIEW, f"~{rows}x{columns}")

    @classmethod
    def words(cls, boxes: FloatArray) -> PageGrid:
        """Vectors of text: each has the box of the word that its token belongs to.

        Args:
            boxes: [T, 4] float32: left, top, right, bottom, fractions of the shown page.

        Raises:
            ShapeError: boxes of another shape or dtype, or one that leaves the page.
        """
        kinds = np.full(len(boxes), WORD, np.uint8)
        return cls(boxes, kinds, np.full(len(boxes), -1, np.int64), layout=f"w{len(boxes)}")

    @classmethod
    def placeless(cls, count: int) -> PageGrid:
        """Vectors that stand for no place: prompt tokens, markers. Each has the whole page as its rectangle."""
        boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (count, 1))
        return cls(boxes, np.zeros(count, np.uint8), np.full(count, -1, np.int64), layout=f".{count}")

    @classmethod
    def joined(cls, parts: Sequence[PageGrid]) -> PageGrid:
        """Parts one after the other, in the order of their vectors; patches and text of one page, for example.

        Raises:
            ShapeError: no part, or two lattices of patches or two overviews: cells would be ambiguous.
        """
        shapes = [part.shape for part in parts if part.shape != (0, 0)]
        overviews = [part.overview for part in parts if part.overview != (0, 0)]
        if not parts or len(shapes) > 1 or len(overviews) > 1:
            raise ShapeError(
                f"got {len(parts)} parts with {len(shapes)} lattices of patches and {len(overviews)} overviews; "
                f"expected one part at least, and one lattice and one overview of the page at most"
            )
        return cls(
            np.concatenate([part.boxes for part in parts]),
            np.concatenate([part.kinds for part in parts]),
            np.concatenate([part.cells for part in parts]),
            shapes[0] if shapes else (0, 0),
            overviews[0] if overviews else (0, 0),
            "+".join(part.layout for part in parts),
        )

    def threaded(self, placed: npt.NDArray[np.bool_]) -> PageGrid:
        """This grid among vectors without a place, such as the marker tokens between tiles.

        Args:
            placed: [T'] bool, as many True as this grid has vectors: which of T' vectors are its own, in order.

        Raises:
            ShapeError: another number of them, or a grid of several parts, or one that is threaded already.
        """
        if int(placed.sum()) != len(self):
            raise ShapeError(f"a grid of {len(self)} vectors was to be threaded through {int(placed.sum())} places")
        if "+" in self.layout or "@" in self.layout:
            raise ShapeError(f"only a grid of one plain part can be threaded, got {self.layout}: thread, then join")
        if placed.all():
            return self
        base = PageGrid.placeless(len(placed))
        boxes, kinds, cells = base.boxes.copy(), base.kinds.copy(), base.cells.copy()
        boxes[placed], kinds[placed], cells[placed] = self.boxes, self.kinds, self.cells
        turns = np.flatnonzero(np.diff(placed.astype(np.int8))) + 1
        runs = np.diff([0, *turns.tolist(), len(placed)]).tolist()
        if placed[0]:
            runs = [0, *runs]
        layout = f"{self.layout}@{','.join(map(str, runs))}"
        return PageGrid(boxes, kinds, cells, self.shape, self.overview, layout)

    @classmethod
    def of(cls, layout: str, boxes: FloatArray | None = None) -> PageGrid:
        """The grid that `layout` writes down.

        Args:
            layout: see the module.
            boxes: [words, 4] float32, of all its words in order; None where it has none.

        Raises:
            ShapeError: it can't be read, or has another number of words than boxes came.
        """
        left = np.zeros((0, 4), np.float32) if boxes is None else boxes
        parts = []
        for text in layout.split("+"):
            plain, threading, runs = text.partition("@")
            part, used = _part(plain, layout, left)
            left = left[used:]
            if threading:
                part = part.threaded(_placed(runs, layout))
            parts.append(part)
        if len(left):
            raise ShapeError(f"page layout {layout!r}: {len(left)} more boxes came than it has words")
        return cls.joined(parts) if len(parts) > 1 else parts[0]

    # -- using -----------------------------------------------------------------------------------------------------

    def word_boxes(self) -> FloatArray:
        """[words, 4] float32: the boxes that `of` needs beside the layout."""
        boxes: FloatArray = self.boxes[self.kinds == WORD]
        return boxes

    def rows_and_columns(self) -> tuple[IntArray, IntArray]:
        """[T] row and [T] column of each patch on the lattice (its own for an OVERVIEW); -1 for other vectors."""
        columns = np.where(self.kinds == OVERVIEW, max(1, self.overview[1]), max(1, self.shape[1])).astype(np.int64)
        there = self.cells >= 0
        return np.where(there, self.cells // columns, -1), np.where(there, self.cells % columns, -1)

    def at(self, x: float, y: float, kind: int = PATCH) -> IntArray:
        """Positions of the vectors of a kind whose rectangle holds a point; edges belong to the right and below.

        Args:
            x: fraction of the shown page from the left, 0 to 1.
            y: fraction from the top, 0 to 1.
            kind: PATCH, OVERVIEW or WORD.
        """
        left, top, right, bottom = self.boxes.T
        across = (left <= x) & ((x < right) | ((right == 1) & (x == 1)))
        down = (top <= y) & ((y < bottom) | ((bottom == 1) & (y == 1)))
        return np.flatnonzero((self.kinds == kind) & across & down)


def _lattice(cells: IntArray, shape: tuple[int, int], kind: int, layout: str) -> PageGrid:
    row, column = np.divmod(cells, shape[1])
    # Neighbours divide the same two integers for their common edge, so no gap is left and nothing overlaps.
    edges = np.stack([column / shape[1], row / shape[0], (column + 1) / shape[1], (row + 1) / shape[0]], axis=1)
    whose = {"shape": shape} if kind == PATCH else {"overview": shape}
    return PageGrid(edges.astype(np.float32), np.full(len(cells), kind, np.uint8), cells, layout=layout, **whose)


def _check_counts(*counts: int) -> None:
    if min(counts) < 1 or int(np.prod(counts, dtype=object)) > _MOST:
        raise ShapeError(f"a lattice of {' x '.join(map(str, counts))} patches: expected 1 to {_MOST:,} in all")


def _part(text: str, layout: str, boxes: FloatArray) -> tuple[PageGrid, int]:
    """One plain part, and how many boxes it took."""
    found = _PART.fullmatch(text)
    if found is None:
        raise ShapeError(f"page layout {layout!r}: can't read {text!r}, expected HxW, RxC/HxW, ~HxW, .N or wN")
    numbers = {name: int(value) for name, value in found.groupdict().items() if value is not None}
    if "words" in numbers:
        count = numbers["words"]
        if count > len(boxes):
            raise ShapeError(f"page layout {layout!r}: {count} words, but {len(boxes)} boxes are left for them")
        return PageGrid.words(boxes[:count]), count
    if "none" in numbers:
        if numbers["none"] > _MOST:
            raise ShapeError(f"page layout {layout!r}: {numbers['none']} vectors, expected at most {_MOST:,}")
        return PageGrid.placeless(numbers["none"]), 0
    if "oh" in numbers:
        return PageGrid.overview_of(numbers["oh"], numbers["ow"]), 0
    if "tr" in numbers:
        return PageGrid.tiles(numbers["tr"], numbers["tc"], numbers["h"], numbers["w"]), 0
    return PageGrid.patches(numbers["h"], numbers["w"]), 0


def _placed(runs: str, layout: str) -> npt.NDArray[np.bool_]:
    counts = [int(run) if run.isascii() and run.isdecimal() else -1 for run in runs.split(",")]
    if min(counts) < 0 or sum(counts) > _MOST:
        raise ShapeError(f"page layout {layout!r}: can't read the runs {runs!r}, expected counts such as 1,64,2,64")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)
