"""What was sent, and the limit that stops a surprise.

with accounting(limit=1_000_000) as account:
kb.add(passages)
print(account.tokens)
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from latewood.errors import BudgetError

__all__ = ["Account", "accounting", "current_account"]


@dataclass(slots=True)
class Account:
    """Counts of what one run sent. Threads may share it.

    Args:
        limit: tokens that may be sent and answered in all; None for no limit.
        requests: requests that were sent, retried ones each time.
        tokens: sent and answered, as the endpoint counted them where it says so, else by our estimate.
        retries: requests that had to be sent again.
        cached: answers that came from the disk instead.
    """

    limit: int | None = None
    requests: int = 0
    tokens: int = 0
    retries: int = 0
    cached: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self, tokens: int) -> None:
        """Count a request before it is sent.

        Raises:
            BudgetError: it would go beyond the limit; it isn't counted, and must not be sent.
        """
        with self._lock:
            if self.limit is not None and self.tokens + tokens > self.limit:
                raise BudgetError(
                    f"stopped at {self.tokens:,} tokens: the next request has about {tokens:,}, and the limit is "
                    f"{self.limit:,}; raise it and run again, what was answered is kept"
                )
            self.tokens += tokens
            self.requests += 1

    def settle(self, reserved: int, counted: int) -> None:
        """Put what the endpoint counted in the place of our estimate."""
        with self._lock:
            self.tokens += counted - reserved

    def retried(self) -> None:
        """Count a request that is sent again."""
        with self._lock:
            self.retries += 1
            self.requests += 1

    def from_cache(self, answers: int = 1) -> None:
        """Count answers that needn't be asked for."""
        with self._lock:
            self.cached += answers


_current: ContextVar[Account | None] = ContextVar("latewood_account", default=None)


def current_account() -> Account:
    """The account of the run in progress; a fresh one without a limit where nobody keeps any."""
    return _current.get() or Account()


@contextmanager
def accounting(limit: int | None = None) -> Iterator[Account]:
    """Everything that endpoints are sent inside is counted, and stopped at `limit` tokens."""
    account = Account(limit)
    token = _current.set(account)
    try:
        yield account
    finally:
        _current.reset(token)
