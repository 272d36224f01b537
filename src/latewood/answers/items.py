"""Answers to be judged, and what people said of them, from files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latewood.errors import InputError
from latewood.evaluate.data import lines_of

__all__ = ["LABELS", "Item", "Label", "read_items", "read_labels", "read_references"]

LABELS = ("supported", "contradicted", "not_in_text", "refusal")


@dataclass(frozen=True, slots=True)
class Item:
    """An answer and what it should rest on.

    Args:
        id: of the question.
        question: as it was asked.
        answer: as it was given.
        contexts: the texts that whoever answered was given, in their order; citations count them from 1.
        reference: the right answer; "" where nobody said.
        claims: of the answer, where somebody has listed them already; () to have them listed.
        refusal: the answer is known to be none; None where the judge is to say.
    """

    id: str
    question: str
    answer: str
    contexts: tuple[str, ...]
    reference: str = ""
    claims: tuple[str, ...] = ()
    refusal: bool | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What somebody said of an answer, or of one claim of it.

    Args:
        id: of the item.
        verdict: one of `LABELS`; of a whole answer, the worst of its claims.
        claim: its text; "" for the whole answer.
    """

    id: str
    verdict: str
    claim: str = ""


def read_items(path: str | os.PathLike[str]) -> list[Item]:
    """Read answers: JSONL with `question`, `answer`, `contexts`, and perhaps `id` (or `_id`), `reference`, `claims`.

    A context is a text, or an object with `text`. Without an `id` the number of the line is it.

    Raises:
        InputError: not such a file; names the line.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    items: list[Item] = []
    seen: set[str] = set()
    for number, line in lines_of(name):
        where = f"{name}:{number}"
        record = _record(line, where)
        item_id = _id(record, where, str(number))
        if item_id in seen:
            raise InputError(f"{where}: the id {item_id!r} came before; give each answer its own")
        seen.add(item_id)
        items.append(
            Item(
                id=item_id,
                question=_string(record, "question", where),
                answer=_string(record, "answer", where, empty=True),
                contexts=_contexts(record, where),
                reference=_string(record, "reference", where, missing="", empty=True),
                claims=_strings(record.get("claims", []), "claims", where),
            )
        )
    if not items:
        raise InputError(
            f'{name}: no answers; expected lines such as {{"question": "…", "answer": "…", "contexts": […]}}'
        )
    return items


def read_labels(path: str | os.PathLike[str]) -> list[Label]:
    """Read people's verdicts: JSONL with `id`, `verdict`, and perhaps `claim`.

    Raises:
        InputError: not such a file, or one answer or claim twice; names the line.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    labels: dict[tuple[str, str], Label] = {}
    for number, line in lines_of(name):
        where = f"{name}:{number}"
        record = _record(line, where)
        verdict = _string(record, "verdict", where)
        if verdict not in LABELS:
            raise InputError(f"{where}: the verdict is {verdict!r}, expected one of {', '.join(LABELS)}")
        label = Label(_id(record, where, ""), verdict, _string(record, "claim", where, missing=""))
        if (label.id, label.claim) in labels:
            raise InputError(f"{where}: {label.id!r} has a verdict already; expected one for each answer or claim")
        labels[label.id, label.claim] = label
    if not labels:
        raise InputError(f'{name}: no verdicts; expected lines such as {{"id": "1", "verdict": "supported"}}')
    return list(labels.values())


def read_references(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read right answers: JSONL with `_id` (or `id`) of the question and `answer`.

    Raises:
        InputError: not such a file, or one question twice; names the line.
        StorageError: the operating system refuses to read it.
    """
    name = os.fspath(path)
    found: dict[str, str] = {}
    for number, line in lines_of(name):
        where = f"{name}:{number}"
        record = _record(line, where)
        question_id = _id(record, where, "")
        if question_id in found:
            raise InputError(f"{where}: the id {question_id!r} came before; expected one answer for each question")
        found[question_id] = _string(record, "answer", where)
    return found


def _record(line: str, where: str) -> Mapping[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}); expected one object per line") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: got {type(record).__name__}, expected a JSON object")
    return record


def _id(record: Mapping[str, Any], where: str, default: str) -> str:
    value = record.get("id", record.get("_id", default))
    if type(value) is int:
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f'{where}: "id" is {value!r}, expected a text')
    return value


def _string(record: Mapping[str, Any], key: str, where: str, missing: str | None = None, empty: bool = False) -> str:
    value = record.get(key, missing)
    if not isinstance(value, str) or (not value.strip() and not empty and value != missing):
        raise InputError(f'{where}: "{key}" is {value!r:.60}, expected a text')
    return value


def _strings(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise InputError(f'{where}: "{key}" is {value!r:.60}, expected a list of texts')
    return tuple(value)


def _contexts(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    value = record.get("contexts")
    if isinstance(value, list):
        value = [item.get("text") if isinstance(item, dict) else item for item in value]
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise InputError(f'{where}: "contexts" is {value!r:.60}, expected the list of texts that were retrieved')
    return tuple(value)
