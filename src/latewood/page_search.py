"""The `pages` stage: the same passages by another encoding, one that reads page images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from latewood.errors import InputError
from latewood.protocols import Encoder, Snapshot
from latewood.types import Candidates, EncodedQuery, IntArray

__all__ = ["PageSearch", "PageSide", "across"]

PageSide = tuple[Snapshot, Callable[[], Encoder]]
"""Where pages are found by their images: passages of the same ids, and what encodes questions for them."""


@dataclass(frozen=True, slots=True)
class PageSearch:
    """One question to the pages' encoding, answered in rows of the collection that asks.

    Args:
        home: what is asked about.
        snapshot: the pages' encoding.
        load: gives its encoder.
        text: the question.
        queries: its vectors by "pages " and the question, to encode it once.
    """

    home: Snapshot
    snapshot: Snapshot
    load: Callable[[], Encoder]
    text: str
    queries: dict[str, tuple[EncodedQuery, float]]

    @property
    def memo(self) -> dict[str, tuple[EncodedQuery, float]]:
        """The question's vectors, as a search in the pages' encoding alone would remember them."""
        return {self.text: (self.query, 0.0)}

    @property
    def query(self) -> EncodedQuery:
        """The question by the pages' model."""
        key = f"pages {self.text}"
        if key not in self.queries:
            self.queries[key] = self.load().encode_query(self.text), 0.0
        return self.queries[key][0]

    def late(self, k: int, rows: IntArray | None, *, exact: bool) -> Candidates:
        """The best k by MaxSim over the vectors of the pages' encoding, of these rows or of all."""
        if rows is None and len(self.home.live_rows) < len(self.snapshot.live_rows):
            rows = self.home.live_rows  # conditions on metadata, or passages that are gone here
        theirs = None if rows is None else across(self.home, self.snapshot, rows)[0]
        found = self.snapshot.late(self.query.tokens, k, theirs, exact=exact)
        mine, there = across(self.snapshot, self.home, found.rows)
        lacking = 0 if rows is None or theirs is None else len(rows) - len(theirs)
        return Candidates(mine, found.scores[there], found.exact, found.unscored + lacking)


def across(one: Snapshot, other: Snapshot, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Rows of one snapshot as those of another that bear the same ids; and which of them the other has.

    Returns:
        [m] rows of the other, and [m] positions in `rows`. An id that the other hasn't is left out.
    """
    ids = one.ids(rows)
    try:
        return other.rows(ids), np.arange(len(rows))
    except InputError:
        known = dict(zip(other.ids(other.live_rows), other.live_rows.tolist(), strict=True))
        there = [position for position, name in enumerate(ids) if name in known]
        return np.array([known[ids[position]] for position in there], np.int64), np.array(there, np.int64)
