"""`latewood judge`: are answers that were given elsewhere in the texts that they were given from?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from latewood.answers import Agreement, Judge, Judgement, Scores, agreement, read_items, read_labels, score
from latewood.answers.prompts import VERSION
from latewood.answers.scores import Mean
from latewood.cli.answer_options import JudgeOption, JudgeUrlOption
from latewood.cli.options import JsonOption
from latewood.cli.output import console, emit_json, progress_bar, remark
from latewood.cli.spending import MaxTokensOption, PriceOption, Terms, YesOption, account_as_json, spending
from latewood.endpoints import load_chat
from latewood.evaluate.bootstrap import load_bootstrap

__all__ = ["command", "print_scores"]

_NAMED = 10


def command(
    answers: Annotated[Path, typer.Argument(metavar="FILE", help="JSONL with question, answer, contexts.")],
    judge: JudgeOption = None,
    judge_url: JudgeUrlOption = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="People's verdicts, to hold the judge against.")
    ] = None,
    citations: Annotated[
        bool, typer.Option("--citations/--no-citations", help="Judge citations like [1], too.")
    ] = True,
    yes: YesOption = False,
    max_tokens: MaxTokensOption = None,
    price: PriceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Judge answers claim by claim: supported, contradicted, or not in the text."""
    items = read_items(answers)
    said = read_labels(labels) if labels else []
    load_bootstrap()  # before anything is paid for
    judging = Judge(load_chat(judge, url=judge_url, option="--judge"), citations=citations)
    with (
        spending([judging.estimate(items)], Terms(yes, max_tokens, price)) as account,
        progress_bar("judging", len(items), quiet=as_json) as advance,
    ):
        judgements = judging.judge(items, advance)
    scores = score(judgements)
    agreed = agreement(judgements, said) if said else None
    if as_json:
        emit_json(_as_json(judging, judgements, scores, agreed, account_as_json(account)))
        return 0
    print_scores([(f"judged by {judging.model.name}", scores)])
    if agreed is not None:
        _print_agreement(agreed)
    unjudged = [judgement for judgement in judgements if judgement.outcome == "unjudged"]
    for judgement in unjudged[:_NAMED]:
        remark(f"unjudged: {judgement.id}: {judgement.reason}")
    if len(unjudged) > _NAMED:
        remark(f"and {len(unjudged) - _NAMED:,} more; --json names all")
    return 0


def _as_json(
    judging: Judge,
    judgements: Sequence[Judgement],
    scores: Scores,
    agreed: Agreement | None,
    sent: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "judge": judging.model.name,
        "prompts": VERSION,
        "scores": scores.to_json(),
        "agreement": None if agreed is None else agreed.to_json(),
        "items": [judgement.to_json() for judgement in judgements],
        **sent,
    }


def print_scores(columns: Sequence[tuple[str, Scores]]) -> None:
    """Print the figures of sets of answers, one column each, and what they mean."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
    grid.add_column("")
    for name, _ in columns:
        grid.add_column(escape(name), justify="right", overflow="fold", min_width=14)
    for label, cell in _ROWS.items():
        cells = [cell(scores) for _, scores in columns]
        if any(cells):
            grid.add_row(label, *(text or "–" for text in cells))
    console.print(grid)
    for line in _MEANING:
        console.print(line, style="dim", markup=False)


_MEANING = (
    "faithfulness: share of an answer's claims that its texts support, over judged answers; what they don't mention "
    "counts against it, as in Ragas.",
    "supported: share of all answers whose every claim is; refusals and unjudged answers are not.",
    "not contradicted: lets pass what the texts don't mention, and refusals with full marks, as DeepEval by default.",
)


def _mean(mean: Mean | None) -> str:
    return "" if mean is None else f"{mean.value:.3f}"


def _range(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _interval(mean: Mean | None) -> str:
    return "" if mean is None else _range(mean.interval.low, mean.interval.high)


_ROWS: Mapping[str, Callable[[Scores], str]] = {
    "faithfulness": lambda of: _mean(of.faithfulness),
    "  95 %": lambda of: _interval(of.faithfulness),
    "  were the unjudged known": lambda of: _range(*of.bounds) if of.bounds and of.answers["unjudged"] else "",
    "coverage": lambda of: "" if of.coverage is None else f"{of.coverage:.3f}",
    "supported": lambda of: _mean(of.supported_answers),
    "not contradicted": lambda of: _mean(of.not_contradicted),
    "correctness": lambda of: _mean(of.correctness),
    "citation recall": lambda of: _mean(of.citation_recall),
    "citation precision": lambda of: _mean(of.citation_precision),
    "judged": lambda of: f"{of.answers['judged']:,}",
    "refusals": lambda of: f"{of.answers['refusal']:,}",
    "without claims": lambda of: f"{of.answers['no_claims']:,}",
    "unjudged": lambda of: f"{of.answers['unjudged']:,}",
}


def _print_agreement(agreed: Agreement) -> None:
    for what, kappa in (("verdicts", agreed.verdicts), ("supported or not", agreed.faithful)):
        if kappa is None:
            continue
        value = "not defined (only one verdict occurs)" if kappa.value is None else f"{kappa.value:.3f}"
        interval = "" if kappa.low is None else f" (95 %: {kappa.low:.3f} to {kappa.high:.3f})"
        console.print(
            f"agreement with labels, {what}: kappa {value}{interval}, "
            f"{kappa.agreement:.1%} of {kappa.cases:,} the same",
            markup=False,
        )
    if agreed.unjudged:
        remark(f"note: {agreed.unjudged:,} labelled cases got no verdict, and are in no kappa")
