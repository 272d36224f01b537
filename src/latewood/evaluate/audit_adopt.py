"""From a verdict to what to type: commands, or lines of Python, with the user's own paths in them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

__all__ = ["Place", "adopt"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where things lie.

    Args:
        collection: today's collection, if that is what was audited.
        pipeline: today's pipeline on it.
        reranked: the pipeline with late interaction behind it.
        cross: the pipeline with a cross-encoder behind it.
        qdrant: today's Qdrant collection, if that is what was audited.
        fields: options that say how it is read.
        corpus: the chunks as JSONL, where today's system is another one.
        queries: the file of questions.
        qrels: the file of judgements.
    """

    collection: str | None = None
    pipeline: str = ""
    reranked: str = ""
    corpus: str | None = None
    queries: str | None = None
    qrels: str | None = None
    cross: str = ""
    qdrant: str | None = None
    fields: tuple[str, ...] = ()


def adopt(code: str, place: Place, k: int) -> tuple[str, ...]:
    """The lines that do what a verdict says; none where it asks for something that is not latewood's to do.

    Args:
        code: of the verdict.
        place: where things lie.
        k: how many passages a reader is shown.
    """
    if place.collection is not None:
        return _in_collection(code, place, k)
    if place.qdrant is not None:
        return _beside_qdrant(code, place, k)
    return _beside(code, place, k)


def _beside_qdrant(code: str, place: Place, k: int) -> tuple[str, ...]:
    """Their collection stays as it is: a sidecar holds the token vectors."""
    if code not in ("rerank_late", "late_only"):
        return ()
    options = " ".join(map(shlex.quote, place.fields))
    pipeline = f"first:50 >> late:{k}" if code == "rerank_late" else f"late:{k}"
    lines = [
        f"latewood sidecar {shlex.quote(place.qdrant or '')} -c sidecar.lw {options}",
        f'latewood search sidecar.lw "your question" --pipeline {shlex.quote(pipeline)}',
    ]
    if place.queries and place.qrels:
        asked = f"-q {shlex.quote(place.queries)} -r {shlex.quote(place.qrels)}"
        lines.append(f"latewood compare sidecar.lw {asked} --pipeline first:50 --pipeline {shlex.quote(pipeline)}")
    return tuple(lines)


def _in_collection(code: str, place: Place, k: int) -> tuple[str, ...]:
    kb = shlex.quote(place.collection or "")
    pipelines = {
        "rerank_late": [place.pipeline, place.reranked],
        "late_only": [place.pipeline, f"late:{k}"],
        "rerank_cross": [place.pipeline, place.cross],
        "fix_first_stage": [place.pipeline, "(dense:50 + bm25:50):50", "late:50"],
    }.get(code, [])
    lines = []
    if code in ("rerank_late", "rerank_cross", "late_only"):
        lines.append(f'latewood search {kb} "your question" --pipeline {shlex.quote(pipelines[1])}')
    if pipelines and place.queries and place.qrels:
        given = " ".join(f"--pipeline {shlex.quote(pipeline)}" for pipeline in pipelines)
        asked = f"-q {shlex.quote(place.queries)} -r {shlex.quote(place.qrels)}"
        lines.append(f"latewood compare {kb} {asked} {given}")
    return tuple(lines)


def _beside(code: str, place: Place, k: int) -> tuple[str, ...]:
    """Today's system is not ours: a collection beside it holds the token vectors, and reorders what it returns."""
    if code not in ("rerank_late", "late_only"):
        return ()
    corpus = shlex.quote(place.corpus or "corpus.jsonl")
    index = f"latewood index --jsonl {corpus} -c sidecar.lw"
    if code == "late_only":
        return index, f'latewood search sidecar.lw "your question" --pipeline late:{k}'
    return (
        index,
        "# then, in Python, where `ids` is what today's system returns for `question`:",
        "import latewood as lw",
        'kb = lw.Collection.open("sidecar.lw")',
        'chunks = kb.bind("late").snapshot',
        f"best = chunks.late(kb.encoder.encode_query(question).tokens, {k}, chunks.rows(ids))",
        "ids = chunks.ids(best.rows)",
    )
