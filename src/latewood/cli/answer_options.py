"""Options of the commands that ask chat models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AnswerKOption",
    "AnswerSampleOption",
    "FaithfulnessOption",
    "JudgeOption",
    "JudgeUrlOption",
    "LlmOption",
    "LlmUrlOption",
    "ReferencesOption",
]

LlmOption = Annotated[
    str | None, typer.Option("--llm", metavar="MODEL", help="The chat model that answers; else LATEWOOD_LLM.")
]
LlmUrlOption = Annotated[
    str | None, typer.Option("--llm-url", metavar="URL", help="Its OpenAI-compatible endpoint; else OPENAI_BASE_URL.")
]
JudgeOption = Annotated[
    str | None, typer.Option("--judge", metavar="MODEL", help="The chat model that judges; else LATEWOOD_LLM.")
]
JudgeUrlOption = Annotated[
    str | None, typer.Option("--judge-url", metavar="URL", help="Its OpenAI-compatible endpoint; else OPENAI_BASE_URL.")
]
FaithfulnessOption = Annotated[
    bool, typer.Option("--faithfulness", help="Have the questions answered from each pipeline's passages, and judged.")
]
AnswerKOption = Annotated[
    int, typer.Option("--answer-k", metavar="N", min=1, max=100, help="Passages that an answer is written from.")
]
AnswerSampleOption = Annotated[
    int | None, typer.Option("--answer-sample", metavar="N", min=1, help="Answer so many of the questions, drawn once.")
]
ReferencesOption = Annotated[
    Path | None,
    typer.Option("--references", metavar="FILE", help="JSONL of right answers: _id of the question, answer."),
]
