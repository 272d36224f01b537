"""PDF files in a collection: what is stored of a page, what a second run does, what is killed on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_pages import by_hand, drawn, scanned
from typer.testing import CliRunner

from latewood.cli.app import app
from latewood.collection import Collection
from latewood.folders import index_paths
from latewood.ingest import PageRanges, Reading, Rules
from latewood.types import Page, Passage
from letter_encoder import LetterEncoder


@pytest.fixture
def kb(tmp_path):
    with Collection.create(tmp_path / "kb.lw", LetterEncoder()) as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "files"
    made.mkdir()
    (made / "rings.pdf").write_bytes(drawn([[(30, 250, f"ring number {n}")] for n in "abc"]))
    (made / "notes.txt").write_text("Some notes on wood.")
    (made / "logo.png").write_bytes(b"no matter")
    return made


OFF = Reading(ocr="off")


def test_pages_are_passages_with_a_box_for_each_word(kb, folder):
    report = index_paths(kb, [folder], reading=OFF)
    assert (report.read, report.passages.added, report.pages.taken) == (2, 4, 3)
    assert report.listing.other_types == {".png": 1}
    assert sorted(kb.sources()) == ["notes.txt", "rings.pdf#1", "rings.pdf#2", "rings.pdf#3"]
    plain, page = kb.get(["notes.txt", "rings.pdf#2"])
    assert type(plain) is Passage
    assert isinstance(page, Page)
    assert (page.text, page.source_id, page.metadata["page"]) == ("ring number b", "rings.pdf", 2)
    assert page.metadata["page_box"] == [0, 0, 400, 300, 0]
    assert page.boxes.shape == (3, 4)
    assert (page.boxes[:-1, 2] < page.boxes[1:, 0]).all()  # from left to right
    assert kb.search("number b", 1, "late").hits[0].id == "rings.pdf#2"
    assert kb.check() == []
    assert kb.stats()["bytes"]["word_boxes"] >= 9 * 16


def test_a_second_run_reads_nothing_and_a_changed_file_loses_its_surplus(kb, folder):
    index_paths(kb, [folder], reading=OFF)
    again = index_paths(kb, [folder], reading=OFF)
    assert (again.unchanged, again.read, again.passages.unchanged) == (2, 0, 0)
    (folder / "rings.pdf").write_bytes(drawn([[(30, 250, f"ring number {n}")] for n in "ac"]))
    changed = index_paths(kb, [folder], reading=OFF)
    assert (changed.read, changed.surplus) == (1, 1)
    assert [page.text for page in kb.get(["rings.pdf#1", "rings.pdf#2"])] == ["ring number a", "ring number c"]
    # A page that was deleted is missed.
    kb.delete(["rings.pdf#1"])
    assert index_paths(kb, [folder], reading=OFF).passages.added == 1
    # Other pages of the same file are another reading of it.
    other = index_paths(kb, [folder], reading=Reading(PageRanges("2"), "off"))
    assert (other.read, other.surplus) == (1, 1)
    assert "rings.pdf#1" not in kb.sources()


def test_a_run_that_was_cut_off_goes_on(kb, folder, monkeypatch):
    monkeypatch.setattr("latewood.collection.BATCH", 2)
    stop = iter([None, None])  # the first batch is encoded, the second isn't

    def failing(self, texts, progress=None):
        next(stop)
        return LetterEncoder.encode_passages(self, texts, progress)

    kb.encoder.encode_passages = failing.__get__(kb.encoder)
    (folder / "rings.pdf").write_bytes(drawn([[(30, 250, f"ring number {n}")] for n in "abcdefg"]))
    with pytest.raises((StopIteration, RuntimeError)):
        index_paths(kb, [folder], reading=OFF)
    kb.encoder.__dict__.pop("encode_passages")
    before = set(kb.sources())
    assert 0 < len(before) < 8
    report = index_paths(kb, [folder], reading=OFF)
    assert len(kb.sources()) == 8
    assert report.passages.added == 8 - len(before)
    assert index_paths(kb, [folder], reading=OFF).unchanged == 2


def test_boxes_survive_another_commit_another_reader_and_reindexing(kb, folder, tmp_path):
    index_paths(kb, [folder], reading=OFF)
    kb.add([Passage("plain", "no page at all"), Passage("odd", "anybody's metadata", metadata={"page_box": 1})])
    pages = kb.get(["rings.pdf#1", "plain", "odd"])
    assert [type(page) for page in pages] == [Page, Passage, Passage]
    with Collection.create(tmp_path / "other.lw", LetterEncoder()) as other:
        other.add(pages)
        assert np.array_equal(other.get(["rings.pdf#1"])[0].boxes, pages[0].boxes)
        # The same page is no change, a page whose words moved is.
        assert other.add(pages).unchanged == 3
        moved = Page(**{**fields(pages[0]), "boxes": pages[0].boxes * np.float32(0.5)})
        assert other.add([moved]).replaced == 1
        assert other.add([moved]).unchanged == 1


def test_compaction_keeps_boxes_where_some_segments_have_none(kb, folder):
    kb.add([Passage("first", "no page"), Passage("gone", "no page either")])
    index_paths(kb, [folder], reading=OFF)
    kb.add([Passage("last", "no page")])
    kb.delete(["gone", "rings.pdf#1"])
    ids = ["first", "rings.pdf#2", "rings.pdf#3", "notes.txt", "last"]
    before = kb.get(ids)
    kb.compact()
    assert kb.stats()["segments"] == 1
    after = kb.get(ids)
    assert [type(page) for page in after] == [Passage, Page, Page, Passage, Passage]
    for old, new in zip(before, after, strict=True):
        assert old == new
        assert not isinstance(old, Page) or np.array_equal(old.boxes, new.boxes)
    assert kb.check() == []


def fields(page):
    names = ("id", "text", "source_id", "title", "source", "metadata", "boxes")
    return {name: getattr(page, name) for name in names}


def test_files_that_can_t_be_read_are_named_and_the_rest_is_indexed(kb, folder):
    (folder / "bad.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "locked.pdf").write_bytes(drawn([[(30, 250, "ring")]], password="secret"))
    (folder / "scan.pdf").write_bytes(scanned(["late wood"]))
    (folder / "mixed.pdf").write_bytes(drawn([[(30, 250, "ring")], [], []]))
    report = index_paths(kb, [folder], reading=OFF)
    named = {skipped.path.rpartition("/")[2]: skipped.reason for skipped in report.listing.skipped}
    assert named == {
        "bad.pdf": "not a PDF, or broken beyond reading",
        "locked.pdf": "it is encrypted, and opens only with a password",
        "scan.pdf": "page 1 of 1 without text",
    }
    assert [(n.path.rpartition("/")[2], n.reason) for n in report.pages.notes if "mixed" in n.path] == [
        ("mixed.pdf", "pages 2-3 of 3 blank")
    ]
    assert {"mixed.pdf#1", "rings.pdf#1", "notes.txt"} <= set(kb.sources())
    # A file that broke isn't gone, and what the collection has of it stays.
    (folder / "rings.pdf").write_bytes(by_hand([b"<< >>"]))
    index_paths(kb, [folder], reading=OFF, prune=True)
    assert "rings.pdf#1" in kb.sources()


def test_limits_of_size_and_named_files(kb, folder):
    small = index_paths(kb, [folder], rules=Rules(max_bytes=100, max_page_bytes=100), reading=OFF)
    assert [s.reason.endswith("more than 100") for s in small.listing.skipped] == [True]
    assert index_paths(kb, [folder], rules=Rules(max_bytes=100), reading=OFF).pages.taken == 3


def test_the_command(minilm, folder, tmp_path):
    (folder / "logo.png").unlink()
    run = CliRunner().invoke(
        app, ["index", str(folder), "-c", str(tmp_path / "c.lw"), "--pages", "1-2", "--ocr", "off", "--json"]
    )
    assert run.exit_code == 0, run.output
    printed = json.loads(run.stdout)
    assert (printed["added"], printed["files"]["read"]) == (3, 2)
    assert printed["pages"] == {
        "taken": 2,
        "recognised": 0,
        "without_text": 0,
        "blank": 0,
        "unreadable": 0,
        "large": 0,
        "notes": [],
    }
    with Collection.open(tmp_path / "c.lw", minilm) as kb:
        hit = kb.search("ring b", 1, "late", explain=True).hits[0]
        assert hit.id == "rings.pdf#2"
        assert isinstance(hit.passage, Page)
