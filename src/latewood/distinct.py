"""Results that differ: near-duplicates under one hit, and the best passage of each source.

Two passages are near-duplicates if the sets of 9-character shingles of their texts, in lower case and with runs of
white space as one space, have a Jaccard similarity of at least 0.8 (Broder's resemblance, 1997; the threshold that is
usual for de-duplicating corpora: Lee et al., 2022). Characters and not words, so that it means the same in every
language; computed exactly, no sketches, since only the few passages of one ranking are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from latewood.errors import UsageError
from latewood.protocols import Snapshot
from latewood.types import Candidates

__all__ = ["DEEPEST", "Distinct", "Kept", "alike", "shingles"]

DEEPEST = 256
"""Of a search, at most so many times k candidates are looked at: further down, what comes is of no use to anybody."""

SHINGLE = 9
RESEMBLANCE = 0.8


@dataclass(frozen=True, slots=True)
class Kept:
    """Which of some candidates remain, best first.

    Args:
        places: their positions.
        folded: for each, the positions of those that it stands for, all ranked below it.
    """

    places: tuple[int, ...]
    folded: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Distinct:
    """In what the results of a search shall differ.

    Args:
        collapse: no two of them are near-duplicates.
        group_by: "source": no two of them come from one document; None for any.

    Raises:
        UsageError: another way to group.
    """

    collapse: bool = False
    group_by: str | None = None

    def __post_init__(self) -> None:
        if self.group_by not in (None, "source"):
            raise UsageError(f"group_by: got {self.group_by!r:.40}, expected 'source', the document of a passage")

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return self.collapse or self.group_by is not None

    def kept(self, found: Candidates, k: int, snapshot: Snapshot) -> Kept:
        """The best k that differ: each is like none that was kept before it. Others are folded into the best.

        Args:
            found: candidates, best first.
            k: how many at most.
            snapshot: where they are.
        """
        sources = snapshot.source_ids(found.rows) if self.group_by else None
        texts = [passage.text for passage in snapshot.passages(found.rows)] if self.collapse else None
        places: list[int] = []
        folded: list[list[int]] = []
        of_source: dict[str, int] = {}
        known: list[frozenset[str]] = []
        for place in range(len(found)):
            shingled = shingles(texts[place]) if texts is not None else frozenset[str]()
            like = [] if texts is None else [_first_like(shingled, known)]
            if sources is not None:
                like.append(of_source.get(sources[place], len(places)))
            if min(like) < len(places):
                folded[min(like)].append(place)
            elif len(places) < k:
                if sources is not None:
                    of_source[sources[place]] = len(places)
                places.append(place)
                folded.append([])
                known.append(shingled)
        return Kept(tuple(places), tuple(map(tuple, folded)))


def _first_like(shingled: frozenset[str], known: Sequence[frozenset[str]]) -> int:
    """The number of the first near-duplicate, that of all where there is none."""
    return next((number for number, other in enumerate(known) if alike(shingled, other)), len(known))


def shingles(text: str) -> frozenset[str]:
    """All runs of 9 characters of a text, in lower case, white space as one space; a shorter text is its only run."""
    plain = " ".join(text.casefold().split())
    return frozenset(plain[i : i + SHINGLE] for i in range(max(1, len(plain) - SHINGLE + 1)))


def alike(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether the Jaccard similarity of two sets of shingles is at least `RESEMBLANCE`."""
    smaller, larger = sorted((len(one), len(other)))
    if smaller < RESEMBLANCE * larger:
        return False  # it would be smaller / larger at most
    shared = len(one & other)
    return shared >= RESEMBLANCE * (smaller + larger - shared)
