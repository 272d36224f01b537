"""Judgements of many answers as figures, and one set of answers against another.

What is averaged, and what isn't, decides these figures more than most retrievers do, so everything is beside them: the
coverage, the refusals, and what two other tools would make of the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from latewood.answers.judging import MISSING, VERDICTS, Judgement
from latewood.evaluate.bootstrap import Difference, Interval, difference, interval

__all__ = ["FIGURES", "Scores", "paired", "score"]


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over answers.

    Args:
        value: the mean.
        interval: its 95 % interval, had other questions of the kind been asked (BCa bootstrap over questions).
        answers: over how many.
    """

    value: float
    interval: Interval
    answers: int

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        return {"mean": self.value, "interval": [self.interval.low, self.interval.high], "answers": self.answers}


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of a set of answers.

    Args:
        answers: how many, by outcome: "judged", "refusal", "no_claims", "unjudged".
        claims: how many, by verdict.
        faithfulness: mean share of supported claims, over judged answers; None where there are none.
        bounds: the same mean, were all unjudged answers wholly unsupported, or wholly supported.
        coverage: share of the answers that make claims, or may, of which every claim has a verdict.
        supported_answers: over all answers: judged, and every claim supported. A refusal isn't, nor an unjudged one.
        not_contradicted: mean share of claims that aren't contradicted, with 1.0 for refusals and answers without
            claims: what a tool counts that lets pass what the texts don't mention.
        correctness: mean F1 of claims against the references; None without references.
        citation_recall: mean over the answers whose citations were judged; None without any.
        citation_precision: likewise.
        citations_missing: answers with citations that the judge gave no readable verdict on.
    """

    answers: Mapping[str, int]
    claims: Mapping[str, int]
    faithfulness: Mean | None
    bounds: tuple[float, float] | None
    coverage: float | None
    supported_answers: Mean
    not_contradicted: Mean | None
    correctness: Mean | None
    citation_recall: Mean | None
    citation_precision: Mean | None
    citations_missing: int

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        means = {name: getattr(self, name) for name in FIGURES}
        return {
            "answers": dict(self.answers),
            "claims": dict(self.claims),
            "coverage": self.coverage,
            "bounds": None if self.bounds is None else list(self.bounds),
            **{name: None if mean is None else mean.to_json() for name, mean in means.items()},
            "citations_missing": self.citations_missing,
        }


def _supported_answer(judgement: Judgement) -> float:
    return float(judgement.outcome == "judged" and judgement.faithfulness == 1.0)


def _not_contradicted(judgement: Judgement) -> float | None:
    if judgement.outcome in {"refusal", "no_claims"}:
        return 1.0
    return judgement.share("supported", "not_in_text") if judgement.outcome == "judged" else None


FIGURES: Mapping[str, Callable[[Judgement], float | None]] = {
    "faithfulness": lambda judgement: judgement.faithfulness,
    "supported_answers": _supported_answer,
    "not_contradicted": _not_contradicted,
    "correctness": lambda judgement: None if judgement.correctness is None else judgement.correctness.f1,
    "citation_recall": lambda judgement: judgement.citation_recall,
    "citation_precision": lambda judgement: judgement.citation_precision,
}
"""Name → an answer's value, None where it has none."""


def score(judgements: Sequence[Judgement], *, seed: int = 0) -> Scores:
    """The figures of a set of answers.

    Args:
        judgements: one or more.
        seed: of the bootstrap.

    Raises:
        MissingExtra: SciPy isn't installed.
    """
    outcomes = dict.fromkeys(("judged", "refusal", "no_claims", "unjudged"), 0)
    verdicts = dict.fromkeys((*VERDICTS, MISSING), 0)
    for judgement in judgements:
        outcomes[judgement.outcome] += 1
        for claim in judgement.claims:
            verdicts[claim.verdict] += 1
    means = {name: _mean([value(of) for of in judgements], seed) for name, value in FIGURES.items()}
    supported = means.pop("supported_answers")
    assert supported is not None
    making_claims = outcomes["judged"] + outcomes["no_claims"] + outcomes["unjudged"]
    return Scores(
        answers=outcomes,
        claims=verdicts,
        bounds=_bounds(means["faithfulness"], outcomes["unjudged"]),
        coverage=outcomes["judged"] / making_claims if making_claims else None,
        supported_answers=supported,
        citations_missing=sum(judgement.citations_missing for judgement in judgements),
        **means,
    )


def _mean(values: Sequence[float | None], seed: int) -> Mean | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Mean(sum(known) / len(known), interval(known, seed=seed), len(known))


def _bounds(mean: Mean | None, unjudged: int) -> tuple[float, float] | None:
    judged = 0 if mean is None else mean.answers
    if not judged + unjudged:
        return None
    total = 0.0 if mean is None else mean.value * judged
    return total / (judged + unjudged), (total + unjudged) / (judged + unjudged)


def paired(mine: Sequence[Judgement], before: Sequence[Judgement], *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """One set of answers against another to the same questions, in the same order.

    Args:
        mine: of the pipeline in question.
        before: of the one that it is measured against.
        seed: of the bootstrap.

    Returns:
        Figure → its difference, JSON-ready; over the questions where both have a value, `questions` of them.
        Figures that have none are left out.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in FIGURES.items():
        pairs = [(value(a), value(b)) for a, b in zip(mine, before, strict=True)]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        if both:
            change = difference([a for a, _ in both], [b for _, b in both], seed=seed)
            found[name] = _as_json(change, len(both))
    return found


def _as_json(change: Difference, questions: int) -> dict[str, Any]:
    value = asdict(change)
    return {**value, "interval": [change.interval.low, change.interval.high], "questions": questions}
