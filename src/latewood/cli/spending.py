"""What a run would send to endpoints, said before it is sent; and a limit that stops a surprise."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from latewood.cli.output import remark
from latewood.endpoints import ASK_FIRST, Account, Estimate, accounting, tokens_in
from latewood.errors import BudgetError, UsageError
from latewood.pipeline import parse
from latewood.searching import Searching

__all__ = ["MaxTokensOption", "PriceOption", "Terms", "YesOption", "account_as_json", "rerank_estimate", "spending"]

YesOption = Annotated[
    bool, typer.Option("--yes", help="Send to a paid endpoint what a long run needs, without being asked.")
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", min=1, help="Stop before an endpoint is sent more tokens.")
]
PriceOption = Annotated[
    float | None,
    typer.Option("--price", metavar="P", min=0, help="Of a million tokens at the endpoint, to have the cost said."),
]

_SAMPLED = 200


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms endpoints are sent something.

    Args:
        yes: much is agreed to.
        max_tokens: the limit; one that is given is an agreement as well.
        price: of a million tokens.
    """

    yes: bool = False
    max_tokens: int | None = None
    price: float | None = None


@contextmanager
def spending(estimates: Sequence[Estimate], terms: Terms) -> Iterator[Account]:
    """Say what will be sent, ask where it is much, count it, stop it at the limit, and say what it was.

    Args:
        estimates: what will be sent at most; none for a run that needs no endpoint.
        terms: the user's.

    Raises:
        BudgetError: it is much, nobody agreed, and nobody can be asked; or the limit was reached.
    """
    tokens = sum(estimate.tokens + estimate.answer_tokens for estimate in estimates)
    price = terms.price
    for estimate in estimates:
        cost = estimate.price(price)
        remark(f"to an endpoint: at most {estimate}" + (f", {cost:,.2f} at {price:g} a million" if cost else ""))
    if tokens > ASK_FIRST and not terms.yes and terms.max_tokens is None:
        _agree(tokens)
    account = Account()
    try:
        with accounting(terms.max_tokens) as account:
            yield account
    finally:
        if account.requests or account.cached:
            cost_so_far = "" if price is None else f" ({account.tokens * price / 1e6:,.2f})"
            remark(
                f"sent {account.requests:,} requests, {account.tokens:,} tokens{cost_so_far}; "
                f"{account.cached:,} answers from the cache"
            )


def _agree(tokens: int) -> None:
    if sys.stdin is not None and sys.stdin.isatty() and typer.confirm("send it?", err=True):
        return
    raise BudgetError(
        f"about {tokens:,} tokens would be sent to an endpoint, and more than {ASK_FIRST:,} are to be agreed to: "
        f"give --yes, or --max-tokens N for a limit"
    )


def account_as_json(account: Account) -> Mapping[str, Any]:
    """What was sent, under "endpoint" (docs/json.md); nothing where no endpoint took part."""
    if not account.requests and not account.cached:
        return {}
    counts = {"requests": account.requests, "tokens": account.tokens, "cached": account.cached}
    return {"endpoint": {**counts, "retries": account.retries}}


def rerank_estimate(kb: Searching, pipelines: Sequence[str], questions: Sequence[str]) -> list[Estimate]:
    """What rerank endpoints in these pipelines would be sent, at most: every candidate of every question.

    Args:
        kb: the collection; the length of its passages is that of 200 of them.
        pipelines: their texts.
        questions: those that will be asked.

    Raises:
        UsageError: the collection is empty.
    """
    candidates = 0
    for text in pipelines:
        pipeline = parse(text)
        for place, step in enumerate(pipeline.steps):
            remote = sum(stage.name == "cross" and bool(stage.option("url")) for stage in step.stages)
            candidates += remote * (pipeline.depths()[place - 1] if place else 0)
    if not candidates:
        return []
    ids = list(kb.sources())
    if not ids:
        raise UsageError(f"{kb.home} is empty: index something first")
    sample = kb.get(ids[:: -(-len(ids) // _SAMPLED)])
    per_passage = sum(tokens_in(passage.text) for passage in sample) / len(sample)
    tokens = sum(candidates * (per_passage + tokens_in(question)) for question in questions)
    return [Estimate("passages to rerank", candidates * len(questions), round(tokens))]
