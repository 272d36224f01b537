"""Pages of PDF and image files: what is on them, and where. Knows no model, no store and no collection."""

from __future__ import annotations

from latewood.pages.geometry import PageGeometry
from latewood.pages.grid import OVERVIEW, PATCH, PLACELESS, WORD, PageGrid
from latewood.pages.ocr import OCR_DPI, Tesseract
from latewood.pages.pooling import column_means, row_means, tile_means
from latewood.pages.reading import PAGE_KINDS, PageFiles, PageText, Unreadable
from latewood.pages.words import Words, word_spans

__all__ = [
    "OCR_DPI",
    "OVERVIEW",
    "PAGE_KINDS",
    "PATCH",
    "PLACELESS",
    "WORD",
    "PageFiles",
    "PageGeometry",
    "PageGrid",
    "PageText",
    "Tesseract",
    "Unreadable",
    "Words",
    "column_means",
    "row_means",
    "tile_means",
    "word_spans",
]
