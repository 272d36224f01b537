"""Metadata as columns: each field that conditions name is read once per row, and then a filter is a look-up.

A row's metadata never changes, so nothing that was read is read again, whatever the generation: a column holds a small
number per row, and each condition is put to each different value once. Rows are read through their checksums.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.stores.conditions import Where, holds
from latewood.types import IntArray

__all__ = ["Metadata"]

_FIELDS = 32
_CONDITIONS = 64
"""Fields that are held per collection, and conditions that are remembered per field; the oldest go first."""
_AT_ONCE = 4096
_UNREAD = -1


@dataclass(slots=True)
class _Column:
    """One field: the code of each row's value, and the values by code.

    Args:
        codes: [rows] int32, `_UNREAD` for rows that weren't read.
        values: different values; None for a field that isn't there.
        known: value → code.
        met: condition as JSON → [codes] bool, whether the value meets it, as far as that was looked at.
    """

    codes: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    values: list[Any] = field(default_factory=list)
    known: dict[Any, int] = field(default_factory=dict)
    met: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict)

    def grow(self, rows: int) -> None:
        if len(self.codes) < rows:
            new = np.full(rows - len(self.codes), _UNREAD, np.int32)
            self.codes = np.concatenate([self.codes, new])

    def code(self, value: Any) -> int:
        # In Python 1, 1.0 and True are one key, and lists are none.
        key = (type(value), value) if isinstance(value, str | int | float) else json.dumps(value, sort_keys=True)
        code = self.known.setdefault(key, len(self.values))
        if code == len(self.values):
            self.values.append(value)
        return code

    def meeting(self, condition: Any) -> npt.NDArray[np.bool_]:
        """[codes] bool, whether each value meets this condition."""
        name = json.dumps(condition, sort_keys=True)
        known = self.met.pop(name, np.zeros(0, bool))
        if len(known) < len(self.values):
            new = [holds(value, condition) for value in self.values[len(known) :]]
            known = np.concatenate([known, np.array(new, bool)])
        self.met[name] = known
        while len(self.met) > _CONDITIONS:
            del self.met[next(iter(self.met))]
        return known


class Metadata:
    """Which rows of a collection meet conditions. Shared by all snapshots of a store.

    Args:
        read: gives the metadata of rows that are there, as stored JSON; a damaged row is a CorruptionError.
    """

    def __init__(self, read: Callable[[IntArray], Iterable[bytes]]) -> None:
        """Nothing is read yet."""
        self._read = read
        self._columns: dict[str, _Column] = {}
        self._mutex = threading.Lock()

    def meeting(self, rows: IntArray, wheres: Sequence[Where]) -> IntArray:
        """[n] int64, those of these rows that meet all of these conditions.

        Args:
            rows: [N] int64, rising; rows that are there.
            wheres: each as `check_where` takes it.

        Raises:
            CorruptionError: a row is not what was written.
        """
        with self._mutex:
            columns = self._covering(rows, list(dict.fromkeys(name for where in wheres for name in where)))
            kept = np.ones(len(rows), bool)
            for where in wheres:
                for name, condition in where.items():
                    kept &= columns[name].meeting(condition)[columns[name].codes[rows]]
        found: IntArray = rows[kept]
        return found

    def _covering(self, rows: IntArray, names: list[str]) -> Mapping[str, _Column]:
        """Columns of these fields that have all of these rows."""
        columns = {name: self._columns.pop(name) if name in self._columns else _Column() for name in names}
        if len(rows):
            for column in columns.values():
                column.grow(int(rows[-1]) + 1)
            unread = np.zeros(len(rows), bool)
            for column in columns.values():
                unread |= column.codes[rows] == _UNREAD
            new = rows[unread]
            for start in range(0, len(new), _AT_ONCE):
                self._fill(columns, new[start : start + _AT_ONCE])
        self._columns.update(columns)
        while len(self._columns) > max(_FIELDS, len(columns)):
            del self._columns[next(iter(self._columns))]
        return columns

    def _fill(self, columns: Mapping[str, _Column], rows: IntArray) -> None:
        seen: dict[bytes, list[int]] = {}  # most collections have few different metadata
        found = []
        for stored in self._read(rows):
            codes = seen.get(stored)
            if codes is None:
                values = json.loads(stored)
                codes = seen[stored] = [column.code(values.get(name)) for name, column in columns.items()]
            found.append(codes)
        table = np.array(found, np.int32)
        for number, column in enumerate(columns.values()):
            column.codes[rows] = table[:, number]
