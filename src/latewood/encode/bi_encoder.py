"""A bi-encoder that gives both kinds of vector in one forward pass: one per window, and one per token.

The single vector is what the checkpoint's own modules make (for the bundled model: mean, then unit length). The token
vectors are the same pass's token embeddings at unit length, [CLS] and [SEP] among them: what sentence-transformers'
MultiVectorEncoder gives for Transformer, MultiVectorMask, Normalize.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from latewood.encode.tokens import WindowTokenizer
from latewood.encode.window_encoder import (
    WindowEncoder,
    check_reading,
    check_texts,
    libraries,
    probe,
    stated_limit,
)
from latewood.errors import ModelError
from latewood.types import EncodedQuery, EncoderSpec, FloatArray

__all__ = ["BiEncoder"]


class BiEncoder(WindowEncoder):
    """Passages and queries to vectors, by a SentenceTransformer. `latewood.encode.load` makes it.

    Args:
        model: a loaded SentenceTransformer.
        name: how to get it again.
        model_hash: SHA-256 over its files.
        truncate: cut texts at the model's limit instead of giving them windows.
        overlap: tokens that neighbouring windows share; None for the default.
        dtype: what it computes in.
        batch_size: windows of one forward pass; None to go by tokens.

    Raises:
        ModelError: the checkpoint states no limit of length, or has a tokenizer or similarity that can't be used.
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
        limit = stated_limit(model.max_seq_length, name, "max_seq_length in sentence_bert_config.json")
        if model.similarity_fn_name not in ("cosine", "dot"):
            raise ModelError(f"{name} compares by {model.similarity_fn_name} similarity; expected cosine or dot")
        query_prompt, passage_prompt = _prompt(model, "query"), _prompt(model, "document", "passage", "corpus")
        tokenizer = WindowTokenizer(model.tokenizer, limit, overlap, (query_prompt, passage_prompt))
        check_reading(model, name, probe(tokenizer, passage_prompt), passage_prompt, "document")
        spec = EncoderSpec(
            name=name,
            model_hash=model_hash,
            dim=model[0].get_embedding_dimension(),
            dense_dim=model.get_embedding_dimension(),
            max_length=limit,
            overlap=tokenizer.overlap,
            truncate=truncate,
            query_prompt=query_prompt,
            passage_prompt=passage_prompt,
            libraries=libraries(),
            dtype=dtype,
        )
        super().__init__(model, tokenizer, spec, batch_size)

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query; what is beyond the model's limit is cut, and counted.

        Raises:
            InputError: the text is not a string.
        """
        return self.encode_queries([text])[0]

    def encode_each(self, texts: Sequence[str]) -> Iterator[tuple[int, EncodedQuery]]:
        """Encode queries together, each given with its number as soon as it is done.

        Raises:
            InputError: a text is not a string.
        """
        check_texts(texts)
        prompt = self._spec.query_prompt
        split = self._tokenizer.split(texts, prompt, truncate=True, with_spans=True)
        windows = [windowed.windows[0] for windowed in split]
        groups = self._groups([len(window) for window in windows])
        passes = self._passes(lambda group: self._run([windows[i] for i in group], prompt), groups)
        for group, (tokens, dense) in zip(groups, passes, strict=True):
            for at, i in enumerate(group):
                yield (
                    i,
                    EncodedQuery(
                        text=texts[i],
                        dense=dense[at],
                        tokens=np.ascontiguousarray(tokens[at, : len(windows[i])]),
                        labels=tuple(self._tokenizer.labels(split[i])),
                        cut=split[i].cut,
                    ),
                )

    def _kept(self, window: Sequence[int]) -> None:
        return None

    def _forward(self, windows: Sequence[Sequence[int]]) -> tuple[FloatArray, FloatArray]:
        return self._run(windows, self._spec.passage_prompt)

    def _run(self, windows: Sequence[Sequence[int]], prompt: str) -> tuple[FloatArray, FloatArray]:
        import torch

        features = self._features(windows)
        if prompt:  # some checkpoints leave the prompt out of their mean
            features["prompt_length"] = self._tokenizer.prompt_length(prompt)
        with torch.inference_mode():
            output = self._model(features)
            tokens = torch.nn.functional.normalize(output["token_embeddings"].float(), dim=-1)
            dense = output["sentence_embedding"].float()
            if self._model.similarity_fn_name == "cosine":
                dense = torch.nn.functional.normalize(dense, dim=-1)
        return tokens.cpu().numpy(), dense.cpu().numpy()


def _prompt(model: Any, *names: str) -> str:
    """The prompt that sentence-transformers' encode_query and encode_document would choose."""
    for name in names:
        if name in model.prompts:
            return str(model.prompts[name] or "")
    return str(model.prompts.get(model.default_prompt_name) or "")
