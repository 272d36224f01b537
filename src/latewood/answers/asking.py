"""A question and passages into an answer with citations, as it is written.

for event in stream_answer("which part is dense?", [hit.passage for hit in ranking.hits], model):
...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from latewood.answers.citing import Citation, cited_numbers, numbered
from latewood.answers.prompts import NOT_ANSWERED, answer_prompt
from latewood.endpoints import ChatModel, Prompt, Reply
from latewood.errors import EndpointError, UsageError
from latewood.types import Passage

__all__ = ["MOST_TOKENS", "Answer", "Cited", "Done", "Event", "Token", "answer", "answer_of", "stream_answer"]

MOST_TOKENS = 800
"""Of an answer."""

UNANSWERED = "The passages don't answer this question."
"""What is shown where the model says that they don't."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what it rests on.

    Args:
        question: as it was asked.
        text: the answer with its numbers in brackets; a sentence that says so where there is none.
        outcome: "answered", "not_in_passages", "refused" (the model wouldn't) or "nothing_found" (there were no
            passages, and the model wasn't asked).
        finish: "stop"; "length" where it is cut at the limit; "content_filter" or "broken off".
        citations: those of its numbers that stand for a passage, in order of first appearance.
        unknown: those that stand for none: the model made them up.
        model: that wrote it.
        cached: it came from the disk.
    """

    question: str
    text: str
    outcome: str
    finish: str
    citations: tuple[Citation, ...]
    unknown: tuple[int, ...]
    model: str
    cached: bool = False

    @property
    def answered(self) -> bool:
        """Whether there is an answer."""
        return self.outcome == "answered"

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        return {
            "question": self.question,
            "answer": self.text,
            "outcome": self.outcome,
            "finish": self.finish,
            "citations": [citation.to_json() for citation in self.citations],
            "unknown_citations": list(self.unknown),
            "model": self.model,
            "cached": self.cached,
        }


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer's text."""

    text: str

    def to_json(self) -> dict[str, Any]:
        """As a server-sent event carries it."""
        return {"type": "token", "text": self.text}


@dataclass(frozen=True, slots=True)
class Cited:
    """A passage was cited for the first time."""

    citation: Citation

    def to_json(self) -> dict[str, Any]:
        """As a server-sent event carries it."""
        return {"type": "citation", **self.citation.to_json()}


@dataclass(frozen=True, slots=True)
class Done:
    """The last event: the answer as a whole."""

    answer: Answer

    def to_json(self) -> dict[str, Any]:
        """As a server-sent event carries it."""
        return {"type": "done", **self.answer.to_json()}


Event = Token | Cited | Done


def prompt_for(question: str, passages: Sequence[Passage], most_tokens: int = MOST_TOKENS) -> Prompt:
    """What a model is sent for a question.

    Raises:
        UsageError: the question is empty.
    """
    if not question.strip():
        raise UsageError("the question is empty; ask something")
    return answer_prompt(question, [(passage.source_id, passage.text) for passage in passages], most_tokens)


def stream_answer(
    question: str, passages: Sequence[Passage], model: ChatModel, *, most_tokens: int = MOST_TOKENS
) -> Iterator[Event]:
    """Answer a question from passages: `Token` events as the text comes, `Cited` events, and one `Done` at the end.

    Args:
        question: as it was asked.
        passages: best first; they are numbered from 1. Without any, the model isn't asked.
        model: that writes.
        most_tokens: of the answer.

    Raises:
        UsageError: the question is empty.
        EndpointError: the model can't be reached, refuses the request, or breaks off before its first word.
        BudgetError: the limit of tokens is reached.
    """
    prompt = prompt_for(question, passages, most_tokens)
    if not passages:
        yield Token(UNANSWERED)
        yield Done(Answer(question, UNANSWERED, "nothing_found", "stop", (), (), model.name))
        return
    places = numbered(passages)
    writing = _Writing(places)
    reply: Reply | None = None
    for piece in model.stream(prompt):
        if isinstance(piece, Reply):
            reply = piece
        else:
            yield from writing.add(piece)
    assert reply is not None
    if not writing.text:
        yield from writing.add(reply.text)
    found = answer_of(question, passages, reply, model.name)
    yield from writing.end(found)
    yield Done(found)


def answer(
    question: str, passages: Sequence[Passage], model: ChatModel, *, most_tokens: int = MOST_TOKENS, **options: Any
) -> Answer:
    """The whole answer at once, as `stream_answer` would give it.

    Args:
        question: as for `stream_answer`.
        passages: as for `stream_answer`.
        model: as for `stream_answer`.
        most_tokens: as for `stream_answer`.
        options: for `ChatModel.complete`.

    Raises:
        UsageError: the question is empty.
        EndpointError: the model can't be reached, or refuses the request.
        BudgetError: the limit of tokens is reached.
    """
    prompt = prompt_for(question, passages, most_tokens)
    if not passages:
        return Answer(question, UNANSWERED, "nothing_found", "stop", (), (), model.name)
    return answer_of(question, passages, model.complete(prompt, **options), model.name)


def answer_of(question: str, passages: Sequence[Passage], reply: Reply, model: str) -> Answer:
    """A reply as an answer.

    Raises:
        EndpointError: the reply is empty.
    """
    if reply.refusal or reply.finish == "content_filter":
        text = reply.refusal or "The service held the answer back."
        return Answer(question, text, "refused", reply.finish, (), (), model, reply.cached)
    if not reply.text.strip():
        raise EndpointError(
            f"'{model}' gave an empty answer (it ends by {reply.finish!r}): ask again, or another model"
        )
    if says_not_answered(reply.text):
        return Answer(question, UNANSWERED, "not_in_passages", reply.finish, (), (), model, reply.cached)
    places = {place.number: place for place in numbered(passages)}
    numbers = cited_numbers(reply.text)
    return Answer(
        question=question,
        text=reply.text.strip(),
        outcome="answered",
        finish=reply.finish,
        citations=tuple(places[number] for number in numbers if number in places),
        unknown=tuple(number for number in numbers if number not in places),
        model=model,
        cached=reply.cached,
    )


def says_not_answered(text: str) -> bool:
    """Whether a reply is the one for questions that the passages don't answer, give or take its dress."""
    return text.strip(" \n\t.!\"'*`").upper() == NOT_ANSWERED


class _Writing:
    """Text on its way out: held back as long as it may still become the reply for "not answered"."""

    def __init__(self, places: Sequence[Citation]) -> None:
        self.text = ""
        self._places = {place.number: place for place in places}
        self._shown = 0
        self._cited: set[int] = set()

    def add(self, piece: str) -> Iterator[Event]:
        self.text += piece
        start = self.text.lstrip(" \n\t\"'*`")
        if not NOT_ANSWERED.startswith(start[: len(NOT_ANSWERED)].upper()) or len(start) > len(NOT_ANSWERED) + 8:
            yield from self._show()

    def _show(self) -> Iterator[Event]:
        if self._shown < len(self.text):
            yield Token(self.text[self._shown :])
            self._shown = len(self.text)
        for number in cited_numbers(self.text):
            if number in self._places and number not in self._cited:
                self._cited.add(number)
                yield Cited(self._places[number])

    def end(self, answer: Answer) -> Iterator[Event]:
        if answer.outcome == "answered":
            yield from self._show()
        elif not self._shown:
            yield Token(answer.text)
