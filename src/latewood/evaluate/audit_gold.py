"""What answers a question, and whether the corpus holds it whole, cut in two, or not at all.

The unit of an audit is the pair of a question and one of its answers (its gold). A gold is named in one of two ways:

- by id, in qrels: a passage, or the source that passages come from;
- by its own words, in a gold file: an excerpt, or a span of characters of a source. Then whatever chunk holds it
  answers the question, so that one set of labels judges any chunking, and a chunk boundary that cuts it can be seen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from latewood.errors import InputError
from latewood.evaluate.audit_corpus import Corpus
from latewood.evaluate.data import Judged, lines_of
from latewood.evaluate.grouping import Grouping
from latewood.types import Passage

__all__ = ["PRESENT", "WHOLE", "Excerpt", "Gold", "from_excerpts", "from_judged", "read_gold"]

WHOLE = 0.9
"""A chunk answers for an excerpt if it holds so much of it: a boundary that takes off a last word cuts nothing."""

PRESENT = 0.5
"""An excerpt is in the corpus if the chunks together hold so much of it; below, it was never ingested, or rewritten."""

RUN = 4
"""Words in a row that must agree before any of them counts as held; shorter agreement is chance."""

State = Literal["whole", "cut", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class Gold:
    """One answer to one question.

    Args:
        query_id: of the question.
        id: of the answer, as the judgements name it.
        units: what satisfies it in a ranking: passage ids, or the source's id where judgements name sources.
        passages: passages that hold it.
        state: whether some passage holds it whole, a boundary cut it, or the corpus lacks it; "unknown" where
            nobody gave the corpus.
    """

    query_id: str
    id: str
    units: frozenset[str]
    passages: tuple[str, ...]
    state: State


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A gold by its own words, or by its place.

    Args:
        query_id: of the question.
        id: to call it by.
        source_id: the document that it is a part of; "" to look in all of them (only with `text`).
        text: its words; "" where a span is given.
        span: characters [start, end) of the source's text.
    """

    query_id: str
    id: str
    source_id: str = ""
    text: str = ""
    span: tuple[int, int] | None = None


def from_judged(judged: Judged, grouping: Grouping, corpus: Corpus | None) -> list[Gold]:
    """Golds named by id.

    Args:
        judged: the judged questions.
        grouping: what the judgements name.
        corpus: to tell what is missing; None where nobody knows.
    """
    parts: dict[str, list[str]] = {}
    if corpus is not None:
        for passage_id, source in corpus.sources.items():
            parts.setdefault(source if grouping.by == "source" else passage_id, []).append(passage_id)
    golds = []
    for query_id in judged.queries:
        for document in sorted(judged.positives(query_id)):
            passages = tuple(parts.get(document, ()))
            state: State = "unknown" if corpus is None else "whole" if passages else "missing"
            golds.append(Gold(query_id, document, frozenset({document}), passages, state))
    return golds


def read_gold(path: str | os.PathLike[str]) -> list[Excerpt]:
    """Read a gold file: one JSON object per line.

        {"query_id": "q1", "text": "the words that answer it", "source_id": "guide.md"}
        {"query_id": "q2", "source_id": "guide.md", "start": 1200, "end": 1410}

    Args:
        path: UTF-8; blank lines are passed over. `source_id` may be left out beside `text`.

    Raises:
        InputError: a line that is no such object, or one that comes twice.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    excerpts: dict[Excerpt, int] = {}
    for number, line in lines_of(name):
        excerpt = _excerpt(line, f"{name}:{number}")
        if excerpt in excerpts:
            raise InputError(f"{name}:{number}: the same gold came on line {excerpts[excerpt]} already; keep one")
        excerpts[excerpt] = number
    if not excerpts:
        raise InputError(f'{name}: no golds; expected one JSON object per line, {{"query_id": "q1", "text": "…"}}')
    return list(excerpts)


def _excerpt(line: str, where: str) -> Excerpt:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as err:
        raise InputError(f"{where}: not JSON: {err}; expected one JSON object per line") from err
    if not isinstance(record, dict):
        raise InputError(f'{where}: not a JSON object; expected one with "query_id" and "text", or "start" and "end"')
    query_id, source, text = record.get("query_id"), record.get("source_id", ""), record.get("text", "")
    if isinstance(query_id, bool) or not isinstance(query_id, str | int) or not str(query_id):
        raise InputError(f'{where}: "query_id" is {json.dumps(query_id)}, expected the id of a question')
    if not isinstance(source, str) or not isinstance(text, str):
        raise InputError(f'{where}: "source_id" and "text" are strings where they are given')
    if text.split():
        return Excerpt(str(query_id), f"{source or 'text'}: {' '.join(text.split())[:60]}", source, text)
    return _span(record, str(query_id), source, where)


def _span(record: Mapping[str, Any], query_id: str, source: str, where: str) -> Excerpt:
    start, end = record.get("start"), record.get("end")
    if type(start) is not int or type(end) is not int or not source or not 0 <= start < end:
        raise InputError(
            f'{where}: expected "text" with words in it, or "source_id" with "start" and "end", 0 <= start < end'
        )
    return Excerpt(query_id, f"{source}[{start}:{end}]", source, span=(start, end))


def from_excerpts(excerpts: Sequence[Excerpt], corpus: Corpus) -> list[Gold]:
    """Look excerpts up in the corpus.

    For each chunk of its source, the share of the excerpt that the chunk holds: of its characters for a span, of its
    words for a text (in runs of `RUN` words or more that agree, punctuation and case aside). Chunks that hold `WHOLE`
    of it answer for it. Where there is none, it was cut if the chunks together hold more than the best of them, and
    is missing if together they hold less than `PRESENT`. An excerpt that one chunk holds in altered words, more than
    `PRESENT` and less than `WHOLE`, is answered for by that chunk.

    Args:
        excerpts: in any order.
        corpus: every chunk; for spans each one's metadata needs `start` and `end`, characters of its source.

    Raises:
        InputError: a span in a source whose chunks don't say where they start and end.
    """
    held: list[dict[str, frozenset[int]]] = [{} for _ in excerpts]
    shares = _Words(excerpts)
    spans: dict[str, list[int]] = {}
    for at, excerpt in enumerate(excerpts):
        if excerpt.span is not None:
            spans.setdefault(excerpt.source_id, []).append(at)
    for passage in corpus.passages():
        for at in spans.get(passage.source_id, ()):
            found = _overlap(excerpts[at], passage)
            if found:
                held[at][passage.id] = found
        for at, words in shares.held_by(passage).items():
            held[at][passage.id] = frozenset(words)
    return [
        _resolve(excerpt, found, shares.size(at))
        for at, (excerpt, found) in enumerate(zip(excerpts, held, strict=True))
    ]


def _overlap(excerpt: Excerpt, passage: Passage) -> frozenset[int]:
    start, end = passage.metadata.get("start"), passage.metadata.get("end")
    if type(start) is not int or type(end) is not int:
        raise InputError(
            f"gold {excerpt.id} is a span, and chunk {passage.id!r} doesn't say where it lies in its source: "
            f'give every chunk "start" and "end", or the golds as "text"'
        )
    assert excerpt.span is not None
    return frozenset(range(max(start, excerpt.span[0]), min(end, excerpt.span[1])))


def _resolve(excerpt: Excerpt, held: Mapping[str, frozenset[int]], size: int) -> Gold:
    best = max((len(found) for found in held.values()), default=0) / size
    together = len(frozenset().union(*held.values())) / size
    state: State = "whole"
    passages: Iterable[str] = (passage_id for passage_id, found in held.items() if len(found) / size >= WHOLE)
    if together < PRESENT:
        state, passages = "missing", ()
    elif best < WHOLE:
        if together > best:
            state, passages = "cut", ()
        else:
            passages = (passage_id for passage_id, found in held.items() if len(found) / size == best)
    answering = tuple(passages)
    return Gold(excerpt.query_id, excerpt.id, frozenset(answering), answering, state)


class _Words:
    """Which words of which excerpt a passage holds; one look at each passage, whatever the number of excerpts."""

    def __init__(self, excerpts: Sequence[Excerpt]) -> None:
        self._words = [_normal(excerpt.text) for excerpt in excerpts]
        self._excerpts = excerpts
        self._wanted: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        self._lengths: set[int] = set()
        for at, words in enumerate(self._words):
            length = min(RUN, len(words))
            if length:
                self._lengths.add(length)
            for start in range(len(words) - length + 1 if length else 0):
                self._wanted.setdefault(tuple(words[start : start + length]), []).append((at, start))

    def size(self, at: int) -> int:
        """Words of an excerpt, or characters of a span."""
        span = self._excerpts[at].span
        return len(self._words[at]) if span is None else span[1] - span[0]

    def held_by(self, passage: Passage) -> dict[int, set[int]]:
        """Excerpt → positions of its words that this passage holds."""
        words = _normal(passage.text)
        found: dict[int, set[int]] = {}
        for length in self._lengths:
            for run in {tuple(words[start : start + length]) for start in range(len(words) - length + 1)}:
                for at, start in self._wanted.get(run, ()):
                    if self._excerpts[at].source_id in ("", passage.source_id):
                        found.setdefault(at, set()).update(range(start, start + length))
        return found


def _normal(text: str) -> list[str]:
    """Words as they are compared: lower case, without punctuation at their edges. Words of punctuation alone stay."""
    return [word.strip(".,;:!?()[]{}\"'«»“”‘’") or word for word in text.casefold().split()]
