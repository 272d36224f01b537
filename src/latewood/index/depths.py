"""How deep the cascade of late interaction goes, and the choice of that from a recall target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

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

# What a step costs, in nanoseconds of one core; only their ratios matter, and those are alike on all machines.
_POSTING_NS, _NUMBER_NS = 2.5, 0.8

_SHARES = (0.2, 0.3, 0.45)
"""How much of the allowed loss is used up behind the first, second and third step. The rest is for queries that are
unlike the sampled ones."""


@dataclass(frozen=True, slots=True)
class Depths:
    """Candidates that leave each step of the cascade.

    Args:
        n_probe: centroids that each query vector reaches for documents; 0: every document is a candidate.
        n_gathered: documents that leave the first step for centroid interaction; not used where n_probe is 0.
        n_refined: documents that leave centroid interaction for the scores by signs.
        n_full_scores: documents that are scored exactly.
    """

    n_probe: int
    n_gathered: int
    n_refined: int
    n_full_scores: int

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value < (0 if name in ("n_probe", "n_gathered") else 1):
                raise UsageError(f"{name}: got {value}, expected at least {0 if 'n_probe' in name else 1}")

    def at(self, k: int) -> Depths:
        """The depths for k results."""
        factor = max(1.0, k / TUNED_K)
        if factor == 1.0:
            return self
        grown = {name: int(np.ceil(value * factor)) for name, value in asdict(self).items() if name != "n_probe"}
        return replace(self, n_probe=int(np.ceil(self.n_probe * min(factor, 4.0))), **grown)

    def but(self, given: Mapping[str, int]) -> Depths:
        """With some of them as given; a step never hands on more than it got, so later ones shrink and earlier grow.

        Raises:
            UsageError: an unknown name.
        """
        unknown = [name for name in given if name not in asdict(self)]
        if unknown:
            raise UsageError(f"no depth is called '{unknown[0]}': they are {', '.join(asdict(self))}")
        chosen = replace(self, **given)
        refined = max(chosen.n_refined, chosen.n_full_scores) if "n_refined" not in given else chosen.n_refined
        return replace(
            chosen,
            n_gathered=max(chosen.n_gathered, refined) if "n_gathered" not in given else chosen.n_gathered,
            n_refined=refined,
            n_full_scores=min(chosen.n_full_scores, refined),
        )


Each = Callable[[Callable[[FloatArray], IntArray], Sequence[FloatArray]], Sequence[IntArray]]


@dataclass(frozen=True, slots=True)
class Steps:
    """The cascade's steps as `tune` calls them: each gives documents, best first.

    Args:
        gathered: (query, n_probe, how many) -> documents of the first step, and how many it reached.
        refined: (query, n_probe, n_gathered, how many) -> documents of the second.
        signed: (query, n_probe, n_gathered, n_refined, how many) -> documents of the third.
        documents: N.
        numbers: centroids per document, mean.
        per_centroid: documents per centroid, mean.
    """

    gathered: Callable[[FloatArray, int, int], tuple[IntArray, int]]
    refined: Callable[[FloatArray, int, int, int], IntArray]
    signed: Callable[[FloatArray, int, int, int, int], IntArray]
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
    exact: Sequence[tuple[IntArray, FloatArray]],
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
    loss = 1.0 - target
    probe, gathered = _first_step(steps, queries, exact, 1.0 - _SHARES[0] * loss, each)
    most = min(_REFINED[-1], steps.documents)
    ranked = each(lambda query: steps.refined(query, probe, gathered, most), queries)
    refined = _least(_REFINED, ranked, exact, 1.0 - _SHARES[1] * loss)
    ranked = each(lambda query: steps.signed(query, probe, gathered, refined, refined), queries)
    full = _least(_FULL, ranked, exact, 1.0 - _SHARES[2] * loss)
    return Depths(probe, gathered, max(refined, full), full)


def _first_step(
    steps: Steps,
    queries: Sequence[FloatArray],
    exact: Sequence[tuple[IntArray, FloatArray]],
    wanted: float,
    each: Each,
) -> tuple[int, int]:
    """n_probe and n_gathered; 0 where looking at every document costs less than choosing some."""
    everything = steps.documents * steps.numbers * _NUMBER_NS
    best, choice = everything, (0, steps.documents)
    vectors = float(np.mean([len(query) for query in queries]))
    most = min(_GATHERED[-1], steps.documents)
    for probe in _PROBES:
        reach = vectors * probe * steps.per_centroid * _POSTING_NS
        if reach >= best:
            break
        ranked = each(lambda query, probe=probe: steps.gathered(query, probe, most)[0], queries)  # type: ignore[misc]
        gathered = _least(_GATHERED, ranked, exact, wanted, none=0)
        cost = reach + gathered * steps.numbers * _NUMBER_NS
        if gathered and cost < best:
            best, choice = cost, (probe, gathered)
    return choice


def _least(
    ladder: Sequence[int],
    ranked: Sequence[IntArray],
    exact: Sequence[tuple[IntArray, FloatArray]],
    wanted: float,
    none: int | None = None,
) -> int:
    """The first rung that keeps enough; the last one, or `none`, where none does."""
    kept = [_kept(rows, *best) for rows, best in zip(ranked, exact, strict=True)]
    for depth in ladder:
        if np.mean([at(depth) for at in kept]) >= wanted:
            return depth
    return ladder[-1] if none is None else none


def _kept(ranked: IntArray, exact: IntArray, scores: FloatArray) -> Callable[[int], float]:
    """`overlap` of the first so many of a ranking, of which it is worked out once where the good ones are."""
    wanted = min(TUNED_K, len(exact))
    if not wanted:
        return lambda depth: 1.0
    places = np.flatnonzero(np.isin(ranked, exact[scores >= scores[wanted - 1] - TIE]))
    return lambda depth: min(wanted, int(np.searchsorted(places, depth))) / wanted
