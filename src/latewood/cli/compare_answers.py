"""`latewood compare --faithfulness`: the questions answered from each pipeline's passages, and the answers judged."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latewood.answers import AnswersComparison, compare_answers, estimate_answers, read_references
from latewood.cli.judge import print_scores
from latewood.cli.output import console, progress_bar
from latewood.cli.spending import Terms, spending
from latewood.endpoints import ChatModel, load_chat
from latewood.errors import InputError
from latewood.evaluate import Comparison, System
from latewood.evaluate.report import Texts
from latewood.evaluate.runs import Run
from latewood.types import Passage

__all__ = ["AnswerPlan", "plan_of", "print_answers"]


@dataclass(frozen=True, slots=True)
class Given:
    """Questions, and what each pipeline found for them.

    Args:
        questions: question id → text.
        contexts: pipeline → question id → passages, best first.
        left_out: questions that aren't among them.
    """

    questions: Mapping[str, str]
    contexts: Mapping[str, Mapping[str, Sequence[Passage]]]
    left_out: int


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    """How answers are made.

    Args:
        generator: that answers.
        judge: that judges.
        k: passages that an answer is written from.
        sample: questions that are answered; None for all.
        references: question id → right answer.
    """

    generator: ChatModel
    judge: ChatModel
    k: int
    sample: int | None
    references: Mapping[str, str]

    def passages(self, comparison: Comparison, systems: Sequence[System], texts: Texts) -> Given:
        """What each pipeline gives for each question that will be answered.

        Args:
            comparison: what was found; questions that failed in some pipeline are left out.
            systems: those that were compared.
            texts: gives the texts of what runs found.

        Raises:
            InputError: a run names documents whose texts nobody has.
        """
        failed = {failure.query_id for result in comparison.results for failure in result.failed}
        all_of_them = comparison.judged.queries
        kept = [query_id for query_id in all_of_them if query_id not in failed]
        if self.sample is not None and self.sample < len(kept):
            drawn = set(random.Random(0).sample(sorted(kept), self.sample))
            kept = [query_id for query_id in kept if query_id in drawn]
        questions = {query_id: all_of_them[query_id] for query_id in kept}
        contexts = {
            system.name: {at: _passages(system, at, text, self.k, texts) for at, text in questions.items()}
            for system in systems
        }
        return Given(questions, contexts, len(all_of_them) - len(questions))

    def carry_out(self, given: Given, terms: Terms, *, quiet: bool) -> AnswersComparison:
        """Answer and judge.

        Args:
            given: questions and passages.
            terms: on which models are sent something.
            quiet: show no progress.
        """
        asked = (given.contexts, given.questions, self.generator, self.judge)
        steps = 2 * len(given.contexts) * len(given.questions)
        with (
            spending(estimate_answers(*asked, self.references), terms),
            progress_bar("answering and judging", steps, quiet=quiet) as advance,
        ):
            return compare_answers(
                *asked, k=self.k, references=self.references, left_out=given.left_out, progress=advance
            )


def plan_of(
    llm: str | None,
    llm_url: str | None,
    judge: str | None,
    judge_url: str | None,
    *,
    k: int,
    sample: int | None,
    references: Path | None,
) -> AnswerPlan:
    """The plan, its models checked before anything long begins. Without a judge, the generator is it."""
    generator = load_chat(llm, url=llm_url)
    judging = load_chat(judge or generator.name, url=judge_url or llm_url, option="--judge")
    return AnswerPlan(generator, judging, k, sample, read_references(references) if references else {})


def _passages(system: System, query_id: str, question: str, k: int, texts: Texts) -> list[Passage]:
    """The first k passages of a system for a question, with their texts."""
    if isinstance(system.retriever, Run):
        ids = system.retriever.rankings.get(query_id, ())[:k]
        found = texts(ids)
        missing = [each for each in ids if each not in found]
        if missing:
            raise InputError(
                f"run '{system.name}' names {missing[0]!r}, and an answer needs its text, add --corpus FILE"
            )
        return [Passage(each, found[each]) for each in ids]
    ranking = system.retriever.rank(question, k) if system.explain is None else system.explain(question, k)
    return [hit.passage for hit in ranking.hits[:k] if hit.passage is not None]


def print_answers(compared: AnswersComparison) -> None:
    """Print the figures, and what they are of."""
    console.print("\nare the answers in what was found?", style="bold", markup=False)
    print_scores([(of.pipeline, of.scores) for of in compared.pipelines])
    passages = f"{compared.k} {'passage' if compared.k == 1 else 'passages'} each"
    console.print(
        f"{len(compared.questions):,} questions, {passages}; {compared.generator} answered, "
        f"{compared.judge} judged" + (" its own answers" if compared.judge == compared.generator else ""),
        style="dim",
        markup=False,
    )
    for of in compared.pipelines[1:]:
        gained, lost = compared.examples(of)
        change = (of.difference or {}).get("faithfulness")
        said = "no question on which both were judged"
        if change is not None:
            low, high = change["interval"]
            said = f"faithfulness {change['mean']:+.3f} (95 %: {low:+.3f} to {high:+.3f})"
            said += f" on {change['questions']} questions"
        console.print(
            f"'{of.pipeline}' against '{compared.pipelines[0].pipeline}': {said}; "
            f"{len(gained)} answers became wholly supported, {len(lost)} ceased to be",
            markup=False,
        )
