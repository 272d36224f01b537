"""The micro-benchmark behind a plan: at most a minute on the machine that will do the work.

It plays one query after another as a collection would: encode the question, scan the single vectors, score the token
vectors of the candidates where they lie in a mapped file. Vectors are random, their counts are the corpus's: the
kernel's time depends on counts alone. What is larger than `_CAP` is measured up to there and scaled by its rows.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood import maxsim
from latewood.errors import StorageError
from latewood.evaluate.plan_sizes import OPTIONS, SEGMENT_CHUNKS, Option, Workload
from latewood.protocols import Encoder
from latewood.types import FloatArray, IntArray, MultiVectors

__all__ = ["DEPTHS", "MAIN_DEPTH", "Speeds", "Times", "measure_speeds"]

DEPTHS = (20, 50, 100, 200, 500)
"""Candidates to rerank."""

MAIN_DEPTH = 50
"""The depth that options are compared at."""

_CAP = 128 << 20
"""Bytes of vectors that are laid out for a measurement: several times a processor's cache."""

_QUERIES = 100
_FEWEST = 5
_SLICE = 16
"""Passages of one measurement of the encoder: two batches or more, and short enough to keep to the time."""

_WARM_UP = 3
_SEED = 23

Times = npt.NDArray[np.float64]
"""[n] milliseconds, one per query."""


@dataclass(frozen=True, slots=True, eq=False)
class Speeds:
    """What was measured. Times are of the same n queries throughout, one after another through everything.

    Args:
        query_tokens: [q] Q of each question.
        encode: [n] question to vectors; empty where there is no encoder.
        dense: [n] scan of all single vectors.
        late: depth → [n] scoring of so many candidates in int8.
        options: option → [n] scoring of `MAIN_DEPTH` candidates as it stores them; those that the kernel can score.
        passage_rates: tokens per second of the encoder, slice by slice; empty where there is no encoder.
        encoder: its name, "" for none.
        isa: the kernel's instruction set.
        cpus: processors that this process may use.
        seconds: what the measurement took.
        scaled: the single vectors were too many to lay out, and their scan is scaled from a part.
    """

    query_tokens: IntArray
    encode: Times
    dense: Times
    late: dict[int, Times]
    options: dict[str, Times]
    passage_rates: tuple[float, ...]
    encoder: str
    isa: str
    cpus: int
    seconds: float
    scaled: bool

    @property
    def tokens_per_second(self) -> float | None:
        """The encoder's rate on passages, the median of its slices."""
        return float(np.median(self.passage_rates)) if self.passage_rates else None

    @property
    def before(self) -> Times:
        """[n] what a query takes before the reranker: encoding and first stage."""
        return self.encode + self.dense if len(self.encode) else self.dense


def measure_speeds(
    workload: Workload,
    queries: Sequence[str],
    encoder: Encoder | None,
    texts: Sequence[str],
    *,
    query_tokens: int = 16,
    seconds: float = 60.0,
) -> Speeds:
    """Run the micro-benchmark.

    Args:
        workload: gives N, T, D.
        queries: questions to encode; none where there is no encoder.
        encoder: loaded; None leaves encoding unmeasured.
        texts: passages to encode for the rate; may be empty.
        query_tokens: Q where no question is encoded.
        seconds: about the most that it shall take; every part is measured a few times even beyond it.

    Raises:
        StorageError: no room for temporary files.
    """
    started = perf_counter()
    rates = _passage_rates(encoder, texts, started + 0.3 * seconds) if encoder is not None and len(texts) else ()
    bench = _Bench(workload, encoder, queries, query_tokens, started + 0.4 * seconds)
    scored = [option for option in OPTIONS if option.kernel]
    with ExitStack() as files:
        documents = {option.name: files.enter_context(_laid_out(option, workload)) for option in scored}
        encode, dense, late, options = bench.run(documents, started + 0.95 * seconds)
    return Speeds(
        query_tokens=np.array([len(tokens) for tokens in bench.tokens], np.int64),
        encode=encode,
        dense=dense,
        late=late,
        options=options,
        passage_rates=rates,
        encoder=encoder.spec.name if encoder is not None else "",
        isa=maxsim.isa(),
        cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        seconds=perf_counter() - started,
        scaled=bench.scan_scale > 1,
    )


def _passage_rates(encoder: Encoder, texts: Sequence[str], until: float) -> tuple[float, ...]:
    """Tokens per second, slice by slice. A slice is of texts of one length, as an encoder's batches are."""
    ordered = sorted(texts, key=len)
    slices = [ordered[start : start + _SLICE] for start in range(0, len(ordered), _SLICE)]
    np.random.default_rng(_SEED).shuffle(slices)
    rates: list[float] = []
    encoder.encode_passages(ordered[:_WARM_UP])
    for part in slices:
        started = perf_counter()
        encoded = encoder.encode_passages(part)
        now = perf_counter()
        rates.append(len(encoded.tokens.tokens) / (now - started))
        if now > until:
            break
    return tuple(rates)


class _Bench:
    """The queries, and the single vectors that each of them scans."""

    def __init__(
        self, workload: Workload, encoder: Encoder | None, queries: Sequence[str], query_tokens: int, until: float
    ) -> None:
        self._rng = np.random.default_rng(_SEED)
        self._workload = workload
        self._encoder = encoder if queries else None
        self._texts = list(queries[:_QUERIES])
        counts = [] if self._encoder is not None else [query_tokens]
        for text in self._texts:
            if self._encoder is None or (len(counts) >= _FEWEST and perf_counter() > until):
                break
            counts.append(len(self._encoder.encode_query(text).tokens))
        self.tokens = [self._random(count, workload.dim) for count in counts]
        windows = max(1, round(workload.chunks * workload.windows))
        held = min(windows, max(1, _CAP // (4 * workload.dense_dim)))
        self.scan_scale = windows / held
        self._single = _segments(self._random(held, workload.dense_dim), min(workload.chunks, held))

    def _random(self, count: int, dim: int) -> FloatArray:
        return np.asarray(self._rng.random((count, dim), np.float32) - np.float32(0.5))

    def run(
        self, documents: Mapping[str, MultiVectors], until: float
    ) -> tuple[Times, Times, dict[int, Times], dict[str, Times]]:
        """Queries one after another, each through all stages: encoding, scan, int8 by depth, other options.

        The depth that options are compared at comes first, right behind the scan, as in a real query.
        """
        depths = (MAIN_DEPTH, *(depth for depth in DEPTHS if depth != MAIN_DEPTH))
        spent: list[list[float]] = []
        while len(spent) < _FEWEST + _WARM_UP or (len(spent) < _QUERIES + _WARM_UP and perf_counter() < until):
            i = len(spent) % len(self.tokens)
            tokens = self.tokens[i]
            spent.append([self._encoded(i), self._scanned()])
            spent[-1] += [self._reranked(tokens, documents["int8"], depth) for depth in depths]
            spent[-1] += [self._reranked(tokens, of, MAIN_DEPTH) for name, of in documents.items() if name != "int8"]
        columns = list(np.array(spent[_WARM_UP:]).T * 1e3)
        late = dict(zip(depths, columns[2:], strict=False))
        options = dict(zip((n for n in documents if n != "int8"), columns[2 + len(depths) :], strict=True))
        encode = columns[0] if self._encoder is not None else np.zeros(0)
        return encode, columns[1], {depth: late[depth] for depth in DEPTHS}, {"int8": late[MAIN_DEPTH], **options}

    def _encoded(self, i: int) -> float:
        started = perf_counter()
        if self._encoder is not None:
            self._encoder.encode_query(self._texts[i])
        return perf_counter() - started

    def _scanned(self) -> float:
        """Seconds to score and rank all single vectors."""
        query = self._random(1, self._workload.dense_dim)
        started = perf_counter()
        scores = np.concatenate([maxsim.scores(query, segment) for segment in self._single])
        if len(scores) > MAIN_DEPTH:
            np.partition(scores, len(scores) - MAIN_DEPTH)
        return (perf_counter() - started) * self.scan_scale

    def _reranked(self, query: FloatArray, documents: MultiVectors, depth: int) -> float:
        """Seconds to score so many candidates as a collection does: where they lie, in one call of the kernel."""
        if query.shape[1] != documents.dim:
            query = self._random(len(query), documents.dim)
        rows = self._candidates(documents, depth)
        started = perf_counter()
        maxsim.scores(query, documents, rows)
        return perf_counter() - started

    def _candidates(self, documents: MultiVectors, depth: int) -> IntArray:
        wanted = min(depth, self._workload.chunks)
        repeat = wanted > len(documents)
        return np.sort(self._rng.choice(len(documents), wanted, replace=repeat)).astype(np.int64)


def _segments(vectors: FloatArray, chunks: int) -> list[MultiVectors]:
    """Single vectors of so many chunks, in runs of `SEGMENT_CHUNKS`."""
    offsets = np.arange(chunks + 1, dtype=np.int64) * len(vectors) // chunks
    found = []
    for start in range(0, chunks, SEGMENT_CHUNKS):
        own = offsets[start : start + SEGMENT_CHUNKS + 1]
        found.append(MultiVectors(vectors[own[0] : own[-1]], own - own[0]))
    return found


@contextmanager
def _laid_out(option: Option, workload: Workload) -> Iterator[MultiVectors]:
    """Documents of the corpus's lengths in a mapped file, as many as there are or as `_CAP` holds."""
    rng = np.random.default_rng(_SEED)
    dtype, dim = np.dtype(option.kernel), option.dim(workload)
    lengths = option.lengths(workload)
    room = max(1, _CAP // int(max(1.0, float(lengths.mean()) * dim * dtype.itemsize)))
    drawn = rng.choice(lengths, min(option.count(workload), room)).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(drawn)]).astype(np.int64)
    shape = (int(offsets[-1]), dim)
    with tempfile.TemporaryDirectory(prefix="latewood-plan-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "vectors"
        try:
            _write_random(path, shape, dtype, rng)
        except OSError as error:
            raise StorageError(
                f"{folder}: no room to measure, {error.strerror or error}: free {_CAP >> 20} MB there or set TMPDIR"
            ) from None
        tokens: npt.NDArray[Any] = np.memmap(path, dtype, "r", shape=shape)
        scales = np.full(shape[0], 1 / 127, np.float32) if option.scaled else None
        yield MultiVectors(tokens, offsets, scales)
        del tokens


def _write_random(path: Path, shape: tuple[int, int], dtype: np.dtype[Any], rng: np.random.Generator) -> None:
    with path.open("wb") as file:
        for start in range(0, shape[0], 1 << 14):
            rows = min(1 << 14, shape[0] - start)
            if dtype == np.int8:
                part: npt.NDArray[Any] = rng.integers(-127, 128, (rows, shape[1]), np.int8)
            else:
                part = (rng.random((rows, shape[1]), np.float32) - np.float32(0.5)).astype(dtype)
            part.tofile(file)
