"""Requests in threads: so many at once, so many waiting, so long each, and not for a client that has gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from latewood.serve.lanes import Cancelled
from latewood.serve.metrics import Metrics
from latewood.serve.problems import Refusal
from latewood.serve.settings import Limits

__all__ = ["GONE", "Work"]

GONE = 499
"""What nginx writes where the client closed the connection; nobody sees it but the figures."""

T = TypeVar("T")


class Work:
    """The threads in which requests are answered.

    Args:
        limits: how many, how long.
        metrics: told of it.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._metrics = metrics
        self._taken = 0
        self._pool = ThreadPoolExecutor(limits.running, "latewood-work")

    async def run(
        self, request: Request, function: Callable[[threading.Event], T], *, seconds: float | None = None
    ) -> T:
        """Run a function in a thread, at once if one is free.

        Args:
            request: whose answer it is; when its client goes, the event is set.
            function: gets the event; it may look at it now and then, and give up.
            seconds: how long it may take; None for the limit of all, 0 for ever.

        Raises:
            Refusal: 429 when too many wait, 408 when it took too long, 499 when the client has gone.
        """
        limits, metrics = self._limits, self._metrics
        work, cancelled = self.start(function)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            timeout = limits.seconds if seconds is None else seconds or None
            done, _ = await asyncio.wait((work, gone), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                return await work
            if done:
                raise Refusal(GONE, "the client has gone")
            metrics.refused.labels("seconds").inc()
            raise Refusal(
                408, f"this took more than {limits.seconds:g} s, the limit of this service: ask for less at once"
            )
        except Cancelled:
            raise Refusal(GONE, "the client has gone") from None
        finally:
            gone.cancel()
            if not work.done():
                cancelled.set()
                work.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody else will look

    def start(self, function: Callable[[threading.Event], T]) -> tuple[asyncio.Future[T], threading.Event]:
        """Run a function in a thread; whoever waits for it sets the event when nobody does any more.

        Raises:
            Refusal: 429 when too many wait.
        """
        limits = self._limits
        if self._taken >= limits.running + limits.waiting:
            self._metrics.refused.labels("waiting").inc()
            raise Refusal(
                429,
                f"{limits.running} requests are running and {limits.waiting} are waiting: try again in a moment",
                headers={"Retry-After": "1"},
            )
        cancelled = threading.Event()
        work = asyncio.get_running_loop().run_in_executor(self._pool, _unless, cancelled, function)
        self._taken += 1
        self._gauge()
        work.add_done_callback(lambda _: self._finished())
        return work, cancelled

    def close(self) -> None:
        """Take nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _finished(self) -> None:
        self._taken -= 1
        self._gauge()

    def _gauge(self) -> None:
        self._metrics.running.set(min(self._taken, self._limits.running))
        self._metrics.waiting.set(max(0, self._taken - self._limits.running))


def _unless(cancelled: threading.Event, function: Callable[[threading.Event], T]) -> T:
    if cancelled.is_set():
        raise Cancelled
    return function(cancelled)


async def _disconnected(request: Request) -> None:
    """Returns when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
