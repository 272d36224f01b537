"""Figures of a plan, worked by hand from speeds of round numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from plan_cases import speeds, workload

from latewood.errors import UsageError
from latewood.evaluate.plan import CROSS_LIMIT, make_plan
from latewood.evaluate.plan_speeds import DEPTHS, MAIN_DEPTH, measure_speeds
from latewood.evaluate.plan_table import plan_tables


def test_times_of_a_query_are_the_sum_of_its_stages():
    plan = make_plan(workload(chunks=10_000), speeds(late=5, encode=10, dense=1))
    assert (plan["int8"].ms.p50, plan["int8"].ms.p95) == (16, 16)
    assert plan["single-vector"].ms.p50 == 11
    assert plan["pages-int8"].ms.p50 == 5
    assert plan["bits"].ms is None
    assert plan["qdrant"].ms is None
    assert [depth.late.p50 for depth in plan.depths] == [11 + depth / 10 for depth in DEPTHS]
    assert [depth.late_added.p50 for depth in plan.depths] == [depth / 10 for depth in DEPTHS]


def test_a_cross_encoder_reads_question_and_passage_at_the_encoder_s_rate():
    plan = make_plan(workload(chunks=10_000), speeds(rate=1000))
    # 20 tokens of question and 100 of passage at 1,000 a second: 120 ms a pair
    assert [depth.cross_added.p50 for depth in plan.depths] == [depth * 120 for depth in DEPTHS]
    assert plan.depths[0].cross.p50 == 20 * 120 + 11


def test_a_cross_encoder_cuts_at_its_limit_and_reads_no_more_than_there_is():
    plan = make_plan(workload(chunks=30, lengths=np.array([9000])), speeds(rate=1000))
    assert [depth.cross_added.p50 for depth in plan.depths] == [20 * CROSS_LIMIT, *[30 * CROSS_LIMIT] * 4]


def test_build_and_price():
    plan = make_plan(workload(chunks=10_000), speeds(late=5, encode=10, dense=1, rate=1000), machine_price=3.6)
    # a million tokens at 1,000 a second; a million queries of 16 ms are 16,000 s, of which one costs 0.001
    assert plan["int8"].build_seconds == 1000
    assert plan["pages-int8"].build_seconds is None
    assert plan["int8"].price == pytest.approx(16)
    assert plan.depths[1].late_price == pytest.approx(16)
    assert plan.depths[1].cross_price == pytest.approx(6011)
    assert make_plan(workload(), speeds())["int8"].price is None


@pytest.mark.parametrize("price", [-1, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(price):
    with pytest.raises(UsageError, match="machine price"):
        make_plan(workload(), speeds(), price)


def test_without_an_encoder_what_needs_one_is_unknown_and_says_why():
    plan = make_plan(workload(), speeds(rate=0))
    assert plan["int8"].ms.p50 == 6
    assert plan["int8"].build_seconds is None
    assert "no encoder" in plan["int8"].obtained["build_seconds"]
    assert "without encoding" in plan["int8"].obtained["p50"]
    assert plan.depths[0].cross is None
    assert plan.to_json()["measured"]["encode"] is None


def test_every_figure_says_how_it_was_obtained():
    for row in make_plan(workload(), speeds()).rows:
        assert set(row.obtained) == {"bytes", "resident_bytes", "build_seconds", "p50", "p95"}
        assert row.obtained["bytes"].startswith("measured" if row.size.option.stored else "estimate")
        assert row.obtained["p50"].startswith("not measured" if row.ms is None else "measured")


@pytest.mark.parametrize(("tokens", "more"), [(49, False), (50, True), (200, True), (201, False)])
def test_a_hundred_times_more_vectors_is_judged_by_a_factor_of_two(tokens, more):
    claim = make_plan(workload(lengths=np.array([tokens])), speeds()).claims[0]
    assert (claim.code, claim.holds, claim.figures["vectors"]) == ("more_vectors", more, tokens)
    assert claim.figures["float32_bytes"] == pytest.approx(tokens * 128 / 64)
    assert claim.figures["int8_bytes"] == pytest.approx(tokens * 132 / 256)


def test_bits_are_32_times_smaller_than_float32_and_what_else_they_are():
    claim = make_plan(workload(chunks=10_000), speeds()).claims[1]
    assert (claim.code, claim.holds) == ("binary", True)
    assert claim.figures["against_float32"] == 32
    assert claim.figures["against_int8"] == pytest.approx(132 / 16)
    assert claim.figures["against_single_vector"] == pytest.approx(1600 / 256)
    assert 10 < claim.figures["on_disk"] < 32


@pytest.mark.parametrize(("late", "holds"), [(49, False), (50, True), (200, True), (201, False)])
def test_what_reranking_adds_is_judged_by_its_median(late, holds):
    claim = make_plan(workload(chunks=100), speeds(late=late)).claims[2]
    assert (claim.code, claim.holds, claim.figures["late_p50"]) == ("rerank_latency", holds, late)
    assert claim.figures["cross_p50"] == 6000


def test_tables_fit_a_terminal_and_json_holds_no_nan():
    plan = make_plan(workload(chunks=1_000_000), speeds(), 1.5)
    json.dumps(plan.to_json(), allow_nan=False)
    for table in plan_tables(plan):
        assert all(len(row) == len(table.columns) for row in table.rows)
        if "claim" not in table.columns:
            widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
            assert sum(widths) + 2 * (len(widths) - 1) <= 80


def test_the_micro_benchmark_measures_every_part_for_the_same_queries():
    found = measure_speeds(workload(chunks=40, lengths=np.array([3, 8]), dim=16), [], None, [], seconds=0.1)
    counts = {len(found.dense), *map(len, found.late.values()), *map(len, found.options.values())}
    assert len(counts) == 1
    assert min(counts) >= 5
    assert all((times > 0).all() for times in (found.dense, *found.late.values(), *found.options.values()))
    assert list(found.late) == list(DEPTHS)
    assert found.options["int8"] is found.late[MAIN_DEPTH]
    assert not len(found.encode)
    assert found.tokens_per_second is None


def test_the_micro_benchmark_times_the_encoder(minilm):
    texts = ["late wood is dense"] * 8
    found = measure_speeds(workload(chunks=40, dim=16), ["dense?", "what is late wood?"], minilm, texts, seconds=0.1)
    assert found.query_tokens.tolist() == [4, 7]
    assert len(found.encode) == len(found.dense)
    assert found.tokens_per_second > 0
    assert found.encoder == "minilm"
