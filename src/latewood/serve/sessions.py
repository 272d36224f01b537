"""Browsers that have shown a key: a random cookie stands for it, in memory and for a day."""

from __future__ import annotations

import secrets
import threading
import time

from latewood.serve.settings import ApiKey

__all__ = ["COOKIE", "SECONDS", "Sessions"]

COOKIE = "latewood_session"
SECONDS = 24 * 3600
_MOST = 10_000


class Sessions:
    """Cookie → key. A restart ends them all."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, ApiKey]] = {}
        self._mutex = threading.Lock()

    def start(self, key: ApiKey) -> str:
        """A new cookie for this key."""
        token = secrets.token_urlsafe(32)
        with self._mutex:
            while len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[token] = (time.monotonic() + SECONDS, key)
        return token

    def key(self, token: str) -> ApiKey | None:
        """The key that a cookie stands for, if it still does."""
        with self._mutex:
            ends, key = self._known.get(token, (0.0, None))
            if key is not None and ends < time.monotonic():
                del self._known[token]
                return None
            return key

    def end(self, token: str) -> None:
        """Forget a cookie."""
        with self._mutex:
            self._known.pop(token, None)
