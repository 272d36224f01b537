"""When the next request may go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from latewood.endpoints.limits import Limits
from latewood.errors import EndpointError

__all__ = ["Pacer"]


class Pacer:
    """Spreads requests over time: each takes the next free moment, and later ones come after it.

    Requests are spaced evenly (60 s / requests per minute, and tokens * 60 s / tokens per minute), so there are no
    bursts that an endpoint would count against its own minute.

    Args:
        limits: the rates.
        clock: seconds, never falling.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = 0.0
        self._held_until = 0.0

    def wait(self, tokens: int, stop: threading.Event | None = None) -> None:
        """Wait for this request's moment.

        Raises:
            EndpointError: `stop` was set meanwhile.
        """
        with self._lock:
            start = max(self._clock(), self._free)
            self._free = start + self._spacing(tokens)
        while True:
            with self._lock:
                seconds = max(start, self._held_until) - self._clock()
            if stop is not None and stop.is_set():
                raise EndpointError("stopped before it was sent: another request failed")
            if seconds <= 0:
                return
            self._pause(seconds, stop)

    def hold(self, own: float, everyone: float | None, stop: threading.Event | None = None) -> None:
        """Wait before another try.

        Args:
            own: seconds that this request waits.
            everyone: seconds that the endpoint asked for: nothing is sent before they are over.
            stop: as for `wait`.
        """
        if everyone is not None:
            with self._lock:
                self._held_until = max(self._held_until, self._clock() + everyone)
        self._pause(own, stop)

    def _pause(self, seconds: float, stop: threading.Event | None) -> None:
        if stop is None:
            self._sleep(seconds)
        else:
            stop.wait(seconds)

    def _spacing(self, tokens: int) -> float:
        limits = self._limits
        by_request = 60.0 / limits.requests_per_minute if limits.requests_per_minute else 0.0
        by_tokens = 60.0 * tokens / limits.tokens_per_minute if limits.tokens_per_minute else 0.0
        return max(by_request, by_tokens)
