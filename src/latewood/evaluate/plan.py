"""A plan: what a corpus takes under each way to store it, what a query takes, and how every figure was obtained.

Sizes come from `plan_sizes`, times from `plan_speeds`; here they meet. Nothing in this module measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from latewood.errors import UsageError
from latewood.evaluate.latency import Percentiles
from latewood.evaluate.plan_sizes import SINGLE, Size, Workload, sizes
from latewood.evaluate.plan_speeds import MAIN_DEPTH, Speeds, Times

__all__ = ["Claim", "Depth", "Plan", "Row", "make_plan"]

CROSS_LIMIT = 512
"""Tokens of question and passage that a MiniLM-size cross-encoder reads; the rest it cuts."""

_HOUR_MS = 3_600_000
_QUERIES = 1_000_000
_SEED = 31
_DRAWS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One way to store the corpus, and what it takes.

    Args:
        size: bytes, and how they were obtained.
        build_seconds: to encode everything on this machine; None where that can't be said.
        ms: of a query with `MAIN_DEPTH` candidates, encoding to ranking; None where it can't be said.
        price: of a million queries one after another on one machine; None without a price or a time.
        obtained: column → how its figure was obtained, in words.
    """

    size: Size
    build_seconds: float | None
    ms: Percentiles | None
    price: float | None
    obtained: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As `latewood plan --json` prints it (docs/json.md)."""
        size = self.size
        return {
            "option": size.option.name,
            "vectors": size.vectors,
            "vector_bytes": size.vector_bytes,
            "bytes": size.bytes,
            "resident_bytes": size.resident_bytes,
            "scanned_bytes": size.scanned_bytes,
            "build_seconds": self.build_seconds,
            "p50": self.ms.p50 if self.ms else None,
            "p95": self.ms.p95 if self.ms else None,
            "price_per_million_queries": self.price,
            "obtained": dict(self.obtained),
        }


@dataclass(frozen=True, slots=True)
class Depth:
    """What reranking so many candidates takes, in milliseconds of a whole query.

    Args:
        depth: candidates.
        late: encoding, first stage and late interaction in int8.
        late_added: late interaction alone.
        cross: encoding, first stage and a cross-encoder; None without an encoder to measure by.
        cross_added: the cross-encoder alone.
        late_price: of a million such queries; None without a price.
        cross_price: the same.
    """

    depth: int
    late: Percentiles
    late_added: Percentiles
    cross: Percentiles | None
    cross_added: Percentiles | None
    late_price: float | None
    cross_price: float | None

    def to_json(self) -> dict[str, Any]:
        """As `latewood plan --json` prints it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that is usually said, against this plan's own figures.

    Args:
        code: a name that stays.
        claim: as it is usually said.
        holds: whether it does here; None where it couldn't be measured.
        figures: the numbers.
        text: one sentence.
    """

    code: str
    claim: str
    holds: bool | None
    figures: Mapping[str, float | None]
    text: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `latewood plan` says.

    Args:
        workload: what is planned for.
        speeds: what was measured.
        rows: one per way to store it.
        depths: one per depth of reranking.
        claims: the usual ones, answered.
        obtained: how the figures of `depths` were obtained, in words.
        machine_price: per hour; None for none given.
    """

    workload: Workload
    speeds: Speeds
    rows: tuple[Row, ...]
    depths: tuple[Depth, ...]
    claims: tuple[Claim, ...]
    obtained: Mapping[str, str]
    machine_price: float | None

    def __getitem__(self, option: str) -> Row:
        """The row of an option."""
        return next(row for row in self.rows if row.size.option.name == option)

    def to_json(self) -> dict[str, Any]:
        """As `latewood plan --json` prints it (docs/json.md), without the schema number."""
        workload, speeds = self.workload, self.speeds
        p50, p95 = np.percentile(workload.lengths, [50, 95])
        return {
            "chunks": workload.chunks,
            "tokens_per_chunk": {"mean": workload.tokens_per_chunk, "p50": float(p50), "p95": float(p95)},
            "windows_per_chunk": workload.windows,
            "dim": workload.dim,
            "dense_dim": workload.dense_dim,
            "pages": workload.pages,
            "depth": MAIN_DEPTH,
            "machine_price": self.machine_price,
            "obtained": {"tokens_per_chunk": workload.obtained, **self.obtained},
            "measured": {
                "encoder": speeds.encoder or None,
                "encoder_tokens_per_second": speeds.tokens_per_second,
                "query_tokens": float(speeds.query_tokens.mean()),
                "encode": _pair(speeds.encode),
                "first_stage": _pair(speeds.dense),
                "late": _pair(speeds.late[MAIN_DEPTH]),
                "isa": speeds.isa,
                "cpus": speeds.cpus,
                "seconds": speeds.seconds,
            },
            "options": [row.to_json() for row in self.rows],
            "depths": [depth.to_json() for depth in self.depths],
            "claims": [asdict(claim) | {"figures": dict(claim.figures)} for claim in self.claims],
        }


def make_plan(workload: Workload, speeds: Speeds, machine_price: float | None = None) -> Plan:
    """Bring sizes and speeds together.

    Args:
        workload: what is to be stored.
        speeds: measured on the machine that will do it.
        machine_price: of one hour of that machine, in any currency.

    Raises:
        UsageError: a price below 0, or no number.
    """
    if machine_price is not None and not (math.isfinite(machine_price) and machine_price >= 0):
        raise UsageError(f"machine price: got {machine_price}, expected what an hour costs, 0 or more")
    rows = tuple(_row(size, workload, speeds, machine_price) for size in sizes(workload))
    depths = tuple(_depth(depth, workload, speeds, machine_price) for depth in speeds.late)
    return Plan(workload, speeds, rows, depths, _claims(rows, depths, speeds), _obtained(speeds), machine_price)


# -- rows --------------------------------------------------------------------------------------------------------------


def _row(size: Size, workload: Workload, speeds: Speeds, price: float | None) -> Row:
    build, built = _build(size, workload, speeds)
    times, timed = _times(size, speeds)
    return Row(
        size,
        build,
        None if times is None else _percentiles(times),
        _price(times, price),
        {"bytes": size.obtained, "resident_bytes": size.obtained, "build_seconds": built, "p50": timed, "p95": timed},
    )


def _build(size: Size, workload: Workload, speeds: Speeds) -> tuple[float | None, str]:
    option, rate = size.option, speeds.tokens_per_second
    if option.page:
        return None, "not measured: no model of page images is at hand"
    if rate is None:
        return None, "not measured: no encoder, or no texts to encode"
    seconds = workload.chunks * workload.tokens_per_chunk / rate
    how = f"all tokens at the measured rate of '{speeds.encoder}', {rate:,.0f} a second"
    if option.pool > 1:
        how += "; clustering isn't counted"
    return seconds, how


def _times(size: Size, speeds: Speeds) -> tuple[Times | None, str]:
    """Milliseconds of a whole query, and how they were obtained."""
    option = size.option
    encoding = f"encoding by '{speeds.encoder}', " if len(speeds.encode) else "without encoding, "
    if option.name == SINGLE:
        return speeds.before, f"measured: {encoding}exact scan{' scaled from a part' * speeds.scaled}"
    if option.name not in speeds.options:
        reason = "that store wasn't run" if option.bits == 32 else "collections don't store bits yet"
        return None, f"not measured: {reason}"
    late = speeds.options[option.name]
    if option.name == "int8":
        return speeds.before + late, f"measured: {encoding}exact scan, late interaction, query by query"
    if option.page:
        return (
            late,
            "measured: late interaction alone, random vectors of D 128; a page model's query encoding comes on top",
        )
    return speeds.before + late, f"measured: {encoding}exact scan, and the kernel on vectors of this size and count"


def _price(times: Times | None, hourly: float | None) -> float | None:
    if times is None or hourly is None:
        return None
    return float(times.mean()) * _QUERIES / _HOUR_MS * hourly


# -- depths ------------------------------------------------------------------------------------------------------------


def _depth(depth: int, workload: Workload, speeds: Speeds, price: float | None) -> Depth:
    added = speeds.late[depth]
    late = speeds.before + added
    pairs = _cross_times(min(depth, workload.chunks), workload, speeds)
    cross = None if pairs is None else np.resize(speeds.before, len(pairs)) + pairs
    return Depth(
        depth,
        _percentiles(late),
        _percentiles(added),
        None if cross is None else _percentiles(cross),
        None if pairs is None else _percentiles(pairs),
        _price(late, price),
        _price(cross, price),
    )


def _cross_times(depth: int, workload: Workload, speeds: Speeds) -> Times | None:
    """Milliseconds to read so many pairs of question and passage, at the encoder's own rate."""
    if not speeds.passage_rates:
        return None
    rng = np.random.default_rng(_SEED)
    questions = rng.choice(speeds.query_tokens, (_DRAWS, 1))
    pairs = np.minimum(questions + rng.choice(workload.lengths, (_DRAWS, depth)), CROSS_LIMIT)
    milliseconds: Times = pairs.sum(axis=1) / rng.choice(np.array(speeds.passage_rates), _DRAWS) * 1e3
    return milliseconds


def _obtained(speeds: Speeds) -> dict[str, str]:
    if speeds.passage_rates:
        cross = (
            f"estimate: question and passage, {CROSS_LIMIT} tokens at most, at '{speeds.encoder}'s measured rate; "
            f"a {_cross_name(speeds)} cross-encoder does the same arithmetic per token"
        )
    else:
        cross = "not measured: no encoder, or no texts to encode"
    return {
        "late": "measured: encoding, exact scan and int8 late interaction on one thread",
        "cross": cross,
        "price": "mean time of a query, one after another on one machine at its hourly price",
    }


def _cross_name(speeds: Speeds) -> str:
    """What size the yardstick stands for: the bundled model has the layers of the usual small cross-encoder."""
    return "MiniLM-size (6 layers, 384 wide)" if speeds.encoder == "minilm" else "same-size"


# -- claims ------------------------------------------------------------------------------------------------------------


def _claims(rows: Sequence[Row], depths: Sequence[Depth], speeds: Speeds) -> tuple[Claim, ...]:
    by_name = {row.size.option.name: row.size for row in rows}
    single, int8 = by_name[SINGLE], by_name["int8"]
    return (
        _more_vectors(single, by_name["float32"], int8),
        _binary(single, by_name["float32"], int8, by_name["bits"]),
        _slower(next(depth for depth in depths if depth.depth == MAIN_DEPTH), speeds),
    )


def _more_vectors(single: Size, float32: Size, int8: Size) -> Claim:
    more = int8.vectors / single.vectors
    wide, narrow = (size.vector_bytes / single.vector_bytes for size in (float32, int8))
    return Claim(
        "more_vectors",
        "late interaction stores about 100 times more vectors than a single-vector index",
        50 <= more <= 200,
        {"vectors": more, "float32_bytes": wide, "int8_bytes": narrow},
        f"here {more:,.0f} times the vectors; as bytes {wide:,.0f} times in float32 and {narrow:,.0f} times in int8",
    )


def _binary(single: Size, float32: Size, int8: Size, bits: Size) -> Claim:
    smaller, whole = float32.vector_bytes / bits.vector_bytes, float32.bytes / bits.bytes
    below, left = int8.vector_bytes / bits.vector_bytes, bits.vector_bytes / single.vector_bytes
    return Claim(
        "binary",
        "binary vectors are 32 times smaller",
        31 <= smaller <= 33,
        {"against_float32": smaller, "on_disk": whole, "against_int8": below, "against_single_vector": left},
        f"{smaller:.0f} times smaller than float32 vectors, {whole:.0f} times with texts and tables, {below:.1f} times "
        f"smaller than int8; still {left:.1f} times a single-vector index",
    )


def _slower(depth: Depth, speeds: Speeds) -> Claim:
    late, cross = depth.late_added, depth.cross_added
    text = f"late interaction adds {late.p50:.1f} ms (p95 {late.p95:.1f}) for {depth.depth} candidates here"
    if cross is not None:
        text += f"; a {_cross_name(speeds)} cross-encoder would add {cross.p50:,.0f} ms (p95 {cross.p95:,.0f})"
    return Claim(
        "rerank_latency",
        "reranking adds 50 to 200 ms",
        50 <= late.p50 <= 200,
        {
            "late_p50": late.p50,
            "late_p95": late.p95,
            "cross_p50": cross.p50 if cross else None,
            "cross_p95": cross.p95 if cross else None,
        },
        text,
    )


def _pair(times: Times) -> dict[str, float] | None:
    return asdict(_percentiles(times)) if len(times) else None


def _percentiles(ms: Times) -> Percentiles:
    p50, p95 = np.percentile(ms, [50, 95])
    return Percentiles(float(p50), float(p95))
