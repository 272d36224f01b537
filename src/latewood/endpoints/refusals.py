"""What an endpoint says when it refuses, in whatever shape, and what to do about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

from latewood.endpoints.address import Address
from latewood.errors import EndpointError

__all__ = ["RETRIED", "Refused", "TooLarge", "refusal", "retry_after", "said_by"]

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
"""Answers that another try may better."""

# An account without money answers 429, too: waiting doesn't help.
_FINAL = ("insufficient_quota", "billing_hard_limit", "insufficient balance", "insufficient_balance")

_SHOWN = 300


class Refused(EndpointError):
    """An answer of 300 and above.

    Args:
        message: the whole sentence.
        status: of HTTP.
        said: the endpoint's own words, without the key.
        brief: the sentence without the advice, for one that is tried again.
        final: another try can't better it.
    """

    def __init__(self, message: str, status: int, said: str, brief: str, final: bool) -> None:
        super().__init__(message)
        self.status = status
        self.said = said
        self.brief = brief
        self.final = final


class TooLarge(Refused):
    """413, or the same said otherwise: fewer or shorter texts may pass."""


def said_by(body: str) -> str:
    """The words in an error's body: OpenAI's object, Cohere's `message`, Voyage's `detail`, TEI's `error`, or text."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        value = body
    for _ in range(3):
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict):
            break
        found = [value[key] for key in ("error", "message", "detail", "msg") if value.get(key)]
        if not found:
            break
        code = value.get("code") if isinstance(value.get("code"), str) else value.get("type")
        value = found[0] if not isinstance(found[0], str) or not isinstance(code, str) else f"{found[0]} ({code})"
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split())[:_SHOWN]


def refusal(status: int, body: str, shown: str, address: Address) -> Refused:
    """The error for an answer.

    Args:
        status: of HTTP, 300 and above.
        body: as it came.
        shown: the address for the message.
        address: whose key is kept out of it.
    """
    said = address.without_key(said_by(body))
    quoted = f": {said!r}" if said else ""
    brief = f"{shown} answered {status}{quoted}"
    final = any(word in body.lower() for word in _FINAL)
    too_large = status == 413 or (status in {400, 422} and _says_too_many(said))
    kind = TooLarge if too_large else Refused
    return kind(f"{brief}; {_advice(status, address, final, too_large)}", status, said, brief, final)


def _says_too_many(said: str) -> bool:
    """Whether a 400 or 422 is about the number or the length of what was sent."""
    lower = said.lower()
    limited = any(word in lower for word in ("maximum", "max ", "exceed", "too many", "too large", "too long", "limit"))
    return limited and any(word in lower for word in ("batch", "length", "tokens", "inputs", "documents", "items"))


def _advice(status: int, address: Address, final: bool, too_large: bool) -> str:
    names = " or ".join(address.key_names) or "the key's variable"
    if final:
        return "the account has no credit left: see to its billing"
    if status in {401, 403}:
        return f"check the key in {names}, and what it may do" if address.key else f"set {names} to the key it wants"
    if too_large:
        return "fewer or shorter texts at once may pass"
    if 300 <= status < 400:
        return "it points elsewhere, and a key doesn't follow: give the address that it points to"
    if status in {404, 405}:
        return "check the address and the model's name"
    if status in RETRIED:
        return "try again later"
    return "check the model's name and the options"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer asks to wait: `retry-after-ms`, or Retry-After, in seconds or as a date; None for none."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                when = parsedate_to_datetime(text)
            except (TypeError, ValueError):
                continue
            seconds = (when - datetime.now(timezone.utc if when.tzinfo else None)).total_seconds()
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
