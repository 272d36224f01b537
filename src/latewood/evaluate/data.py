"""Questions and judgements, from files to plain dictionaries.

Questions: `queries.jsonl` of BEIR, one object with `_id` and `text` per line; other fields are passed over.
Judgements (qrels): which document answers which question. Two layouts are read, told apart by the first line:

    query-id <TAB> corpus-id <TAB> score      BEIR; the header line may be missing
    query-id iteration corpus-id score        TREC; separated by blanks or tabs, the second column is passed over

The score is an integer grade: above 0 is an answer, 0 or less was looked at and is none.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from latewood.errors import InputError, StorageError

__all__ = ["Judged", "LeftOut", "Qrels", "Queries", "lines_of", "read_qrels", "read_queries", "select"]

Queries = Mapping[str, str]
"""Query id → its text."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id → document id → grade."""

MAX_GRADE = 1000
"""No collection grades higher; a larger number is a column that was taken for another."""

_HEADER_NAMES = {"score", "rel", "relevance", "label", "grade"}
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Queries that can't be judged, by reason. They take no part in any figure.

    Args:
        unjudged: in the queries, and not in the qrels.
        no_positive: in both, but no judgement is above 0: every metric would be 0 whatever is found.
        no_text: in the qrels, and not in the queries.
    """

    unjudged: int = 0
    no_positive: int = 0
    no_text: int = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """The queries that figures are made of: those with a text and at least one positive judgement.

    Args:
        queries: query id → text, in the order of the file.
        qrels: query id → document id → grade, for exactly these queries.
        left_out: the others, counted.
    """

    queries: Queries
    qrels: Qrels
    left_out: LeftOut

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.queries)

    def positives(self, query_id: str) -> set[str]:
        """The ids that answer this query: grade above 0."""
        return {document for document, grade in self.qrels[query_id].items() if grade > 0}


def read_queries(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read `queries.jsonl`.

    Args:
        path: UTF-8; blank lines are passed over, a byte order mark is allowed.

    Returns:
        Query id → text, in the order of the file.

    Raises:
        InputError: not JSON, no `_id`, no or an empty `text`, an id that came before, no queries at all.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    queries: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, line in lines_of(name):
        where = f"{name}:{number}"
        query_id, text = _query(line, where)
        if query_id in seen:
            raise InputError(
                f"{where}: query id {query_id!r} came on line {seen[query_id]} already; give each its own id"
            )
        queries[query_id], seen[query_id] = text, number
    if not queries:
        raise InputError(f'{name}: no queries; expected one JSON object per line, such as {{"_id": "1", "text": "…"}}')
    return queries


def read_qrels(path: str | os.PathLike[str]) -> dict[str, dict[str, int]]:
    """Read judgements in BEIR's or TREC's layout.

    Args:
        path: UTF-8; blank lines are passed over, a byte order mark is allowed.

    Returns:
        Query id → document id → grade, in the order of the file.

    Raises:
        InputError: a line of another layout, a grade that is no integer, two grades for one pair, no judgements.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    qrels: dict[str, dict[str, int]] = {}
    layout: _Layout | None = None
    for position, (number, line) in enumerate(lines_of(name)):
        where = f"{name}:{number}"
        layout = layout or _layout(line, where)
        fields = _fields(line, layout, where)
        if position == 0 and fields[-1].strip().lower() in _HEADER_NAMES:
            continue
        query_id, document, grade = fields[0], fields[-2], _grade(fields[-1], where)
        judged = qrels.setdefault(query_id, {})
        before = judged.setdefault(document, grade)
        if before != grade:
            raise InputError(
                f"{where}: {document!r} is graded {grade} for query {query_id!r}, and was {before} before; keep one"
            )
    if not qrels:
        raise InputError(f"{name}: no judgements; expected lines of query-id, corpus-id and score, separated by tabs")
    return qrels


def select(queries: Queries, qrels: Qrels) -> Judged:
    """Keep the queries that can be judged, and count the others by reason.

    Args:
        queries: query id → text.
        qrels: query id → document id → grade.

    Raises:
        InputError: no query has a judgement: the two files don't belong together; or none has a positive one.
    """
    known = [query_id for query_id in queries if qrels.get(query_id)]
    if not known:
        raise InputError(
            f"none of the {len(queries)} queries has a judgement (queries name {_some(queries)}, "
            f"qrels name {_some(qrels)}): give the qrels that belong to these queries"
        )
    kept = [query_id for query_id in known if any(grade > 0 for grade in qrels[query_id].values())]
    if not kept:
        raise InputError(
            f"none of the {len(known)} judged queries has a judgement above 0: nothing could ever be found"
        )
    return Judged(
        queries={query_id: queries[query_id] for query_id in kept},
        qrels={query_id: qrels[query_id] for query_id in kept},
        left_out=LeftOut(
            unjudged=len(queries) - len(known),
            no_positive=len(known) - len(kept),
            no_text=sum(query_id not in queries for query_id in qrels),
        ),
    )


def lines_of(name: str) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 file that are not blank, with their numbers from 1.

    Raises:
        InputError: not a file, or not UTF-8; names the line.
        StorageError: the operating system refuses to read it.
    """
    try:
        with Path(name).open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as err:
                    raise InputError(f"{name}:{number}: not UTF-8 ({err.reason}); convert the file to UTF-8") from err
                if line.strip():
                    yield number, line
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as err:
        raise InputError(f"{name}: {err.strerror}; expected a file") from err
    except OSError as err:
        raise StorageError(f"{name}: could not be read: {err.strerror or err}") from err


def _query(line: str, where: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise InputError(f"{where}: not JSON: {err}; expected one JSON object per line") from err
    if not isinstance(record, dict):
        raise InputError(f'{where}: not a JSON object; expected one with "_id" and "text"')
    query_id, text = record.get("_id"), record.get("text")
    if isinstance(query_id, bool) or not isinstance(query_id, (str, int)) or not str(query_id).strip():
        raise InputError(f'{where}: "_id" is {json.dumps(query_id)}, expected a string or an integer')
    if not isinstance(text, str):
        raise InputError(f'{where}: "text" of query {query_id!r} is {json.dumps(text)[:40]}, expected a string')
    if not text.strip():
        raise InputError(f"{where}: query {query_id!r} has an empty text; write the question or remove the line")
    return str(query_id), text


@dataclass(frozen=True, slots=True)
class _Layout:
    separator: str | None  # None: any run of blanks
    columns: int


def _layout(line: str, where: str) -> _Layout:
    separator = "\t" if "\t" in line else None
    columns = len(line.split(separator))
    if columns not in (3, 4):
        raise InputError(
            f"{where}: {columns} columns; expected 3 separated by tabs (query-id, corpus-id, score), "
            f"or 4 as TREC has them (query-id, 0, corpus-id, score)"
        )
    return _Layout(separator, columns)


def _fields(line: str, layout: _Layout, where: str) -> list[str]:
    fields = line.split(layout.separator)
    if len(fields) != layout.columns or not all(field.strip() for field in fields):
        filled = sum(bool(field.strip()) for field in fields)
        raise InputError(f"{where}: {filled} filled columns; expected {layout.columns}, as on the first line")
    return fields


def _grade(text: str, where: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise InputError(f"{where}: the grade is {text!r}, expected an integer such as 0 or 1 in the last column")
    if len(text) > 20 or abs(int(text)) > MAX_GRADE:
        raise InputError(
            f"{where}: the grade is {text.strip()[:20]}, expected at most {MAX_GRADE}; is the last column another one?"
        )
    return int(text)


def _some(ids: Mapping[str, object]) -> str:
    first = [repr(query_id) for query_id in list(ids)[:2]]
    return ", ".join([*first, "…"] if len(ids) > 2 else first)
