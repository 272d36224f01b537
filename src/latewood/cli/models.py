"""`latewood models`: models that are known to work, and which of them this machine can load."""

from __future__ import annotations

from typing import Any

from latewood.cli.options import JsonOption
from latewood.cli.output import console, emit_json, remark
from latewood.encode import known

__all__ = ["ENGLISH_ONLY", "command"]

ENGLISH_ONLY = (
    "minilm was trained on English and collapses elsewhere (docs/quality.md has the figures by language): "
    "for other languages take bm25 with --language, or a model that was trained on them"
)


def command(as_json: JsonOption = False) -> int:
    """List models for late interaction with lengths, sizes and licences, and say which can be loaded here."""
    rows = [known.as_json(model) for model in known.known_models()]
    memory = known.available_mb()
    if as_json:
        emit_json({"models": rows, "available_mb": memory, "warnings": [ENGLISH_ONLY]})
        return 0
    for row in rows:
        console.print(f"{row['name']:<44} {row['here']}", style="bold" if row["loads"] else "", markup=False)
        console.print(f"    {_facts(row)}", style="dim", markup=False)
        if row["note"]:
            console.print(f"    {row['note']}", style="dim", markup=False)
        if row["how"] and row["here"] != "missing":
            console.print(f"    {row['how']}", style="dim", markup=False)
    remark("missing: latewood index … --model NAME --download, or `hf download NAME` where there is a network")
    remark("any folder that sentence-transformers loads can be --model as well, and openai:MODEL for an endpoint")
    remark(f"note: {ENGLISH_ONLY}")
    if memory is not None:
        remark(f"memory: {memory:,} MB are free; a model takes its weights and about 700 MB")
    return 0


def _facts(row: dict[str, Any]) -> str:
    facts = [f"D {row['dim']}"]
    if row["query_length"] is not None:
        facts.append(f"questions of {row['query_length']} tokens")
    if row["document_length"] is not None:
        facts.append(f"windows of {row['document_length']}")
    facts += [f"{row['download_mb']:,} MB", row["licence"], row["languages"]]
    if row["beir_ndcg10"] is not None:
        facts.append(f"BEIR {row['beir_ndcg10']:.1f}")
    return " · ".join(facts)
