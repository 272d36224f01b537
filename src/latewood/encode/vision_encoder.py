"""A model that reads page images: patch vectors with their places, and texts through the same model.

sentence-transformers loads the checkpoint; the processor is asked for `process_images` and `process_queries`, which
hold the model's prompts, and the model for its own embeddings. The loader's generic path isn't used: it calls the
processor itself, which in ColModernVBERT leaves the ten augmentation tokens out, and it takes a document that is a
text for a query. Every image and every query is a forward pass of its own: nothing is padded, so a vector can't
depend on what else there is (colpali#274 has what padding does). `page_layouts` says where the vectors lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.encode.page_layouts import LAYOUTS, Reading
from latewood.encode.placement import side_by_side
from latewood.encode.tokens import WindowTokenizer, readable
from latewood.encode.window_encoder import WindowEncoder, check_texts, libraries
from latewood.errors import InputError, ModelError
from latewood.types import EncodedPages, EncodedQuery, EncoderSpec, FloatArray, MultiVectors, TokenLabel

__all__ = ["VisionEncoder"]

_WINDOW = 512
"""Tokens of a text that are read at once: such models state no limit for texts."""

_PROBE = "7 rings"
_SIDE = 32  # pixels of a blank page whose tokens tell the prompt


class VisionEncoder(WindowEncoder):
    """Page images, texts and queries to token vectors. `latewood.encode.load` makes it.

    Args:
        model: a loaded MultiVectorEncoder over a `…ForRetrieval` model of transformers.
        name: how to get it again.
        model_hash: SHA-256 over its files.
        truncate: cut texts at 512 tokens instead of giving them windows.
        overlap: tokens that neighbouring windows of a text share; None for the default.
        dtype: what it computes in.
        batch_size: windows of one forward pass; None to go by tokens. Images go one by one.

    Raises:
        ModelError: a processor that isn't one of `LAYOUTS`.
        UsageError: an impossible overlap.
    """

    def __init__(
        self,
        model: Any,
        *,
        name: str,
        model_hash: str,
        truncate: bool = False,
        overlap: int | None = None,
        dtype: str = "float32",
        batch_size: int | None = None,
    ) -> None:
        self._processor = model[0].processor
        kind = type(self._processor).__name__
        if kind not in LAYOUTS:
            raise ModelError(f"{name} reads pages by a {kind}; those that are known are {', '.join(sorted(LAYOUTS))}")
        self._reading: Reading = LAYOUTS[kind](self._processor)
        self._network = model[0].model
        masks = [module for module in model if type(module).__name__ == "MultiVectorMask"]
        self._only = [token for mask in masks for token in mask.keep_only_token_ids or []]
        self._around = _around(self._processor, self._reading)
        passage_prompt = self._reading.text_prompt
        tokenizer = WindowTokenizer(model.tokenizer, _WINDOW, overlap, (passage_prompt,), bare=True)
        spec = EncoderSpec(
            name=name,
            model_hash=model_hash,
            dim=int(self._network.config.embedding_dim),
            dense_dim=0,
            max_length=_WINDOW,
            overlap=tokenizer.overlap,
            truncate=truncate,
            query_prompt="{}".join(self._around),
            passage_prompt=passage_prompt,
            image_prompt=_image_prompt(self._processor, self._reading),
            libraries=libraries(),
            dtype=dtype,
        )
        super().__init__(model, tokenizer, spec, batch_size)

    # -- pages -----------------------------------------------------------------------------------------------------

    def encode_pages(self, images: Sequence[Any], progress: Callable[[int], None] | None = None) -> EncodedPages:
        """Encode N page images, each by itself.

        Args:
            images: PIL images; made RGB here.
            progress: called with the number of pages finished since the last call.

        Returns:
            tokens: [T, D] float32 of N pages, unit length: all vectors that the checkpoint scores, those of its prompt
            among them; layouts: of each page, as `latewood.pages.PageGrid.of` reads it.

        Raises:
            InputError: something that isn't an image, or one without pixels.
            ModelError: the processor places patches in a way that isn't known.
        """
        for i, image in enumerate(images):
            if not hasattr(image, "convert") or min(getattr(image, "size", (0,))) < 1:
                raise InputError(f"page {i}: got {type(image).__name__}, expected a PIL image with pixels")
        arrays, layouts = [], []
        for vectors, layout in side_by_side(self._model, self._page, images):
            arrays.append(vectors)
            layouts.append(layout)
            if progress is not None:
                progress(1)
        return EncodedPages(MultiVectors.of(arrays, self._spec.dim), tuple(layouts))

    def _page(self, image: Any) -> tuple[FloatArray, str]:
        inputs = self._processor.process_images([image.convert("RGB")])
        vectors, ids, scored = self._embedded({key: value for key, value in inputs.items() if key != "labels"})
        kept = scored & np.isin(ids, self._only) if self._only else scored
        placed = ids == self._reading.image_token
        return np.ascontiguousarray(vectors[kept]), self._reading.layout(inputs, image.size, placed[kept])

    def _embedded(self, inputs: dict[str, Any]) -> tuple[FloatArray, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Of one image or query: vectors [T, D], the ids of their tokens [T] and which the model scores [T]."""
        import torch

        device, dtype = self._model.device, next(self._network.parameters()).dtype
        placed = {key: value.to(device) for key, value in inputs.items() if torch.is_tensor(value)}
        placed = {key: value.to(dtype) if value.is_floating_point() else value for key, value in placed.items()}
        with torch.inference_mode():
            vectors = self._network(**placed).embeddings[0].float().cpu().numpy()
        ids = inputs["input_ids"][0].cpu().numpy()
        return vectors, ids, inputs["attention_mask"][0].bool().cpu().numpy()

    # -- queries and texts -----------------------------------------------------------------------------------------

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query as the checkpoint does: prefix, text, ten augmentation tokens, all of them scored.

        Raises:
            InputError: the text is not a string.
        """
        check_texts([text])
        asked = readable(text)
        vectors, ids, scored = self._embedded(dict(self._processor.process_queries([asked])))
        labels = self._query_labels(ids.tolist(), asked)
        return EncodedQuery(
            text=text,
            dense=None,
            tokens=np.ascontiguousarray(vectors[scored]),
            labels=tuple(label for label, counts in zip(labels, scored, strict=True) if counts),
        )

    def _query_labels(self, ids: list[int], text: str) -> list[TokenLabel]:
        """Labels of all tokens of a query; those of prefix and augmentation stand for no characters of it."""
        before, after = self._around
        tokenizer = self._model.tokenizer
        read = tokenizer(before + text + after, return_offsets_mapping=True)
        names = tokenizer.convert_ids_to_tokens(ids)
        if read["input_ids"] != ids:  # as when a word joins what is put before it: names, then, without places
            return [TokenLabel(name, 0, 0) for name in names]
        spans = [(max(0, a - len(before)), min(len(text), b - len(before))) for a, b in read["offset_mapping"]]
        return [
            TokenLabel(name, a, b) if a < b else TokenLabel(name, 0, 0)
            for name, (a, b) in zip(names, spans, strict=True)
        ]

    def _kept(self, window: Sequence[int]) -> None:
        return None

    def _forward(self, windows: Sequence[Sequence[int]]) -> tuple[FloatArray, None]:
        import torch

        features = {**self._features(windows), **self._reading.text_extras(windows)}
        with torch.inference_mode():
            placed = {key: value.to(self._model.device) for key, value in features.items()}
            return self._network(**placed).embeddings.float().cpu().numpy(), None


def _around(processor: Any, reading: Reading) -> tuple[str, str]:
    """What the processor puts before and behind a query.

    Versions of transformers differ in it (a line feed at the end, a prefix), so what is there is looked at, and kept
    with a collection.
    """
    ids = processor.process_queries([_PROBE])["input_ids"][0].tolist()
    for before, after in reading.around:
        if processor.tokenizer(before + _PROBE + after)["input_ids"] == ids:
            return before, after
    return processor.tokenizer.decode(ids, skip_special_tokens=False), ""


def _image_prompt(processor: Any, reading: Reading) -> str:
    """What stands around the patches of a page, markers of tiles left out, as the processor writes it."""
    from PIL import Image

    inputs = processor.process_images([Image.new("RGB", (_SIDE, _SIDE), "white")])
    ids = inputs["input_ids"][0]
    kept = ids[inputs["attention_mask"][0].bool() & (ids != reading.image_token)]
    return str(processor.tokenizer.decode(kept.tolist(), skip_special_tokens=False))
