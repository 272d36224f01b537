"""Several pipelines, one generator, one judge: what better retrieval does to answers.

Generator, number of passages and prompt are the same for all; only the passages differ. Pipelines that give the same
passages share one answer and its judgement, so chance in the generator isn't taken for a difference of retrieval.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from latewood.answers.asking import MOST_TOKENS, Answer, answer, answer_of, prompt_for
from latewood.answers.items import Item
from latewood.answers.judging import Judge, Judgement
from latewood.answers.prompts import VERSION
from latewood.answers.scores import Scores, paired, score
from latewood.endpoints import ChatModel, Estimate, current_account
from latewood.errors import UsageError
from latewood.types import Passage

__all__ = ["AnswersComparison", "Example", "PipelineAnswers", "compare_answers", "estimate_answers", "items_of"]

_SENTENCE = "An answer that nobody has written yet takes about so many words as there are here. [1] "
_GUESSED = _SENTENCE * 4

Contexts = Mapping[str, Mapping[str, Sequence[Passage]]]
"""Pipeline → question id → the passages that it gives, best first."""


@dataclass(frozen=True, slots=True)
class PipelineAnswers:
    """The answers that one pipeline's passages led to.

    Args:
        pipeline: its name.
        answers: one per question.
        judgements: one per question.
        scores: their figures.
        difference: figure → against the first pipeline (`paired`); None for the first.
        passages: question id → ids of the passages that were given.
    """

    pipeline: str
    answers: tuple[Answer, ...]
    judgements: tuple[Judgement, ...]
    scores: Scores
    difference: Mapping[str, Any] | None = None
    passages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Example:
    """A question on which an answer became wholly supported, or ceased to be."""

    query_id: str
    question: str
    before: tuple[Answer, Judgement]
    after: tuple[Answer, Judgement]

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        sides = {"before": self.before, "after": self.after}
        shown = {
            name: {"answer": given.text, "outcome": given.outcome, "judgement": judged.to_json()}
            for name, (given, judged) in sides.items()
        }
        return {"query_id": self.query_id, "question": self.question, **shown}


@dataclass(frozen=True, slots=True)
class AnswersComparison:
    """All of it.

    Args:
        questions: question id → text, those that were answered.
        pipelines: the first is what the others are measured against.
        generator: the model that answered.
        judge: the model that judged.
        k: passages that the generator was given.
        left_out: questions that some pipeline could not be asked, or beyond the sample.
    """

    questions: Mapping[str, str]
    pipelines: tuple[PipelineAnswers, ...]
    generator: str
    judge: str
    k: int
    left_out: int = 0

    def examples(self, of: PipelineAnswers) -> tuple[list[Example], list[Example]]:
        """Questions whose answer became wholly supported by this pipeline's passages, and whose ceased to be.

        The largest change of faithfulness first; a refusal counts as 0, an unjudged answer takes no part.
        """
        first = self.pipelines[0]
        changes = []
        for i, (query_id, text) in enumerate(self.questions.items()):
            before, after = _support(first.judgements[i]), _support(of.judgements[i])
            if before is None or after is None or before == after or 1.0 not in {before, after}:
                continue
            example = Example(
                query_id, text, (first.answers[i], first.judgements[i]), (of.answers[i], of.judgements[i])
            )
            changes.append((after - before, example))
        changes.sort(key=lambda change: (-abs(change[0]), change[1].query_id))
        return [example for by, example in changes if by > 0], [example for by, example in changes if by < 0]

    def to_json(self, shown: int = 5) -> dict[str, Any]:
        """As docs/json.md describes it."""
        pipelines = []
        for of in self.pipelines:
            value: dict[str, Any] = {"pipeline": of.pipeline, **of.scores.to_json(), "difference": of.difference}
            if of is not self.pipelines[0]:
                gained, lost = self.examples(of)
                value["gained"] = {"count": len(gained), "examples": [each.to_json() for each in gained[:shown]]}
                value["lost"] = {"count": len(lost), "examples": [each.to_json() for each in lost[:shown]]}
            pipelines.append(value)
        return {
            "generator": self.generator,
            "judge": self.judge,
            "k": self.k,
            "prompts": VERSION,
            "questions": len(self.questions),
            "left_out": self.left_out,
            "pipelines": pipelines,
        }


def _support(judgement: Judgement) -> float | None:
    return 0.0 if judgement.outcome == "refusal" else judgement.faithfulness


def items_of(query_id: str, given: Answer, passages: Sequence[Passage], reference: str = "") -> Item:
    """An answer of ours as an item to judge: what is known to be no answer isn't asked about."""
    return Item(
        id=query_id,
        question=given.question,
        answer=given.text if given.answered else "",
        contexts=tuple(passage.text for passage in passages),
        reference=reference,
        refusal=None if given.answered else True,
    )


def compare_answers(
    contexts: Contexts,
    questions: Mapping[str, str],
    generator: ChatModel,
    judge: ChatModel,
    *,
    k: int,
    references: Mapping[str, str] | None = None,
    left_out: int = 0,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> AnswersComparison:
    """Answer every question from every pipeline's passages, and judge the answers.

    Args:
        contexts: what each pipeline gives for each question, at most k passages; the first is the baseline.
        questions: question id → text.
        generator: that answers.
        judge: that judges; another model than the generator, which would judge its own.
        k: passages given; for the record.
        references: question id → right answer, for those that have one.
        left_out: for the record.
        seed: of the bootstrap.
        progress: called with 1 for every answer and every judgement: 2 × pipelines × questions at most.

    Raises:
        EndpointError: a model can't be reached, or refuses us.
        BudgetError: the limit of tokens is reached; what was answered is kept.
        UsageError: no questions.
    """
    if not questions:
        raise UsageError("no question is left to answer: every one of them failed in some pipeline")
    cells = [(name, query_id) for name in contexts for query_id in questions]
    answers = _answers({cell: (questions[cell[1]], contexts[cell[0]][cell[1]]) for cell in cells}, generator, progress)
    items = {
        cell: items_of(cell[1], answers[cell], contexts[cell[0]][cell[1]], (references or {}).get(cell[1], ""))
        for cell in cells
    }
    different = list(dict.fromkeys(items.values()))
    judged = dict(zip(different, Judge(judge).judge(different, progress), strict=True))
    found: list[PipelineAnswers] = []
    for name, passages in contexts.items():
        judgements = tuple(judged[items[name, query_id]] for query_id in questions)
        found.append(
            PipelineAnswers(
                pipeline=name,
                answers=tuple(answers[name, query_id] for query_id in questions),
                judgements=judgements,
                scores=score(judgements, seed=seed),
                difference=paired(judgements, found[0].judgements, seed=seed) if found else None,
                passages={query_id: tuple(each.id for each in passages[query_id]) for query_id in questions},
            )
        )
    return AnswersComparison(questions, tuple(found), generator.name, judge.name, k, left_out)


Cell = tuple[str, str]


def _answers(
    wanted: Mapping[Cell, tuple[str, Sequence[Passage]]], generator: ChatModel, progress: Callable[[int], None] | None
) -> dict[Cell, Answer]:
    """An answer for every cell; the same passages for the same question are asked once."""
    account = current_account()
    cells: dict[Any, list[Cell]] = {}
    for cell, (question, passages) in wanted.items():
        cells.setdefault((cell[1], question, tuple((each.id, each.text) for each in passages)), []).append(cell)
    groups = list(cells.values())

    def ask(group: list[Cell], stop: threading.Event) -> Answer:
        question, passages = wanted[group[0]]
        given = answer(question, passages, generator, account=account, stop=stop)
        if progress is not None:
            progress(1)
        return replace(given, cached=False)  # the same report, whether it was asked now or before

    found = generator.caller.each(ask, groups)
    return {cell: given for group, given in zip(groups, found, strict=True) for cell in group}


def estimate_answers(
    contexts: Contexts,
    questions: Mapping[str, str],
    generator: ChatModel,
    judge: ChatModel,
    references: Mapping[str, str] | None = None,
) -> list[Estimate]:
    """What `compare_answers` would send: what is on the disk is left out, the length of new answers is guessed."""
    pending: dict[Any, Any] = {}
    items: dict[Item, None] = {}
    for passages_of in contexts.values():
        for query_id, question in questions.items():
            passages = passages_of[query_id]
            if not passages:
                continue
            prompt = prompt_for(question, passages)
            kept = generator.kept(prompt)
            if kept is None:
                pending[prompt] = None
                given = Answer(question, _GUESSED, "answered", "stop", (), (), generator.name)
            else:
                given = answer_of(question, passages, kept, generator.name)
            items[items_of(query_id, given, passages, (references or {}).get(query_id, ""))] = None
    answering = Estimate(
        "answers to write",
        len(pending),
        sum(prompt.tokens for prompt in pending),
        MOST_TOKENS * len(pending),
        len(pending),
    )
    return [estimate for estimate in (answering, Judge(judge).estimate(list(items))) if estimate.items]
