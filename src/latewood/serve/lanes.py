"""One thread per model: what is asked while it is busy is done together as soon as it is free.

Questions go first, all that wait in one batch; then a piece of the passages that requests want encoded, taken in turns;
then, less often, a piece of what is being indexed. Pieces are small, so nobody waits long for anybody.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from latewood.errors import UnavailableError
from latewood.protocols import Encoder
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, FloatArray, MultiVectors, TokenLabel

__all__ = ["Cancelled", "Lane", "LaneEncoder"]

_PIECE = 8000
"""Characters of passages that are encoded before the next question may go: about the encoder's own batch."""
_TURNS = 4
"""Pieces of requests that go before one of what is being indexed."""

_NONE = np.zeros((0, 0), np.float32)

T = TypeVar("T")


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


class _ManyQueries(Protocol):
    def encode_each(self, texts: Sequence[str]) -> Iterator[tuple[int, EncodedQuery]]: ...


@dataclass(eq=False)
class _Passages:
    """Texts of one caller on their way through the model, longest first."""

    texts: Sequence[str]
    cancelled: threading.Event
    progress: Callable[[int], None] | None
    future: Future[EncodedPassages] = field(default_factory=Future)
    order: deque[int] = field(default_factory=deque)
    tokens: list[FloatArray] = field(default_factory=list)
    dense: list[FloatArray] = field(default_factory=list)
    cut: int = 0

    def __post_init__(self) -> None:
        self.order = deque(sorted(range(len(self.texts)), key=lambda i: -len(self.texts[i])))
        self.tokens = [_NONE] * len(self.texts)
        self.dense = [_NONE] * len(self.texts)

    def put(self, i: int, tokens: FloatArray, dense: FloatArray) -> None:
        self.tokens[i], self.dense[i] = tokens, dense

    def finish(self, spec: EncoderSpec) -> None:
        tokens = MultiVectors.of(self.tokens, spec.dim)
        self.future.set_result(EncodedPassages(tokens, MultiVectors.of(self.dense, spec.dense_dim), self.cut))


@dataclass(frozen=True, slots=True, eq=False)
class _Question:
    """A question on its way through the model."""

    text: str
    cancelled: threading.Event | None
    future: Future[EncodedQuery] = field(default_factory=Future)


class Lane:
    """The one thread in which a model works.

    Args:
        encoder: the model; nobody else uses it from now on.
        batch: most questions that are encoded together; with 1, passages of different requests aren't joined either.
        observe: told how many questions each batch had.
    """

    def __init__(self, encoder: Encoder, batch: int = 32, observe: Callable[[int], None] | None = None) -> None:
        self.spec = encoder.spec
        self._encoder = encoder
        self._batch = batch
        self._observe = observe
        self._ready = threading.Condition()
        self._queries: deque[_Question] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._front: deque[_Passages] = deque()
        self._back: deque[_Passages] = deque()
        self._turns = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"lane {self.spec.name}", daemon=True)
        self._thread.start()

    # -- asking ----------------------------------------------------------------------------------------------------

    def encode_query(self, text: str, *, cancelled: threading.Event | None = None) -> EncodedQuery:
        """Encode one question, with those that others ask meanwhile.

        Raises:
            Cancelled: the event was set before its turn came.
        """
        return self.encode_queries([text], cancelled=cancelled)[0]

    def encode_queries(self, texts: Sequence[str], *, cancelled: threading.Event | None = None) -> list[EncodedQuery]:
        """Encode questions, with those that others ask meanwhile.

        Raises:
            Cancelled: the event was set before their turn came.
        """
        asked = [_Question(text, cancelled) for text in texts]
        self._ask(lambda: self._queries.extend(asked))
        return [question.future.result() for question in asked]

    def call(self, function: Callable[[Encoder], T]) -> T:
        """Something short with the model itself."""
        future: Future[T] = Future()
        self._ask(lambda: self._calls.append((lambda: function(self._encoder), future)))
        return future.result()

    def encode_passages(
        self,
        texts: Sequence[str],
        progress: Callable[[int], None] | None = None,
        *,
        background: bool = False,
        cancelled: threading.Event | None = None,
    ) -> EncodedPassages:
        """Encode passages, piece by piece.

        Raises:
            Cancelled: the event was set.
        """
        if not texts:
            return self.call(lambda encoder: encoder.encode_passages(texts))
        job = _Passages(texts, cancelled or threading.Event(), progress)
        self._ask(lambda: (self._back if background else self._front).append(job))
        return job.future.result()

    def close(self) -> None:
        """Let nobody wait for ever: what hasn't begun is refused."""
        with self._ready:
            self._closed = True
            waiting: list[Future[Any]] = [question.future for question in self._queries]
            waiting += [future for _, future in self._calls]
            waiting += [job.future for job in (*self._front, *self._back)]
            for queue in (self._queries, self._calls, self._front, self._back):
                queue.clear()
            self._ready.notify()
        for future in waiting:
            future.set_exception(_closing())

    def _ask(self, put: Callable[[], None]) -> None:
        with self._ready:
            if self._closed:
                raise _closing()
            put()
            self._ready.notify()

    # -- doing -----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._ready:
                while not (self._queries or self._calls or self._front or self._back or self._closed):
                    self._ready.wait()
                if self._closed:
                    return
                turn = self._next()
            turn()

    def _next(self) -> Callable[[], None]:
        """What to do now; called with the lock."""
        if self._queries or self._calls:
            queries = self._questions()
            calls = list(self._calls)
            self._calls.clear()
            return lambda: self._short(queries, calls)
        back = bool(self._back) and (not self._front or self._turns >= _TURNS)
        self._turns = 0 if back else self._turns + 1
        piece = self._piece(self._back if back else self._front)
        return lambda: self._encode(piece)

    def _questions(self) -> list[_Question]:
        """The next batch, without those that nobody waits for."""
        batch: list[_Question] = []
        while self._queries and len(batch) < self._batch:
            question = self._queries.popleft()
            if question.cancelled is not None and question.cancelled.is_set():
                question.future.set_exception(Cancelled())
            else:
                batch.append(question)
        return batch

    def _piece(self, queue: deque[_Passages]) -> list[tuple[_Passages, int]]:
        """The next texts of the first request, and of those behind it while they fit; then it is their turn."""
        room = _PIECE
        piece: list[tuple[_Passages, int]] = []
        for job in list(queue):
            while job.order and (not piece or len(job.texts[job.order[0]]) <= room):
                i = job.order.popleft()
                room -= len(job.texts[i]) + 16
                piece.append((job, i))
            if job.order or job.cancelled.is_set():
                queue.rotate(-1) if not job.cancelled.is_set() else queue.remove(job)
            else:
                queue.remove(job)
            if room <= 0 or self._batch == 1 or self.spec.truncate:
                break
        return piece

    def _short(self, queries: list[_Question], calls: list[Any]) -> None:
        for function, future in calls:
            _settle(future, function)
        if not queries:
            return
        if self._observe is not None:
            self._observe(len(queries))
        waiting = dict(enumerate(queries))
        if len(queries) > 1 and hasattr(self._encoder, "encode_each"):
            with suppress(Exception):  # of one of them, perhaps: each alone has its own answer, or its own error
                # Whoever is done goes on at once, while the others are encoded.
                for i, encoded in cast(_ManyQueries, self._encoder).encode_each([each.text for each in queries]):
                    waiting.pop(i).future.set_result(encoded)
        for question in waiting.values():
            _settle(question.future, lambda text=question.text: self._encoder.encode_query(text))  # type: ignore[misc]

    def _encode(self, piece: list[tuple[_Passages, int]]) -> None:
        jobs = list(dict.fromkeys(job for job, _ in piece))
        for job in jobs:
            if job.cancelled.is_set() and not job.future.done():
                job.future.set_exception(Cancelled())
        piece = [(job, i) for job, i in piece if not job.cancelled.is_set()]
        if not piece:
            return
        try:
            encoded = self._encoder.encode_passages([job.texts[i] for job, i in piece])
            for at, (job, i) in enumerate(piece):
                job.put(i, encoded.tokens[at], encoded.dense[at])
            piece[0][0].cut += encoded.cut  # only an encoder that cuts has some, and its pieces are of one request
            for job in dict.fromkeys(job for job, _ in piece):
                if job.progress is not None:
                    job.progress(sum(each is job for each, _ in piece))
                if not job.order:
                    job.finish(self.spec)
        except BaseException as error:
            for job, _ in piece:
                if not job.future.done():
                    job.cancelled.set()
                    job.future.set_exception(error)


class LaneEncoder:
    """A lane as an `Encoder`, for one purpose.

    Args:
        lane: whose model it is.
        background: its passages give way to those of requests.
        cancelled: set when nobody waits for the answer any more.
    """

    def __init__(self, lane: Lane, *, background: bool = False, cancelled: threading.Event | None = None) -> None:
        self._lane = lane
        self._background = background
        self._cancelled = cancelled

    @property
    def spec(self) -> EncoderSpec:
        """What a collection must remember to refuse another encoder."""
        return self._lane.spec

    def encode_passages(self, texts: Sequence[str], progress: Callable[[int], None] | None = None) -> EncodedPassages:
        """Encode N texts, in the order given."""
        return self._lane.encode_passages(texts, progress, background=self._background, cancelled=self._cancelled)

    def encode_query(self, text: str) -> EncodedQuery:
        """Encode one query."""
        return self._lane.encode_query(text, cancelled=self._cancelled)

    def label(self, text: str) -> list[TokenLabel]:
        """One label per token vector that `encode_passages` gives for this text."""
        return self._lane.call(lambda encoder: encoder.label(text))

    def count_tokens(self, text: str) -> int:
        """Tokens of a passage as the model reads it."""
        return self._lane.call(lambda encoder: encoder.count_tokens(text))


def _settle(future: Future[T], function: Callable[[], T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)


def _closing() -> UnavailableError:
    return UnavailableError("the service is stopping; ask again when it is back")
