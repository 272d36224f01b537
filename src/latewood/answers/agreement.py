"""How far a judge agrees with people: Cohen's kappa with its interval.

kappa = (p_o - p_e) / (1 - p_e): agreement beyond what two raters with these habits would reach by chance (Cohen 1960).
Its standard error is the large-sample one of Fleiss, Cohen and Everitt (1969), which holds for any kappa.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from latewood.answers.items import Label
from latewood.answers.judging import MISSING, Judgement
from latewood.errors import InputError

__all__ = ["Agreement", "Kappa", "agreement", "kappa"]

_Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance.

    Args:
        value: 1 for full agreement, 0 for chance; None where both always say the same one thing, and chance alone
            explains it.
        low: of the 95 % interval, at least -1.
        high: of it, at most 1.
        agreement: share of cases on which both say the same.
        cases: how many.
    """

    value: float | None
    low: float | None
    high: float | None
    agreement: float
    cases: int

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        interval = None if self.low is None else [self.low, self.high]
        return {"kappa": self.value, "interval": interval, "agreement": self.agreement, "cases": self.cases}


@dataclass(frozen=True, slots=True)
class Agreement:
    """A judge against people.

    Args:
        verdicts: over all verdicts as they are.
        faithful: over supported or not; refusals left out, on either side.
        table: people's verdict → the judge's → cases.
        unjudged: labelled cases that the judge gave no verdict for.
        unlabelled: cases of the judge's that nobody labelled.
    """

    verdicts: Kappa
    faithful: Kappa | None
    table: Mapping[str, Mapping[str, int]]
    unjudged: int
    unlabelled: int

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md describes it."""
        return {
            "verdicts": self.verdicts.to_json(),
            "faithful": None if self.faithful is None else self.faithful.to_json(),
            "table": {label: dict(row) for label, row in self.table.items()},
            "unjudged": self.unjudged,
            "unlabelled": self.unlabelled,
        }


def kappa(pairs: Sequence[tuple[str, str]]) -> Kappa:
    """Cohen's kappa of two raters.

    Args:
        pairs: one case each: what one says, what the other says.

    Raises:
        InputError: no cases.
    """
    count = len(pairs)
    if not count:
        raise InputError("no case has both a label and a verdict: kappa needs some; check the ids in the labels")
    names = sorted({name for pair in pairs for name in pair})
    share = {(a, b): sum(pair == (a, b) for pair in pairs) / count for a in names for b in names}
    first = {name: sum(share[name, other] for other in names) for name in names}
    second = {name: sum(share[other, name] for other in names) for name in names}
    observed = sum(share[name, name] for name in names)
    expected = sum(first[name] * second[name] for name in names)
    if expected > 1 - 1e-12:
        return Kappa(None, None, None, observed, count)
    value = (observed - expected) / (1 - expected)
    on = sum(
        share[name, name] * ((1 - expected) - (first[name] + second[name]) * (1 - observed)) ** 2 for name in names
    )
    off = sum(share[a, b] * (second[a] + first[b]) ** 2 for a in names for b in names if a != b)
    variance = on + (1 - observed) ** 2 * off - (observed * expected - 2 * expected + observed) ** 2
    error = math.sqrt(max(0.0, variance) / count) / (1 - expected) ** 2
    return Kappa(value, max(-1.0, value - _Z * error), min(1.0, value + _Z * error), observed, count)


def agreement(judgements: Sequence[Judgement], labels: Sequence[Label]) -> Agreement:
    """Hold judgements against people's labels, of whole answers or of single claims.

    Raises:
        InputError: labels of answers or claims that weren't judged, or none that can be compared.
    """
    verdicts: dict[tuple[str, str], str | None] = {}
    for judgement in judgements:
        verdicts[judgement.id, ""] = judgement.verdict
        for claim in judgement.claims:
            verdicts[judgement.id, claim.text] = None if claim.verdict == MISSING else claim.verdict
    strangers = [label for label in labels if (label.id, label.claim) not in verdicts]
    unknown_claims = [label for label in strangers if label.claim and (label.id, "") in verdicts]
    if strangers:
        label = strangers[0]
        raise InputError(
            f"{len(strangers):,} labels name what wasn't judged, such as {label.id!r}"
            + (
                f" with the claim {label.claim!r:.60}: give the answers with their 'claims', the same for all"
                if unknown_claims
                else ": label the answers that are judged, by their id"
            )
        )
    named = {(label.id, label.claim) for label in labels}
    kinds = {bool(label.claim) for label in labels}
    pairs = [(label.verdict, verdict) for label in labels if (verdict := verdicts[label.id, label.claim]) is not None]
    faithful = [(_faithful(mine), _faithful(theirs)) for mine, theirs in pairs if "refusal" not in {mine, theirs}]
    table: dict[str, dict[str, int]] = {}
    for mine, theirs in pairs:
        row = table.setdefault(mine, {})
        row[theirs] = row.get(theirs, 0) + 1
    return Agreement(
        verdicts=kappa(pairs),
        faithful=kappa(faithful) if faithful else None,
        table={label: dict(sorted(row.items())) for label, row in sorted(table.items())},
        unjudged=len(labels) - len(pairs),
        unlabelled=sum(bool(claim) in kinds and (item, claim) not in named for item, claim in verdicts),
    )


def _faithful(verdict: str) -> str:
    return "supported" if verdict == "supported" else "not supported"
