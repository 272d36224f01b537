"""How fast and how stubbornly an endpoint is called. Defaults from the environment, so that every door has them."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any

from latewood.errors import UsageError

__all__ = ["Limits"]

_VARIABLES = {
    "concurrency": "LATEWOOD_HTTP_CONCURRENCY",
    "requests_per_minute": "LATEWOOD_HTTP_RPM",
    "tokens_per_minute": "LATEWOOD_HTTP_TPM",
    "timeout": "LATEWOOD_HTTP_TIMEOUT",
    "attempts": "LATEWOOD_HTTP_ATTEMPTS",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one endpoint.

    Args:
        concurrency: requests under way at once.
        requests_per_minute: None for no limit of ours; the endpoint's 429 is obeyed all the same.
        tokens_per_minute: of what is sent, by our estimate; None for no limit of ours.
        timeout: seconds to wait for an answer (or, of a stream, for its next piece).
        attempts: times that a request is sent before it is given up.
        first_wait: seconds; the wait before attempt n + 1 is drawn between 0 and first_wait * 2^(n - 1) ("full
            jitter", Brooker 2015: clients that failed together don't come back together).
        longest_wait: seconds; no wait is longer, and a Retry-After beyond it ends the request.
    """

    concurrency: int = 4
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    timeout: float = 60.0
    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 120.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "attempts"):
            if not 1 <= getattr(self, name) <= 1000:
                raise UsageError(f"{name}: got {getattr(self, name)}, expected 1 to 1000")
        for name in ("requests_per_minute", "tokens_per_minute", "timeout", "longest_wait"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"{name}: got {value}, expected more than 0")

    @classmethod
    def from_environment(cls) -> Limits:
        """The defaults, with what LATEWOOD_HTTP_CONCURRENCY, _RPM, _TPM, _TIMEOUT and _ATTEMPTS say.

        Raises:
            UsageError: a variable isn't a number that can be one of these.
        """
        limits = cls()
        for name, variable in _VARIABLES.items():
            text = os.environ.get(variable)
            if not text:
                continue
            try:
                value: Any = int(text) if name in {"concurrency", "attempts"} else float(text)
                limits = replace(limits, **{name: value})
            except (ValueError, UsageError) as error:
                raise UsageError(f"{variable}={text!r}: expected a number ({error})") from None
        return limits
