"""How pages of PDF and image files are read, on the command line; and what became of them, told."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from latewood.ingest import PageReport

__all__ = ["ImagesOption", "LanguageOfTextOption", "OcrOption", "PagesOption", "pages_as_json", "pages_told"]

PagesOption = Annotated[
    str,
    typer.Option("--pages", metavar="RANGES", help="Pages of PDF files that are taken: 1-20,35,90-. All by default."),
]
OcrOption = Annotated[
    str, typer.Option("--ocr", metavar="auto|off|force", help="Whether tesseract reads pages without a text layer.")
]
LanguageOfTextOption = Annotated[
    str, typer.Option("--ocr-language", metavar="NAME", help="As tesseract names it: eng, deu+eng.")
]
ImagesOption = Annotated[
    bool,
    typer.Option(
        "--images", help="Take pages without text, too: a model of page images is to read them, later perhaps."
    ),
]


def pages_as_json(report: PageReport) -> dict[str, Any]:
    """Under "pages" of what `latewood index --json` prints (docs/ingest.md)."""
    return {**asdict(report), "notes": [{"path": note.path, "reason": note.reason} for note in report.notes]}


def pages_told(report: PageReport) -> str:
    """One line; "" where there were no pages."""
    counts = {
        "taken": report.taken,
        "of them read by tesseract": report.recognised,
        "without text": report.without_text,
        "blank": report.blank,
        "unreadable": report.unreadable,
    }
    told = [f"{count:,} {what}" for what, count in counts.items() if count]
    return f"pages: {', '.join(told)}" if told else ""
