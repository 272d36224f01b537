"""Pages by text and image: one model under one MaxSim, two models beside each other, and what each part adds.

The models that read images are transformers' own classes with tiny random weights: this shows that every vector is
stored, scored and placed as it should be, not how well real weights find pages.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

import tiny_vision as tiny
from latewood import _reference, reindex
from latewood.collection import Collection
from latewood.encode import load
from latewood.errors import PipelineError
from latewood.folders import index_paths
from latewood.ingest import Reading
from latewood.page_view import PageView
from latewood.pages import PageFiles, cite, draw
from latewood.pipeline import Late, Pages, parse
from latewood.types import MultiVectors, Passage

TEXTS = ["late wood is dense", "", "early wood is pale"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A PDF of three pages, the second of which is a picture only; and a text."""
    from PIL import Image

    made = tmp_path_factory.mktemp("files")
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(200, 150))
    noise = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
    for number, text in enumerate(TEXTS):
        canvas.drawString(20, 100, text)
        canvas.drawImage(ImageReader(Image.fromarray(np.roll(noise, 7 * number, axis=0))), 20, 10, 80, 60)
        canvas.showPage()
    canvas.save()
    (made / "a.pdf").write_bytes(buffer.getvalue())
    (made / "b.txt").write_text("heart wood")
    return made


@pytest.fixture(scope="module")
def vision(tmp_path_factory):
    return load(tiny.colqwen2(tmp_path_factory.mktemp("vision") / "model"))


@pytest.fixture(scope="module")
def joint(folder, vision, tmp_path_factory):
    with Collection.create(tmp_path_factory.mktemp("kb") / "kb.lw", vision, bits=32) as kb:
        report = index_paths(kb, [folder], reading=Reading(ocr="off"))
        assert (report.pages.taken, report.pages.without_text, report.pages.notes) == (3, 1, [])
        yield kb


def test_one_max_sim_over_text_and_image(joint, vision):
    query = vision.encode_query("dense wood")
    pages = joint.get(["a.pdf#1", "a.pdf#2", "a.pdf#3"])
    with PageFiles() as files:
        from PIL import Image

        images = vision.encode_pages([Image.fromarray(draw(files, page)) for page in pages])
    texts = vision.encode_passages(TEXTS)
    expected = {"b.txt": vision.encode_passages(["heart wood"]).tokens[0]}
    for i, page in enumerate(pages):
        assert page.layout == images.layouts[i]
        own = [texts.tokens[i]] if TEXTS[i] else []  # nothing is written on the second page
        expected[page.id] = np.concatenate([*own, images.tokens[i]])
    ids = sorted(expected)
    scores = _reference.scores(query.tokens, MultiVectors.of([expected[name] for name in ids]))
    ranking = joint.search("dense wood", 4, "late(exact=true)")
    assert {hit.id: hit.score for hit in ranking.hits} == pytest.approx(dict(zip(ids, scores, strict=True)), rel=1e-4)
    assert ranking.unscored == 0
    assert joint.default_pipeline == "late"


def test_the_explanation_says_what_each_modality_added(joint):
    seen = set()
    for hit in joint.search("dense wood", 3, "late", explain=True).hits:
        citation = cite(hit)
        if citation is None:
            continue
        assert sum(citation.shares.values()) == pytest.approx(hit.score, abs=1e-3)
        assert sum(m.similarity for m in hit.matches) == pytest.approx(hit.score, abs=1e-3)
        seen |= set(citation.shares)
        for region in citation.regions:
            left, bottom, right, top = region.box
            assert 0 <= left <= right <= 200.01
            assert 0 <= bottom <= top <= 150.01
    assert seen >= {"image"}
    with PageView() as view:
        for name in ("a.pdf#1", "a.pdf#2"):
            # With random weights the best vectors may all be those of the prompt, which have no place.
            picture, _ = view.heatmap(joint, "dense wood", name)
            smoothed, boxes = view.heatmap(joint, "dense wood", name, smoothed=True)
            assert picture.shape == smoothed.shape
            assert len(boxes)


def test_a_second_run_changes_nothing_and_plain_passages_go_beside(joint, folder):
    assert index_paths(joint, [folder], reading=Reading(ocr="off")).unchanged == 2
    joint.add([Passage("c", "late wood is dense")])
    (twin,) = joint.get(["c"])
    stored = joint.snapshot.vectors(joint.snapshot.rows(["c", "a.pdf#1"]))
    assert type(twin) is Passage
    assert len(stored[0]) < len(stored[1])  # the same text has no image there
    joint.delete(["c"])
    assert joint.check() == []


def test_another_model_reads_the_images_beside_the_text(minilm, vision, folder, tmp_path):
    path = tmp_path / "kb.lw"
    with Collection.create(path, minilm) as kb:
        with pytest.raises(PipelineError, match="latewood reindex"):
            kb.search("wood", 3, "pages")
        report = index_paths(kb, [folder], reading=Reading(ocr="off", images=True))
        assert report.pages.taken == 3
        # A page without text is there, and can't be found by a model of texts.
        found = kb.search("dense wood", 10, "late")
        assert "a.pdf#2" not in [hit.id for hit in found.hits]
        assert found.unscored == 1
        assert "a.pdf#2" not in [hit.id for hit in kb.search("dense wood", 10, "dense").hits]
    brought = reindex.build(path, vision.spec.name)
    assert brought.passages.added == 4
    with Collection.open(path, minilm) as kb, Collection.open(path, encoding=brought.name) as side:
        alone = side.search("dense wood", 10, "late(exact=true)")
        beside = kb.search("dense wood", 10, "pages(exact=true)", explain=True)
        assert [(hit.id, hit.score) for hit in beside.hits] == [(hit.id, hit.score) for hit in alone.hits]
        assert "a.pdf#2" in [hit.id for hit in beside.hits]
        shares = [cite(hit).shares for hit in beside.hits if cite(hit)]
        assert [sum(share.values()) for share in shares] == pytest.approx(
            [hit.score for hit in beside.hits if cite(hit)], abs=1e-3
        )
        # Fused with the text's own model, by ranks: their scores can't be compared.
        fused = kb.search("dense wood", 10, "(late:10 + pages:10)")
        by_text = [hit.id for hit in kb.search("dense wood", 10, "late").hits]
        by_page = [hit.id for hit in beside.hits]
        sums = {name: sum(1 / (61 + ids.index(name)) for ids in (by_text, by_page) if name in ids) for name in by_page}
        assert {hit.id: hit.score for hit in fused.hits} == pytest.approx(sums, rel=1e-5)
        # As a reranker, and below one that reads the pages' text.
        few = kb.search("dense wood", 2, "dense:2 >> pages:2")
        assert {hit.id for hit in few.hits} == {hit.id for hit in kb.search("dense wood", 2, "dense").hits}
        assert len(kb.search("dense wood", 2, "pages:4 >> late").hits) == 2
        only = kb.search("dense wood", 10, "pages", where={"page": 1})
        assert [hit.id for hit in only.hits] == ["a.pdf#1"]


def test_a_page_that_can_t_be_drawn_any_more_is_told(minilm, vision, folder, tmp_path):
    moved = tmp_path / "pdfs"
    moved.mkdir()
    (moved / "a.pdf").write_bytes((folder / "a.pdf").read_bytes())
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        index_paths(kb, [moved], reading=Reading(ocr="off", images=True))
    (moved / "a.pdf").unlink()
    with pytest.warns(RuntimeWarning, match=r"a\.pdf#\d: there is no .*put the file back.*text alone"):
        brought = reindex.build(tmp_path / "kb.lw", vision.spec.name)
    assert brought.passages.added == 3


def test_the_stage_in_python_and_as_text():
    assert parse("pages:50 >> late:5") == Pages(50) >> Late(5)
    assert str(Pages(5, exact=True)) == "pages(exact=true):5"
