"""What of a page matched a question, as file, page and regions: what a reader checks an answer by."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from latewood.pages.geometry import PageGeometry
from latewood.pages.vectors import word_at
from latewood.pages.words import word_spans
from latewood.types import Hit, Match, Page, Ranking

__all__ = ["Citation", "Region", "cite", "ranking_as_json", "stands_for_words"]

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Region:
    """A place on a page that some of a question matched best.

    Args:
        box: left, bottom, right, top in PDF points, before rotation; pixels at 72 dots an inch for an image file.
        shown: left, top, right, bottom, fractions of the page as it is shown.
        text: the word there; "" for a patch of the page's image.
        query_tokens: tokens of the question that have their best vector here.
        similarity: of the best of them.
        modality: "text" or "image".
    """

    box: Box
    shown: Box
    text: str
    query_tokens: tuple[str, ...]
    similarity: float
    modality: str

    def to_json(self) -> dict[str, Any]:
        """As `latewood search --explain --json` prints it."""
        return {
            "box": [round(v, 2) for v in self.box],
            "shown": [round(v, 5) for v in self.shown],
            "text": self.text,
            "query_tokens": list(self.query_tokens),
            "similarity": self.similarity,
            "modality": self.modality,
        }


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a hit is.

    Args:
        file: its path, as it was indexed.
        page: number from 1.
        size: width and height of the page as it is shown, in points.
        regions: best first; () where nothing was explained.
        shares: of the score, by modality; all matches count here, also those without a place.
    """

    file: str
    page: int
    size: tuple[float, float]
    regions: tuple[Region, ...]
    shares: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As `latewood search --json` prints it, "page" of a hit."""
        return {
            "file": self.file,
            "number": self.page,
            "size": [round(side, 2) for side in self.size],
            "regions": [region.to_json() for region in self.regions],
            "shares": self.shares,
        }


def cite(hit: Hit) -> Citation | None:
    """File, page and regions of a hit; None for a passage that is no page.

    Each token of the question has its best vector in one place: the attribution is exact, and the similarities of all
    matches sum to the score. Tokens of no word of the question ([CLS], padding) count in `shares` and have no region.
    """
    page = hit.passage
    if not isinstance(page, Page):
        return None
    geometry = PageGeometry.of(page.metadata["page_box"])
    found: dict[tuple[str, Box], list[Match]] = defaultdict(list)
    shares: dict[str, float] = defaultdict(float)
    for match in hit.matches or ():
        shares[match.modality] += match.similarity
        if match.box is not None and stands_for_words(match.query_token):
            found[match.modality, match.box].append(match)
    regions = [_region(page, geometry, key, matches) for key, matches in found.items()]
    regions.sort(key=lambda region: (-region.similarity, region.shown))
    return Citation(page.source, int(page.metadata["page"]), geometry.size, tuple(regions), dict(shares))


def stands_for_words(token: str) -> bool:
    """Whether a token is of a word: not punctuation, not special."""
    special = token[:1] + token[-1:] in ("[]", "<>")
    return not special and any(character.isalnum() for character in token)


def _region(page: Page, geometry: PageGeometry, key: tuple[str, Box], matches: list[Match]) -> Region:
    modality, shown = key
    points = geometry.to_points(np.array([shown], np.float32))[0].tolist()
    best = max(matches, key=lambda match: match.similarity)
    text = ""
    if modality == "text":
        spans = word_spans(page.text)
        start, end = spans[word_at(spans, np.array([best.start]))[0]]
        text = page.text[start:end]
    tokens = tuple(dict.fromkeys(match.query_token for match in matches))
    return Region((points[0], points[1], points[2], points[3]), shown, text, tokens, best.similarity, modality)


def ranking_as_json(ranking: Ranking) -> dict[str, Any]:
    """`Ranking.to_json`, with "page" in each hit that is one."""
    value = ranking.to_json()
    for hit, shown in zip(ranking.hits, value["hits"], strict=True):
        citation = cite(hit)
        if citation is not None:
            shown["page"] = citation.to_json()
    return value
