"""Pages over HTTP: pictures, small ones, what matched on them; and that a client can't have other files drawn."""

from __future__ import annotations

import io

import httpx
import numpy as np
import pytest
from reportlab.pdfgen.canvas import Canvas
from serving import running

import tiny_vision
from latewood import reindex
from latewood.collection import Collection
from latewood.encode import load
from latewood.folders import index_paths
from latewood.ingest import Reading


def pdf(*texts):
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=(300, 200))
    for text in texts:
        canvas.drawString(30, 150, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()


@pytest.fixture(scope="module")
def served(tmp_path_factory, minilm):
    folder = tmp_path_factory.mktemp("papers")
    (folder / "pdfs").mkdir()
    (folder / "pdfs" / "a b.pdf").write_bytes(pdf("late wood is dense", "bark protects the tree"))
    (folder / "pdfs" / "note.txt").write_text("a note on bark")
    (folder / "root").mkdir()
    with Collection.create(folder / "papers.lw", minilm) as kb:
        index_paths(kb, [folder / "pdfs"], reading=Reading(ocr="off"))
    (folder / "secret.pdf").write_bytes(pdf("nobody may see this"))
    with (
        running(folder / "papers.lw", "--root", folder / "root") as started,
        httpx.Client(base_url=started.url, timeout=60) as client,
    ):
        yield client, folder
    assert [line for line in started.lines if "Traceback" in line] == []


def picture(answer):
    from PIL import Image

    assert answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.raise_for_status().content)).convert("RGB")).astype(int)


PAGES = "/v1/collections/papers/pages/"


def test_a_hit_says_where_and_its_page_is_drawn(served):
    http, _ = served
    found = http.post("/v1/search", json={"query": "dense wood", "k": 1, "explain": True}).raise_for_status().json()
    place = found["hits"][0]["page"]
    assert (place["number"], place["size"]) == (1, [300, 200])
    assert "dense" in {region["text"] for region in place["regions"]}
    plain = picture(http.get(PAGES + "a b.pdf%231"))
    assert plain.shape[:2] == (306, 459)  # 110 dots an inch
    heat = picture(http.get(PAGES + "a b.pdf%231", params={"query": "dense wood"}))
    changed = np.argwhere((plain != heat).any(axis=2)) / [306, 459]
    boxes = np.array([region["shown"] for region in place["regions"]])
    assert changed.min(axis=0) == pytest.approx(boxes[:, [1, 0]].min(axis=0), abs=0.02)
    assert changed.max(axis=0) == pytest.approx(boxes[:, [3, 2]].max(axis=0), abs=0.02)
    smooth = picture(http.get(PAGES + "a b.pdf%231", params={"query": "dense wood", "smooth": "true"}))
    assert (smooth != plain).any()
    assert max(picture(http.get(PAGES + "a b.pdf%232", params={"longest": 120})).shape) == 120


def test_what_is_no_page_is_refused(served):
    http, _ = served
    assert http.get(PAGES + "note.txt").status_code == 404
    assert http.get(PAGES + "a b.pdf%239").status_code == 404
    assert http.get("/v1/collections/none/pages/a").status_code == 404
    assert http.get(PAGES + "a b.pdf%231", params={"longest": 9}).status_code == 422
    assert http.get(PAGES + "a b.pdf%231", params={"query": "x" * 2001}).status_code == 422


def test_an_uploaded_pdf_is_found_and_never_drawn_from_a_path(served):
    http, folder = served
    http.post("/v1/collections", json={"name": "up"}).raise_for_status()
    for name in ("secret.pdf", str(folder / "secret.pdf"), "../secret.pdf"):
        files = {"files": (name, pdf("sap wood carries water"), "application/pdf")}
        http.post("/v1/collections/up/files", files=files).raise_for_status()
    hit = http.post("/v1/search", json={"query": "sap wood", "collection": "up"}).raise_for_status().json()["hits"][0]
    assert (hit["id"], hit["page"]["number"], hit["source"]) == ("secret.pdf#1", 1, "secret.pdf")
    refused = http.get("/v1/collections/up/pages/secret.pdf%231")
    assert refused.status_code in (404, 422)
    assert "was uploaded" in refused.text
    # Nor does metadata make a page of a passage.
    document = {"_id": "x", "text": "", "metadata": {"page": 1, "page_box": [0, 0, 9, 9, 0]}, "source": "secret.pdf"}
    http.post("/v1/collections/up/documents", json={"documents": [document]})
    assert http.get("/v1/collections/up/pages/x").status_code == 404
    broken = http.post("/v1/collections/up/files", files={"files": ("b.pdf", b"no pdf", "application/pdf")})
    assert broken.status_code == 422
    assert "not a PDF" in broken.text
    http.delete("/v1/collections/up")


def test_the_search_page_shows_the_page(served):
    http, _ = served
    html = http.get("/", params={"q": "dense wood"}).raise_for_status().text
    assert '<img src="/v1/collections/papers/pages/a%20b.pdf%231?query=dense+wood" loading="lazy"' in html
    assert "Page 1 of a b.pdf, with what matched" in html


def test_a_model_that_reads_images_is_a_stage_like_any_other(tmp_path, minilm):
    (tmp_path / "pdfs").mkdir()
    (tmp_path / "pdfs" / "a.pdf").write_bytes(pdf("late wood is dense", "bark protects the tree"))
    vision = load(tiny_vision.colqwen2(tmp_path / "model"))
    with Collection.create(tmp_path / "kb.lw", minilm) as kb:
        index_paths(kb, [tmp_path / "pdfs"], reading=Reading(ocr="off", images=True))
    reindex.build(tmp_path / "kb.lw", vision.spec.name)
    with Collection.open(tmp_path / "kb.lw", minilm) as kb:
        expected = {
            pipeline: [(hit.id, hit.score) for hit in kb.search("dense wood", 5, pipeline).hits]
            for pipeline in ("pages", "(late:5 + pages:5)", "pages:5 >> late")
        }
    assert {name for name, _ in expected["pages"]} == {"a.pdf#1", "a.pdf#2"}
    with running(tmp_path / "kb.lw") as server, httpx.Client(base_url=server.url, timeout=60) as http:
        for pipeline, hits in expected.items():
            body = {"query": "dense wood", "k": 5, "pipeline": pipeline, "explain": "+" not in pipeline}
            answer = http.post("/v1/search", json=body)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            assert [hit["id"] for hit in found["hits"]] == [name for name, _ in hits]
            # An encoder's last bits may differ between two processes.
            assert [hit["score"] for hit in found["hits"]] == pytest.approx([score for _, score in hits], rel=1e-3)
        page = next(hit["page"] for hit in found["hits"] if hit["page"])
        assert page["file"] == "a.pdf"
        assert http.get("/v1/collections/kb/pages/a.pdf%232", params={"query": "dense wood"}).status_code == 200
