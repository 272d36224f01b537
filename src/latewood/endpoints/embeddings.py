"""Bi-encoders behind an OpenAI-compatible embeddings API: `openai:MODEL`.

openai:text-embedding-3-small
openai:text-embedding-3-large?dimensions=512
openai:intfloat/e5-base?query_prompt=query: &passage_prompt=passage: &max_length=512
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from latewood.endpoints.account import current_account
from latewood.endpoints.address import address_of
from latewood.endpoints.cache import Cache, default_cache, key_of
from latewood.endpoints.calling import Caller, TooLarge
from latewood.endpoints.estimate import tokens_in
from latewood.endpoints.limits import Limits
from latewood.endpoints.refusals import Refused
from latewood.endpoints.windows import windows
from latewood.errors import EndpointError, InputError, ModelError
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, FloatArray, MultiVectors, TokenLabel

__all__ = ["EmbeddingEncoder", "ModelName", "is_endpoint_model", "load_embeddings"]

PREFIX = "openai:"
KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
DEFAULT_URL = "https://api.openai.com/v1"

_BATCH_TEXTS = 128
_BATCH_TOKENS = 60_000
_NO_TOKENS = np.zeros((0, 0), np.float32)


def is_endpoint_model(model: str) -> bool:
    """Whether a model's name is that of an endpoint: begins with "openai:"."""
    return model.startswith(PREFIX)


@dataclass(frozen=True, slots=True)
class ModelName:
    """`openai:MODEL?option=value&…`, taken apart.

    Args:
        model: as the endpoint knows it.
        dimensions: asked of it; None for the model's own.
        max_length: tokens of a text, by our estimate; longer ones become windows.
        query_prompt: put before a query.
        passage_prompt: put before a passage.
        encoding: "base64" or "float": how vectors are asked for.
    """

    model: str
    dimensions: int | None = None
    max_length: int = 8191
    query_prompt: str = ""
    passage_prompt: str = ""
    encoding: str = "base64"

    @classmethod
    def parse(cls, name: str) -> ModelName:
        """Of the text.

        Raises:
            ModelError: no model in it, an unknown option, or a value that it can't have.
        """
        model, _, query = name.removeprefix(PREFIX).partition("?")
        if not model:
            raise ModelError(f"model {name!r}: expected openai:MODEL, such as openai:text-embedding-3-small")
        given = dict(parse_qsl(query, keep_blank_values=True))
        unknown = set(given) - {"dimensions", "max_length", "query_prompt", "passage_prompt", "encoding"}
        if unknown:
            raise ModelError(
                f"model {name!r} has the option {min(unknown)!r}: known are dimensions, max_length, query_prompt, "
                f"passage_prompt and encoding"
            )
        numbers: dict[str, int] = {}
        for option, least in (("dimensions", 1), ("max_length", 16)):
            if option in given:
                text = given.pop(option)
                if not text.isdecimal() or not least <= int(text) <= 1_000_000:
                    raise ModelError(f"model {name!r}: {option} is {text!r}, expected a number of at least {least}")
                numbers[option] = int(text)
        if given.get("encoding", "float") not in {"float", "base64"}:
            raise ModelError(f"model {name!r}: encoding is {given['encoding']!r}, expected float or base64")
        return cls(model, **numbers, **given)  # type: ignore[arg-type]


def load_embeddings(
    name: str,
    *,
    truncate: bool = False,
    url: str | None = None,
    limits: Limits | None = None,
    cache: Cache | None = None,
) -> EmbeddingEncoder:
    """An encoder behind an endpoint. Asks it for one short vector, unless that is in the cache.

    Args:
        name: openai:MODEL, with options after a question mark.
        truncate: cut texts at max_length instead of giving them windows.
        url: the API's base address; None for OPENAI_BASE_URL, else OpenAI's own.
        limits: None for the environment's.
        cache: None for the user's.

    Raises:
        ModelError: the name can't be read.
        EndpointError: it can't be reached, refuses, or answers with something else.
        MissingExtra: httpx isn't installed.
    """
    address = address_of(url or os.environ.get(BASE_URL) or DEFAULT_URL, (KEY,))
    caller = Caller(address, limits, need=f"'{name}'")
    return EmbeddingEncoder(ModelName.parse(name), caller, name=name, truncate=truncate, cache=cache)


class EmbeddingEncoder:
    """One vector per text, or per window of a long one, from an endpoint. `load_embeddings` makes it.

    Vectors are brought to unit length here: not every server does, and `dimensions` cuts them.

    Args:
        name: what the endpoint's model is called, and options.
        caller: how it is reached.
        full_name: kept in the collection: how to get it again.
        truncate: cut texts at the limit instead of giving them windows.
        cache: where vectors are kept; None for the user's cache.
    """

    def __init__(
        self,
        model: ModelName,
        caller: Caller,
        *,
        name: str,
        truncate: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self._model = model
        self._caller = caller
        self._cache = cache or default_cache()
        self._most = _BATCH_TEXTS
        self._encoding = model.encoding
        self._dim = model.dimensions or 0
        probe = self._embed([model.passage_prompt + "late wood"])
        self._spec = EncoderSpec(
            name=name,
            # Nobody can hash what is behind an endpoint: the name and options stand for it.
            model_hash=hashlib.sha256(f"{PREFIX}{model.model}?dimensions={model.dimensions}".encode()).hexdigest(),
            dim=0,
            dense_dim=probe.shape[1],
            max_length=model.max_length,
            overlap=model.max_length // 16,
            truncate=truncate,
            query_prompt=model.query_prompt,
            passage_prompt=model.passage_prompt,
            # Another address may serve another model under the same name: sixteen texts are compared then.
            libraries={"endpoint": caller.address.shown},
        )

    @property
    def spec(self) -> EncoderSpec:
        """What a collection must remember to refuse another encoder. It names the endpoint, never the key."""
        return self._spec

    def count_tokens(self, text: str) -> int:
        """Tokens of a passage with its prompt, guessed rather too high (`tokens_in`)."""
        return tokens_in(self._model.passage_prompt + text)

    def label(self, text: str) -> list[TokenLabel]:
        """Empty: there are no token vectors."""
        return []

    def encode_passages(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> EncodedPassages:
        """Encode N texts, in the order given; equal texts are sent once, and texts in the cache not at all.

        Args:
            texts: passages as they are stored.
            progress: called with the number of passages finished since the last call.

        Returns:
            dense: [W, D] float32 of N passages, unit length, one row per window; no token vectors.

        Raises:
            InputError: a text is not a string.
            EndpointError: it can't be reached, refuses, or answers with other vectors than it was asked for.
            BudgetError: the limit of tokens is reached.
        """
        _check_texts(texts)
        spec = self._spec
        pieces: list[list[str]] = []
        cut = 0
        for text in texts:
            found, left_out = self._windows(text, spec.passage_prompt, truncate=spec.truncate)
            pieces.append(found)
            cut += left_out
        flat = [piece for of_text in pieces for piece in of_text]
        offsets = np.concatenate([[0], np.cumsum([len(of_text) for of_text in pieces])]).astype(np.int64)
        vectors = self._embed(flat, _Finished(offsets, progress)) if flat else np.zeros((0, spec.dense_dim), np.float32)
        return EncodedPassages(MultiVectors.none(len(texts)), MultiVectors(vectors, offsets), cut=cut)

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query; what is beyond the limit is cut, and counted.

        Raises:
            InputError: the text is not a string.
            EndpointError: as for `encode_passages`.
        """
        _check_texts([text])
        found, cut = self._windows(text, self._spec.query_prompt, truncate=True)
        return EncodedQuery(text=text, dense=self._embed(found)[0], tokens=_NO_TOKENS, labels=(), cut=cut)

    def _windows(self, text: str, prompt: str, *, truncate: bool) -> tuple[list[str], int]:
        """The texts to send for a text, and how many tokens are left out."""
        room = max(1, self._spec.max_length - (tokens_in(prompt) if prompt else 0))
        found = windows(text, room, self._spec.overlap)
        # Services refuse the empty text; a space is what is left of it anyway.
        sent = [prompt + piece if (prompt + piece).strip() else " " for piece in (found[:1] if truncate else found)]
        cut = max(0, tokens_in(text) - tokens_in(found[0])) if truncate and len(found) > 1 else 0
        return sent, cut

    # -- vectors of texts ------------------------------------------------------------------------------------------

    def _embed(self, texts: Sequence[str], finished: _Finished | None = None) -> FloatArray:
        """[len(texts), D] float32, unit length: from the cache, and the others from the endpoint."""
        different = list(dict.fromkeys(texts))
        keys = {text: self._key(text) for text in different}
        kept = self._cache.get_many(list(keys.values()))
        vectors = {text: np.frombuffer(kept[key], "<f4") for text, key in keys.items() if key in kept}
        account = current_account()
        account.from_cache(len(vectors))
        waiting: dict[str, list[int]] = {}
        for i, text in enumerate(texts):
            if text in vectors:
                if finished is not None:
                    finished.report([i])
            else:
                waiting.setdefault(text, []).append(i)
        lock = threading.Lock()

        def ask(batch: list[str], stop: threading.Event) -> None:
            for some, answer in self._ask(batch, account, stop):
                self._cache.put_many(
                    {keys[text]: vector.astype("<f4").tobytes() for text, vector in zip(some, answer, strict=True)}
                )
                with lock:
                    vectors.update(zip(some, answer, strict=True))
                    if finished is not None:
                        finished.report([i for text in some for i in waiting[text]])

        self._caller.each(ask, list(_batches(list(waiting), self._most)))
        return self._joined([vectors[text] for text in texts])

    def _joined(self, vectors: Sequence[FloatArray]) -> FloatArray:
        sizes = {len(vector) for vector in vectors}
        if self._dim:
            sizes.add(self._dim)
        if len(sizes) > 1:
            raise EndpointError(
                f"{self._caller.address.shown} gave vectors of {sorted(sizes)} numbers for '{self._model.model}': "
                f"expected one size; another model may have taken its place: see the endpoint, clear the cache"
            )
        self._dim = sizes.pop()
        return np.stack(vectors)

    def _key(self, text: str) -> bytes:
        return key_of("embedding", 1, self._caller.address.url, self._model.model, self._model.dimensions, text)

    def _ask(
        self, texts: list[str], account: Any, stop: threading.Event
    ) -> Iterator[tuple[list[str], list[FloatArray]]]:
        """Vectors of different texts, in parts: a request that is too large is halved, and so are those after it."""
        try:
            answer = self._request(texts, account, stop)
        except TooLarge as error:
            if len(texts) == 1:
                raise EndpointError(
                    f"{error.brief}, and it was one text of about {tokens_in(texts[0]):,} tokens: give the model a "
                    f"limit that it keeps, such as '{PREFIX}{self._model.model}?max_length=512'"
                ) from error
            half = (len(texts) + 1) // 2
            self._most = min(self._most, half)
            yield from self._ask(texts[:half], account, stop)
            yield from self._ask(texts[half:], account, stop)
        else:
            yield texts, answer

    def _request(self, texts: list[str], account: Any, stop: threading.Event) -> list[FloatArray]:
        body: dict[str, Any] = {"model": self._model.model, "input": texts, "encoding_format": self._encoding}
        if self._model.dimensions:
            body["dimensions"] = self._model.dimensions
        tokens = sum(map(tokens_in, texts))
        try:
            answer = self._caller.post("/embeddings", body, tokens=tokens, account=account, stop=stop)
        except Refused as error:
            about_encoding = "encoding_format" in error.said or "base64" in error.said
            if self._encoding == "base64" and error.status in {400, 422} and about_encoding:
                self._encoding = "float"
                return self._request(texts, account, stop)
            raise
        counted = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(counted, dict) and type(counted.get("total_tokens")) is int and counted["total_tokens"] >= 0:
            account.settle(tokens, counted["total_tokens"])
        return read_vectors(answer, len(texts), self._caller.address.shown + "/embeddings")


class _Finished:
    """Counts passages whose last window has its vector."""

    def __init__(self, offsets: Any, progress: Callable[[int], None] | None) -> None:
        self._owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        self._open = np.diff(offsets)
        self._progress = progress

    def report(self, pieces: Sequence[int]) -> None:
        done = 0
        for piece in pieces:
            owner = self._owner[piece]
            self._open[owner] -= 1
            done += int(self._open[owner] == 0)
        if done and self._progress is not None:
            self._progress(done)


def read_vectors(answer: Any, count: int, shown: str) -> list[FloatArray]:
    """The vectors in an embeddings answer, in the order of what was asked.

    Args:
        answer: the JSON as it came.
        count: texts that were sent.
        shown: the address, for messages.

    Returns:
        `count` arrays [D] float32, finite, unit length.

    Raises:
        EndpointError: anything but one sound vector for each text.
    """
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise EndpointError(
            f"{shown} gave no list 'data' of objects: expected an answer of OpenAI's embeddings API; check the address"
        )
    found: dict[int, FloatArray] = {}
    for item in data:
        index = item.get("index")
        if type(index) is not int or not 0 <= index < count:
            raise EndpointError(f"{shown} gave the index {index!r}: expected 0 to {count - 1}, one for each text sent")
        if index in found:
            raise EndpointError(f"{shown} gave index {index} twice: expected one vector for each of {count} texts")
        found[index] = _vector(item.get("embedding"), index, shown)
    missing = [i for i in range(count) if i not in found]
    if missing:
        raise EndpointError(
            f"{shown} gave {len(found)} vectors for {count} texts (none for {missing[0]}): "
            f"expected one each; the endpoint may have a limit that it doesn't tell"
        )
    return [found[i] for i in range(count)]


def _vector(value: Any, index: int, shown: str) -> FloatArray:
    try:
        if isinstance(value, str):
            vector = np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
        elif isinstance(value, list) and not any(isinstance(number, bool | str | list) for number in value):
            vector = np.array(value, np.float32)
        else:
            raise ValueError("neither a list of numbers nor base64")
        length = float(np.linalg.norm(vector.astype(np.float64)))
        if vector.ndim != 1 or not len(vector):
            raise ValueError("no numbers")
        if not np.isfinite(length):
            raise ValueError("NaN or infinity among its numbers")
        if length == 0.0:
            raise ValueError("all zero, which has no direction")
    except (ValueError, TypeError) as error:
        raise EndpointError(f"{shown} gave a vector for text {index} that can't be used: {error}") from None
    unit: FloatArray = (vector / np.float32(length)).astype(np.float32)
    return unit


def _batches(texts: list[str], most: int) -> Iterator[list[str]]:
    batch: list[str] = []
    tokens = 0
    for text in texts:
        size = tokens_in(text)
        if batch and (len(batch) >= most or tokens + size > _BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += size
    if batch:
        yield batch


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise InputError("texts: got one string, expected a list of strings")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {i}: got {type(text).__name__}, expected a string")
