"""Conditions on metadata: their grammar, and whether a passage's metadata meets them. docs/filters.md says it in prose.

{"lang": "en", "year": {"gte": 2024, "lt": 2026}, "tags": {"in": ["a", "b"]}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from latewood.errors import UsageError

__all__ = ["Where", "check_where", "holds", "meets", "read_where"]

Where = Mapping[str, Any]
"""Field → a value that it must equal, or operators with what they compare with. All fields must hold."""

_ORDER = ("gt", "gte", "lt", "lte")
_EXAMPLE = '{"lang": "en", "year": {"gte": 2024}}'


def read_where(text: str) -> Where:
    """Conditions as JSON, as `--where` takes them.

    Raises:
        UsageError: not JSON, or no conditions.
    """
    try:
        return check_where(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"where: got {text!r:.80}, which is not JSON ({error}); expected such as {_EXAMPLE}") from None


def check_where(where: Any) -> Where:
    """Conditions on metadata, if that is what it is.

    All must hold. A field that holds an array meets a condition if one of its members does; a field that isn't there
    meets none.

    Raises:
        UsageError: anything else.
    """
    if not isinstance(where, Mapping) or not where:
        raise UsageError(f"where: got {where!r:.80}, expected conditions such as {_EXAMPLE}")
    for name, condition in where.items():
        if not isinstance(name, str):
            raise UsageError(f"where: got {name!r:.40} as a field, expected a text")
        _check_condition(name, condition)
    return where


def _check_condition(name: str, condition: Any) -> None:
    if isinstance(condition, Mapping):
        for operator, value in condition.items():
            if not _is_right(operator, value):
                raise UsageError(
                    f"where: {name!r:.40}: can't use {operator!r:.20} with {value!r:.40}: expected in with a list of "
                    f"texts, numbers, true or false; gt, gte, lt or lte with a text or a number"
                )
    if not (condition if isinstance(condition, Mapping) else _is_plain(condition)):
        raise UsageError(
            f"where: {name!r:.40}: got {condition!r:.40}, expected a text, a number, true, false or an operator"
        )


def _is_right(operator: Any, value: Any) -> bool:
    if operator == "in":
        return isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_plain, value))
    return operator in _ORDER and _is_plain(value) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float)


def meets(metadata: Mapping[str, Any], where: Where) -> bool:
    """Whether a passage's metadata meets all conditions."""
    return all(holds(metadata.get(name), condition) for name, condition in where.items())


def holds(value: Any, condition: Any) -> bool:
    """Whether a field's value meets its condition; None stands for a field that isn't there, too."""
    values = value if isinstance(value, list) else [value]
    if not isinstance(condition, Mapping):
        return any(_same(each, condition) for each in values)
    return any(all(_compares(each, operator, other) for operator, other in condition.items()) for each in values)


def _same(value: Any, other: Any) -> bool:
    # In JSON true is not 1.
    return isinstance(value, bool) == isinstance(other, bool) and bool(value == other)


def _compares(value: Any, operator: str, other: Any) -> bool:
    if operator == "in":
        return any(_same(value, each) for each in other)
    comparable = isinstance(value, str) if isinstance(other, str) else isinstance(value, int | float)
    if not comparable or isinstance(value, bool):
        return False
    return bool({"gt": value > other, "gte": value >= other, "lt": value < other, "lte": value <= other}[operator])
