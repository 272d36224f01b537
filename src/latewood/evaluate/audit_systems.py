"""Today's system, whatever it is: a collection, somebody's function, an HTTP endpoint, or the run that it left behind.

A system is asked once per question, for as many passages as a reranker would be given, and its answer is kept.

An endpoint is asked as follows, one question at a time:

    POST URL  {"query": "the question", "k": 50}
    200       {"hits": [{"id": "guide.md#3", "score": 0.83}, …]}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any

from latewood.errors import InputError, LatewoodError, MissingExtra, UnavailableError, UsageError
from latewood.evaluate.asking import Failure
from latewood.evaluate.runs import Run
from latewood.protocols import Retriever
from latewood.types import Hit, Ranking

__all__ = ["Function", "FunctionRetriever", "HttpRetriever", "Today", "ask", "from_run", "load_httpx"]

Function = Callable[[str, int], Iterable[Any]]
"""(question, k) → ids, or pairs of id and score, best first."""

TIMEOUT = 60.0
"""Seconds for one question to an endpoint."""


@dataclass(frozen=True, slots=True)
class Today:
    """What today's system answered.

    Args:
        name: what to call it.
        shown: query id → passage ids, best first; empty where it failed or found nothing.
        pools: query id → the passage ids that a reranker would see, best first.
        ms: wall time of each question that was answered; empty for a run.
        failed: questions that it could not answer; each counts as one for which nothing was found.
    """

    name: str
    shown: Mapping[str, tuple[str, ...]]
    pools: Mapping[str, tuple[str, ...]]
    ms: tuple[float, ...] = ()
    failed: tuple[Failure, ...] = ()


def ask(
    name: str,
    retriever: Retriever,
    queries: Mapping[str, str],
    depth: int,
    progress: Callable[[int], None] | None = None,
) -> Today:
    """Ask a system every question.

    Args:
        name: what to call it.
        retriever: the system.
        queries: query id → text.
        depth: passages to ask for: the pool that a reranker would be given. Where the ranking names the pool of its own
            last stage, that is the pool.
        progress: called with 1 for every question.

    Raises:
        UsageError: an answer that can't be one (an id twice, a score that is not finite), at whatever question.
        LatewoodError: what the system raises on the first question, and stored data that is not what was written.
        Exception: what a foreign system raises on the first question. Later failures are counted and named.
    """
    shown: dict[str, tuple[str, ...]] = {}
    pools: dict[str, tuple[str, ...]] = {}
    ms: list[float] = []
    failed: list[Failure] = []
    for query_id, text in queries.items():
        started = perf_counter()
        try:
            ranking = retriever.rank(text, depth)
        except Exception as err:
            # What works for no question is the caller's to mend; one question that fails must not end the audit.
            if not ms or (isinstance(err, LatewoodError) and not isinstance(err, UnavailableError)):
                raise
            failed.append(Failure(query_id, f"{type(err).__name__}: {err}"))
            shown[query_id] = pools[query_id] = ()
        else:
            ms.append((perf_counter() - started) * 1e3)
            shown[query_id] = _checked(name, text, [(hit.id, hit.score) for hit in ranking.hits])
            pools[query_id] = tuple(dict.fromkeys(ranking.pool)) or shown[query_id]
        if progress is not None:
            progress(1)
    return Today(name, shown, pools, tuple(ms), tuple(failed))


def _checked(name: str, query: str, hits: Sequence[tuple[str, float]]) -> tuple[str, ...]:
    seen: set[str] = set()
    for found, score in hits:
        if found in seen:
            raise InputError(f"'{name}' gave {found!r} twice for {query[:60]!r}; expected each passage once")
        if not math.isfinite(score):
            raise InputError(f"'{name}' gave {found!r} the score {score} for {query[:60]!r}; expected finite scores")
        seen.add(found)
    return tuple(found for found, _ in hits)


class FunctionRetriever:
    """Somebody's own function as a Retriever.

    Args:
        function: (question, k) → passage ids, or pairs of id and score, best first. More than k are cut off.
    """

    def __init__(self, function: Function) -> None:
        self._function = function

    def rank(self, query: str, k: int) -> Ranking:
        """The best k, in the order that the function gives.

        Raises:
            UsageError: what it returns is neither ids nor pairs.
        """
        found = list(islice(self._function(query, k), k))
        return _ranking(query, [self._pair(one, len(found) - at) for at, one in enumerate(found)])

    @staticmethod
    def _pair(one: Any, rank_score: int) -> tuple[str, float]:
        if isinstance(one, str):
            return one, float(rank_score)
        if isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str):
            return one[0], float(one[1])
        raise UsageError(f"the function returned {one!r}; expected passage ids, or pairs of id and score")


class HttpRetriever:
    """An HTTP endpoint as a Retriever; the exchange is at the top of this file.

    Hits are put in the public order: score descending, then id ascending; more than k are cut off.

    Args:
        url: http or https.
        key: sent as `Authorization: Bearer …` when given.
        timeout: seconds for one question.

    Raises:
        UsageError: another kind of URL.
        MissingExtra: httpx isn't installed.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = TIMEOUT) -> None:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"endpoint {url!r}: expected a URL that starts with http:// or https://")
        self.url = url
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = load_httpx("an HTTP endpoint").Client(timeout=timeout, headers=headers)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def rank(self, query: str, k: int) -> Ranking:
        """Ask for the best k.

        Raises:
            UnavailableError: no connection, no answer in time, or a status other than 200.
            InputError: an answer that isn't of the documented form.
        """
        import httpx

        try:
            response = self._client.post(self.url, json={"query": query, "k": k})
        except httpx.HTTPError as err:
            raise UnavailableError(f"{self.url} could not be asked ({type(err).__name__}: {err}); is it up?") from err
        if response.status_code != 200:
            said = " ".join(response.text.split())[:120]
            raise UnavailableError(f"{self.url} answered {response.status_code}, expected 200: {said}")
        try:
            hits = response.json()["hits"]
            pairs = [(str(hit["id"]), float(hit["score"])) for hit in hits]
        except (ValueError, KeyError, TypeError) as err:
            raise InputError(
                f'{self.url} answered {response.text[:80]!r}; expected {{"hits": [{{"id": "…", "score": 0.8}}]}}'
            ) from err
        _checked(self.url, query, pairs)  # before sorting: NaN has no place in an order
        return _ranking(query, sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:k])


def _ranking(query: str, pairs: Sequence[tuple[str, float]]) -> Ranking:
    hits = tuple(Hit(found, found, score, rank) for rank, (found, score) in enumerate(pairs, start=1))
    return Ranking(query, "", hits, exact=True, unscored=0, pool=tuple(hit.id for hit in hits), timings=())


def load_httpx(need: str) -> Any:
    """The httpx module.

    Raises:
        MissingExtra: it isn't installed.
    """
    try:
        import httpx
    except ImportError as err:
        raise MissingExtra(need, "httpx", "http") from err
    return httpx


def from_run(name: str, run: Run, queries: Mapping[str, str], depth: int) -> Today:
    """Take a system's answers from its run.

    Args:
        name: what to call it.
        run: its rankings. A question that it lacks counts as one for which nothing was found.
        queries: query id → text.
        depth: passages per question that a reranker would be given.

    Raises:
        InputError: the run answers none of the questions.
    """
    if not set(queries) & set(run.rankings):
        raise InputError(
            f"run '{name}' answers none of the {len(queries)} judged questions (it has {min(run.rankings)!r}, the "
            f"judgements have {min(queries)!r}): give the run of these questions"
        )
    found = {query_id: tuple(run.rankings.get(query_id, ())[:depth]) for query_id in queries}
    return Today(name, found, found)
