"""Files to passages. Imports values and errors only; knows no model and no store."""

from __future__ import annotations

from latewood.ingest.jsonl import count_jsonl, read_jsonl

__all__ = ["count_jsonl", "read_jsonl"]
