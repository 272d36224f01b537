"""The demo: Python's own documentation, labelled questions, today's retrievers against reranking.

passages → collection (kept for the next run) → comparison → examples with what matched
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latewood.collection import AddReport, Collection
from latewood.evaluate import Comparison, Example, Examples, Qrels, Queries, pick, read_qrels, read_queries
from latewood.types import Hit, Passage

__all__ = [
    "BASELINE",
    "PIPELINES",
    "RERANKED",
    "Shown",
    "add_passages",
    "default_folder",
    "evaluate",
    "load_questions",
    "show",
]

BASELINE = "dense"
RERANKED = "dense:50 >> late"
PIPELINES = (BASELINE, "bm25", "dense + bm25", RERANKED, "(dense + bm25) >> late", "late")

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Shown:
    """An example, its answer with what matched in it, and what the reranked pipeline puts first.

    Args:
        example: the question and its ranks.
        answer: the best passage of the answer as the reranked pipeline scores it; None if it left the results.
        first: its first hit.
    """

    example: Example
    answer: Hit | None
    first: Hit

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {
            **self.example.to_json(),
            "answer": None if self.answer is None else self.answer.to_json(),
            "first": self.first.to_json(),
        }


def default_folder() -> Path:
    """Where the demo's collection is kept: the user's cache, one per version of Python, as its text is Python's own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "latewood" / f"demo-python{sys.version_info.major}.{sys.version_info.minor}.lw"


def load_questions() -> tuple[Queries, Qrels]:
    """The demo's questions and the sources that answer them (see README.md beside them)."""
    here = Path(__file__).parent
    return read_queries(here / "questions.jsonl"), read_qrels(here / "qrels.tsv")


def add_passages(kb: Collection, documents: list[Passage], progress: Progress | None = None) -> AddReport:
    """Bring the collection up to the documentation of this Python: nothing to do on a second run."""
    report = kb.add(documents, progress)
    kb.delete(set(kb.sources()) - {passage.id for passage in documents})
    return report


def evaluate(kb: Collection, progress: Progress | None = None) -> tuple[Comparison, Examples]:
    """Every pipeline on every question, and the questions on which reranking changes most."""
    queries, qrels = load_questions()
    comparison = kb.compare(PIPELINES, queries, qrels, group="source", progress=progress)
    return comparison, pick(comparison, RERANKED, BASELINE)


def show(kb: Collection, example: Example) -> Shown:
    """Look an example up again, with what matched."""
    hits = kb.bind(RERANKED).rank(example.query, 50, texts=True, explain=True).hits
    answer = next((hit for hit in hits if hit.source_id in example.gold), None)
    return Shown(example, answer, hits[0])
