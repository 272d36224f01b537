"""Every rule on each side of its threshold, and every verdict; all by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latewood.errors import UsageError
from latewood.evaluate.lift import Lift
from latewood.evaluate.rules import RULES, VERDICTS, Facts, decide, judge, store_scores_multivectors

BASE = Facts(recall=0.6, ceiling=0.8, missed=100, before_search=10)


def lift(mean=0.05, low=0.02, p95=40.0):
    return Lift(mean, low, 2 * mean - low, 100, 12, 5, p95 / 2, p95)


def outcome(name, **changes):
    return next(found for found in judge(replace(BASE, **changes)) if found.rule.name == name)


@pytest.mark.parametrize(
    ("name", "fires", "does_not", "distance"),
    [
        ("recall_is_high", {"recall": 0.9, "ceiling": 1.0}, {"recall": 0.89, "ceiling": 1.0}, -0.01),
        ("lost_before_search", {"before_search": 50}, {"before_search": 49}, -0.01),
        ("ceiling_near_recall", {"ceiling": 0.649}, {"ceiling": 0.65}, 0.0),
        ("rerank_before_fine_tuning", {"ceiling": 0.65}, {"ceiling": 0.64}, -0.01),
        ("late_rerank_pays", {"late": lift(low=0.001)}, {"late": lift(low=-0.002)}, -0.002),
        (
            "late_fits_the_budget",
            {"late": lift(p95=40.0), "latency_budget_ms": 40.0},
            {"late": lift(p95=40.0), "latency_budget_ms": 39.0},
            -1.0,
        ),
        ("tight_latency", {"latency_budget_ms": 99.0}, {"latency_budget_ms": 100.0}, 0.0),
        ("cross_encoder_floor", {"chunks": 49_999}, {"chunks": 50_000}, 0.0),
        ("late_as_reranker_only", {"chunks": 3_000_001}, {"chunks": 3_000_000}, 0.0),
        ("pages", {"pages": 1}, {"pages": 0}, -1.0),
        ("swaps_within_noise", {"systems_alike": 5}, {"systems_alike": 4}, -1.0),
    ],
)
def test_a_rule_on_each_side_of_its_threshold(name, fires, does_not, distance):
    assert outcome(name, **fires).fired
    held = outcome(name, **does_not)
    assert not held.fired
    assert held.distance == pytest.approx(distance, abs=1e-9)
    printed = held.to_json()
    assert {"rule", "fired", "inputs", "threshold", "reason"} <= set(printed)
    assert printed["rule"] == name
    assert printed["reason"]


def test_rules_of_two_states():
    assert outcome("late_not_measured").fired
    assert not outcome("late_not_measured", late=lift()).fired
    assert outcome("store_without_multivectors", store="pgvector").fired
    assert not outcome("store_without_multivectors", store="Qdrant").fired
    assert outcome("store_without_multivectors", store="pgvector").distance is None


def test_late_only_needs_a_gain_over_reranking_and_a_corpus_that_is_not_too_large():
    pays = {"late": lift(mean=0.02), "late_only": lift(mean=0.03, low=0.01), "chunks": 3_000_000}
    assert outcome("late_only_pays", **pays).fired
    assert not outcome("late_only_pays", **pays | {"late_only": lift(mean=0.029, low=0.01)}).fired
    assert not outcome("late_only_pays", **pays | {"late_only": lift(mean=0.04, low=-0.01)}).fired
    too_large = outcome("late_only_pays", **pays | {"chunks": 3_000_001})
    assert not too_large.fired
    assert (too_large.decided_by.measure, too_large.distance) == ("chunks", 1.0)


def test_what_nobody_measured_fires_nothing_and_is_named():
    assert outcome("tight_latency").unknown == ("latency_budget_ms",)
    assert outcome("late_fits_the_budget", latency_budget_ms=50.0).unknown == ("late_spare_ms",)
    silent = {"tight_latency", "late_fits_the_budget", "cross_encoder_floor", "store_without_multivectors"}
    assert not any(found.fired for found in judge(BASE) if found.rule.name in silent)


def test_questions_of_copied_words_never_say_that_recall_is_high():
    assert not outcome("recall_is_high", recall=1.0, ceiling=1.0, copied_questions=True).fired


PAYS = {"late": lift()}
LOSES = {"late": lift(mean=0.0, low=-0.02)}


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"recall": 0.95, "ceiling": 1.0, **PAYS}, "keep"),
        ({"before_search": 60, **PAYS}, "fix_documents"),
        ({"ceiling": 0.62, **PAYS}, "fix_first_stage"),
        ({"ceiling": 0.62, "late_only": lift(), "chunks": 9_000}, "late_only"),
        (PAYS, "rerank_late"),
        ({**PAYS, "latency_budget_ms": 60.0}, "rerank_late"),
        ({**PAYS, "latency_budget_ms": 30.0}, "no_reranker_fits"),
        ({**PAYS, "latency_budget_ms": 150.0, "late": lift(p95=200.0)}, "no_reranker_fits"),
        ({}, "measure_late"),
        (LOSES, "try_cross_encoder"),
        ({**LOSES, "latency_budget_ms": 150.0}, "try_cross_encoder"),
        ({**LOSES, "latency_budget_ms": 60.0}, "no_reranker_fits"),
        ({**PAYS, "cross": lift()}, "rerank_late"),
        ({**LOSES, "cross": lift()}, "rerank_cross"),
        ({"cross": lift()}, "rerank_cross"),
        ({**LOSES, "cross": lift(p95=90.0), "latency_budget_ms": 95.0}, "rerank_cross"),
        ({**LOSES, "cross": lift(p95=200.0), "latency_budget_ms": 150.0}, "no_reranker_helps"),
        ({**LOSES, "cross": lift(mean=0.0, low=-0.02)}, "no_reranker_helps"),
        ({"cross": lift(mean=0.0, low=-0.02)}, "measure_late"),
    ],
)
def test_each_verdict(facts, code):
    found = replace(BASE, **facts)
    assert decide(found, judge(found))[0] == code
    text = decide(found, judge(found))[1]
    assert "{" not in text
    assert "nan" not in text.lower()


def test_every_verdict_is_reached_above_and_every_name_is_its_own():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert len({row.code for row in VERDICTS}) == len(VERDICTS)


def test_an_unknown_store_is_an_error_that_lists_the_known():
    with pytest.raises(UsageError, match="pgvector"):
        store_scores_multivectors("shoebox")
