"""Rankings of somebody else's system, from and to TREC run files.

    query-id  Q0  document-id  rank  score  tag          separated by blanks or tabs

Higher scores are better. Ranks decide where scores are equal, since they are the order that was shown; where the
ranks of a query aren't all different (some tools write 0 throughout), equal scores are in order of id.
Files that are written have strictly falling scores, so that trec_eval, which sorts by score and breaks ties in its
own way, judges the order that was shown.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from latewood.errors import InputError, StorageError
from latewood.evaluate.data import lines_of

__all__ = ["Run", "read_run", "write_run"]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Run:
    """What a system ranked, once and for all.

    Args:
        rankings: query id → document ids, best first, each once.
        scores: query id → their scores, as many; never rising.
        ties_by: what put equal scores in order: "rank" or "id".
        path: the file that it came from, for messages.
    """

    rankings: Mapping[str, tuple[str, ...]]
    scores: Mapping[str, tuple[float, ...]]
    ties_by: str = "rank"
    path: str = ""

    @property
    def depth(self) -> int:
        """Results of the query that has most."""
        return max(map(len, self.rankings.values()), default=0)

    @property
    def documents(self) -> set[str]:
        """Every id that is ranked for some query."""
        return set().union(*self.rankings.values())


@dataclass(frozen=True, slots=True)
class _Line:
    document: str
    rank: int
    score: float
    number: int


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read a TREC run.

    Args:
        path: UTF-8; blank lines are passed over, a byte order mark is allowed. Lines may be in any order.

    Raises:
        InputError: a line of another layout, a document that comes twice for a query, a score that is no finite
            number, scores that rise with the rank (distances instead of scores), no lines at all.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    queries: dict[str, dict[str, _Line]] = {}
    for number, line in lines_of(name):
        query_id, read = _line(line, f"{name}:{number}", number)
        ranked = queries.setdefault(query_id, {})
        before = ranked.setdefault(read.document, read)
        if before is not read:
            raise InputError(
                f"{name}:{number}: {read.document!r} came for query {query_id!r} on line {before.number} already; "
                f"expected each document once per query"
            )
    if not queries:
        raise InputError(f"{name}: no rankings; expected lines such as: q1 Q0 doc7 1 12.5 mysystem")
    by_rank = all(len({line.rank for line in ranked.values()}) == len(ranked) for ranked in queries.values())
    ordered = {}
    for query_id, ranked in queries.items():
        lines = sorted(ranked.values(), key=lambda of: (-of.score, of.rank if by_rank else 0, of.document))
        if by_rank:
            _check_ranks(lines, name, query_id)
        ordered[query_id] = lines
    return Run(
        rankings={query_id: tuple(line.document for line in lines) for query_id, lines in ordered.items()},
        scores={query_id: tuple(line.score for line in lines) for query_id, lines in ordered.items()},
        ties_by="rank" if by_rank else "id",
        path=name,
    )


def write_run(
    path: str | os.PathLike[str],
    rankings: Mapping[str, Sequence[str]],
    scores: Mapping[str, Sequence[float]] | None = None,
    *,
    tag: str = "latewood",
) -> None:
    """Write a TREC run with strictly falling scores.

    A score that isn't below the one before it, as float32, which is what trec_eval reads, is written as the next
    float32 below that one. So the scores are a system's own but for ties.

    Args:
        path: the file; replaced if it is there.
        rankings: query id → document ids, best first.
        scores: query id → their scores, as many; None to count down to 1.
        tag: the last column: the system's name. Blanks in it become underscores.

    Raises:
        InputError: an id with a blank in it, which this format can't hold.
        StorageError: the operating system refuses to write it.
    """
    label = "_".join(tag.split()) or "latewood"
    lines = []
    for query_id, ids in rankings.items():
        given = scores[query_id] if scores is not None else [float(len(ids) - at) for at in range(len(ids))]
        for rank, (document, score) in enumerate(zip(ids, _falling(given), strict=True), start=1):
            for value in (query_id, document):
                if not value or value.split() != [value]:
                    raise InputError(f"id {value!r} has a blank in it: a TREC run can't hold it; use ids without")
            lines.append(f"{query_id} Q0 {document} {rank} {score} {label}\n")
    try:
        Path(path).write_text("".join(lines), encoding="utf-8", newline="\n")
    except OSError as err:
        raise StorageError(f"{os.fspath(path)}: could not be written: {err.strerror or err}") from err


def _line(line: str, where: str, number: int) -> tuple[str, _Line]:
    fields = line.split()
    if len(fields) != 6:
        raise InputError(
            f"{where}: {len(fields)} columns; expected the 6 of a TREC run: query-id Q0 document-id rank score tag"
        )
    query_id, _, document, rank, score, _ = fields
    if not _INTEGER.fullmatch(rank):
        raise InputError(f"{where}: the rank is {rank!r}, expected an integer in the fourth column")
    try:
        value = float(score)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: the score is {score!r}, expected a finite number in the fifth column")
    return query_id, _Line(document, int(rank), value, number)


def _check_ranks(lines: Sequence[_Line], name: str, query_id: str) -> None:
    """Lines are in order of their scores; ranks that say otherwise mean that lower was better, or a mixed-up file."""
    for better, worse in pairwise(lines):
        if better.rank > worse.rank:
            raise InputError(
                f"{name}:{better.number}: for query {query_id!r} rank {better.rank} has a higher score than rank "
                f"{worse.rank} ({better.score} and {worse.score}); expected scores that fall as ranks rise: "
                f"negate the scores if they are distances"
            )


def _falling(scores: Sequence[float]) -> list[np.float32]:
    """The scores as float32, each below the one before."""
    falling: list[np.float32] = []
    for score in scores:
        value = np.float32(score)
        if falling and value >= falling[-1]:
            value = np.nextafter(falling[-1], np.float32(-np.inf))
        falling.append(value)
    return falling
