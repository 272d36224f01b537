"""Questions to answers, and whether the answers are in what was retrieved.

Above the endpoints, beside the collection: it is given passages, and asks chat models. Nothing else needs it.
"""

from __future__ import annotations

from latewood.answers.agreement import Agreement, Kappa, agreement, kappa
from latewood.answers.asking import Answer, Cited, Done, Event, Token, answer, stream_answer
from latewood.answers.citing import Citation
from latewood.answers.comparing import AnswersComparison, compare_answers, estimate_answers
from latewood.answers.items import Item, Label, read_items, read_labels, read_references
from latewood.answers.judging import Claim, Correctness, Judge, Judgement
from latewood.answers.report import render_answers
from latewood.answers.scores import Scores, paired, score

__all__ = [
    "Agreement",
    "Answer",
    "AnswersComparison",
    "Citation",
    "Cited",
    "Claim",
    "Correctness",
    "Done",
    "Event",
    "Item",
    "Judge",
    "Judgement",
    "Kappa",
    "Label",
    "Scores",
    "Token",
    "agreement",
    "answer",
    "compare_answers",
    "estimate_answers",
    "kappa",
    "paired",
    "read_items",
    "read_labels",
    "read_references",
    "render_answers",
    "score",
    "stream_answer",
]
