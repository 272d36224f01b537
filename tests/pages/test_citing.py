"""What is cited and tinted is what matched: the right words, in the right place, of made and of real pages."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pypdfium2 as pdfium
import pytest
from made_pages import drawn
from typer.testing import CliRunner

from latewood.cli.app import app
from latewood.collection import Collection
from latewood.errors import EncoderMismatch, InputError, ShapeError, StorageError
from latewood.folders import index_paths
from latewood.ingest import Reading
from latewood.page_view import PageView
from latewood.pages import (
    OVERVIEW,
    PageFiles,
    PageGeometry,
    PageGrid,
    PageText,
    cite,
    grid_of,
    ranking_as_json,
    smooth,
    word_spans,
)
from latewood.pages import drawn as tinted
from latewood.types import Page, TokenLabel
from letter_encoder import LetterEncoder

OFF = Reading(ocr="off")
LINES = [(30, 250, "quick brown foxes"), (210, 40, "lazy dogs")]


@pytest.fixture(params=[0, 90, 270])
def kb(tmp_path, request):
    (tmp_path / "pdfs").mkdir()
    path = tmp_path / "pdfs" / "a.pdf"
    path.write_bytes(drawn([LINES, [(50, 50, "something else")]]))
    document = pdfium.PdfDocument(str(path))
    document[0].set_rotation(request.param)
    turned = tmp_path / "turned.pdf"
    document.save(str(turned))
    shutil.move(turned, path)
    with Collection.create(tmp_path / "kb.lw", LetterEncoder()) as made:
        index_paths(made, [tmp_path / "pdfs"], reading=OFF)
        made.add([])
        yield made


def test_a_hit_cites_file_page_and_regions_in_points_of_the_pdf(kb):
    ranking = kb.search("brown ! dogs", 1, "late", explain=True)
    (hit,) = ranking.hits
    citation = cite(hit)
    assert (citation.page, citation.file.rpartition("/")[2]) == (1, "a.pdf")
    assert {region.text: region.query_tokens for region in citation.regions} == {"brown": ("brown",), "dogs": ("dogs",)}
    assert sum(citation.shares.values()) == pytest.approx(hit.score, abs=1e-4)
    assert set(citation.shares) == {"text"}
    where = {region.text: region.box for region in citation.regions}
    # Points don't turn with the page: the words stand where they were drawn.
    assert 55 < where["brown"][0] < 75
    assert 245 < where["brown"][1] < where["brown"][3] < 262
    assert 230 < where["dogs"][0] < 245
    assert 36 < where["dogs"][1] < where["dogs"][3] < 52
    shown = ranking_as_json(ranking)["hits"][0]["page"]
    assert shown["number"] == 1
    assert {tuple(region["query_tokens"]) for region in shown["regions"]} == {("brown",), ("dogs",)}
    json.dumps(shown)


def test_without_an_explanation_there_is_a_page_and_no_region(kb):
    (hit,) = kb.search("brown", 1, "bm25").hits
    assert cite(hit).regions == ()
    assert cite(hit).page == 1


def test_the_heat_map_tints_what_matched_and_nothing_else(kb):
    page = kb.get(["a.pdf#1"])[0]
    number = page.text.split().index("dogs")
    with PageView() as view:
        plain = view.picture(page, 144)
        exact, boxes = view.heatmap(kb, "dogs", page.id, dpi=144)
        smoothed, more = view.heatmap(kb, "dogs", page.id, smoothed=True, dpi=144)
        assert np.allclose(boxes, page.boxes[[number]])
        assert len(more) >= 1
        assert any(np.allclose(box, page.boxes[number]) for box in more)
        height, width = plain.shape[:2]
        changed = np.argwhere((plain != exact).any(axis=2)) / [height, width]
        left, top, right, bottom = page.boxes[number]
        assert changed.min(axis=0) == pytest.approx([top, left], abs=0.015)
        assert changed.max(axis=0) == pytest.approx([bottom, right], abs=0.015)
        # What is printed stays dark under the marker.
        assert exact[(plain < 40).all(axis=2)].max() <= 200
        assert (smoothed != plain).any()
        assert max(view.thumbnail(page, 100).shape) == 100
        with pytest.raises(InputError, match="no passage"):
            view.heatmap(kb, "dogs", "b.pdf#1")
        kb_path = page.source
        shutil.move(kb_path, kb_path + ".away")
        with pytest.raises(InputError, match="put the file back"):
            view.picture(page)


def test_the_command_draws_the_best_page(minilm, tmp_path):
    (tmp_path / "pdfs").mkdir()
    (tmp_path / "pdfs" / "a.pdf").write_bytes(drawn([LINES]))
    (tmp_path / "pdfs" / "b.txt").write_text("nothing")
    with Collection.create(tmp_path / "kb.lw", minilm) as made:
        index_paths(made, [tmp_path / "pdfs"], reading=OFF)
    search = ["search", str(tmp_path / "kb.lw"), "brown foxes", "-k", "1", "--explain"]
    out = tmp_path / "heat.png"
    run = CliRunner().invoke(app, [*search, "--heatmap", str(out), "--json"])
    assert run.exit_code == 0, run.output
    regions = json.loads(run.stdout)["hits"][0]["page"]["regions"]
    assert {region["text"] for region in regions} == {"brown", "foxes"}
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    refused = CliRunner().invoke(app, [*search, "--heatmap", str(tmp_path / "no" / "h.png")])
    assert isinstance(refused.exception, StorageError)


PAGES = {
    "PFIZER_2021_10K.pdf": [12, 60],
    "MGMRESORTS_2022Q4_EARNINGS.pdf": [5],
}


def test_the_highlighted_word_contains_the_matched_token_on_real_pages(minilm, data):
    folder = data("pdf_financebench") / "pdfs"
    with PageFiles() as files:
        for name, numbers in PAGES.items():
            for found in files.read(folder / name, numbers):
                assert isinstance(found, PageText)
                words = found.text.split()
                metadata = {"page": found.number, "page_box": found.geometry.to_list()}
                page = Page(f"{name}#{found.number}", found.text, metadata=metadata, boxes=found.boxes)
                labels = minilm.label(page.text)
                grid = grid_of(page, labels, len(labels))
                ink = files.picture(folder / name, found.number, 144).min(axis=2) < 200
                height, width = ink.shape
                inked = 0
                for box, label in zip(grid.boxes, labels, strict=True):
                    if label.end == label.start:
                        assert box.tolist() == [0, 0, 1, 1]
                        continue
                    (number,) = np.flatnonzero((page.boxes == box).all(axis=1))[:1]
                    same = [w for w, b in zip(words, page.boxes, strict=True) if (b == box).all()]
                    assert any(page.text[label.start : label.end] in word for word in same), (number, label)
                    left, top, right, bottom = (box * [width, height, width, height]).astype(int)
                    inked += bool(ink[top : bottom + 1, left : right + 1].any())
                # White print on a dark ground is ink, too: the ground is. All but stray blanks of a font have some.
                assert inked >= 0.99 * sum(label.end > label.start for label in labels)


def test_vectors_of_the_image_follow_those_of_the_text():
    boxes = np.array([[0.1, 0.1, 0.2, 0.2], [0.3, 0.1, 0.4, 0.2]], np.float32)
    metadata = {"page": 1, "page_box": [0, 0, 100, 100, 0]}
    page = Page("a#1", "late wood", metadata=metadata, boxes=boxes, layout="2x2+~1x1+.1")
    labels = [TokenLabel("[CLS]", 0, 0), TokenLabel("la", 0, 2), TokenLabel("te", 2, 4), TokenLabel("wood", 5, 9)]
    grid = grid_of(page, labels, 10)
    assert grid.boxes[1:4].tolist() == boxes[[0, 0, 1]].tolist()
    assert grid.kinds.tolist() == [0, 3, 3, 3, 1, 1, 1, 1, 2, 0]
    with pytest.raises(EncoderMismatch, match="account for 10"):
        grid_of(page, labels, 9)
    with pytest.raises(ShapeError, match="page_box"):
        Page("a#1", "", metadata={"page": 1})
    assert word_spans(page.text).tolist() == [[0, 4], [5, 9]]


def test_the_smooth_map_takes_the_best_of_a_place_and_leaves_overviews_out():
    grid = PageGrid.joined([PageGrid.patches(1, 3), PageGrid.overview_of(1, 1), PageGrid.placeless(1)])
    similarities = np.array([[0.1, 0.9, 0.2, 5, 5], [0.3, 0.0, 0.5, 5, 5]], np.float32)
    boxes, strengths = smooth(similarities, grid)
    # The best of each patch are 0.3, 0.9 and 0.5: from the median, 0.5, to the maximum.
    assert boxes.tolist() == [pytest.approx([1 / 3, 0, 2 / 3, 1])]
    assert strengths.tolist() == [1.0]
    flat, equal = smooth(np.ones((1, 5), np.float32), grid)
    assert len(flat) == 3
    assert equal.tolist() == [1, 1, 1]
    with pytest.raises(ShapeError):
        smooth(similarities[:, :4], grid)
    with pytest.raises(ShapeError):
        tinted(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4), np.float32), np.zeros(1, np.float32))
    assert (grid.kinds == OVERVIEW).sum() == 1
    assert PageGeometry.of([0, 0, 3, 1, 0]).to_points(boxes)[0].tolist() == pytest.approx([1, 0, 2, 1])
