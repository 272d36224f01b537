"""`latewood compare`: pipelines, collections and foreign runs, one set of labelled questions, one table, one report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

import latewood
from latewood.answers import AnswersComparison, render_answers
from latewood.cli.answer_options import (
    AnswerKOption,
    AnswerSampleOption,
    FaithfulnessOption,
    JudgeOption,
    JudgeUrlOption,
    LlmOption,
    LlmUrlOption,
    ReferencesOption,
)
from latewood.cli.compare_answers import plan_of, print_answers
from latewood.cli.compare_options import (
    BaselineOption,
    CorpusOption,
    FirstCollection,
    GroupOption,
    HtmlOption,
    MetricsOption,
    OthersOption,
    PipelinesOption,
    QrelsOption,
    QueriesOption,
    RunsOption,
    SaveRunsOption,
)
from latewood.cli.options import JsonOption, ModelOption, WhereOption
from latewood.cli.output import console, print_json, progress_bar, remark, remarks_from_warnings
from latewood.cli.spending import (
    MaxTokensOption,
    PriceOption,
    Terms,
    YesOption,
    account_as_json,
    rerank_estimate,
    spending,
)
from latewood.endpoints import Account
from latewood.errors import InputError, StorageError, UsageError
from latewood.evaluate import (
    DEFAULT_METRICS,
    Comparison,
    System,
    compare,
    read_qrels,
    read_queries,
    read_run,
    select,
    tables,
    write_report,
    write_run,
)
from latewood.evaluate.report import Texts, load_jinja
from latewood.ingest.jsonl import read_jsonl
from latewood.qdrant import QdrantCollection, open_home
from latewood.searching import Searching
from latewood.stores.conditions import Where, read_where
from latewood.stores.homes import is_qdrant
from latewood.types import Passage

__all__ = ["command", "print_comparison"]


def command(
    queries: QueriesOption,
    qrels: QrelsOption,
    collection: FirstCollection = None,
    others: OthersOption = None,
    pipeline: PipelinesOption = None,
    run: RunsOption = None,
    baseline: BaselineOption = None,
    metric: MetricsOption = None,
    corpus: CorpusOption = None,
    group: GroupOption = "auto",
    html: HtmlOption = None,
    save_runs: SaveRunsOption = None,
    where: WhereOption = None,
    model: ModelOption = None,
    faithfulness: FaithfulnessOption = False,
    llm: LlmOption = None,
    llm_url: LlmUrlOption = None,
    judge: JudgeOption = None,
    judge_url: JudgeUrlOption = None,
    answer_k: AnswerKOption = 5,
    answer_sample: AnswerSampleOption = None,
    references: ReferencesOption = None,
    yes: YesOption = False,
    max_tokens: MaxTokensOption = None,
    price: PriceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare pipelines and runs on labelled questions; exit code 1 when a question could not be answered."""
    asked, judged = read_queries(queries), read_qrels(qrels)
    folders = [*([collection] if collection else []), *(others or [])]
    _check(folders, pipeline or [], run or [], html)
    documents = _documents(corpus) if corpus else None
    conditions = None if where is None else read_where(where)
    models = (llm, llm_url, judge, judge_url)
    plan = plan_of(*models, k=answer_k, sample=answer_sample, references=references) if faithfulness else None
    terms = Terms(yes, max_tokens, price)
    with remarks_from_warnings(), ExitStack() as stack:
        opened = [_open(folder, model, stack) for folder in folders]
        systems = _baseline_first(
            [*_pipelines(opened, pipeline or [], conditions), *_runs(run or [], documents)], baseline
        )
        questions, texts = list(select(asked, judged).queries.values()), _texts(opened, documents)
        with (
            _reranking(opened, pipeline or [], questions, terms) as account,
            progress_bar("asking", len(systems) * len(questions), quiet=as_json) as advance,
        ):
            comparison = compare(
                systems, asked, judged, None, metrics=metric or DEFAULT_METRICS, group=group, progress=advance
            )
            given = plan.passages(comparison, systems, texts) if plan else None
        answered = plan.carry_out(given, terms, quiet=as_json) if plan and given else None
        if save_runs:
            _save_runs(comparison, save_runs)
        if html:
            about = _about(folders, run or [], queries, qrels)
            write_report(html, comparison, systems, texts, about, [render_answers(answered)] if answered else ())
            remark(f"report: {html}")
    _show(comparison, answered, as_json, account_as_json(account))
    return 1 if comparison.failed else 0


@contextmanager
def _reranking(
    opened: Sequence[Searching],
    pipelines: Sequence[str],
    questions: Sequence[str],
    terms: Terms,
) -> Iterator[Account]:
    """Say what rerank endpoints will be sent, count it, and say what that makes of the latency."""
    sent = [estimate for kb in opened for estimate in rerank_estimate(kb, pipelines, questions)]
    with spending(sent, terms) as account:
        yield account
    if sent and account.cached:
        remark(
            f"note: {account.cached:,} answers came from the cache, so that the latency shown is not all the "
            f"endpoint's; LATEWOOD_CACHE=off asks it every time"
        )


def _show(comparison: Comparison, answered: AnswersComparison | None, as_json: bool, sent: Mapping[str, Any]) -> None:
    if as_json:
        print_json({**comparison.to_json(), **({"answers": answered.to_json()} if answered else {}), **sent})
    else:
        print_comparison(comparison)
        if answered:
            print_answers(answered)
    for result in comparison.results:
        for failure in result.failed:
            remark(f"failed: '{result.pipeline}' on question {failure.query_id}: {failure.error}")


def print_comparison(comparison: Comparison, metrics: tuple[str, ...] | None = None) -> None:
    """Print what is found, whether it is luck and what it takes, each with what it can't tell; then the verdict."""
    for laid_out in tables(comparison, metrics):
        console.print(f"\n{laid_out.title}", style="bold", markup=False)
        grid = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
        for i, heading in enumerate(laid_out.columns):
            if i == 0 or heading == "of which":
                grid.add_column(heading, overflow="fold")
            else:  # a figure is never cut, however narrow the terminal is
                width = max(len(heading), *(len(row[i]) for row in laid_out.rows))
                grid.add_column(heading, justify="right", no_wrap=True, min_width=width)
        for row in laid_out.rows:
            grid.add_row(*map(escape, row))
        console.print(grid)
        for note in laid_out.notes:
            console.print(note, style="dim", markup=False)
    if comparison.verdict:
        console.print("\nverdict", style="bold", markup=False)
        console.print(comparison.verdict.text, markup=False)


def _open(home: str, model: str | None, stack: ExitStack) -> Searching:
    kb = open_home(home, model)
    stack.callback(kb.close)
    if isinstance(kb, QdrantCollection):
        remark(
            f"note: {home} is asked stage by stage, to see each pool; search has Qdrant run what it can as "
            f"one query, so the latency shown is an upper one"
        )
    return kb


def _check(folders: Sequence[str], pipelines: Sequence[str], runs: Sequence[str], html: Path | None) -> None:
    """Find out what can't be done before anything is asked."""
    if pipelines and not folders:
        raise UsageError(f"--pipeline '{pipelines[0]}' has nothing to run on: give a COLLECTION")
    if not folders and not runs:
        raise UsageError("nothing to compare: give a COLLECTION with --pipeline, or --run NAME=FILE")
    if folders and not pipelines:
        raise UsageError(f"{folders[0]}: which pipelines? Give at least one, such as --pipeline dense:50")
    if html:
        load_jinja()
        if not html.parent.is_dir():
            raise StorageError(f"{html}: there is no folder {html.parent} to write the report to; make it first")


def _documents(path: Path) -> dict[str, Passage]:
    documents: dict[str, Passage] = {}
    for passage in read_jsonl(path):
        if passage.id in documents:
            raise InputError(f"{path}: the id {passage.id!r} comes twice; expected each document under its own id")
        documents[passage.id] = passage
    return documents


def _pipelines(opened: Sequence[Searching], pipelines: Sequence[str], where: Where | None) -> list[System]:
    """Every pipeline on every collection; collections are told apart by name where there are several."""
    if len(opened) == 1:
        return opened[0].systems(pipelines, where=where)
    stems = [_name(kb.home) for kb in opened]
    names = stems if len(set(stems)) == len(stems) else [kb.home for kb in opened]
    return [system for kb, name in zip(opened, names, strict=True) for system in kb.systems(pipelines, name, where)]


def _name(home: str) -> str:
    return home if is_qdrant(home) else Path(home).resolve().stem


def _runs(given: Sequence[str], documents: Mapping[str, Passage] | None) -> list[System]:
    corpus = None if documents is None else {passage.id: passage.source_id for passage in documents.values()}
    systems = []
    for text in given:
        name, separator, path = text.partition("=")
        if not separator or not name or not path:
            raise UsageError(f"--run {text!r}: expected NAME=FILE, such as --run today=today.run")
        systems.append(System(name, read_run(path), corpus=corpus))
    return systems


def _baseline_first(systems: list[System], baseline: str | None) -> list[System]:
    if baseline is None:
        return systems
    names = [system.name for system in systems]
    if baseline not in names:
        raise UsageError(f"--baseline '{baseline}' is none of those compared: {', '.join(map(repr, names))}")
    first = systems[names.index(baseline)]
    return [first, *(system for system in systems if system is not first)]


def _save_runs(comparison: Comparison, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise StorageError(f"{folder}: could not be made: {err.strerror or err}") from err
    for number, result in enumerate(comparison.results, start=1):
        slug = re.sub(r"[^A-Za-z0-9_.]+", "-", result.pipeline).strip("-")
        path = folder / f"{number}-{slug}.run"
        write_run(path, result.rankings, result.scores, tag=slug)
        remark(f"run: {path}")


def _texts(opened: Sequence[Searching], documents: Mapping[str, Passage] | None) -> Texts:
    """Texts of judged ids: from the corpus that was given, else from the first collection that has them."""
    lookups = [_lookup(kb) for kb in opened]
    given = documents or {}

    def texts(ids: Sequence[str]) -> dict[str, str]:
        found = {judged_id: given[judged_id].text for judged_id in ids if judged_id in given}
        for lookup in lookups:
            found |= lookup([judged_id for judged_id in ids if judged_id not in found])
        return found

    return texts


def _lookup(kb: Searching) -> Callable[[Sequence[str]], dict[str, str]]:
    """Texts of passages by id, and of sources by their first passage."""
    sources = kb.sources()
    passage_of: dict[str, str] = {}
    for passage_id, source_id in sources.items():
        passage_of.setdefault(source_id, passage_id)
    passage_of |= {passage_id: passage_id for passage_id in sources}

    def lookup(ids: Sequence[str]) -> dict[str, str]:
        here = [judged_id for judged_id in ids if judged_id in passage_of]
        passages = kb.get([passage_of[judged_id] for judged_id in here])
        return {judged_id: passage.text for judged_id, passage in zip(here, passages, strict=True)}

    return lookup


def _about(folders: Sequence[str], runs: Sequence[str], queries: Path, qrels: Path) -> list[tuple[str, str]]:
    about = [("Date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"))]
    if folders:
        about.append(
            ("Collections", ", ".join(folder if is_qdrant(folder) else Path(folder).name for folder in folders))
        )
    if runs:
        about.append(("Runs", ", ".join(runs)))
    return [
        *about,
        ("Questions", queries.name),
        ("Judgements", qrels.name),
        ("Made by", f"latewood {latewood.__version__}"),
    ]
