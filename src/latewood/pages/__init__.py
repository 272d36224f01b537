"""Pages of PDF and image files: what is on them, and where. Knows no model, no store and no collection."""

from __future__ import annotations

from latewood.pages.citing import Citation, Region, cite, ranking_as_json, stands_for_words
from latewood.pages.drawing import drawn, png_of, shrunk, smooth
from latewood.pages.geometry import PageGeometry
from latewood.pages.grid import OVERVIEW, PATCH, PLACELESS, WORD, PageGrid
from latewood.pages.ocr import OCR_DPI, Tesseract
from latewood.pages.pooling import column_means, row_means, tile_means
from latewood.pages.reading import IMAGE_DPI, PAGE_KINDS, PageFiles, PageText, Unreadable, draw
from latewood.pages.vectors import grid_of
from latewood.pages.words import Words, word_spans

__all__ = [
    "IMAGE_DPI",
    "OCR_DPI",
    "OVERVIEW",
    "PAGE_KINDS",
    "PATCH",
    "PLACELESS",
    "WORD",
    "Citation",
    "PageFiles",
    "PageGeometry",
    "PageGrid",
    "PageText",
    "Region",
    "Tesseract",
    "Unreadable",
    "Words",
    "cite",
    "column_means",
    "draw",
    "drawn",
    "grid_of",
    "png_of",
    "ranking_as_json",
    "row_means",
    "shrunk",
    "smooth",
    "stands_for_words",
    "tile_means",
    "word_spans",
]
