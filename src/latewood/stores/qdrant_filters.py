"""Conditions on metadata as Qdrant's filters.

The grammar is that of every other door: `{"lang": "en", "year": {"gte": 2024}, "tags": {"in": ["a", "b"]}}`. All must
hold; a field that holds an array meets a condition if one of its members does. Numbers are compared as numbers, so that
2024 is found where 2024.0 was stored; Qdrant's own match of integers would miss it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latewood.errors import UsageError
from latewood.stores.conditions import holds

__all__ = ["AnyOf", "Between", "Clause", "Equals", "HasVector", "clauses_of"]

_ORDER = ("gt", "gte", "lt", "lte")


@dataclass(frozen=True, slots=True)
class Equals:
    """The field is this text, or this true or false."""

    key: str
    value: str | bool


@dataclass(frozen=True, slots=True)
class Between:
    """The field is a number within these bounds, of which None is none."""

    key: str
    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these holds; of none, none does."""

    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class HasVector:
    """The point has a vector of this name."""

    name: str


Clause = Equals | Between | AnyOf | HasVector


def clauses_of(where: Mapping[str, Any], within: str = "") -> tuple[Clause, ...]:
    """What must hold, all of it.

    Args:
        where: conditions on metadata that were checked before (`check_where`).
        within: the field of the payload that holds the metadata; "" for the payload itself.

    Raises:
        UsageError: a condition that Qdrant can't check: an order of texts.
    """
    return tuple(clause for name, condition in where.items() for clause in _clauses(_path(within, name), condition))


def _clauses(key: str, condition: Any) -> list[Clause]:
    if not isinstance(condition, Mapping):
        return [_equals(key, condition)]
    bounds = {operator: value for operator, value in condition.items() if operator in _ORDER}
    if "in" in condition:
        # One member must be in the list and within the bounds: so the bounds choose from the list.
        among = [value for value in condition["in"] if not bounds or holds(value, bounds)]
        return [AnyOf(tuple(_equals(key, each) for each in among))]
    for operator, value in bounds.items():
        if isinstance(value, str):
            raise UsageError(
                f"where: {key!r:.60}: Qdrant orders numbers only, and {operator} was given {value!r:.40}: "
                f"filter by in, or on a number"
            )
    return [Between(key, **bounds)]


def _equals(key: str, value: Any) -> Clause:
    return Equals(key, value) if isinstance(value, str | bool) else Between(key, gte=value, lte=value)


def _path(within: str, name: str) -> str:
    """A JSON path; Qdrant takes a dot for a step into an object unless the name is in quotation marks."""
    step = name if re.fullmatch(r"[\w-]+", name) else '"' + name.replace('"', "") + '"'
    return f"{within}.{step}" if within else step
