"""Which level a model's vectors need: what each keeps of the exact top ten, measured on a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from latewood import maxsim
from latewood.index.depths import TUNED_K, overlap
from latewood.index.levels import DEFAULT_BITS, LEVELS, SHORT_LIST, Bits, Form, Signs, check_bits, floats_of
from latewood.index.pseudo import pseudo_runs
from latewood.types import BitVectors, FloatArray, IntArray, MultiVectors

__all__ = ["TARGET", "decide"]

TARGET = 0.99
"""Share of the exact top ten that a level must keep to be chosen."""

_FEWEST = 100  # documents below which a top ten among them tells nothing
_DOCUMENTS, _VECTORS, _QUERIES = 2000, 200_000, 100  # of a sample that is measured


def decide(
    bits: Bits,
    vectors: MultiVectors,
    *,
    queries: Sequence[FloatArray] | None = None,
    target: float = TARGET,
    seed: int = 0,
) -> Form:
    """The form for a collection whose first vectors are these.

    Args:
        bits: as asked for (`latewood.index.levels.Bits`); "auto" is the fewest bits that keep `target` of the exact
            top ten of these vectors.
        vectors: N documents, float32.
        queries: [Q, D] float32 each, to measure with; None for mixed runs of the documents' own vectors.
        target: of the mean overlap@10.
        seed: of what is drawn.

    Raises:
        UsageError: no such level.
    """
    text = str(check_bits(bits))
    ladder: dict[str, Any] = {}
    if text == "auto":
        ladder = _measured(_sample(vectors, seed), queries, target, seed)
        text = str(ladder["chosen"])
    signs = Signs.fit(floats_of(vectors).tokens) if text.startswith("1") and text != "16" else None
    return Form(int(text.removeprefix("1+")), signs, ladder)


def _sample(vectors: MultiVectors, seed: int) -> MultiVectors:
    """Some of the documents, in their order."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    lengths = np.diff(vectors.offsets)[order]
    count = min(_DOCUMENTS, int(np.searchsorted(np.cumsum(lengths), _VECTORS, "right")) or 1)
    chosen = np.sort(order[: max(1, count)]).tolist()
    return MultiVectors.of([floats_of(vectors)[i].astype(np.float32, copy=False) for i in chosen], vectors.dim)


def _measured(sample: MultiVectors, queries: Sequence[FloatArray] | None, target: float, seed: int) -> dict[str, Any]:
    """The ladder: what each level keeps of the top ten by float32, alone and, for bits, with rescoring."""
    found: dict[str, Any] = {"documents": len(sample), "vectors": len(sample.tokens), "target": target}
    if int(np.count_nonzero(np.diff(sample.offsets))) < _FEWEST:
        return found | {"levels": [], "chosen": DEFAULT_BITS, "why": f"fewer than {_FEWEST} documents with vectors"}
    kind = "pseudo" if queries is None else "given"
    queries = _pseudo(sample, seed) if queries is None else list(queries)[:_QUERIES]
    exact = [_ranked(maxsim.scores(query, sample)) for query in queries]
    levels = [_level(bits, sample, queries, exact) for bits in LEVELS]
    kept = [level["bits"] for level in levels if level["overlap@10"] >= target]
    why = "the fewest bits that keep the target" if kept else "nothing less keeps the target"
    chosen = min(kept, default=LEVELS[-1])
    return found | {"queries": len(queries), "kind": kind, "levels": levels, "chosen": chosen, "why": why}


def _level(
    bits: int, sample: MultiVectors, queries: Sequence[FloatArray], exact: Sequence[tuple[IntArray, FloatArray]]
) -> dict[str, Any]:
    form = Form(bits, Signs.fit(sample.tokens) if bits == 1 else None)
    stored = form.store(sample)
    whole = floats_of(stored, form.signs) if isinstance(stored, BitVectors) else stored
    alone = [_ranked(maxsim.scores(query, whole))[0][:TUNED_K] for query in queries]
    size = stored.codes.nbytes if isinstance(stored, BitVectors) else stored.tokens.nbytes
    size += 0 if isinstance(stored, BitVectors) or stored.scales is None else stored.scales.nbytes
    level = {
        "bits": bits,
        "bytes_per_vector": size / len(sample.tokens),
        "overlap@10": _mean(alone, exact),
    }
    if form.signs is not None and isinstance(stored, BitVectors):
        signs = form.signs
        listed = [_ranked(signs.estimates(query, stored))[0][:SHORT_LIST] for query in queries]
        level |= {"list": SHORT_LIST, "overlap@10_in_list": _mean(listed, exact)}
    return level


def _ranked(scores: FloatArray) -> tuple[IntArray, FloatArray]:
    order = np.argsort(-scores, kind="stable")
    return order, scores[order]


def _mean(found: Sequence[IntArray], exact: Sequence[tuple[IntArray, FloatArray]]) -> float:
    return float(np.mean([overlap(rows, *best) for rows, best in zip(found, exact, strict=True)]))


def _pseudo(sample: MultiVectors, seed: int) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    return pseudo_runs((sample[i] for i in rng.permutation(len(sample)).tolist()), _QUERIES, rng)
