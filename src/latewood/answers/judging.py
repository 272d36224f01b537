"""Is an answer in the texts that it was given? Claim by claim, by a model that is asked to judge.

answer -> claims -> a verdict for each against the raw texts -> the share that is supported. Two requests for an answer,
as in Ragas (Es et al. 2023); the texts themselves are judged by, not facts extracted from them. Whatever the judge
doesn't say, or doesn't say readably, is asked for once more and then counted as missing. It never becomes a verdict.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from latewood.answers.citing import cited_numbers, sentences_with_citations
from latewood.answers.items import Item
from latewood.answers.prompts import citations_prompt, claims_prompt, verdicts_prompt
from latewood.answers.replies import json_object
from latewood.endpoints import Account, ChatModel, Estimate, Prompt, Reply, current_account
from latewood.endpoints.refusals import Refused

__all__ = ["VERDICTS", "Claim", "Correctness", "Judge", "Judgement"]

VERDICTS = ("supported", "contradicted", "not_in_text")
MISSING = "missing"
"""Of a claim that the judge gave no readable verdict for."""

_INSIST = "\nYour reply must be that one JSON object, whole, and nothing before or after it."
_TRIES = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of an answer.

    Args:
        text: of the claim.
        verdict: "supported", "contradicted", "not_in_text" or "missing".
        why: the judge's reason; "" where it gave none.
    """

    text: str
    verdict: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Correctness:
    """An answer against the right one, by claims.

    Args:
        precision: share of the answer's claims that the right answer supports.
        recall: share of the right answer's claims that the answer supports.
    """

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Harmonic mean; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge made of one answer.

    Args:
        id: of the item.
        outcome: "judged" (every claim has a verdict), "refusal" (the answer says that it can't answer), "no_claims",
            or "unjudged".
        claims: with their verdicts.
        reason: why it is unjudged; "" for the others.
        correctness: against the reference; None without one, or where a verdict is missing.
        citation_recall: share of sentences that the texts cited there support; None without citations or verdicts.
        citation_precision: share of citations whose text says at least a part of their sentence; None likewise.
        citations_missing: there are citations, and no readable verdict on them.
    """

    id: str
    outcome: str
    claims: tuple[Claim, ...] = ()
    reason: str = ""
    correctness: Correctness | None = None
    citation_recall: float | None = None
    citation_precision: float | None = None
    citations_missing: bool = False

    def share(self, *verdicts: str) -> float:
        """The share of its claims with one of these verdicts."""
        return sum(claim.verdict in verdicts for claim in self.claims) / len(self.claims)

    @property
    def faithfulness(self) -> float | None:
        """The share of supported claims; None unless judged."""
        return self.share("supported") if self.outcome == "judged" else None

    @property
    def verdict(self) -> str | None:
        """Of the whole answer: the worst of its claims, or "refusal"; None where there is none."""
        if self.outcome == "refusal":
            return "refusal"
        if self.outcome != "judged":
            return None
        found = {claim.verdict for claim in self.claims}
        return next(verdict for verdict in ("contradicted", "not_in_text", "supported") if verdict in found)

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        right = self.correctness
        return {
            "id": self.id,
            "outcome": self.outcome,
            "verdict": self.verdict,
            "faithfulness": self.faithfulness,
            "claims": [{"claim": claim.text, "verdict": claim.verdict, "why": claim.why} for claim in self.claims],
            "reason": self.reason or None,
            "correctness": None
            if right is None
            else {"f1": right.f1, "precision": right.precision, "recall": right.recall},
            "citation_recall": self.citation_recall,
            "citation_precision": self.citation_precision,
        }


class Judge:
    """Judges answers by a chat model. What it was told is on the disk: an interrupted run goes on where it was.

    Args:
        model: that judges.
        citations: judge citations, too.
    """

    def __init__(self, model: ChatModel, *, citations: bool = True) -> None:
        self.model = model
        self._citations = citations

    def judge(self, items: Sequence[Item], progress: Callable[[int], None] | None = None) -> list[Judgement]:
        """Judge answers, several at once within the limits of the model's caller.

        Args:
            items: the answers.
            progress: called with 1 for every answer that is done.

        Returns:
            One for each item, in their order.

        Raises:
            EndpointError: the judge can't be reached, or refuses us. What it won't read of one answer (400, 413, 422)
                leaves that answer unjudged instead.
            BudgetError: the limit of tokens is reached.
        """
        account = current_account()

        def one(item: Item, stop: threading.Event) -> Judgement:
            judged = _Asking(self.model, account, stop).judgement(item, self._citations)
            if progress is not None:
                progress(1)
            return judged

        return self.model.caller.each(one, items)

    def estimate(self, items: Sequence[Item]) -> Estimate:
        """What judging them would send: what is on the disk is left out, claims that nobody knows yet are guessed."""
        pending = [prompt for item in items for prompt in self._foreseen(item) if self.model.kept(prompt) is None]
        return Estimate(
            "requests to the judge",
            len(pending),
            sum(prompt.tokens for prompt in pending),
            sum(prompt.most_tokens for prompt in pending),
            len(pending),
        )

    def _foreseen(self, item: Item) -> Iterator[Prompt]:
        if item.refusal or not item.answer.strip():
            return
        claims = list(item.claims)
        if not claims:
            asked = claims_prompt(item.question, item.answer)
            yield asked
            claims = self._kept_claims(asked, item.answer)
        if claims and item.contexts:
            yield verdicts_prompt(claims, item.contexts)
        if self._citations and (sentences := _citing(item)):
            yield citations_prompt([pair for pair in sentences if pair[1]], item.contexts)
        if item.reference:
            asked = claims_prompt(item.question, item.reference)
            yield asked
            yield verdicts_prompt(claims, [item.reference])
            yield verdicts_prompt(self._kept_claims(asked, item.reference), [item.answer])

    def _kept_claims(self, asked: Prompt, text: str) -> list[str]:
        kept = self.model.kept(asked)
        found = None if kept is None else _claims_in(kept.text)
        return [sentence for sentence, _ in sentences_with_citations(text, 0)] if found is None else found[0]


def _citing(item: Item) -> list[tuple[str, list[int]]]:
    """The sentences of an answer that cites any of its texts."""
    if not any(1 <= number <= len(item.contexts) for number in cited_numbers(item.answer)):
        return []
    return sentences_with_citations(item.answer, len(item.contexts))


@dataclass(frozen=True, slots=True)
class _Asking:
    """The requests for one answer."""

    model: ChatModel
    account: Account
    stop: threading.Event

    def judgement(self, item: Item, citations: bool) -> Judgement:
        try:
            return self._judgement(item, citations)
        except Refused as error:
            if error.status not in {400, 413, 422}:
                raise
            return Judgement(item.id, "unjudged", reason=error.brief)

    def _judgement(self, item: Item, citations: bool) -> Judgement:
        if item.refusal:
            return self._without_claims(item, "refusal")
        if not item.answer.strip():
            return self._without_claims(item, "no_claims")
        claims, refusal = list(item.claims), False
        if not claims:
            found, reason = self._claims(item.question, item.answer)
            if found is None:
                return Judgement(item.id, "unjudged", reason=f"claims: {reason}")
            claims, refusal = found
        if refusal or not claims:
            return self._without_claims(item, "refusal" if refusal else "no_claims")
        verdicts, reason = self._verdicts(claims, item.contexts)
        judged = Judgement(
            item.id,
            "judged" if all(claim.verdict != MISSING for claim in verdicts) else "unjudged",
            tuple(verdicts),
            reason=f"verdicts: {reason}" if reason else "",
        )
        if item.reference:
            judged = replace(judged, correctness=self._correctness(item, claims))
        return self._with_citations(judged, item) if citations else judged

    @staticmethod
    def _without_claims(item: Item, outcome: str) -> Judgement:
        """Of an answer that says nothing; held against a reference, nothing of that is in it."""
        return Judgement(item.id, outcome, correctness=Correctness(0.0, 0.0) if item.reference else None)

    def _claims(self, question: str, answer: str) -> tuple[tuple[list[str], bool] | None, str]:
        """Claims, and whether it is a refusal; or None and why."""
        prompt = claims_prompt(question, answer)
        reason = ""
        for _ in range(_TRIES):
            reply = self._ask(prompt, lambda text: _claims_in(text) is not None)
            found = _claims_in(reply.text) if reply.whole else None
            if found is not None:
                return found, ""
            reason = _what_is_wrong(reply)
            prompt = _insisting(prompt, reply)
        return None, reason

    def _verdicts(self, claims: Sequence[str], texts: Sequence[str]) -> tuple[list[Claim], str]:
        """A verdict for each claim, and why some are missing, "" if none is."""
        if not texts:
            return [Claim(claim, "not_in_text", "there are no texts") for claim in claims], ""
        found: dict[int, Claim] = {}
        prompt, reason = verdicts_prompt(claims, texts), ""
        for _ in range(_TRIES):
            open_ones = [i for i in range(len(claims)) if i not in found]
            reply = self._ask(prompt, _has_verdicts(len(open_ones)))
            if reply.whole:
                for number, (verdict, why) in _verdicts_in(reply.text, len(open_ones)).items():
                    at = open_ones[number - 1]
                    found[at] = Claim(claims[at], verdict, why)
            missing = [claims[i] for i in range(len(claims)) if i not in found]
            if not missing:
                return [found[i] for i in range(len(claims))], ""
            reason = f"{len(missing)} of {len(claims)} missing, {_what_is_wrong(reply)}"
            prompt = _insisting(verdicts_prompt(missing, texts), reply)
        return [found.get(i, Claim(claim, MISSING)) for i, claim in enumerate(claims)], reason

    def _correctness(self, item: Item, claims: Sequence[str]) -> Correctness | None:
        wanted, _ = self._claims(item.question, item.reference)
        if wanted is None or not wanted[0]:
            return None
        mine, _ = self._verdicts(claims, [item.reference])
        theirs, _ = self._verdicts(wanted[0], [item.answer])
        if any(claim.verdict == MISSING for claim in [*mine, *theirs]):
            return None
        return Correctness(_supported(mine), _supported(theirs))

    def _with_citations(self, judged: Judgement, item: Item) -> Judgement:
        sentences = _citing(item)
        if not sentences:
            return judged
        citing = [pair for pair in sentences if pair[1]]
        prompt = citations_prompt(citing, item.contexts)
        for _ in range(_TRIES):
            reply = self._ask(prompt, lambda text: len(_citations_in(text, citing)) == len(citing))
            found = _citations_in(reply.text, citing) if reply.whole else {}
            if len(found) == len(citing):
                useful = sum(len(numbers) for _, numbers in found.values())
                return replace(
                    judged,
                    citation_recall=sum(together for together, _ in found.values()) / len(sentences),
                    citation_precision=useful / sum(len(numbers) for _, numbers in citing),
                )
            prompt = _insisting(prompt, reply)
        return replace(judged, citations_missing=True)

    def _ask(self, prompt: Prompt, sound: Callable[[str], bool]) -> Reply:
        return self.model.complete(prompt, usable=lambda reply: sound(reply.text), account=self.account, stop=self.stop)


def _supported(claims: Sequence[Claim]) -> float:
    return sum(claim.verdict == "supported" for claim in claims) / len(claims)


def _insisting(prompt: Prompt, reply: Reply) -> Prompt:
    """The same once more, with room where the reply was cut."""
    system = prompt.system if prompt.system.endswith(_INSIST) else prompt.system + _INSIST
    return replace(prompt, system=system, most_tokens=prompt.most_tokens * (2 if reply.finish == "length" else 1))


def _what_is_wrong(reply: Reply) -> str:
    if reply.refusal or reply.finish == "content_filter":
        return "the judge refused"
    if reply.finish == "length":
        return "the judge's reply was cut"
    if not reply.whole:
        return f"the judge's reply was empty or broken off ({reply.finish})"
    return (
        "the judge's reply was not the JSON asked for" if json_object(reply.text) is None else "the judge left it out"
    )


def _claims_in(text: str) -> tuple[list[str], bool] | None:
    value = json_object(text)
    claims = None if value is None else value.get("claims")
    refusal = False if value is None else value.get("refusal", False)
    if not isinstance(claims, list) or not isinstance(refusal, bool):
        return None
    if not all(isinstance(claim, str) for claim in claims):
        return None
    return list(dict.fromkeys(claim.strip() for claim in claims if claim.strip())), refusal


def _verdicts_in(text: str, count: int) -> dict[int, tuple[str, str]]:
    """Number → verdict and reason. A claim that got two different verdicts got none."""
    value = json_object(text) or {}
    items = value.get("verdicts")
    found: dict[int, tuple[str, str]] = {}
    torn: set[int] = set()
    for item in items if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        number, verdict, why = item.get("claim"), item.get("verdict"), item.get("why", "")
        if type(number) is not int or not 1 <= number <= count or not isinstance(verdict, str):
            continue
        verdict = verdict.strip().lower().replace(" ", "_").replace("-", "_")
        if verdict not in VERDICTS:
            continue
        if number in found and found[number][0] != verdict:
            torn.add(number)
        found[number] = verdict, why if isinstance(why, str) else ""
    return {number: verdict for number, verdict in found.items() if number not in torn}


def _has_verdicts(count: int) -> Callable[[str], bool]:
    return lambda text: len(_verdicts_in(text, count)) == count


def _citations_in(text: str, citing: Sequence[tuple[str, Sequence[int]]]) -> dict[int, tuple[bool, list[int]]]:
    """Number of the sentence → whether its texts support it, and the useful ones of those that it cites."""
    value = json_object(text) or {}
    items = value.get("sentences")
    found: dict[int, tuple[bool, list[int]]] = {}
    for item in items if isinstance(items, list) else []:
        if not isinstance(item, dict):
            continue
        number, together, useful = item.get("sentence"), item.get("together"), item.get("useful")
        if type(number) is not int or not 1 <= number <= len(citing) or not isinstance(together, bool):
            continue
        if not isinstance(useful, list) or not all(type(at) is int for at in useful):
            continue
        found[number] = together, [at for at in citing[number - 1][1] if at in useful]
    return found
