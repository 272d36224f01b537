"""Pages of a collection as pictures: as they are, small, and with what of them matches a question.

Pictures are drawn from the file that was indexed, when they are asked for; nothing of them is stored.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.errors import InputError
from latewood.pages import PLACELESS, PageFiles, PageGrid, draw, drawn, grid_of, shrunk, smooth, stands_for_words
from latewood.protocols import Encoder, Snapshot
from latewood.types import FloatArray, Page

__all__ = ["DPI", "PageView", "Viewed"]

DPI = 110
"""Resolution of pictures to look at."""

Picture = npt.NDArray[np.uint8]


class Viewed(Protocol):
    """What has pages: a collection, or what somebody may see of one."""

    @property
    def snapshot(self) -> Snapshot:
        """Its passages."""
        ...

    @property
    def encoder(self) -> Encoder:
        """What made their vectors."""
        ...


class PageView:
    """Draws pages, in a process of its own. Close it, or use `with`. Any number of threads may use it in turn."""

    def __init__(self, files: PageFiles | None = None) -> None:
        """`files` opens the files; None for the usual limits of memory and time."""
        self._files = files or PageFiles()
        self._mutex = threading.Lock()

    def close(self) -> None:
        """End the process. Closing twice is fine."""
        self._files.close()

    def __enter__(self) -> PageView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def picture(self, page: Page, dpi: float = DPI) -> Picture:
        """A page as it is shown, [H, W, 3] uint8, at most 4,096 pixels on the longer edge.

        Raises:
            InputError: its file isn't where it was, or the page can't be drawn.
        """
        with self._mutex:
            return draw(self._files, page, dpi)

    def thumbnail(self, page: Page, longest: int = 240) -> Picture:
        """A small picture of a page, at most `longest` pixels on the longer edge.

        Raises:
            InputError: as `picture`.
        """
        return shrunk(self.picture(page, 50), longest)

    def heatmap(
        self, kb: Viewed, query: str, name: str, *, smoothed: bool = False, dpi: float = DPI
    ) -> tuple[Picture, FloatArray]:
        """A page with what of it matches a question.

        Args:
            kb: the collection.
            query: the question.
            name: the page's id.
            smoothed: tint every place by how near it is to any token of the question, instead of the one place where
                each token has its best vector, which alone is what the score is made of.
            dpi: of the picture.

        Returns:
            [H, W, 3] uint8, and [n, 4] float32, the rectangles that are tinted, fractions of the shown page.

        Raises:
            InputError: there is no such passage, it is no page, or can't be drawn.
            PipelineError: the collection has no token vectors.
        """
        rows = kb.snapshot.rows([name])
        page = kb.snapshot.passages(rows)[0]
        if not isinstance(page, Page):
            raise InputError(f"'{name}' is a passage and no page of a PDF or image file: there is nothing to draw")
        encoded = kb.encoder.encode_query(query)
        vectors = kb.snapshot.vectors(rows)
        labels = [] if page.layout and not page.text else kb.encoder.label(page.text)
        grid = grid_of(page, labels, len(vectors[0]))
        asked = [i for i, label in enumerate(encoded.labels) if stands_for_words(label.token)]
        similarities = maxsim.similarities(encoded.tokens, vectors, 0)[asked]
        if not len(asked):  # a question of punctuation: there is nothing to draw
            boxes, strengths = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        else:
            boxes, strengths = smooth(similarities, grid) if smoothed else _exact(similarities, grid)
        return drawn(self.picture(page, dpi), boxes, strengths, edges=not smoothed), boxes


def _exact(similarities: FloatArray, grid: PageGrid) -> tuple[FloatArray, FloatArray]:
    """The places of the best vectors of each token, and how strong they are next to the strongest."""
    best = similarities.argmax(axis=1)
    strengths = similarities[np.arange(len(best)), best]
    placed = grid.kinds[best] != PLACELESS
    best, strengths = best[placed], strengths[placed]
    top = float(strengths.max(initial=1e-6))
    return grid.boxes[best], np.clip(strengths / max(top, 1e-6), 0, 1).astype(np.float32)
