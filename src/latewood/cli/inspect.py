"""`latewood stats` and `latewood check`: what a collection holds, and whether it is still what was written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from latewood.cli.options import HomeArgument, JsonOption
from latewood.cli.output import console, emit_json
from latewood.qdrant import open_home

__all__ = ["check", "stats"]


def stats(collection: HomeArgument, as_json: JsonOption = False) -> int:
    """Show what a collection holds, and its size on disk."""
    with open_home(collection) as kb:
        found = kb.stats()
    if as_json:
        emit_json(found)
    else:
        _print(found)
    return 0


def check(collection: HomeArgument, as_json: JsonOption = False) -> int:
    """Verify every checksum, row and file; exit code 1 when something is wrong."""
    with open_home(collection) as kb:
        findings = kb.check()
    if as_json:
        emit_json({"healthy": not findings, "findings": findings})
    else:
        for finding in findings:
            console.print(finding, markup=False)
        console.print(f"{len(findings)} findings" if findings else "healthy")
    return 1 if findings else 0


def _print(values: Mapping[str, Any], indent: str = "") -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            console.print(f"{indent}{key}")
            _print(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            console.print(f"{indent}{key}")
            for entry in value:
                console.print(f"{indent}  " + ", ".join(f"{k} {_shown(v)}" for k, v in entry.items()), markup=False)
        else:
            console.print(f"{indent}{key:<20} {_shown(value)}", markup=False)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
