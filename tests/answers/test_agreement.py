"""A judge against people: Cohen's kappa and its interval, held to hand-worked figures and to a bootstrap."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from latewood.answers import Claim, Item, Judge, Judgement, Label, agreement, kappa
from latewood.errors import InputError


def pairs(table):
    return [pair for pair, count in table.items() for _ in range(count)]


def test_kappa_by_hand():
    # Fifty cases: 20 and 15 the same, 5 and 10 not. p_o = 35/50, p_e = 25/50 * 30/50 + 25/50 * 20/50 = 0.5.
    found = kappa(pairs({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}))
    assert found.agreement == pytest.approx(0.7)
    assert found.value == pytest.approx(0.4)
    # Fleiss, Cohen, Everitt: A = .4 (1 - 1.1 * .6)^2 + .3 (1 - .9 * .6)^2 = .10972,
    # B = .36 (.1 * (.6 + .5)^2 + .2 * (.5 + .4)^2) = .10188, C = (.4 - .5 * .6)^2 = .01
    error = math.sqrt((0.10972 + 0.10188 - 0.01) / 50) / 0.5
    assert found.high - found.value == pytest.approx(1.959964 * error, abs=1e-6)


def test_kappa_of_three_verdicts_against_a_bootstrap():
    draw = random.Random(3)
    names = ("supported", "contradicted", "not_in_text")
    cases = []
    for _ in range(400):
        first = draw.choices(names, (6, 1, 3))[0]
        cases.append((first, first if draw.random() < 0.8 else draw.choice(names)))
    found = kappa(cases)
    rng = np.random.default_rng(5)
    again = [kappa([cases[i] for i in rng.integers(0, 400, 400)]).value for _ in range(400)]
    assert (found.high - found.low) / 2 / 1.959964 == pytest.approx(float(np.std(again)), rel=0.12)


def test_kappa_at_its_ends():
    assert kappa(pairs({("a", "a"): 5, ("b", "b"): 5})).value == pytest.approx(1.0)
    assert kappa(pairs({("a", "b"): 5, ("b", "a"): 5})).value == pytest.approx(-1.0)
    one = kappa(pairs({("a", "a"): 9}))
    assert (one.value, one.low, one.agreement) == (None, None, 1.0)
    assert kappa(pairs({("a", "a"): 25, ("a", "b"): 25, ("b", "a"): 25, ("b", "b"): 25})).value == pytest.approx(0.0)
    with pytest.raises(InputError, match="no case has both"):
        kappa([])


def two_hundred(server):
    """200 answers of one claim; 100 are in the text, as people say; the judge errs on each tenth of either kind."""
    items, labels = [], []
    for i in range(200):
        held = i % 2 == 0
        claim = f"Tree {i} is {'oak' if held else 'elm'}."
        items.append(Item(str(i), "which tree?", claim, (f"Tree {i} is oak.",), claims=(claim,)))
        labels.append(Label(str(i), "supported" if held else "not_in_text"))
        if i // 2 % 10 == 0:
            server.model.errors.add(claim)
    return items, labels


def test_a_judge_with_ten_in_a_hundred_flipped(server, model):
    """By hand: p_o = 0.9; both say "supported" of half, so p_e = 0.5 and kappa = 0.4 / 0.5 = 0.8 on these cases.

    The standard error: A = .9 (1 - 1 * .2)^2 = .576, B = .04 * .1 * 1 = .004, C = (.8 - .1)^2 = .49;
    sqrt(.09 / 200) / .5 = 0.0424, so that the interval is 0.7168 to 0.8832.
    """
    items, labels = two_hundred(server)
    found = agreement(Judge(model).judge(items), labels)
    assert found.table == {
        "not_in_text": {"not_in_text": 90, "supported": 10},
        "supported": {"not_in_text": 10, "supported": 90},
    }
    assert found.verdicts.value == pytest.approx(0.8)
    assert (found.verdicts.low, found.verdicts.high) == pytest.approx((0.7168, 0.8832), abs=1e-4)
    assert found.faithful == found.verdicts
    assert (found.unjudged, found.unlabelled) == (0, 0)


def test_the_interval_contains_the_truth_nineteen_times_in_twenty():
    """Judges that err on one in ten at random: their true kappa is 0.8, and the interval holds it about that often."""
    draw = random.Random(11)
    held = 0
    for _ in range(300):
        cases = [("s", "s" if draw.random() < 0.9 else "n") for _ in range(100)]
        cases += [("n", "n" if draw.random() < 0.9 else "s") for _ in range(100)]
        found = kappa(cases)
        held += found.low <= 0.8 <= found.high
    assert 0.92 <= held / 300 <= 0.98


def test_labels_of_claims_and_of_answers():
    judged = [
        Judgement("1", "judged", (Claim("a", "supported"), Claim("b", "not_in_text"))),
        Judgement("2", "refusal"),
        Judgement("3", "unjudged", (Claim("c", "missing"),), "verdicts"),
        Judgement("4", "judged", (Claim("d", "supported"),)),
    ]
    whole = agreement(
        judged, [Label("1", "not_in_text"), Label("2", "refusal"), Label("3", "supported"), Label("4", "contradicted")]
    )
    assert (whole.verdicts.cases, whole.unjudged, whole.verdicts.agreement) == (3, 1, pytest.approx(2 / 3))
    assert whole.faithful.cases == 2
    single = agreement(
        judged, [Label("1", "supported", "a"), Label("1", "supported", "b"), Label("3", "supported", "c")]
    )
    assert single.table == {"supported": {"not_in_text": 1, "supported": 1}}
    assert (single.unjudged, single.unlabelled) == (1, 1)
    with pytest.raises(InputError, match="1 labels name what wasn't judged, such as '9'"):
        agreement(judged, [Label("9", "supported")])
    with pytest.raises(InputError, match="with the claim 'z': give the answers with their 'claims'"):
        agreement(judged, [Label("1", "supported", "z")])
