"""Percentiles by hand."""

from __future__ import annotations

import pytest

from latewood.evaluate import Percentiles, latency
from latewood.types import StageTiming


def query(encode: float, dense: float, late: float, left: int = 5) -> list[StageTiming]:
    return [StageTiming("encode", encode, 0), StageTiming("dense:50", dense, 50), StageTiming("late", late, left)]


def test_encoding_apart_from_search_and_stages_apart():
    of = latency([query(10, 1, 0.5), query(30, 3, 0.5, 7), query(20, 2, 8.5, 6)])
    assert of.queries == 3
    assert of.encode == Percentiles(
        20, pytest.approx(29)
    )  # p95 of 3 values lies 0.9 of the way from the 2nd to the 3rd
    assert of.search == Percentiles(3.5, pytest.approx(3.5 + 0.9 * 7))  # 1.5, 3.5, 10.5: added up per query
    assert [(part.stage, part.ms.p50, part.candidates) for part in of.stages] == [
        ("encode", 20, 0),
        ("dense:50", 2, 50),
        ("late", 0.5, 6),
    ]


def test_a_pipeline_that_needs_no_encoding():
    of = latency([[StageTiming("bm25:10", 2.0, 10)]])
    assert of.encode == Percentiles(0, 0)
    assert of.search == Percentiles(2, 2)


def test_a_stage_that_runs_twice_is_two_stages():
    of = latency([[StageTiming("late", 5.0, 50), StageTiming("late", 1.0, 10)]] * 2)
    assert [(part.stage, part.ms.p50, part.candidates) for part in of.stages] == [("late", 5, 50), ("late", 1, 10)]
    assert of.search.p50 == 6
