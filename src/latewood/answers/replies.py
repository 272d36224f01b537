"""JSON out of what a model replied, whatever it wrote around it."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["json_object"]

_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL | re.IGNORECASE)


def json_object(text: str) -> dict[str, Any] | None:
    """The one JSON object in a reply: the reply itself, the content of a fence, or what stands amid words.

    Returns:
        None where there is none, or more than one that could be meant: which one counts is not guessed.
    """
    for candidate in (text, *_FENCE.findall(text)):
        try:
            value = json.loads(candidate)
        except ValueError:
            continue
        return value if isinstance(value, dict) else None
    found: list[dict[str, Any]] = []
    decoder = json.JSONDecoder()
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            found.append(value)
        at = text.find("{", end)
    return found[0] if len(found) == 1 else None
