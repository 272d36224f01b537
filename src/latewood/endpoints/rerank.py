"""Rerankers behind HTTP, in four dialects: `cross(url="…", dialect="cohere|jina|voyage|tei", model="…")`.

Every passage that was sent gets its score, or there is an error: a list is never left as it was.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from latewood.endpoints.account import Account, current_account
from latewood.endpoints.address import Address, address_of
from latewood.endpoints.cache import Cache, default_cache, key_of
from latewood.endpoints.calling import Caller, TooLarge
from latewood.endpoints.estimate import tokens_in
from latewood.endpoints.limits import Limits
from latewood.errors import EndpointError, InputError, PipelineError
from latewood.types import FloatArray

__all__ = ["DIALECTS", "Dialect", "RerankScorer", "load_reranker", "read_scores", "rerank_address"]

ANY_KEY = "LATEWOOD_RERANK_KEY"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of rerank services is spoken to.

    Args:
        name: as in `cross(dialect=…)`.
        path: where it is at an address without a path.
        texts: the request's key of the passages.
        most: passages in one request.
        keys: environment variables of its API key, the first that is set counts.
        results: the answer's key of the list; "" where the answer is the list.
        score: an item's key of the score.
        limit: the request's key of how many results are wanted, always all; "" where there is none.
        needs_model: the request must name a model.
        extra: what else the request has.
    """

    name: str
    path: str
    texts: str
    most: int
    keys: tuple[str, ...]
    results: str
    score: str
    limit: str
    needs_model: bool
    extra: Mapping[str, Any] = field(default_factory=dict)


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (
            Dialect(
                "cohere",
                "/v2/rerank",
                texts="documents",
                most=1000,
                keys=(ANY_KEY, "COHERE_API_KEY", "CO_API_KEY"),
                results="results",
                score="relevance_score",
                limit="top_n",
                needs_model=True,
            ),
            Dialect(
                "jina",
                "/v1/rerank",
                texts="documents",
                most=1000,
                keys=(ANY_KEY, "JINA_API_KEY"),
                results="results",
                score="relevance_score",
                limit="top_n",
                needs_model=True,
                extra={"return_documents": False},
            ),
            Dialect(
                "voyage",
                "/v1/rerank",
                texts="documents",
                most=1000,
                keys=(ANY_KEY, "VOYAGE_API_KEY"),
                results="data",
                score="relevance_score",
                limit="top_k",
                needs_model=True,
                extra={"return_documents": False, "truncation": True},
            ),
            # 32 is what a server takes that nobody has configured (--max-client-batch-size). Raw scores, since a
            # sigmoid brings the best candidates so near to 1 that they tie.
            Dialect(
                "tei",
                "/rerank",
                texts="texts",
                most=32,
                keys=(ANY_KEY, "TEI_API_KEY"),
                results="",
                score="score",
                limit="",
                needs_model=False,
                extra={"raw_scores": True, "return_text": False, "truncate": True},
            ),
        )
    }
)


def rerank_address(url: str, dialect: Dialect) -> Address:
    """The address that requests go to.

    An address whose path ends in `rerank` or `reranking` is used as it is; one without a path gets the dialect's own;
    to any other, `/rerank` is added.

    Raises:
        UsageError: it isn't an address.
    """
    address = address_of(url, dialect.keys)
    path = address.shown.partition("://")[2].partition("/")[2]
    if path.rpartition("/")[2] in {"rerank", "reranking"}:
        return address
    return address_of(address.at("/rerank" if path else dialect.path), dialect.keys)


def load_reranker(
    url: str, dialect: str, model: str = "", *, limits: Limits | None = None, cache: Cache | None = None
) -> RerankScorer:
    """A scorer behind an endpoint. Nothing is sent yet.

    Args:
        url: see `rerank_address`.
        dialect: one of `DIALECTS`.
        model: as the endpoint knows it.
        limits: None for the environment's.
        cache: None for the user's.

    Raises:
        PipelineError: no such dialect, or a model that is missing.
        UsageError: not an address.
        MissingExtra: httpx isn't installed.
    """
    known = DIALECTS.get(dialect)
    if known is None:
        came = f"got {dialect!r}" if dialect else "none is given"
        raise PipelineError(f"cross(url={url!r}): the dialect says how the endpoint speaks, {came}: " + _expected())
    if known.needs_model and not model:
        raise PipelineError(f'cross(url="{url}", dialect="{dialect}"): {dialect} wants a model by name: add model="…"')
    return RerankScorer(Caller(rerank_address(url, known), limits, need="cross(url=…)"), known, model, cache)


def _expected() -> str:
    return f"expected {', '.join(list(DIALECTS)[:-1])} or {list(DIALECTS)[-1]} (vLLM and Infinity speak jina)"


class RerankScorer:
    """Question and passages to scores, by an endpoint: a `PairScorer`. `load_reranker` makes it.

    An answer is kept under all that was sent: rerankers that read passages beside each other score them otherwise in
    other company.

    Args:
        caller: how it is reached; its address is the whole one.
        dialect: how it is spoken to.
        model: as it is known there; "" where there is one only.
        cache: where answers are kept; None for the user's cache.
    """

    def __init__(self, caller: Caller, dialect: Dialect, model: str, cache: Cache | None = None) -> None:
        self._caller = caller
        self._dialect = dialect
        self._model = model
        self._cache = cache or default_cache()
        self._most = dialect.most
        self.name = f"{model} at {caller.address.shown}" if model else caller.address.shown

    def score(self, query: str, texts: Sequence[str]) -> FloatArray:
        """Score N passages for one question.

        Returns:
            [N] float32, finite, higher is better, in the order of `texts`; on the endpoint's scale.

        Raises:
            InputError: the question is empty, which no dialect takes.
            EndpointError: it can't be reached, refuses, or answers with anything but one score for each passage.
            BudgetError: the limit of tokens is reached.
        """
        if not query.strip():
            raise InputError(f"{self.name}: the question is empty; a reranker needs one")
        if not texts:
            return np.zeros(0, np.float32)
        account = current_account()
        parts = [list(texts[start : start + self._most]) for start in range(0, len(texts), self._most)]
        answers = self._caller.each(lambda part, stop: self._part(query, part, account, stop), parts)
        return np.concatenate([np.asarray(answer, np.float32) for answer in answers])

    def _part(self, query: str, texts: list[str], account: Account, stop: threading.Event) -> list[float]:
        key = key_of("rerank", 1, self._dialect.name, self._caller.address.url, self._model, query, texts)
        kept = self._cache.get(key)
        if kept is not None:
            account.from_cache()
            scores: list[float] = json.loads(kept)
            return scores
        try:
            scores = self._request(query, texts, account, stop)
        except TooLarge as error:
            if len(texts) == 1:
                raise EndpointError(
                    f"{error.brief}, and it was one passage of about {tokens_in(texts[0]):,} tokens: index shorter "
                    f"passages (--chunk), or raise the endpoint's limit"
                ) from error
            half = (len(texts) + 1) // 2
            self._most = min(self._most, half)
            scores = [
                *self._part(query, texts[:half], account, stop),
                *self._part(query, texts[half:], account, stop),
            ]
        self._cache.put(key, json.dumps(scores).encode())
        return scores

    def _request(self, query: str, texts: list[str], account: Account, stop: threading.Event) -> list[float]:
        dialect = self._dialect
        # Services refuse the empty text; a space is what is left of it anyway.
        body: dict[str, Any] = {"query": query, dialect.texts: [text or " " for text in texts], **dialect.extra}
        if self._model:
            body["model"] = self._model
        if dialect.limit:
            body[dialect.limit] = len(texts)
        tokens = tokens_in(query) * len(texts) + sum(map(tokens_in, texts))
        answer = self._caller.post("", body, tokens=tokens, account=account, stop=stop)
        counted = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(counted, dict) and type(counted.get("total_tokens")) is int and counted["total_tokens"] >= 0:
            account.settle(tokens, counted["total_tokens"])
        return read_scores(answer, dialect, len(texts), self._caller.address.shown)


def read_scores(answer: Any, dialect: Dialect, count: int, shown: str) -> list[float]:
    """The scores in a rerank answer, in the order of what was sent; the answer's own order is by score.

    Args:
        answer: the JSON as it came.
        dialect: whose shape it should have.
        count: passages that were sent.
        shown: the address, for messages.

    Raises:
        EndpointError: anything but one finite score for each passage.
    """
    items = answer if not dialect.results else answer.get(dialect.results) if isinstance(answer, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        other = _speaks(answer)
        advice = f'it looks like dialect="{other}"' if other else "check the address and the dialect"
        where = f"a list under '{dialect.results}'" if dialect.results else "a bare list"
        raise EndpointError(f"{shown} doesn't answer as {dialect.name} does, with {where} of objects: {advice}")
    scores: dict[int, float] = {}
    for item in items:
        index, score = item.get("index"), item.get(dialect.score)
        if type(index) is not int or not 0 <= index < count:
            raise EndpointError(f"{shown} scored a passage {index!r}: expected 0 to {count - 1}, those that were sent")
        if index in scores:
            raise EndpointError(f"{shown} scored passage {index} twice: expected one score for each of {count}")
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise EndpointError(
                f"{shown} gave passage {index} the {dialect.score} {score!r}: expected a finite number; "
                f'check the model, and dialect="{dialect.name}"'
            )
        scores[index] = float(score)
    missing = [i for i in range(count) if i not in scores]
    if missing:
        raise EndpointError(
            f"{shown} scored {len(scores)} of {count} passages (not {missing[0]}): nothing was reranked; "
            f"see whether the endpoint has a limit of its own"
        )
    return [scores[i] for i in range(count)]


def _speaks(answer: Any) -> str:
    """The dialect that an answer has the shape of; "" for none."""
    if isinstance(answer, list):
        return "tei" if answer and isinstance(answer[0], dict) and "score" in answer[0] else ""
    if isinstance(answer, dict):
        return "jina" if "results" in answer else "voyage" if "data" in answer else ""
    return ""
