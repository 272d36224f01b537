"""`latewood ask`: a question, an answer with citations."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from latewood.answers import Answer, Done, Token, stream_answer
from latewood.cli.answer_options import LlmOption, LlmUrlOption
from latewood.cli.options import CollectionArgument, JsonOption, ModelOption, WhereOption
from latewood.cli.output import console, emit_json, remark, remarks_from_warnings
from latewood.cli.spending import MaxTokensOption
from latewood.collection import Collection
from latewood.endpoints import ChatModel, accounting, load_chat
from latewood.stores.conditions import read_where
from latewood.types import Passage, Ranking

__all__ = ["command"]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def command(
    collection: CollectionArgument,
    question: Annotated[str, typer.Argument(help="The question.")],
    llm: LlmOption = None,
    llm_url: LlmUrlOption = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Passages that the answer is written from.")] = 5,
    pipeline: Annotated[
        str | None, typer.Option("--pipeline", "-p", help="What finds them; the collection's own by default.")
    ] = None,
    where: WhereOption = None,
    collapse: Annotated[bool, typer.Option("--collapse", help="Of near-duplicates give it only the best.")] = False,
    model: ModelOption = None,
    max_tokens: MaxTokensOption = None,
    as_json: JsonOption = False,
) -> int:
    """Answer a question from a collection, with numbered citations, by a chat model."""
    conditions = None if where is None else read_where(where)
    chat = load_chat(llm, url=llm_url)
    with remarks_from_warnings(), accounting(max_tokens), Collection.open(collection, model) as kb:
        ranking = kb.search(question, k, pipeline, where=conditions, collapse=collapse)
        passages = [hit.passage for hit in ranking.hits if hit.passage is not None]
        answer = _write(question, passages, chat, quiet=as_json)
    if as_json:
        emit_json({**answer.to_json(), "pipeline": ranking.pipeline, "passages": _passages(ranking)})
    else:
        _print_sources(answer)
    if answer.finish != "stop":
        remark(f"note: the answer is not whole ({answer.finish})")
    return 0


def _write(question: str, passages: list[Passage], chat: ChatModel, *, quiet: bool) -> Answer:
    """Have it written, onto the screen as it comes unless `quiet`."""
    for event in stream_answer(question, passages, chat):
        if isinstance(event, Done):
            return event.answer
        if isinstance(event, Token) and not quiet:
            # A model may repeat what a document holds: nothing that steers a terminal gets through.
            console.file.write(_CONTROL.sub("", event.text))
            console.file.flush()
    raise AssertionError("the last event is always Done")


def _print_sources(answer: Answer) -> None:
    console.file.write("\n")
    for citation in answer.citations:
        line = f"[{citation.number}] {citation.id}  {citation.place}" + (
            f"  {citation.title}" if citation.title else ""
        )
        console.print(_CONTROL.sub("", line), style="dim", markup=False)
    if answer.unknown:
        numbers = ", ".join(map(str, answer.unknown))
        remark(f"note: the answer cites {numbers}, and there is no such passage: the model made it up")
    if answer.answered and not answer.citations:
        remark("note: the answer cites no passage; don't take it for one that rests on them")


def _passages(ranking: Ranking) -> list[dict[str, object]]:
    return [hit.to_json() for hit in ranking.hits]
