"""`latewood demo`: the main job on a corpus that every Python ships, offline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from latewood.cli.compare import print_comparison
from latewood.cli.marking import snippet
from latewood.cli.options import JsonOption
from latewood.cli.output import console, print_json, progress_bar, remark, remarks_from_warnings
from latewood.collection import Collection
from latewood.demo import run
from latewood.demo.corpus import passages
from latewood.evaluate import Comparison, Examples

__all__ = ["command"]


def command(
    collection: Annotated[
        Path | None, typer.Option("-c", "--collection", metavar="FOLDER", help="Default: in the user's cache.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Index Python's own documentation, compare pipelines on labelled questions, show where they differ."""
    folder = collection or run.default_folder()
    started = time.perf_counter()
    with remarks_from_warnings(), _open(folder) as kb:
        _fill(kb, as_json)
        queries, _ = run.load_questions()
        with progress_bar("asking", len(run.PIPELINES) * len(queries), quiet=as_json) as advance:
            comparison, examples = run.evaluate(kb, advance)
        wins = [run.show(kb, example) for example in examples.wins]
        losses = [run.show(kb, example) for example in examples.losses]
    if as_json:
        shown = {"wins": [s.to_json() for s in wins], "losses": [s.to_json() for s in losses]}
        print_json({**comparison.to_json(), "examples": {**examples.to_json(), **shown}})
    else:
        _print(comparison, examples, wins, losses)
        _print_next(folder)
        remark(f"{time.perf_counter() - started:.0f} s in all")
    return 1 if comparison.failed else 0


def _open(folder: Path) -> Collection:
    if folder.exists():
        return Collection.open(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return Collection.create(folder)


def _fill(kb: Collection, quiet: bool) -> None:
    documents = passages()
    with progress_bar("indexing Python's documentation", len(documents), quiet) as advance:
        report = run.add_passages(kb, documents, advance)
    if not quiet:
        state = "indexed now" if report.added or report.replaced else "indexed before"
        console.print(f"{len(documents):,} passages of Python's own documentation, {state}: {kb.path}", markup=False)


def _print(comparison: Comparison, examples: Examples, wins: list[run.Shown], losses: list[run.Shown]) -> None:
    console.print(f"{len(comparison.judged)} labelled questions\n")
    print_comparison(comparison, ("R@5", "nDCG@10"))
    console.print(
        f"\n'{examples.pipeline}' ranks the answer higher than '{examples.baseline}' for {examples.won} questions, "
        f"lower for {examples.lost}, the same for {examples.tied}. The largest changes, with what matched:",
        markup=False,
    )
    for shown in wins:
        _print_example("won", shown)
    for shown in losses:
        _print_example("lost", shown)


def _print_example(verdict: str, shown: run.Shown) -> None:
    example = shown.example
    before, after = example.baseline or "not found", example.better or "not found"
    console.print(f"\n{verdict}: {example.query}", style="bold", markup=False)
    console.print(f"  the answer, {', '.join(example.gold)}: rank {before} → {after}", markup=False)
    if shown.answer is not None:
        console.print("  ", snippet(shown.answer, console), sep="")
    if shown.answer is None or shown.answer.rank > 1:
        console.print(f"  put first instead: {shown.first.id}", markup=False)
        console.print("  ", snippet(shown.first, console), sep="")


def _print_next(folder: Path) -> None:
    console.print("\nTry next:")
    for command in (
        f'latewood search {folder} "how do I stop a loop early?" --explain',
        "latewood index --jsonl corpus.jsonl -c kb.lw          # your documents: _id, title, text",
        'latewood compare kb.lw -q queries.jsonl -r qrels.tsv --pipeline "dense:50" --pipeline "dense:50 >> late:50"',
    ):
        console.print(f"  {command}", markup=False)
