"""`latewood index`: documents into a collection."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import typer

from latewood.cli.follow import follow as follow_stream
from latewood.cli.options import BatchSizeOption, DeviceOption, DownloadOption, DtypeOption, JsonOption
from latewood.cli.output import Bar, console, emit_json, progress_bar, remark, remarks_from_warnings, steps_bar
from latewood.cli.page_options import (
    ImagesOption,
    LanguageOfTextOption,
    OcrOption,
    PagesOption,
    pages_as_json,
    pages_told,
)
from latewood.cli.spending import MaxTokensOption, PriceOption, Terms, YesOption, account_as_json, spending
from latewood.collection import AddReport, Collection
from latewood.encode import Placement
from latewood.endpoints import Estimate, is_endpoint_model, tokens_in
from latewood.errors import UsageError
from latewood.folders import FolderReport, index_paths
from latewood.index import DEFAULT_BITS, check_bits
from latewood.ingest import (
    MAX_BYTES,
    MAX_PAGE_BYTES,
    Listing,
    PageRanges,
    Reading,
    Rules,
    count_jsonl,
    find_files,
    read_jsonl,
)
from latewood.late_index import build as build_index
from latewood.late_index import is_worthwhile
from latewood.stores.analyzers import ANALYZERS, check_analyzer

__all__ = ["command"]

_NAMED = 10
"""Skipped files that are named to people; --json names all."""

PathsArgument = Annotated[list[Path] | None, typer.Argument(metavar="PATH…", help="Folders and files to index.")]
CollectionOption = Annotated[Path, typer.Option("-c", "--collection", metavar="FOLDER", help="Made if it isn't there.")]
JsonlOption = Annotated[
    list[Path] | None,
    typer.Option("--jsonl", metavar="FILE", help="Records with _id, title, text; may be given again."),
]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Take only files that match; other types are read as text."),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Leave out files and folders that match.")
]
MaxBytesOption = Annotated[
    int | None,
    typer.Option("--max-bytes", metavar="N", help="Larger files are named, not read; 16 MiB, and 1 GiB for PDF files."),
]
PruneOption = Annotated[
    bool, typer.Option("--prune", help="Remove what came from these paths and isn't found there any more.")
]
ChunkOption = Annotated[
    bool, typer.Option("--chunk/--no-chunk", help="Cut JSONL documents into passages, as files are.")
]
LanguageOption = Annotated[
    str | None,
    typer.Option("--language", metavar="NAME", help="How BM25 cuts words in a new collection: english, auto, french …"),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME|FOLDER", help="minilm, a folder, openai:MODEL, or one of `latewood models`."),
]
BitsOption = Annotated[
    str | None,
    typer.Option(
        "--bits", metavar="auto|1|8|16|32|1+8", help="Of a stored dimension, in a new collection; 8 if not given."
    ),
]
TruncateOption = Annotated[
    bool, typer.Option("--truncate", help="Cut texts at the model's limit, as published figures do.")
]
BuildOption = Annotated[
    bool,
    typer.Option(
        "--build/--no-build", help="Build the late-interaction index when most of a large collection lacks it."
    ),
]
VectorsFromOption = Annotated[
    Path | None,
    typer.Option(
        "--vectors-from", metavar="FOLDER", help="A collection of the same model: its texts aren't encoded again."
    ),
]
FollowOption = Annotated[
    bool, typer.Option("--follow", help="Read JSONL from standard input, and commit what comes until it ends.")
]
EveryOption = Annotated[int, typer.Option("--commit-every", min=1, metavar="N", help="With --follow: lines at most.")]
WithinOption = Annotated[
    float, typer.Option("--commit-within", min=0, metavar="SECONDS", help="With --follow: how long a line waits.")
]


def command(
    collection: CollectionOption,
    paths: PathsArgument = None,
    jsonl: JsonlOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    max_bytes: MaxBytesOption = None,
    prune: PruneOption = False,
    pages: PagesOption = "",
    ocr: OcrOption = "auto",
    ocr_language: LanguageOfTextOption = "eng",
    images: ImagesOption = False,
    chunk: ChunkOption = False,
    follow: FollowOption = False,
    commit_every: EveryOption = 256,
    commit_within: WithinOption = 1.0,
    language: LanguageOption = None,
    model: ModelOption = None,
    truncate: TruncateOption = False,
    bits: BitsOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = None,
    batch_size: BatchSizeOption = None,
    download: DownloadOption = False,
    vectors_from: VectorsFromOption = None,
    build: BuildOption = True,
    yes: YesOption = False,
    max_tokens: MaxTokensOption = None,
    price: PriceOption = None,
    as_json: JsonOption = False,
) -> int:
    """Encode documents and add them; what is there already and unchanged costs nothing."""
    paths, jsonl = paths or [], jsonl or []
    chosen = _Chosen(model, truncate, language, bits, device, dtype, batch_size, download)
    if follow:
        _only_a_stream(paths, jsonl, chunk, _model_name(collection, model))
        return _follow(collection, chosen, commit_every, commit_within, as_json=as_json)
    if not paths and not jsonl:
        raise UsageError("nothing to index: give folders or files, --jsonl FILE, or --follow")
    rules, reading = _rules(include, exclude, max_bytes), Reading(PageRanges(pages), ocr, ocr_language, images)
    # What is wrong with the input is found before anything is changed.
    sent = _estimates(_model_name(collection, model), find_files(paths, rules, collection), jsonl)
    total, started, files = sum(map(count_jsonl, jsonl)), time.perf_counter(), FolderReport()
    with (
        remarks_from_warnings(),
        spending(sent, Terms(yes, max_tokens, price)) as account,
        _open_or_create(collection, chosen) as kb,
        nullcontext() if vectors_from is None else Collection.open(vectors_from) as source,
    ):
        with progress_bar(f"indexing into {collection}", None if paths or chunk else total, quiet=as_json) as advance:
            report = _add_records(kb, jsonl, chunk, rules, advance, source)
            if paths:
                bring = partial(index_paths, kb, paths, rules=rules, chunk_jsonl=chunk, prune=prune, reading=reading)
                files = bring(progress=advance, expect=advance.expect, vectors_from=source)
                report += files.passages
        generation, built = kb.refresh(), build and _build_if_worthwhile(kb, quiet=as_json)
    ended = {**account_as_json(account), "generation": generation, "seconds": time.perf_counter() - started}
    return _tell(collection, report, files if paths else None, {**ended, "built": built}, as_json=as_json)


def _build_if_worthwhile(kb: Collection, *, quiet: bool) -> bool:
    worthwhile = is_worthwhile(kb)
    if worthwhile:
        with steps_bar("building the late-interaction index", quiet=quiet) as step:
            build_index(kb, threads=os.cpu_count() or 1, progress=step)
    return worthwhile


def _tell(
    collection: Path, report: AddReport, files: FolderReport | None, ended: dict[str, Any], *, as_json: bool
) -> int:
    if as_json:
        shown = {} if files is None else _files_as_json(files)
        emit_json({"collection": str(collection), **asdict(report), **shown, **ended})
    else:
        _print(report, ended["seconds"], files)
    return 0


def _follow(collection: Path, chosen: _Chosen, most: int, within: float, *, as_json: bool) -> int:
    with remarks_from_warnings(), _open_or_create(collection, chosen) as kb:
        return follow_stream(kb, collection, most, within, as_json=as_json)


def _only_a_stream(paths: Sequence[Path], jsonl: Sequence[Path], chunk: bool, model: str) -> None:
    if paths or jsonl or chunk:
        raise UsageError(
            "--follow reads standard input alone, one passage a line: leave out files, --jsonl and --chunk"
        )
    if is_endpoint_model(model):
        raise UsageError(
            "--follow takes no model behind an endpoint: what a stream will cost can't be told beforehand; "
            "save it to a file, and use --jsonl"
        )


def _add_records(
    kb: Collection, jsonl: Sequence[Path], chunk: bool, rules: Rules, advance: Bar, source: Collection | None
) -> AddReport:
    """What `--jsonl` names: as passages whole, or cut."""
    if chunk and jsonl:
        expect = advance.expect
        return index_paths(
            kb, jsonl, rules=rules, chunk_jsonl=True, progress=advance, kind="jsonl", expect=expect, vectors_from=source
        ).passages
    records = chain.from_iterable(read_jsonl(path) for path in jsonl)
    return kb.add(records, advance, vectors_from=source) if jsonl else AddReport()


def _rules(include: list[str] | None, exclude: list[str] | None, max_bytes: int | None) -> Rules:
    limits = (MAX_BYTES, MAX_PAGE_BYTES) if max_bytes is None else (max_bytes, max_bytes)
    return Rules(include or (), exclude or (), *limits)


def _is_new(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def _model_name(path: Path, model: str | None) -> str:
    """What will encode: as given, or as the collection remembers."""
    if model is not None or _is_new(path):
        return model or "minilm"
    with Collection.open(path) as kb:
        return kb.spec.name


def _estimates(model: str, listing: Listing, jsonl: Sequence[Path]) -> list[Estimate]:
    """What an embeddings endpoint would be sent, were nothing of it known yet; of files, all their bytes."""
    if not is_endpoint_model(model):
        return []
    sizes = [tokens_in(passage.text) for path in jsonl for passage in read_jsonl(path)]
    sizes += [-(-file.path.stat().st_size // 3) for file in listing.files]
    return [Estimate("documents to embed", len(sizes), sum(sizes))]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What the command line says of the collection and its model."""

    model: str | None
    truncate: bool
    language: str | None
    bits: str | None
    device: str
    dtype: str | None
    batch_size: int | None
    download: bool


def _open_or_create(path: Path, chosen: _Chosen) -> Collection:
    model, truncate, language = chosen.model, chosen.truncate, chosen.language
    placement = Placement(chosen.device, chosen.dtype or "float32", chosen.batch_size)
    if _is_new(path):
        check_analyzer(language or ANALYZERS[0])
        check_bits(chosen.bits or DEFAULT_BITS)
        return Collection.create(
            path,
            model or "minilm",
            truncate=truncate,
            language=language or ANALYZERS[0],
            bits=chosen.bits or DEFAULT_BITS,
            placement=placement,
            download=chosen.download,
        )
    kb = Collection.open(path, model, placement)
    settings = kb.stats()["settings"]
    stored = settings["analyzer"] if language else language
    bits = settings.get("bits", DEFAULT_BITS)
    wrong = ""
    if truncate and not kb.spec.truncate:
        wrong = f"{path} keeps long texts whole; --truncate is chosen when a collection is made: make another"
    elif chosen.dtype is not None and chosen.dtype != kb.spec.dtype:
        wrong = f"{path} was made in {kb.spec.dtype}; --dtype is chosen when a collection is made: make another"
    elif stored != language:
        wrong = f"{path} has the language {stored}; --language is chosen when a collection is made: make another"
    elif chosen.bits is not None and str(bits) != chosen.bits:
        wrong = f"{path} was made with --bits {bits}, which is chosen when a collection is made: make another"
    if wrong:
        kb.close()
        raise UsageError(wrong)
    return kb


def _files_as_json(files: FolderReport) -> dict[str, Any]:
    listing = files.listing
    return {
        "files": {
            "found": len(listing.files),
            "read": files.read,
            "unchanged": files.unchanged,
            "excluded": listing.excluded,
            "other_types": dict(sorted(listing.other_types.items())),
        },
        "skipped": [{"path": file.path, "reason": file.reason} for file in listing.skipped],
        "decoded": [{"path": path, "encoding": name} for path, name in files.decoded.items()],
        "pruned": files.pruned,
        "surplus": files.surplus,
        "pages": pages_as_json(files.pages),
    }


def _print(report: AddReport, seconds: float, files: FolderReport | None) -> None:
    done = report.added + report.replaced
    console.print(
        f"added {report.added:,}, replaced {report.replaced:,}, unchanged {report.unchanged:,} "
        f"in {seconds:.1f} s" + (f" ({done / seconds:.1f} passages/s)" if done else "")
    )
    if report.reused:
        remark(f"note: {report.reused:,} of them had been encoded before, and were not again")
    if report.duplicates:
        remark(f"note: {report.duplicates:,} records came again under an id of the same batch; the last one counts")
    if report.cut:
        remark(f"note: --truncate left out {report.cut:,} tokens beyond the model's limit")
    if files is not None:
        _print_files(files)


def _print_files(files: FolderReport) -> None:
    listing = files.listing
    console.print(
        f"files: {files.read:,} read, {files.unchanged:,} unchanged, {len(listing.skipped):,} skipped, "
        f"{len(files.pruned):,} removed"
    )
    if files.surplus:
        remark(f"note: {files.surplus:,} passages removed that their files no longer have")
    if told := pages_told(files.pages):
        console.print(told)
    _name("files with pages to look at", [f"{file.path}: {file.reason}" for file in files.pages.notes])
    _name("skipped", [f"{file.path}: {file.reason}" for file in listing.skipped])
    _name("not UTF-8, read as", [f"{path}: {name}" for path, name in files.decoded.items()])
    if listing.excluded:
        remark(f"note: {listing.excluded:,} files and folders left out by a glob or a leading dot")
    if listing.other_types:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in listing.other_types.most_common())
        remark(f"note: not of a type that is read (--include GLOB takes them as text): {kinds}")


def _name(what: str, lines: Sequence[str]) -> None:
    if lines:
        remark(f"note: {len(lines):,} {what}:")
        for line in lines[:_NAMED]:
            remark(f"  {line}")
        if len(lines) > _NAMED:
            remark(f"  and {len(lines) - _NAMED:,} more; --json names all")
