"""What every encoder of texts shares: windows in batches of similar length, and where their vectors go."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from latewood.encode.placement import side_by_side, token_budget, workers
from latewood.encode.tokens import Windowed, WindowTokenizer
from latewood.encode.windows import Layout, alike, batches
from latewood.errors import InputError, ModelError
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, FloatArray, IntArray, MultiVectors, TokenLabel

__all__ = ["WindowEncoder", "check_reading", "check_texts", "libraries", "stated_limit"]

_LIBRARIES = ("torch", "transformers", "sentence-transformers")

# transformers writes "no limit" as a huge number.
_NO_LIMIT = 1_000_000

_PROBE = "Late wood, 7 rings"

Given = TypeVar("Given")
Made = TypeVar("Made")


class WindowEncoder(ABC):
    """Passages to vectors, window by window; what the model makes of a batch of windows is the subclass's.

    Args:
        model: a loaded sentence-transformers model.
        tokenizer: cuts texts into windows as the model reads passages.
        spec: of the encoder.
        batch_size: windows of one forward pass; None to go by tokens.
    """

    def __init__(self, model: Any, tokenizer: WindowTokenizer, spec: EncoderSpec, batch_size: int | None) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._spec = spec
        self._batch_size = batch_size

    @property
    def spec(self) -> EncoderSpec:
        """What a collection must remember to refuse another encoder."""
        return self._spec

    @property
    def device(self) -> str:
        """Where it computes, as torch names it."""
        return str(self._model.device)

    @abstractmethod
    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query."""

    def encode_queries(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Encode queries together, in the order given: those of similar length in one pass through the model.

        Among others a query's vectors move by rounding only, as those of passages do.

        Raises:
            InputError: a text is not a string.
        """
        found = dict(self.encode_each(texts))
        return [found[i] for i in range(len(texts))]

    def encode_each(self, texts: Sequence[str]) -> Iterator[tuple[int, EncodedQuery]]:
        """The same, each with its number as soon as it is done, as a service wants it that answers several people.

        Raises:
            InputError: a text is not a string.
        """
        yield from ((i, self.encode_query(text)) for i, text in enumerate(texts))

    @abstractmethod
    def _kept(self, window: Sequence[int]) -> npt.NDArray[np.bool_] | None:
        """[L] bool, which tokens of a passage's window have a vector; None for all."""

    @abstractmethod
    def _forward(self, windows: Sequence[Sequence[int]]) -> tuple[FloatArray | None, FloatArray | None]:
        """Token vectors [B, L, D], rows beyond a window's own length meaningless, and single vectors [B, D]."""

    def encode_passages(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> EncodedPassages:
        """Encode N texts, in the order given; equal texts are encoded once.

        The same call gives the same bytes. Among other texts a vector moves by rounding only (docs/encoding.md).
        An empty text has the vectors of its special tokens.

        Args:
            texts: passages as they are stored.
            progress: called with the number of passages finished since the last call.

        Returns:
            tokens: [T, D] float32 of N passages, unit length, a long text's windows one after the other;
            dense: [W, D] float32, one row per window. D is 0 for what the model doesn't give.

        Raises:
            InputError: a text is not a string.
        """
        check_texts(texts)
        number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        which = [number[text] for text in texts]
        different = self._split(list(number))
        windows = [ids for text in different for ids in text.windows]
        kept = [self._kept(ids) for ids in windows]
        lengths = [len(ids) if mask is None else int(mask.sum()) for ids, mask in zip(windows, kept, strict=True)]
        layout = Layout.of(_by_text(lengths, different), which)
        # The result is allocated once and filled in place: it is by far the largest thing here.
        tokens = np.empty((layout.token_offsets[-1], self._spec.dim), np.float32)
        dense = np.empty((layout.dense_offsets[-1], self._spec.dense_dim), np.float32)
        finished = _Finished(layout, which, progress)
        budget = token_budget(self._model)
        grouped = list(batches([len(ids) for ids in windows], budget, self._batch_size))
        made = side_by_side(self._model, lambda batch: self._forward([windows[i] for i in batch]), grouped)
        for batch, (by_token, by_window) in zip(grouped, made, strict=True):
            for at, i in enumerate(batch.tolist()):
                first, mask = layout.token_rows[i], kept[i]
                if by_token is not None:
                    own = by_token[at, : len(windows[i])]
                    tokens[first : first + lengths[i]] = own if mask is None else own[mask]
            if by_window is not None:
                dense[layout.dense_rows[batch]] = by_window
            finished.report(batch)
        layout.copy(tokens, dense)
        return EncodedPassages(
            MultiVectors(tokens, layout.token_offsets) if self._spec.dim else MultiVectors.none(len(texts)),
            MultiVectors(dense, layout.dense_offsets) if self._spec.dense_dim else MultiVectors.none(len(texts)),
            cut=sum(different[i].cut for i in which),
        )

    def label(self, text: str) -> list[TokenLabel]:
        """One label per token vector that `encode_passages` gives for this text, in the same order.

        A token that windows share has one label in each. Spans are characters of `text`.

        Raises:
            InputError: the text is not a string.
        """
        check_texts([text])
        windowed = self._split([text], with_spans=True)[0]
        kept = [self._kept(ids) for ids in windowed.windows]
        labels = iter(self._tokenizer.labels(windowed))
        chosen = []
        for ids, mask in zip(windowed.windows, kept, strict=True):
            for at in range(len(ids)):
                label = next(labels)
                if mask is None or mask[at]:
                    chosen.append(label)
        return chosen

    def count_tokens(self, text: str) -> int:
        """Tokens of a passage as the model reads it, special tokens and prompt included; windows count what they share.

        Raises:
            InputError: the text is not a string.
        """
        check_texts([text])
        windows = self._tokenizer.split([text], self._spec.passage_prompt, truncate=False)[0].windows
        return sum(map(len, windows))

    def _split(self, texts: Sequence[str], *, with_spans: bool = False) -> list[Windowed]:
        prompt, truncate = self._spec.passage_prompt, self._spec.truncate
        return self._tokenizer.split(texts, prompt, truncate=truncate, with_spans=with_spans)

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which queries of these lengths go through the model in one pass."""
        if self._model.device.type != "cpu":  # padding adds less there than another pass
            return [list(range(len(lengths)))]
        return alike(lengths, token_budget(self._model), workers(self._model))

    def _passes(self, work: Callable[[Given], Made], items: Sequence[Given]) -> Iterable[Made]:
        """`work` on each item, on a thread each; on all of them where there is one item, as nothing else is to do."""
        return map(work, items) if len(items) == 1 else side_by_side(self._model, work, items)

    def _features(self, windows: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Windows as the model takes them: padded on the right to the longest, on its device."""
        import torch

        longest = max(len(window) for window in windows)
        ids = np.full((len(windows), longest), self._model.tokenizer.pad_token_id or 0, np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = window
            mask[row, : len(window)] = 1
        features: dict[str, Any] = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}
        if "token_type_ids" in self._model.tokenizer.model_input_names:
            features["token_type_ids"] = torch.zeros_like(features["input_ids"])
        return {name: tensor.to(self._model.device) for name, tensor in features.items()}


class _Finished:
    """Counts the passages whose last window is done; windows are encoded longest first, not text by text."""

    def __init__(self, layout: Layout, which: Sequence[int], progress: Callable[[int], None] | None) -> None:
        self._texts = layout.texts
        self._open = np.bincount(layout.texts)
        self._copies = np.bincount(np.asarray(which, np.int64))
        self._progress = progress

    def report(self, batch: IntArray) -> None:
        """These windows are done."""
        texts, windows = np.unique(self._texts[batch], return_counts=True)
        self._open[texts] -= windows
        passages = int(self._copies[texts[self._open[texts] == 0]].sum())
        if passages and self._progress is not None:
            self._progress(passages)


def _by_text(values: Sequence[int], texts: Sequence[Windowed]) -> list[list[int]]:
    """The values of windows that are numbered through, text by text."""
    remaining = iter(values)
    return [[next(remaining) for _ in text.windows] for text in texts]


def libraries() -> dict[str, str]:
    """The versions that decide what a vector is, beside the model's files."""
    return {library: metadata.version(library) for library in _LIBRARIES}


def stated_limit(limit: int | None, name: str, where: str) -> int:
    """The limit of length that a checkpoint states.

    Raises:
        ModelError: it states none.
    """
    if limit is None or limit > _NO_LIMIT:
        raise ModelError(f"{name} states no limit of length; expected {where}")
    return int(limit)


def check_reading(model: Any, name: str, window: Sequence[int], prompt: str, task: str) -> None:
    """Refuse a model whose own preprocessing reads a text differently than window by window.

    Args:
        model: a loaded sentence-transformers model.
        name: of it, for the message.
        window: the token ids of the probe text, as windows are made.
        prompt: put before it.
        task: "document" or "query".

    Raises:
        ModelError: it reads through a chat template, say.
    """
    own = model.preprocess([_PROBE], prompt=prompt or None, task=task)
    found = own["input_ids"][0][own["attention_mask"][0].bool()].tolist() if "input_ids" in own else []
    if found[: len(window)] != list(window):
        raise ModelError(f"{name} doesn't read texts token by token (a chat template?), which latewood can't follow")


def probe(tokenizer: WindowTokenizer, prompt: str) -> list[int]:
    """The window of the text that `check_reading` compares."""
    return tokenizer.split([_PROBE], prompt, truncate=True)[0].windows[0]


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what isn't a list of strings.

    Raises:
        InputError: naming the first that is none.
    """
    if isinstance(texts, str):
        raise InputError("texts: got one string, expected a list of strings")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {i}: got {type(text).__name__}, expected a string")
