"""The collection as a whole, with the bundled model: what goes in comes out, ranked as the reference says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from latewood import _reference, encode
from latewood.binding import RRF_K
from latewood.collection import Collection
from latewood.errors import EncoderMismatch, InputError, PipelineError, UsageError
from latewood.types import Passage

TEXTS = {
    "beech": "Beech\nThe beech keeps its brown leaves through the winter, and its bark stays smooth.",
    "oak": "Oak\nOak wood is hard and heavy. It was the timber of ships for a thousand years.",
    "larch": "Larch\nThe larch is a conifer that loses its needles in autumn.",
    "rings": "Tree rings\nA ring has pale early wood, and dense late wood that grows when summer ends.",
    "mast": "Masts\nTall straight pines were kept for the masts of ships.",
    "long": "Forest\n" + " ".join(f"Path number {i} leads past the mill and over the brook." for i in range(60)),
}
PASSAGES = [Passage(id, text, metadata={"n": i}) for i, (id, text) in enumerate(TEXTS.items())]
# An encoder's last bits can differ between two calls, and then a value that stands between two int8 steps is rounded to
# the other one: 2e-4 of a score.
TOLERANCE = {"dense": 1e-5, "late": 1e-3}
QUESTION = "which part of a growth ring is denser?"


@pytest.fixture(scope="module")
def kb(minilm, tmp_path_factory):
    with Collection.create(tmp_path_factory.mktemp("kb") / "kb.lw", minilm) as made:
        made.add(PASSAGES)
        yield made


def ids_of(ranking):
    return [hit.id for hit in ranking.hits]


def best_first(scores):
    """Ids by score descending, then id: `scores` is id → score."""
    return sorted(scores, key=lambda id: (-scores[id], id))


@pytest.fixture(scope="module")
def oracle(kb, minilm):
    """Scores of every passage by the NumPy reference: name of a stage → id → score."""
    query = minilm.encode_query(QUESTION)
    encoded = minilm.encode_passages(list(TEXTS.values()))
    stored = _reference.scores(query.tokens, _reference.quantize(encoded.tokens))
    return {
        "dense": {id: float((encoded.dense[i] @ query.dense).max()) for i, id in enumerate(TEXTS)},
        "late": dict(zip(TEXTS, map(float, stored), strict=True)),
        "late(encode=true)": dict(zip(TEXTS, map(float, _reference.scores(query.tokens, encoded.tokens)), strict=True)),
    }


@pytest.mark.parametrize("stage", ["dense", "late"])
def test_single_stages_rank_as_the_reference(kb, oracle, stage):
    ranking = kb.search(QUESTION, pipeline=stage)
    assert ids_of(ranking) == best_first(oracle[stage])
    scores = sorted(oracle[stage].values(), reverse=True)
    assert [hit.score for hit in ranking.hits] == pytest.approx(scores, abs=TOLERANCE[stage])
    assert [hit.rank for hit in ranking.hits] == [1, 2, 3, 4, 5, 6]
    assert ranking.exact
    assert ranking.hits[0].id == "rings"


@pytest.mark.parametrize("stage", ["late", "late(encode=true)"])
def test_reranking_takes_the_pool_of_the_stage_before(kb, oracle, stage):
    pool = best_first(oracle["dense"])[:4]
    ranking = kb.search(QUESTION, k=2, pipeline=f"dense:4 >> {stage}")
    wanted = best_first({id: oracle[stage][id] for id in pool})[:2]
    assert ids_of(ranking) == wanted
    assert list(ranking.pool) == pool
    scores = [oracle[stage][id] for id in wanted]
    assert [hit.score for hit in ranking.hits] == pytest.approx(scores, abs=TOLERANCE.get(stage, 1e-5))
    assert [timing.candidates for timing in ranking.timings] == [0, 4, 2]


def test_fusion_sums_reciprocal_ranks(kb, oracle):
    dense, bm25 = best_first(oracle["dense"])[:3], ids_of(kb.search(QUESTION, k=3, pipeline="bm25"))
    scores = {}
    for found in (dense, bm25):
        for rank, id in enumerate(found, 1):
            scores[id] = scores.get(id, 0) + 1 / (RRF_K + rank)
    ranking = kb.search(QUESTION, pipeline="(dense:3 + bm25:3)")
    assert ids_of(ranking) == best_first(scores)
    assert [hit.score for hit in ranking.hits] == pytest.approx(sorted(scores.values(), reverse=True), rel=1e-6)


def test_bm25_finds_words_and_leaves_out_what_shares_none(kb):
    assert set(ids_of(kb.search("ships", pipeline="bm25"))) == {"oak", "mast"}
    assert kb.search("zebra", pipeline="bm25").hits == ()


def test_an_explanation_sums_to_the_score_and_points_into_the_text(kb, minilm):
    for pipeline in ("late", "dense >> late(encode=true)"):
        for hit in kb.search(QUESTION, k=6, pipeline=pipeline, explain=True).hits:
            assert sum(match.similarity for match in hit.matches) == pytest.approx(hit.score, abs=1e-4)
            assert [match.query_token for match in hit.matches] == [
                label.token for label in minilm.encode_query(QUESTION).labels
            ]
            for match in hit.matches:
                shown = hit.passage.text[match.start : match.end].lower()
                assert shown == match.token.removeprefix("##") or (match.start == match.end == 0)
    with pytest.raises(PipelineError, match="doesn't end in late"):
        kb.search(QUESTION, pipeline="dense", explain=True)


def test_hits_carry_their_passages_and_bound_pipelines_do_not(kb):
    hit = kb.search(QUESTION, k=1).hits[0]
    assert hit.passage == PASSAGES[3]
    assert kb.bind("late").rank(QUESTION, 1).hits[0].passage is None


def test_adding_again_replaces_what_changed_and_leaves_the_rest(minilm, tmp_path):
    calls = []

    class Counting:
        spec = minilm.spec
        encode_query, label = minilm.encode_query, minilm.label

        def encode_passages(self, texts, progress=None):
            calls.append(len(texts))
            return minilm.encode_passages(texts, progress)

    with Collection.create(tmp_path / "kb.lw", Counting()) as kb:
        calls.clear()
        assert kb.add(PASSAGES).added == 6
        changed = [replace(PASSAGES[0], text="Beech\nBeech wood bends well in steam."), *PASSAGES[1:]]
        report = kb.add([*changed, changed[1]])
        assert (report.added, report.replaced, report.unchanged, report.duplicates) == (0, 1, 5, 1)
        assert calls == [6, 1]
        assert ids_of(kb.search("bends in steam", k=1)) == ["beech"]
        assert kb.search("bends in steam", k=1).hits[0].passage == changed[0]
        assert kb.stats()["passages"] == 6
        assert kb.delete(["beech", "never"]) == 1
        assert "beech" not in ids_of(kb.search("bends in steam", pipeline="late"))
        assert "beech" not in ids_of(kb.search("bends in steam", pipeline="bm25"))
        assert kb.check() == []


def test_a_reader_moves_on_when_it_is_told(minilm, tmp_path):
    with Collection.create(tmp_path / "kb.lw", minilm) as writer, Collection.open(tmp_path / "kb.lw", minilm) as reader:
        writer.add(PASSAGES)
        assert reader.search(QUESTION).hits == ()
        reader.refresh()
        assert reader.search(QUESTION).hits == writer.search(QUESTION).hits


def test_an_empty_collection_answers_everything_with_nothing(minilm, tmp_path):
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        for pipeline in ("dense", "bm25", "late", "dense + bm25", "dense >> late", "dense >> late(encode=true)"):
            assert kb.search(QUESTION, pipeline=pipeline).hits == ()


def test_an_empty_passage_has_a_place_too(minilm, tmp_path):
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        kb.add([Passage("empty", ""), *PASSAGES])
        assert len(kb.search(QUESTION, k=10, pipeline="late").hits) == 7


def altered(encoder, **changes):
    """The same encoder under another spec."""

    class Altered:
        spec = replace(encoder.spec, **changes)
        encode_passages, encode_query, label = encoder.encode_passages, encoder.encode_query, encoder.label

    return Altered()


def test_another_model_is_refused_and_another_library_version_is_checked(kb, minilm, tmp_path):
    with pytest.raises(EncoderMismatch, match="differs in truncate"):
        Collection.open(kb.path, encode.load("minilm", truncate=True))
    with pytest.raises(EncoderMismatch, match="differs in model_hash, query_prompt"):
        Collection.open(kb.path, altered(minilm, model_hash="0", query_prompt="query: "))
    newer = altered(minilm, libraries={**minilm.spec.libraries, "torch": "99.0"})
    with pytest.warns(RuntimeWarning, match="still get the same vectors"):
        Collection.open(kb.path, newer).close()

    def other_vectors(texts, progress=None):
        encoded = minilm.encode_passages([text.upper()[::-1] for text in texts], progress)
        return replace(encoded, tokens=encoded.tokens)

    newer.encode_passages = other_vectors
    with pytest.raises(EncoderMismatch, match="give other vectors"):
        Collection.open(kb.path, newer)


def test_what_is_not_a_passage_or_a_collection_is_refused(kb, tmp_path):
    with pytest.raises(UsageError, match="takes Passage values, got dict"):
        kb.add([{"_id": "x"}])
    with pytest.raises(InputError, match="is not a collection"):
        Collection.open(tmp_path)


def test_compare_joins_by_source_and_counts_what_was_asked(minilm, tmp_path):
    parts = [Passage(f"trees#{i}", text, source_id="trees") for i, text in enumerate(TEXTS.values())]
    other = Passage("ships", "Ships\nA ship of the line carried three masts.")
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        kb.add([*parts, other])
        comparison = kb.compare(
            ["dense:5 >> late", "bm25"], {"1": QUESTION, "2": "how many masts?"}, {"1": {"trees": 1}, "2": {"ships": 1}}
        )
    assert comparison.grouping.by == "source"
    assert comparison["dense:5 >> late"].metrics["R@5"] == 1.0
    first, second = comparison.results
    assert first.latency.encode.p50 > 0
    assert second.latency.encode.p50 == 0
    assert np.isfinite(first.latency.search.p95)
