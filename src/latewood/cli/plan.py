"""`latewood plan`: what a corpus will take, measured on this machine before anything is built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from latewood import encode
from latewood.cli.options import JsonOption
from latewood.cli.output import console, emit_json, remark, remarks_from_warnings
from latewood.errors import MissingExtra, UsageError
from latewood.evaluate import read_queries
from latewood.evaluate.plan import Plan, make_plan
from latewood.evaluate.plan_sample import Sample, stated, workload_of
from latewood.evaluate.plan_sizes import Workload
from latewood.evaluate.plan_speeds import measure_speeds
from latewood.evaluate.plan_table import plan_tables
from latewood.ingest import read_jsonl
from latewood.protocols import Encoder

__all__ = ["command"]

_QUESTION = "what does the warranty cover when a part fails in the first year"
"""Of sixteen tokens, asked where no questions are given."""

_QUESTION_TOKENS = 16


def command(
    jsonl: Annotated[
        list[Path] | None,
        typer.Option("--jsonl", metavar="FILE", help="A corpus, or a sample of one; may be given again."),
    ] = None,
    chunks: Annotated[
        int | None, typer.Option("--chunks", help="Chunks to plan for; those in FILE by default.")
    ] = None,
    tokens_per_chunk: Annotated[
        int | None, typer.Option("--tokens-per-chunk", help="Stated, where there is no FILE to count in.")
    ] = None,
    dim: Annotated[int | None, typer.Option("--dim", help="D of the token vectors; the model's by default.")] = None,
    dense_dim: Annotated[
        int | None, typer.Option("--dense-dim", help="D of the single vectors; the model's by default.")
    ] = None,
    pages: Annotated[int | None, typer.Option("--pages", help="Page images; as many as chunks by default.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option("-q", "--queries", metavar="FILE", help="Questions as users ask them, to measure with."),
    ] = None,
    machine_price: Annotated[
        float | None, typer.Option("--machine-price", help="Of an hour of this machine, in your currency.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME|FOLDER", help="Whose tokenizer and speed to measure.")
    ] = "minilm",
    seconds: Annotated[float, typer.Option("--seconds", help="The most that measuring shall take, about.")] = 60.0,
    as_json: JsonOption = False,
) -> int:
    """Plan bytes, build hours, latency and price of a corpus, from a minute of measuring on this machine."""
    _check(jsonl, chunks, tokens_per_chunk, {"--dim": dim, "--dense-dim": dense_dim, "--pages": pages}, machine_price)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(f"--seconds: got {seconds}, expected more than 0")
    asked = list(read_queries(queries).values()) if queries is not None else [_QUESTION]
    with remarks_from_warnings():
        sample = Sample.of(chain.from_iterable(read_jsonl(path) for path in jsonl)) if jsonl else None
        encoder = _encoder(model, needed=sample is not None)
        if encoder is not None:
            _check_kinds(encoder, dense_dim)
        workload = _workload(sample, (chunks or 0, tokens_per_chunk or 0), encoder, (dim, dense_dim), pages)
        remark(f"measuring on this machine, up to {seconds:.0f} s")
        texts = sample.texts if sample is not None else _texts(workload)
        speeds = measure_speeds(workload, asked, encoder, texts, query_tokens=_QUESTION_TOKENS, seconds=seconds)
    plan = make_plan(workload, speeds, machine_price)
    if as_json:
        emit_json(plan.to_json())
    else:
        _print(plan)
    return 0


def _check(
    jsonl: Sequence[Path] | None,
    chunks: int | None,
    tokens_per_chunk: int | None,
    others: dict[str, int | None],
    machine_price: float | None,
) -> None:
    """One line for what can't be planned, before anything is loaded."""
    if jsonl and tokens_per_chunk is not None:
        raise UsageError("--tokens-per-chunk is counted in the files of --jsonl: give one of the two")
    if not jsonl and (chunks is None or tokens_per_chunk is None):
        raise UsageError("nothing to plan for: give --jsonl FILE, or both --chunks and --tokens-per-chunk")
    for name, value in {"--chunks": chunks, "--tokens-per-chunk": tokens_per_chunk, **others}.items():
        if value is not None and value < 1:
            raise UsageError(f"{name}: got {value}, expected 1 or more")
    if machine_price is not None and not (math.isfinite(machine_price) and machine_price >= 0):
        raise UsageError(f"--machine-price: got {machine_price}, expected what an hour costs, 0 or more")


def _check_kinds(encoder: Encoder, dense_dim: int | None) -> None:
    """Without token vectors there is nothing to plan; without single ones somebody must say what D is."""
    name, spec = encoder.spec.name, encoder.spec
    if not spec.dim:
        raise UsageError(f"'{name}' gives no token vectors, which are what a plan is about: give another --model")
    if not spec.dense_dim and dense_dim is None:
        raise UsageError(
            f"'{name}' gives no single vector for the first stage: say D of the model that will, --dense-dim"
        )


def _encoder(model: str, *, needed: bool) -> Encoder | None:
    """The model; stated counts can be planned for without one."""
    try:
        return encode.load(model)
    except MissingExtra as error:
        if needed:
            raise
        remark(f"note: {error}; encoding isn't measured")
        return None


def _workload(
    sample: Sample | None,
    counts: tuple[int, int],
    encoder: Encoder | None,
    dims: tuple[int | None, int | None],
    pages: int | None,
) -> Workload:
    """What the sample, or without one the stated counts, stand for."""
    chunks, tokens = counts
    dim, dense_dim = dims
    if sample is not None and encoder is not None:
        return workload_of(sample, encoder, chunks=chunks or None, dim=dim, dense_dim=dense_dim, pages=pages)
    if encoder is not None:
        spec = encoder.spec
        return stated(chunks, tokens, dim or spec.dim, dense_dim or spec.dense_dim, spec.max_length, pages=pages)
    if dim is None or dense_dim is None:
        raise UsageError("without a model --dim and --dense-dim must be given, since nothing else says what D is")
    return stated(chunks, tokens, dim, dense_dim, pages=pages)


def _texts(workload: Workload) -> list[str]:
    """Texts of about the stated length, no two alike, for the encoder's rate."""
    words = max(1, round(workload.tokens_per_chunk) - 2)
    return [" ".join(["word"] * (words - 1) + [str(number % 1000)]) for number in range(512)]


def _print(plan: Plan) -> None:
    for laid_out in plan_tables(plan):
        console.print(f"\n{laid_out.title}", style="bold", markup=False)
        grid = Table(box=None, pad_edge=False, padding=(0, 2), header_style="dim")
        for i, heading in enumerate(laid_out.columns):
            grid.add_column(
                heading, justify="left" if i == 0 else "right", no_wrap=i > 0 or laid_out.columns[1] != "here"
            )
        for row in laid_out.rows:
            grid.add_row(*map(escape, row))
        console.print(grid)
        for note in laid_out.notes:
            console.print(note, style="dim", markup=False)
