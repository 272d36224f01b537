"""A comparison as one HTML file that needs nothing else: no network, no script, no font, no image.

comparison → verdict, plots, tables, single questions → templates/compare.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latewood.errors import MissingExtra, StorageError
from latewood.evaluate import plots
from latewood.evaluate.asking import System
from latewood.evaluate.examples import Example, Examples, pick
from latewood.evaluate.latency import ENCODE
from latewood.evaluate.marks import Piece, excerpt
from latewood.evaluate.results import Comparison, SystemResult
from latewood.evaluate.significance import ALPHA, POWER, queries_needed
from latewood.evaluate.verdict import about as rounded
from latewood.evaluate.verdict import p_text
from latewood.types import Hit

__all__ = ["Texts", "load_jinja", "render", "write_report"]

Texts = Callable[[Sequence[str]], Mapping[str, str]]
"""Judged ids → their texts; ids whose text isn't to be had are left out."""

SHOWN = 5
"""Results of a ranking, and at most so many wins and losses of each system, that are shown."""

ALL_QUESTIONS = 500
"""Rows of the list of all questions; of more, those whose ranks differ most."""

_WORDS = 280


@dataclass(frozen=True, slots=True)
class Result:
    """One of the first results of a ranking: its id, whether it is an answer, and the best part of its text."""

    rank: int
    id: str
    gold: bool
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question on which two systems differ: what each of them showed, and the words of the first of its answers."""

    example: Example
    gold: tuple[str, ...]
    before: tuple[Result, ...]
    after: tuple[Result, ...]
    answer: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Differing:
    """Single questions that one system wins and loses against the first."""

    number: int
    examples: Examples
    wins: tuple[Question, ...]
    losses: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Undecided:
    """A change that these questions can't tell from none, and how many of their kind could."""

    number: int
    name: str
    mean: float
    detectable: float
    needed: int | None


def write_report(
    path: str | os.PathLike[str],
    comparison: Comparison,
    systems: Sequence[System] = (),
    texts: Texts | None = None,
    about: Sequence[tuple[str, str]] = (),
    sections: Sequence[str] = (),
) -> None:
    """Render a comparison and write it to a file.

    Args:
        path: the file; replaced if it is there.
        comparison: as for `render`.
        systems: as for `render`.
        texts: as for `render`.
        about: as for `render`.
        sections: as for `render`.

    Raises:
        MissingExtra: Jinja2 isn't installed.
        StorageError: the operating system refuses to write the file.
    """
    page = render(comparison, systems, texts, about, sections)
    try:
        Path(path).write_text(page, encoding="utf-8", newline="\n")
    except OSError as err:
        raise StorageError(f"{os.fspath(path)}: could not be written: {err.strerror or err}") from err


def render(
    comparison: Comparison,
    systems: Sequence[System] = (),
    texts: Texts | None = None,
    about: Sequence[tuple[str, str]] = (),
    sections: Sequence[str] = (),
) -> str:
    """A comparison as an HTML page.

    Args:
        comparison: what to show.
        systems: those that were compared; the `explain` of a system gives the texts of its results, and what
            matched in them.
        texts: gives texts where a system doesn't, as for runs; None to show ids only.
        about: what was compared and when, as pairs of a word and a value, for the end of the page.
        sections: further parts of the page, HTML as it is, from rooms that know more than this one.

    Raises:
        MissingExtra: Jinja2 isn't installed.
    """
    template = _template()
    reader = _Reader(comparison, {system.name: system for system in systems}, texts)
    verdict = comparison.verdict
    page: str = template.render(
        comparison=comparison,
        verdict_pieces=_named(verdict.text if verdict else "", comparison),
        notes=[(note, _named(note.text, comparison)) for note in comparison.notes],
        best=comparison[verdict.pipeline] if verdict else comparison.results[0],
        challenger=_challenger(comparison),
        headline=comparison.headline,
        metrics=list(comparison.results[0].metrics),
        plots=plots,
        metric_panels=[plots.metric_rows(comparison, name) for name in comparison.results[0].metrics],
        change_panel=plots.change_rows(comparison, comparison.headline) if len(comparison.results) > 1 else None,
        curves=plots.curves(comparison),
        scatter=plots.scatter(comparison, comparison.headline),
        undecided=_undecided(comparison),
        differing=[reader.differing(number, of) for number, of in enumerate(comparison.results[1:], start=2)],
        marked=reader.marked,
        every=_every_question(comparison),
        about=about,
        sections=sections,
        ALPHA=ALPHA,
        POWER=POWER,
        ENCODE=ENCODE,
    )
    return page


def load_jinja() -> Any:
    """The jinja2 module; called before long work too, so that a missing Jinja2 is told at once.

    Raises:
        MissingExtra: Jinja2 isn't installed.
    """
    try:
        import jinja2
    except ImportError as err:
        raise MissingExtra("an HTML report", "Jinja2", "eval") from err
    return jinja2


def _template() -> Any:
    jinja2 = load_jinja()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["p_text"] = p_text
    environment.filters["about"] = rounded
    environment.filters["ms"] = lambda value: f"{value:.1f}" if value < 100 else f"{value:,.0f}"
    return environment.get_template("compare.html")


def _challenger(comparison: Comparison) -> SystemResult | None:
    """The system that the first lines hold against the baseline: the best of the others by the first metric."""
    return max(comparison.results[1:], key=lambda of: of.metrics[comparison.headline], default=None)


def _named(text: str, comparison: Comparison) -> list[tuple[str, bool]]:
    """A sentence cut into parts, each with whether it is the name of a system."""
    names = sorted((of.pipeline for of in comparison.results), key=len, reverse=True)
    parts = re.split("'(" + "|".join(map(re.escape, names)) + ")'", text)
    return [(part, at % 2 == 1) for at, part in enumerate(parts) if part]


def _undecided(comparison: Comparison) -> list[Undecided]:
    found = []
    for number, of in enumerate(comparison.results, start=1):
        if of.difference is None or of.significance is None or of.significance[comparison.headline].real:
            continue
        mean, smallest = of.difference[comparison.headline].mean, of.significance[comparison.headline].detectable
        needed = queries_needed(mean, smallest, len(comparison.judged))
        found.append(Undecided(number, of.pipeline, mean, smallest, needed))
    return found


def _every_question(comparison: Comparison) -> list[tuple[str, str, list[int | None]]]:
    """Query id, text and the rank of the best answer in each system; those whose ranks differ most come first."""
    rows = []
    for query_id, text in comparison.judged.queries.items():
        gold = comparison.judged.positives(query_id)
        ranks = [
            next((rank for rank, found in enumerate(of.rankings[query_id], start=1) if found in gold), None)
            for of in comparison.results
        ]
        shares = [1 / rank if rank else 0.0 for rank in ranks]
        rows.append((max(shares) - min(shares), (query_id, text, ranks)))
    rows.sort(key=lambda row: -row[0])
    return [row for _, row in rows[:ALL_QUESTIONS]]


class _Reader:
    """Looks single questions up again, with texts and with what matched; each ranking once."""

    def __init__(self, comparison: Comparison, systems: Mapping[str, System], texts: Texts | None) -> None:
        self.comparison = comparison
        self.systems = systems
        self.texts = texts
        self.marked = False
        self._results: dict[tuple[str, str], tuple[Result, ...]] = {}

    def differing(self, number: int, result: SystemResult) -> Differing:
        baseline = self.comparison.results[0].pipeline
        examples = pick(self.comparison, result.pipeline, baseline, wins=SHOWN, losses=SHOWN)
        return Differing(
            number=number,
            examples=examples,
            wins=tuple(self._questions(examples.wins, baseline, result.pipeline)),
            losses=tuple(self._questions(examples.losses, baseline, result.pipeline)),
        )

    def _questions(self, examples: Sequence[Example], baseline: str, pipeline: str) -> Iterator[Question]:
        for example in examples:
            answer = example.better_gold or example.baseline_gold or example.gold[0]
            text = self.texts([answer]).get(answer, "") if self.texts else ""
            before, after = self._first(baseline, example), self._first(pipeline, example)
            gold = answer, *(other for other in example.gold if other != answer)
            yield Question(example, gold, before, after, excerpt(text, (), _WORDS) if text else ())

    def _first(self, pipeline: str, example: Example) -> tuple[Result, ...]:
        key = pipeline, example.query_id
        if key not in self._results:
            ids = self.comparison[pipeline].rankings[example.query_id][:SHOWN]
            self._results[key] = tuple(
                Result(rank, found, found in example.gold, pieces)
                for rank, (found, pieces) in enumerate(
                    zip(ids, self._pieces(pipeline, example.query, ids), strict=True), start=1
                )
            )
            self.marked |= any(piece.marked for result in self._results[key] for piece in result.pieces)
        return self._results[key]

    def _pieces(self, pipeline: str, query: str, ids: Sequence[str]) -> list[tuple[Piece, ...]]:
        hits = self._hits(pipeline, query, ids)
        missing = [found for found in ids if found not in hits]
        texts = self.texts(missing) if self.texts and missing else {}
        pieces = []
        for found in ids:
            hit = hits.get(found)
            if hit is not None and hit.passage is not None:
                pieces.append(excerpt(hit.passage.text, hit.matches or (), _WORDS))
            else:
                pieces.append(excerpt(texts[found], (), _WORDS) if found in texts else ())
        return pieces

    def _hits(self, pipeline: str, query: str, ids: Sequence[str]) -> dict[str, Hit]:
        """Judged unit → its best passage. Five results are asked for first, and more where they don't suffice."""
        system = self.systems.get(pipeline)
        hits: dict[str, Hit] = {}
        if system is None or system.explain is None or not ids:
            return hits
        for k in (SHOWN, system.depth(self.comparison.cutoff)):
            hits = {}
            for hit in system.explain(query, k).hits:
                hits.setdefault(self.comparison.grouping.unit(hit.id), hit)
            if set(ids) <= set(hits):
                break
        return hits
