"""A bi-encoder that gives both kinds of vector in one forward pass: one per window, and one per token.

The single vector is what the checkpoint's own modules make (for the bundled model: mean, then unit length). The token
vectors are the same pass's token embeddings at unit length, [CLS] and [SEP] among them: what sentence-transformers'
MultiVectorEncoder gives for Transformer, MultiVectorMask, Normalize.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from latewood.encode.tokens import WindowTokenizer
from latewood.encode.windows import Layout, batches
from latewood.errors import InputError, ModelError
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, FloatArray, IntArray, MultiVectors, TokenLabel

__all__ = ["BiEncoder"]

# Small batches stay in cache (docs/encoding.md has the figures).
_BATCH_TOKENS = 2048

_LIBRARIES = ("torch", "transformers", "sentence-transformers")

# transformers writes "no limit" as a huge number.
_NO_LIMIT = 1_000_000


class BiEncoder:
    """Passages and queries to vectors, by a SentenceTransformer. `latewood.encode.load` makes it.

    Args:
        model: a loaded SentenceTransformer, float32, on the CPU.
        name: how to get it again.
        model_hash: SHA-256 over its files.
        truncate: cut texts at the model's limit instead of giving them windows.
        overlap: tokens that neighbouring windows share; None for the default.

    Raises:
        ModelError: the checkpoint states no limit of length, or has a tokenizer or similarity that can't be used.
        UsageError: an impossible overlap.
    """

    def __init__(
        self, model: Any, *, name: str, model_hash: str, truncate: bool = False, overlap: int | None = None
    ) -> None:
        limit = model.max_seq_length
        if limit is None or limit > _NO_LIMIT:
            raise ModelError(f"{name} states no limit of length; expected max_seq_length in sentence_bert_config.json")
        if model.similarity_fn_name not in ("cosine", "dot"):
            raise ModelError(f"{name} compares by {model.similarity_fn_name} similarity; expected cosine or dot")
        query_prompt, passage_prompt = _prompt(model, "query"), _prompt(model, "document", "passage", "corpus")
        self._model = model
        self._tokenizer = WindowTokenizer(model.tokenizer, limit, overlap, (query_prompt, passage_prompt))
        self._spec = EncoderSpec(
            name=name,
            model_hash=model_hash,
            dim=model[0].get_embedding_dimension(),
            dense_dim=model.get_embedding_dimension(),
            max_length=limit,
            overlap=self._tokenizer.overlap,
            truncate=truncate,
            query_prompt=query_prompt,
            passage_prompt=passage_prompt,
            libraries={library: metadata.version(library) for library in _LIBRARIES},
        )

    @property
    def spec(self) -> EncoderSpec:
        """What a collection must remember to refuse another encoder."""
        return self._spec

    def encode_passages(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> EncodedPassages:
        """Encode N texts, in the order given; equal texts are encoded once.

        The same call gives the same bytes. Among other texts a vector moves by rounding only (docs/encoding.md).
        An empty text has the vectors of its special tokens.

        Args:
            texts: passages as they are stored.
            progress: called with the number of passages finished since the last call.

        Returns:
            tokens: [T, D] float32 of N passages, unit length, a long text's windows one after the other;
            dense: [W, D] float32, one row per window.

        Raises:
            InputError: a text is not a string.
        """
        _check_texts(texts)
        number = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        which = [number[text] for text in texts]
        prompt = self._spec.passage_prompt
        different = self._tokenizer.split(list(number), prompt, truncate=self._spec.truncate)
        windows = [ids for text in different for ids in text.windows]
        layout = Layout.of([[len(ids) for ids in text.windows] for text in different], which)
        # The result is allocated once and filled in place: it is by far the largest thing here.
        tokens = np.empty((layout.token_offsets[-1], self._spec.dim), np.float32)
        dense = np.empty((layout.dense_offsets[-1], self._spec.dense_dim), np.float32)
        finished = _Finished(layout, which, progress)
        for batch in batches(layout.lengths, _BATCH_TOKENS):
            by_token, by_window = self._forward([windows[i] for i in batch], prompt)
            for i, vectors, vector in zip(batch, by_token, by_window, strict=True):
                first, length = layout.token_rows[i], layout.lengths[i]
                tokens[first : first + length] = vectors[:length]
                dense[layout.dense_rows[i]] = vector
            finished.report(batch)
        layout.copy(tokens, dense)
        return EncodedPassages(
            MultiVectors(tokens, layout.token_offsets),
            MultiVectors(dense, layout.dense_offsets),
            cut=sum(different[i].cut for i in which),
        )

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query; what is beyond the model's limit is cut, and counted.

        Raises:
            InputError: the text is not a string.
        """
        _check_texts([text])
        prompt = self._spec.query_prompt
        windowed = self._tokenizer.split([text], prompt, truncate=True, with_spans=True)[0]
        tokens, dense = self._forward(windowed.windows, prompt)
        labels = tuple(self._tokenizer.labels(windowed))
        return EncodedQuery(text=text, dense=dense[0], tokens=tokens[0], labels=labels, cut=windowed.cut)

    def label(self, text: str) -> list[TokenLabel]:
        """One label per token vector that `encode_passages` gives for this text, in the same order.

        A token that windows share has one label in each. Spans are characters of `text`.

        Raises:
            InputError: the text is not a string.
        """
        _check_texts([text])
        prompt, truncate = self._spec.passage_prompt, self._spec.truncate
        return self._tokenizer.labels(self._tokenizer.split([text], prompt, truncate=truncate, with_spans=True)[0])

    def count_tokens(self, text: str) -> int:
        """Tokens of a passage as the model reads it, special tokens and prompt included; windows count what they share.

        Raises:
            InputError: the text is not a string.
        """
        _check_texts([text])
        windows = self._tokenizer.split([text], self._spec.passage_prompt, truncate=False)[0].windows
        return sum(map(len, windows))

    def _forward(self, windows: Sequence[Sequence[int]], prompt: str) -> tuple[FloatArray, FloatArray]:
        """Token vectors [B, L, D], rows beyond a window's own length meaningless, and single vectors [B, D]."""
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
        if prompt:  # some checkpoints leave the prompt out of their mean
            features["prompt_length"] = self._tokenizer.prompt_length(prompt)
        with torch.inference_mode():
            output = self._model(features)
            tokens = torch.nn.functional.normalize(output["token_embeddings"], dim=-1)
            dense = output["sentence_embedding"]
            if self._model.similarity_fn_name == "cosine":
                dense = torch.nn.functional.normalize(dense, dim=-1)
        return tokens.numpy(), dense.numpy()


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


def _prompt(model: Any, *names: str) -> str:
    """The prompt that sentence-transformers' encode_query and encode_document would choose."""
    for name in names:
        if name in model.prompts:
            return str(model.prompts[name] or "")
    return str(model.prompts.get(model.default_prompt_name) or "")


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise InputError("texts: got one string, expected a list of strings")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {i}: got {type(text).__name__}, expected a string")
