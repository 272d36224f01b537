"""A model that was trained for late interaction: token vectors and no single one.

sentence-transformers' MultiVectorEncoder loads all the formats (Stanford ColBERT, PyLate, its own) and runs the
modules. What is added here: long texts become windows, and every vector has a label. Which tokens of a passage are
scored (punctuation may not be) is asked of the checkpoint's own mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.encode.tokens import Windowed, WindowTokenizer, readable
from latewood.encode.window_encoder import (
    WindowEncoder,
    check_reading,
    check_texts,
    libraries,
    probe,
    stated_limit,
)
from latewood.errors import ModelError
from latewood.types import EncodedQuery, EncoderSpec, FloatArray, TokenLabel

__all__ = ["LateEncoder"]

_WHERE = "document_length, doc_maxlen or max_seq_length in its settings"


class LateEncoder(WindowEncoder):
    """Passages and queries to token vectors, by a MultiVectorEncoder. `latewood.encode.load` makes it.

    Args:
        model: a loaded MultiVectorEncoder.
        name: how to get it again.
        model_hash: SHA-256 over its files.
        truncate: cut texts at the model's limit instead of giving them windows.
        overlap: tokens that neighbouring windows share; None for the default.
        dtype: what it computes in.
        batch_size: windows of one forward pass; None to go by tokens.

    Raises:
        ModelError: the checkpoint states no limit of length, pools its token vectors, or reads texts in a way that
            can't be followed token by token.
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
        pooling = [type(module).__name__ for module in model if "Pooling" in type(module).__name__]
        if pooling:
            raise ModelError(f"{name} pools token vectors ({pooling[0]}); expected a vector for each token")
        self._masks = [module for module in model if type(module).__name__ == "MultiVectorMask"]
        transformer = model[0]
        limit = stated_limit(transformer.document_length or model.max_seq_length, name, _WHERE)
        query_prompt, passage_prompt = (str(model.prompts.get(task) or "") for task in ("query", "document"))
        tokenizer = WindowTokenizer(model.tokenizer, limit, overlap, (passage_prompt,))
        self._queries = WindowTokenizer(model.tokenizer, _query_limit(model, name), 0, (query_prompt,))
        self._shortest = int((transformer.query_expansion or {}).get("length") or 0)
        check_reading(model, name, probe(tokenizer, passage_prompt), passage_prompt, "document")
        spec = EncoderSpec(
            name=name,
            model_hash=model_hash,
            dim=model.get_embedding_dimension(),
            dense_dim=0,
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
        """Encode one query, as the checkpoint does: expanded, where it was trained so; cut at its length, and counted.

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
        split = self._queries.split(texts, prompt, truncate=True, with_spans=True)
        groups = self._groups([max(self._shortest, len(windowed.windows[0])) for windowed in split])
        # Read here and not beside one another: a tokenizer is set to each batch's padding.
        read = [
            self._model.preprocess([readable(texts[i]) for i in group], prompt=prompt or None, task="query")
            for group in groups
        ]
        for group, features, (vectors, scored) in zip(groups, read, self._passes(self._ask, read), strict=True):
            ids = features["input_ids"].tolist()
            for at, i in enumerate(group):
                labels = zip(self._query_labels(ids[at], split[i]), scored[at], strict=True)
                tokens = np.ascontiguousarray(vectors[at][scored[at]])
                shown = tuple(label for label, counts in labels if counts)
                yield i, EncodedQuery(texts[i], None, tokens, shown, cut=split[i].cut)

    def _ask(self, features: dict[str, Any]) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Queries through the model: vectors [B, L, D], and which of them are scored [B, L]."""
        import torch

        placed = {name: v.to(self._model.device) if torch.is_tensor(v) else v for name, v in features.items()}
        with torch.inference_mode():
            output = self._model(placed, task="query")
            return output["token_embeddings"].float().cpu().numpy(), output["attention_mask"].bool().cpu().numpy()

    def _query_labels(self, ids: Sequence[int], windowed: Windowed) -> list[TokenLabel]:
        """Labels of all tokens of a query; those that expand it stand for no characters."""
        own = windowed.windows[0]
        if list(ids[: len(own)]) != own:
            raise ModelError(f"{self._spec.name} reads a question in another way than its tokenizer does")
        more = self._model.tokenizer.convert_ids_to_tokens(list(ids[len(own) :]))
        return [*self._queries.labels(windowed), *(TokenLabel(token, 0, 0) for token in more)]

    def _kept(self, window: Sequence[int]) -> npt.NDArray[np.bool_]:
        import torch

        ids = torch.tensor([list(window)])
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        for mask in self._masks:
            features = mask(features, task="document")
        kept: npt.NDArray[np.bool_] = features["attention_mask"][0].bool().numpy()
        return kept

    def _forward(self, windows: Sequence[Sequence[int]]) -> tuple[FloatArray, None]:
        import torch

        with torch.inference_mode():
            output = self._model(self._features(windows), task="document")
            return output["token_embeddings"].float().cpu().numpy(), None


def _query_limit(model: Any, name: str) -> int:
    """Tokens of a question that the model reads, special tokens and prompt included."""
    transformer, expansion = model[0], model[0].query_expansion
    limit = transformer.query_length or None
    if expansion is not None:
        if expansion["strategy"] == "fixed":
            return int(expansion["length"])
        limit = max(limit, expansion["length"]) if limit else None
    return stated_limit(limit or model.max_seq_length, name, _WHERE)
