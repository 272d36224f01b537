"""How deep the cascade of late interaction goes, and the choice of that from a recall target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import numpy.typing as npt

from latewood.errors import UsageError
from latewood.types import FloatArray, IntArray

__all__ = ["TIE", "TUNED_K", "Depths", "Steps", "overlap", "tune"]

TUNED_K = 10
"""Results that depths are tuned for; deeper rankings go proportionally deeper."""

TIE = 1e-4
"""A returned document counts if its exact score is no further below the k-th exact one."""

_PROBES = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_GATHERED = (200, 300, 400, 600, 800, 1200, 1600, 2400, 3200, 4800, 6400, 9600, 12800, 19200, 25600, 51200)
# They begin where going deeper costs little: overlapping windows and other near-duplicates need more of both than
# sampled queries tell (docs/index.md).
_REFINED = (256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 2048, 3072, 4096)
_FULL = (96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024)
_MARGINS = np.arange(1, 101) / 100

# What a step costs, in nanoseconds of one core; only their ratios matter, and those are alike on all machines.
_POSTING_NS, _NUMBER_NS = 2.5, 0.8

_SHARES = (0.1, 0.15, 0.3)
"""How much of the allowed loss is used up behind the first, second and third step. The rest is for queries that are
unlike the sampled ones."""

_WIDER = 1.25
"""Of the margin of the second step: real queries lose with it what sampled ones lose with less, and a document more
costs a few microseconds (docs/index.md)."""

_MARGIN_OF = {"n_gathered": "gathered_margin", "n_refined": "refined_margin", "n_full_scores": "full_margin"}


@dataclass(frozen=True, slots=True)
class Depths:
    """Candidates that leave each step of the cascade: the best so many, without those that stand too far behind.

    A margin is a share of the k-th best score that a step knows, for k results and ten at least: documents that score
    lower than the k-th by more than that don't leave it. 1 leaves nobody out. Where few documents answer a query, the
    others stand far behind, and few are worth the next step.

    Args:
        n_probe: centroids that each query vector reaches for documents; 0: every document is a candidate.
        n_gathered: documents that leave the first step for centroid interaction; not used where n_probe is 0.
        n_refined: documents that leave centroid interaction for the scores by signs.
        n_full_scores: documents that are scored exactly.
        gathered_margin: of the points of the first step.
        refined_margin: of centroid interaction.
        full_margin: of the scores by signs.
    """

    n_probe: int
    n_gathered: int
    n_refined: int
    n_full_scores: int
    gathered_margin: float = 1.0
    refined_margin: float = 1.0
    full_margin: float = 1.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in _MARGIN_OF.values():
                if not 0 <= value <= 1:
                    raise UsageError(f"{name}: got {value}, expected a share from 0 to 1")
            elif value < (0 if name in ("n_probe", "n_gathered") else 1):
                raise UsageError(f"{name}: got {value}, expected at least {0 if 'n_probe' in name else 1}")

    def at(self, k: int) -> Depths:
        """The depths for k results."""
        factor = max(1.0, k / TUNED_K)
        if factor == 1.0:
            return self
        grown = {name: int(np.ceil(getattr(self, name) * factor)) for name in _MARGIN_OF}
        return replace(self, n_probe=int(np.ceil(self.n_probe * min(factor, 4.0))), **grown)

    def but(self, given: Mapping[str, float]) -> Depths:
        """With some of them as given.

        So many documents are so many: where a number is given, its margin is off. A step never hands on more than it
        got, so later ones shrink and earlier grow.

        Raises:
            UsageError: an unknown name.
        """
        unknown = [name for name in given if name not in asdict(self)]
        if unknown:
            raise UsageError(f"no depth is called '{unknown[0]}': they are {', '.join(asdict(self))}")
        off = {margin: 1.0 for name, margin in _MARGIN_OF.items() if name in given}
        chosen = replace(self, **{**off, **given})  # type: ignore[arg-type]
        refined = max(chosen.n_refined, chosen.n_full_scores) if "n_refined" not in given else chosen.n_refined
        return replace(
            chosen,
            n_gathered=max(chosen.n_gathered, refined) if "n_gathered" not in given else chosen.n_gathered,
            n_refined=refined,
            n_full_scores=min(chosen.n_full_scores, refined),
        )

    @property
    def leaving(self) -> tuple[tuple[int, float], ...]:
        """Each step's documents at most and margin, as the kernel takes them."""
        return tuple((getattr(self, name), getattr(self, margin)) for name, margin in _MARGIN_OF.items())


Ranked = tuple[IntArray, FloatArray]
"""Documents, best first, and their scores."""

Each = Callable[[Callable[[FloatArray], Ranked], Sequence[FloatArray]], Sequence[Ranked]]


@dataclass(frozen=True, slots=True)
class Steps:
    """The cascade as `tune` calls it.

    Args:
        ranked: (query, depths, step) -> the documents that leave this step.
        documents: N.
        numbers: centroids per document, mean.
        per_centroid: documents per centroid, mean.
    """

    ranked: Callable[[FloatArray, Depths, int], Ranked]
    documents: int
    numbers: float
    per_centroid: float


def overlap(found: IntArray, exact: IntArray, scores: FloatArray, k: int = TUNED_K) -> float:
    """The share of the best k documents that were found; one whose score ties with the k-th may stand in for it.

    Args:
        found: documents that came, any number.
        exact: documents by exact score, best first, more than k where ties with the k-th go on.
        scores: theirs.
        k: how many count.
    """
    wanted = min(k, len(exact))
    if not wanted:
        return 1.0
    good = exact[scores >= scores[wanted - 1] - TIE]
    return min(wanted, len(np.intersect1d(found, good))) / wanted


def tune(
    steps: Steps,
    queries: Sequence[FloatArray],
    exact: Sequence[Ranked],
    target: float,
    each: Each,
) -> Depths:
    """The cheapest depths that keep `target` of the exact top ten on these queries, with room to spare.

    Args:
        steps: of the cascade.
        queries: n of them, [Q, D] each.
        exact: for each, documents and scores by exhaustive scoring, best first; a few more than ten.
        target: of the mean overlap@10, below 1.
        each: applies a step to all queries, in order; on several threads, if it likes.

    Raises:
        UsageError: a target that is no share, or no queries.
    """
    if not 0 < target < 1:
        raise UsageError(f"target_overlap: got {target}, expected more than 0 and less than 1")
    if not queries:
        raise UsageError("no queries to tune on")
    wanted = [1.0 - share * (1.0 - target) for share in _SHARES]
    most = min(_REFINED[-1], steps.documents)
    depths = replace(_first_step(steps, queries, exact, wanted[0], each), n_refined=most)
    ranked = each(lambda query: steps.ranked(query, depths, 2), queries)
    refined = _leaving(_REFINED, ranked, exact, wanted[1], _WIDER)
    deep = replace(depths, n_refined=refined.most, n_full_scores=refined.most, refined_margin=refined.margin)
    ranked = each(lambda query: steps.ranked(query, deep, 3), queries)
    full = _leaving(_FULL, ranked, exact, wanted[2])
    return replace(deep, n_refined=max(refined.most, full.most), n_full_scores=full.most, full_margin=full.margin)


def _first_step(
    steps: Steps,
    queries: Sequence[FloatArray],
    exact: Sequence[Ranked],
    wanted: float,
    each: Each,
) -> Depths:
    """Depths of the first step; n_probe 0 where looking at every document costs less than choosing some."""
    best = steps.documents * steps.numbers * _NUMBER_NS
    choice = Depths(0, steps.documents, 1, 1)
    vectors = float(np.mean([len(query) for query in queries]))
    most = min(_GATHERED[-1], steps.documents)
    for probe in _PROBES:
        reach = vectors * probe * steps.per_centroid * _POSTING_NS
        if reach >= best:
            break
        deep = Depths(probe, most, 1, 1)
        ranked = each(lambda query, deep=deep: steps.ranked(query, deep, 1), queries)  # type: ignore[misc]
        leaving = _leaving(_GATHERED, ranked, exact, wanted)
        cost = reach + leaving.mean * steps.numbers * _NUMBER_NS
        if leaving.kept >= wanted and cost < best:
            best, choice = cost, replace(deep, n_gathered=leaving.most, gathered_margin=leaving.margin)
    return choice


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Who leaves a step: the best `most` within `margin`, `mean` of them and `kept` of the top ten on the average."""

    most: int
    margin: float
    mean: float
    kept: float


def _leaving(
    ladder: Sequence[int], ranked: Sequence[Ranked], exact: Sequence[Ranked], wanted: float, wider: float = 1.0
) -> _Leaving:
    """The least margin that keeps enough, times `wider`, and the least rung that then loses nothing further.

    Where not even all keep enough, what all keep is enough: to go deeper than that into a step's order is of no use.
    """
    near = np.minimum(np.array([_near(scores) for _, scores in ranked]), ladder[-1])
    kept = [_kept(rows, *best) for (rows, _), best in zip(ranked, exact, strict=True)]
    means = np.mean([at(counts) for at, counts in zip(kept, near, strict=True)], axis=0)
    i = int(np.argmax(means >= min(wanted, means[-1])))
    i = min(len(_MARGINS) - 1, int(np.ceil((i + 1) * wider)) - 1)
    rungs = np.minimum(near[:, i, None], ladder)
    means = np.mean([at(counts) for at, counts in zip(kept, rungs, strict=True)], axis=0)
    j = int(np.argmax(means == means[-1]))
    return _Leaving(ladder[j], float(_MARGINS[i]), float(rungs[:, j].mean()), float(means[j]))


def _near(scores: FloatArray) -> IntArray:
    """[margins] how many of these scores, which fall, each margin lets pass; kernel/cascade.cpp says the same."""
    if len(scores) < TUNED_K:
        return np.full(len(_MARGINS), len(scores))
    kth = float(scores[TUNED_K - 1])
    floors = np.where(_MARGINS < 1, kth - _MARGINS * max(0.0, kth), -np.inf)
    return len(scores) - np.searchsorted(scores[::-1].astype(np.float64), floors)


def _kept(ranked: IntArray, exact: IntArray, scores: FloatArray) -> Callable[[IntArray], npt.NDArray[np.float64]]:
    """`overlap` of the first so many of a ranking, of which it is worked out once where the good ones are."""
    wanted = min(TUNED_K, len(exact))
    if not wanted:
        return lambda depths: np.ones(len(depths))
    places = np.flatnonzero(np.isin(ranked, exact[scores >= scores[wanted - 1] - TIE]))
    return lambda depths: np.minimum(wanted, np.searchsorted(places, depths)) / wanted
