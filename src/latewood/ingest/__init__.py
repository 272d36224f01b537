"""Files to passages. Imports values and errors only; knows no model and no store."""

from __future__ import annotations

from latewood.ingest.chunking import Chunk, Chunker
from latewood.ingest.files import (
    MAX_BYTES,
    MAX_PAGE_BYTES,
    Found,
    Listing,
    Rules,
    Skipped,
    chunked,
    digest,
    find_files,
    passages_of,
)
from latewood.ingest.jsonl import count_jsonl, passage_of, read_jsonl
from latewood.ingest.page_files import OCR_MODES, PageRanges, PageReader, PageReport, Reading

__all__ = [
    "MAX_BYTES",
    "MAX_PAGE_BYTES",
    "OCR_MODES",
    "Chunk",
    "Chunker",
    "Found",
    "Listing",
    "PageRanges",
    "PageReader",
    "PageReport",
    "Reading",
    "Rules",
    "Skipped",
    "chunked",
    "count_jsonl",
    "digest",
    "find_files",
    "passage_of",
    "passages_of",
    "read_jsonl",
]
