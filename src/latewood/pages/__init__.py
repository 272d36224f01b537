"""Pages: where everything is on them. Knows no model, no store and no collection."""

from __future__ import annotations

from latewood.pages.geometry import PageGeometry
from latewood.pages.grid import OVERVIEW, PATCH, PLACELESS, WORD, PageGrid

__all__ = ["OVERVIEW", "PATCH", "PLACELESS", "WORD", "PageGeometry", "PageGrid"]
