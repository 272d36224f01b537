"""Where the processors of the ColPali family put their patches, and what they put around queries."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import ModelError, ShapeError
from latewood.pages import PageGrid

__all__ = ["LAYOUTS", "Reading"]

_AUGMENTATION = 10


class Reading(ABC):
    """How one kind of processor reads pages and queries.

    Args:
        processor: of transformers.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self.image_token = int(processor.tokenizer.convert_tokens_to_ids(processor.image_token))

    @property
    def text_prompt(self) -> str:
        """Put before a text that is read as a document is: no prefix of queries, nothing behind it."""
        return ""

    @property
    def around(self) -> Sequence[tuple[str, str]]:
        """What may stand before and behind a query, the newest version of the processor first."""
        prefix = self.processor.query_prefix
        more = self.processor.query_augmentation_token * _AUGMENTATION
        return (prefix, more + "\n"), (prefix, more)

    def text_extras(self, windows: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Further tensors that the model wants with texts."""
        return {}

    def layout(self, inputs: Mapping[str, Any], size: tuple[int, int], placed: npt.NDArray[np.bool_]) -> str:
        """The layout of one page's vectors (`latewood.pages.PageGrid`).

        Args:
            inputs: what `process_images` gave for it.
            size: of the image, width and height in pixels.
            placed: [T] bool, which of the vectors that are kept are patches.

        Raises:
            ModelError: there are not as many patches as the grid has.
        """
        try:
            return self.grid(inputs, size, placed).layout
        except ShapeError as error:
            raise ModelError(f"{type(self.processor).__name__} places patches in an unknown way: {error}") from None

    @abstractmethod
    def grid(self, inputs: Mapping[str, Any], size: tuple[int, int], placed: npt.NDArray[np.bool_]) -> PageGrid:
        """The grid; ShapeError where it doesn't fit."""


class _ColPali(Reading):
    """A page squashed to a square; the patches row by row, then the prompt."""

    @property
    def text_prompt(self) -> str:
        return str(self.processor.tokenizer.bos_token)

    @property
    def around(self) -> Sequence[tuple[str, str]]:
        start = self.processor.tokenizer.bos_token
        return [(start + before, after) for before, after in super().around]

    def text_extras(self, windows: Sequence[Sequence[int]]) -> dict[str, Any]:
        import torch

        # As with a query: without them a PaliGemma attends as if it was being trained.
        return {"token_type_ids": torch.zeros((len(windows), max(map(len, windows))), dtype=torch.long)}

    def grid(self, inputs: Mapping[str, Any], size: tuple[int, int], placed: npt.NDArray[np.bool_]) -> PageGrid:
        side = math.isqrt(self.processor.image_seq_length)
        return PageGrid.patches(side, side).threaded(placed)


class _ColQwen2(Reading):
    """A grid of the page's own shape, its patches merged two by two."""

    @property
    def text_prompt(self) -> str:
        return "<|im_start|>user\n"  # as a page's prompt begins

    def grid(self, inputs: Mapping[str, Any], size: tuple[int, int], placed: npt.NDArray[np.bool_]) -> PageGrid:
        merge = self.processor.image_processor.merge_size
        _, rows, columns = (int(n) for n in inputs["image_grid_thw"][0])
        return PageGrid.patches(rows // merge, columns // merge).threaded(placed)


class _Tiled(Reading):
    """Tiles row by row, each with a marker before its patches, then the whole page once more."""

    def grid(self, inputs: Mapping[str, Any], size: tuple[int, int], placed: npt.NDArray[np.bool_]) -> PageGrid:
        width, height = size
        patches = self.processor.image_seq_len
        side = math.isqrt(patches)
        _, rows, columns = self.processor.image_processor.get_number_of_image_patches(height, width, {})
        if inputs["pixel_values"].shape[1] == 1:  # a small page isn't cut: its only picture tiles it
            return PageGrid.patches(side, side).threaded(placed)
        last = int(np.flatnonzero(placed)[rows * columns * patches - 1]) + 1 if placed.any() else 0
        tiles = PageGrid.tiles(rows, columns, side, side).threaded(placed[:last])
        return PageGrid.joined([tiles, PageGrid.overview_of(side, side).threaded(placed[last:])])


LAYOUTS: Mapping[str, Callable[[Any], Reading]] = {
    "ColPaliProcessor": _ColPali,
    "ColQwen2Processor": _ColQwen2,
    "ColModernVBertProcessor": _Tiled,
    "ColIdefics3Processor": _Tiled,
}
"""By the class of the processor."""
