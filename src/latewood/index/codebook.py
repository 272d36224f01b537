"""Centroids that stand for token vectors: √K x √K hierarchical k-means, and the assignment of vectors to them.

A flat k-means over K centroids costs T * K products for T vectors, and again to assign them. Here √K coarse centroids
share the space out into cells, each cell has centroids of its own in proportion to its vectors, and a vector is
compared with those of its nearest `PROBES` cells alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.types import FloatArray, IntArray, MultiVectors

__all__ = ["MOST_CENTROIDS", "Codebook", "centroid_count", "floats", "sample_size", "take", "train"]

MOST_CENTROIDS = 1 << 16
"""A centroid's number fits two bytes."""

PROBES = 4
"""Cells whose centroids a vector is compared with: docs/log.md, 2026-11-22, has what more of them change."""

_COARSE_ROUNDS, _FINE_ROUNDS = 10, 6
_SAMPLE_PER_CENTROID = 32
_COARSE_SAMPLE = 256  # vectors for each coarse centroid: their positions need no more
_CHUNK = 1 << 16  # vectors that are assigned together; the result doesn't depend on it

Numbers = npt.NDArray[np.uint16]


def centroid_count(vectors: int) -> int:
    """K for T vectors: the power of two nearest to 8 * √T (PLAID takes 16 * √T), 16 to 65,536."""
    return int(min(MOST_CENTROIDS, max(16, 2 ** round(np.log2(8 * np.sqrt(max(vectors, 1)))))))


def sample_size(count: int) -> int:
    """How many vectors `train` wants for K centroids."""
    return _SAMPLE_PER_CENTROID * count


@dataclass(frozen=True, eq=False)
class Codebook:
    """Centroids in cells.

    Args:
        centroids: [K, D] float32, cell after cell.
        coarse: [C, D] float32, the cells' own centroids.
        cells: [C + 1] int64: cell c has the centroids cells[c] to cells[c + 1]; at least one.
        mean: [D] float32, of the vectors that it was trained on.
        residual: mean length of what a training vector differs by from its centroid; drift is measured against it.
    """

    centroids: FloatArray
    coarse: FloatArray
    cells: IntArray
    mean: FloatArray
    residual: float

    @cached_property
    def _bias(self) -> FloatArray:
        return _bias(self.centroids)

    def assign(self, vectors: MultiVectors, threads: int = 1) -> Numbers:
        """[T] uint16, the nearest centroid of each token vector among those of its nearest cells."""
        assigned = np.empty(len(vectors.tokens), np.uint16)
        for start in range(0, len(assigned), _CHUNK):
            part = _tokens(vectors, start, start + _CHUNK)
            assigned[start : start + _CHUNK] = self._assign(part, threads)
        return assigned

    def _assign(self, vectors: MultiVectors, threads: int) -> Numbers:
        probes = min(PROBES, len(self.coarse))
        cells, _ = maxsim.nearest(vectors, self.coarse, _bias(self.coarse), probes, threads=threads)
        owners = np.argsort(cells, axis=None, kind="stable")  # pairs of a cell and a vector, by cell
        starts = np.searchsorted(cells.reshape(-1)[owners], np.arange(len(self.coarse) + 1))
        found = np.zeros((len(vectors.tokens) * probes,), np.int32)
        value = np.empty(len(found), np.float32)

        def compare(cell: int) -> None:
            pairs = owners[starts[cell] : starts[cell + 1]]
            if len(pairs):
                mine = slice(self.cells[cell], self.cells[cell + 1])
                near, product = maxsim.nearest(vectors, self.centroids[mine], self._bias[mine], rows=pairs // probes)
                found[pairs], value[pairs] = near[:, 0] + self.cells[cell], product[:, 0]

        _each(compare, len(self.coarse), threads)
        by_vector, products = found.reshape(-1, probes), value.reshape(-1, probes)
        # Among equals the lowest number, whatever the order of the cells.
        best = np.where(products == products.max(axis=1, keepdims=True), by_vector, MOST_CENTROIDS).min(axis=1)
        numbers: Numbers = best.astype(np.uint16)
        return numbers

    def residual_of(self, vectors: MultiVectors, assigned: Numbers) -> float:
        """Mean distance of token vectors to their centroids, to be compared with `residual`."""
        if not len(assigned):
            return 0.0
        total = sum(
            float(np.linalg.norm(floats(part) - self.centroids[assigned[start : start + _CHUNK]], axis=1).sum())
            for start, part in _chunks(vectors)
        )
        return total / len(assigned)


def train(
    sample: MultiVectors,
    count: int,
    threads: int = 1,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Codebook:
    """Centroids for vectors like these.

    Args:
        sample: S token vectors, drawn from all; int8 with scales or float32.
        count: K, at most 65,536; fewer are made where the sample has fewer distinct vectors.
        threads: most threads to use. The result doesn't depend on it.
        seed: of the first centroids.
        tell: called with cells that are done and cells in all, on the thread of the caller.
    """
    rng = np.random.default_rng(seed)
    total = len(sample.tokens)
    count = max(1, min(count, total, MOST_CENTROIDS))
    coarse_count = max(1, round(np.sqrt(count)))
    drawn = np.sort(rng.permutation(total)[: _COARSE_SAMPLE * coarse_count])
    coarse = _lloyd(take(sample, drawn), coarse_count, _COARSE_ROUNDS, rng, threads)
    owner = maxsim.nearest(sample, coarse, _bias(coarse), threads=threads)[0][:, 0]
    order = np.argsort(owner, kind="stable")
    sizes = np.bincount(owner, minlength=len(coarse))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    children = _shares(sizes, count)
    seeds = rng.integers(0, 2**63, len(coarse))
    parts: list[FloatArray] = [np.zeros((0, sample.dim), np.float32)] * len(coarse)

    def fill(cell: int) -> None:
        mine = take(sample, order[starts[cell] : starts[cell + 1]])
        if len(mine.tokens):
            parts[cell] = _lloyd(mine, int(children[cell]), _FINE_ROUNDS, np.random.default_rng(seeds[cell]), 1)
        else:
            parts[cell] = coarse[cell : cell + 1]

    _each(fill, len(coarse), threads, tell)
    cells = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    totals = [floats(part).sum(axis=0, dtype=np.float64) for _, part in _chunks(sample)]
    mean: FloatArray = (np.sum(totals, axis=0) / total).astype(np.float32)
    book = Codebook(np.concatenate(parts), coarse, cells, mean, 0.0)
    checked = take(sample, np.arange(0, total, max(1, total // 20_000)))
    return Codebook(book.centroids, coarse, cells, book.mean, book.residual_of(checked, book.assign(checked, threads)))


def _lloyd(sample: MultiVectors, count: int, rounds: int, rng: np.random.Generator, threads: int) -> FloatArray:
    """k-means from random vectors; a centroid that loses all of its vectors is dropped."""
    values = floats(sample)
    if count >= len(values):
        return np.unique(values, axis=0)
    centres = values[np.sort(rng.permutation(len(values))[:count])]
    for _ in range(rounds):
        owner = maxsim.nearest(sample, centres, _bias(centres), threads=threads)[0][:, 0]
        order = np.argsort(owner, kind="stable")
        sizes = np.bincount(owner, minlength=len(centres))
        used = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[used]
        sums = np.add.reduceat(values[order], starts, axis=0)
        centres = np.ascontiguousarray(sums / sizes[used, None], np.float32)
    return centres


def _shares(sizes: IntArray, count: int) -> IntArray:
    """`count` centroids shared out in proportion to the cells' sizes, at least one each, by largest remainders."""
    exact = sizes * (count / max(1, int(sizes.sum())))
    shares = np.maximum(1, exact.astype(np.int64))
    missing = count - int(shares.sum())
    if missing > 0:
        shares[np.argsort(-(exact - shares), kind="stable")[:missing]] += 1
    return shares


def _bias(centres: FloatArray) -> FloatArray:
    half: FloatArray = (-0.5 * np.einsum("kd,kd->k", centres, centres)).astype(np.float32)
    return half


def floats(vectors: MultiVectors) -> FloatArray:
    """[T, D] float32, the token vectors as numbers."""
    if vectors.scales is None:
        return vectors.tokens.astype(np.float32, copy=False)
    values: FloatArray = vectors.tokens * vectors.scales[:, None]
    return values


def take(vectors: MultiVectors, rows: IntArray) -> MultiVectors:
    """These token vectors, as one document."""
    scales = None if vectors.scales is None else vectors.scales[rows]
    return MultiVectors(vectors.tokens[rows], np.array([0, len(rows)], np.int64), scales)


def _tokens(vectors: MultiVectors, start: int, stop: int) -> MultiVectors:
    """Token vectors start to stop, where they lie, as one document."""
    scales = None if vectors.scales is None else vectors.scales[start:stop]
    tokens = vectors.tokens[start:stop]
    return MultiVectors(tokens, np.array([0, len(tokens)], np.int64), scales)


def _chunks(vectors: MultiVectors) -> Iterator[tuple[int, MultiVectors]]:
    for start in range(0, len(vectors.tokens), _CHUNK):
        yield start, _tokens(vectors, start, start + _CHUNK)


def _each(
    work: Callable[[int], None],
    count: int,
    threads: int,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Calls work(0) to work(count - 1), on several threads; what one raises is raised."""
    if threads == 1:
        for i in range(count):
            work(i)
            tell(i + 1, count)
        return
    with ThreadPoolExecutor(threads) as pool:
        for i, _ in enumerate(pool.map(work, range(count))):
            tell(i + 1, count)
