"""Cross-encoders: scores against CrossEncoder.predict, and what a scorer may not give."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tiny_checkpoints as tiny

from latewood.collection import Collection
from latewood.encode import load, load_scorer
from latewood.errors import ModelError, PipelineError, ShapeError
from latewood.pipeline import BM25, Cross
from latewood.types import Passage

TEXTS = ["late wood", "", "a ring, a beam", "dense and dark", "spring"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.cross(tmp_path_factory.mktemp("cross") / "model", limit=48)


def test_scores_are_those_of_sentence_transformers(folder):
    from sentence_transformers import CrossEncoder

    theirs = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    scorer = load_scorer(str(folder))
    assert scorer.name == str(folder.resolve())
    scores = scorer.score("which ring?", TEXTS)
    assert (scores.dtype, scores.shape) == (np.float32, (5,))
    np.testing.assert_allclose(scores, theirs.predict([("which ring?", text) for text in TEXTS]), atol=1e-5)
    assert len(set(scores.tolist())) == 5
    assert scorer.score("which ring?", []).shape == (0,)


def test_what_is_cut_is_said_once(folder):
    scorer = load_scorer(str(folder))
    with pytest.warns(RuntimeWarning, match="reads 48 tokens .* together: 1 of 2 passages were longer and were cut"):
        scorer.score("which?", ["late wood " * 20, "late"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scorer.score("which?", ["late wood " * 20])


def test_each_kind_is_told_from_its_files(folder, save_tiny, tmp_path):
    with pytest.raises(ModelError, match=r"holds a cross-encoder, which gives no vectors: .* cross\(model="):
        load(folder)
    with pytest.raises(ModelError, match=r"holds a bi-encoder model; cross\(model=…\) expected a cross-encoder"):
        load_scorer(str(save_tiny()))
    late = tiny.stanford(tmp_path / "late")
    with pytest.raises(ModelError, match="holds a late-interaction model"):
        load_scorer(str(late))
    with pytest.raises(ModelError, match="gives 3 numbers per pair; expected a reranker"):
        load_scorer(str(tiny.cross(tmp_path / "classes", labels=3)))


def test_a_scorer_must_be_named():
    with pytest.raises(PipelineError, match=r"names no scorer, and none is bundled: give cross\(model="):
        load_scorer()
    with pytest.raises(PipelineError, match="says no url"):
        load_scorer("m", dialect="tei")
    with pytest.raises(ModelError, match="'nowhere' is neither known nor a folder"):
        load_scorer("nowhere")


class Wrong:
    """A scorer that breaks its promise."""

    name = "wrong"

    def __init__(self, scores):
        self.scores = np.array(scores, np.float32)

    def score(self, query, texts):
        return self.scores


@pytest.fixture(scope="module")
def kb(tmp_path_factory, minilm):
    with Collection.create(tmp_path_factory.mktemp("kb") / "kb.lw", minilm) as kb:
        kb.add([Passage(f"p{i}", f"{text} ring") for i, text in enumerate(TEXTS)])
        yield kb


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1, 2, 3], r"wrong: got scores of shape \(3,\), expected one for each of 5"),
        ([1, 2, 3, 4, np.nan], "wrong: got NaN or infinity among its scores"),
        ([[1, 2, 3, 4, 5]], r"shape \(1, 5\)"),
    ],
)
def test_a_list_is_never_silently_left_as_it_was(kb, scores, message):
    from latewood.binding import BoundPipeline

    bound = kb.bind("bm25")
    wrong = BoundPipeline(BM25() >> Cross(model="x"), bound.snapshot, bound.encoder, lambda stage: Wrong(scores))
    with pytest.raises(ShapeError, match=message):
        wrong.rank("ring")
    with pytest.raises(PipelineError, match="needs a scorer, and this pipeline was bound without"):
        BoundPipeline(BM25() >> Cross(model="x"), bound.snapshot, bound.encoder).rank("ring")


def test_ties_go_by_id_and_no_question_is_encoded_for_it(kb):
    from latewood.binding import BoundPipeline

    def unwanted():
        raise AssertionError("bm25 >> cross needs no encoder")

    bound = BoundPipeline(BM25() >> Cross(3, model="x"), kb.bind("bm25").snapshot, unwanted, lambda _: Wrong([7] * 5))
    assert [hit.id for hit in bound.rank("ring").hits] == ["p0", "p1", "p2"]
