"""Late-interaction retrieval, measured: index, rerank and judge on one CPU.

`Collection` is the door to everything on disk, `parse` and the stage constructors make pipelines,
`maxsim` scores arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from latewood import errors, maxsim
from latewood.pipeline import BM25, Cross, Dense, Late, Pages, Pipeline, parse, wrap
from latewood.types import Hit, Match, MultiVectors, Page, Passage, Ranking

if TYPE_CHECKING:
    from latewood.collection import Collection
    from latewood.qdrant import open_home as open

__version__ = "0.1.0"

__all__ = [
    "BM25",
    "Collection",
    "Cross",
    "Dense",
    "Hit",
    "Late",
    "Match",
    "MultiVectors",
    "Page",
    "Pages",
    "Passage",
    "Pipeline",
    "Ranking",
    "errors",
    "maxsim",
    "open",
    "parse",
    "wrap",
]


def __getattr__(name: str) -> Any:
    # Collection brings SQLite and the stores with it; who only scores arrays doesn't pay for them.
    if name == "Collection":
        from latewood.collection import Collection

        return Collection
    if name == "open":
        from latewood.qdrant import open_home

        return open_home
    raise AttributeError(f"module 'latewood' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "Collection", "open"])
