"""How deep the cascade goes: what is tuned, and what a caller changes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latewood.errors import UsageError
from latewood.index import Depths, overlap
from latewood.index.depths import Steps, tune


class Guessing:
    """A cascade whose every step knows the scores of 2,000 documents less badly than the one before it."""

    def __init__(self, queries, seed=0):
        rng = np.random.default_rng(seed)
        self.true = {q: rng.gamma(2.0, 1.0, 2000).astype(np.float32) for q in queries}
        wrong = {q: rng.standard_normal((3, 2000)) * np.array([[1.0], [0.5], [0.25]]) for q in queries}
        self.seen = {q: (self.true[q] + wrong[q]).astype(np.float32) for q in queries}

    def exact(self, query):
        order = np.argsort(-self.true[int(query[0, 0])], kind="stable")[:20]
        return order, self.true[int(query[0, 0])][order]

    def ranked(self, query, depths, last):
        rows = np.arange(2000)
        for step in range(last):
            most, margin = depths.leaving[step]
            scores = self.seen[int(query[0, 0])][step][rows]
            order = np.lexsort((rows, -scores))
            kth = float(scores[order[min(9, len(order) - 1)]])
            near = [i for i in order if margin == 1 or scores[i] >= kth - margin * max(0.0, kth)]
            rows, scores = rows[near[:most]], scores[near[:most]]
        return rows, scores


def test_tuning_chooses_the_least_margins_that_keep_enough():
    asked = [np.full((8, 4), i, np.float32) for i in range(60)]
    cascade = Guessing(range(60))
    exact = [cascade.exact(query) for query in asked]
    steps = Steps(cascade.ranked, 2000, 50.0, 1.0)
    depths = tune(steps, asked, exact, 0.9, lambda work, queries: [work(query) for query in queries])

    def kept(last, **other):
        found = [cascade.ranked(query, replace(depths, **other), last)[0] for query in asked]
        return np.mean([overlap(rows, *best) for rows, best in zip(found, exact, strict=True)])

    for last, name, share in ((1, "gathered_margin", 0.1), (3, "full_margin", 0.3)):
        wanted = 1 - share * 0.1
        assert kept(last) >= wanted
        assert kept(last, **{name: getattr(depths, name) - 0.01}) < wanted
    # Of the second step a quarter more than the sample asks for.
    assert kept(2, refined_margin=round(depths.refined_margin / 1.25, 2)) >= 1 - 0.15 * 0.1
    # What the margins keep isn't lost again to the number of documents.
    for last, name in ((1, "n_gathered"), (2, "n_refined"), (3, "n_full_scores")):
        assert kept(last, **{name: 2000}) == kept(last)


def test_a_number_of_documents_that_is_given_is_that_many():
    tuned = Depths(8, 100, 60, 40, gathered_margin=0.6, refined_margin=0.2, full_margin=0.1)
    assert tuned.but({"n_refined": 50}) == Depths(8, 100, 50, 40, gathered_margin=0.6, full_margin=0.1)
    assert tuned.but({"n_full_scores": 80}) == Depths(8, 100, 80, 80, gathered_margin=0.6, refined_margin=0.2)
    both = tuned.but({"n_full_scores": 30, "full_margin": 0.3})
    assert both == Depths(8, 100, 60, 30, gathered_margin=0.6, refined_margin=0.2, full_margin=0.3)
    assert tuned.at(20) == Depths(16, 200, 120, 80, gathered_margin=0.6, refined_margin=0.2, full_margin=0.1)


def test_tuning_wants_a_share_and_queries():
    with pytest.raises(UsageError, match=r"target_overlap: got 1\.5"):
        tune(None, [np.zeros((1, 2))], [], 1.5, map)
    with pytest.raises(UsageError, match="no queries"):
        tune(None, [], [], 0.9, map)


def test_a_step_that_cannot_keep_enough_is_not_gone_through_to_its_end():
    """Its order has lost documents before it: what all of it keeps is enough, and the list ends where that is had."""
    asked = [np.full((8, 4), i, np.float32) for i in range(60)]
    cascade = Guessing(range(60))
    exact = [cascade.exact(query) for query in asked]
    lost = [(np.concatenate([[5000 + i], rows[1:]]), scores) for i, (rows, scores) in enumerate(exact)]
    steps = Steps(cascade.ranked, 2000, 1.0, 1.0)  # every document passes the first step
    depths = tune(steps, asked, lost, 0.99, lambda work, queries: [work(query) for query in queries])
    assert depths.n_probe == 0
    assert depths.refined_margin < 1
    assert depths.n_full_scores < 1000
