"""The answers page of the compare report: a part of the one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latewood.answers.comparing import AnswersComparison
from latewood.evaluate.report import load_jinja

__all__ = ["render_answers"]

SHOWN = 5
"""Examples of each kind that are shown of a pipeline."""


def render_answers(compared: AnswersComparison) -> str:
    """A section for `latewood.evaluate.write_report`: faithfulness by pipeline, and examples either way.

    Raises:
        MissingExtra: Jinja2 isn't installed.
    """
    jinja2 = load_jinja()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda value: "–" if value is None else f"{value:.3f}"
    page: str = environment.get_template("answers.html").render(
        compared=compared,
        others=[_other(compared, number) for number in range(1, len(compared.pipelines))],
        SHOWN=SHOWN,
    )
    return page


def _other(compared: AnswersComparison, number: int) -> dict[str, Any]:
    of = compared.pipelines[number]
    gained, lost = compared.examples(of)
    return {"number": number + 1, "of": of, "gained": gained, "lost": lost}
