"""Words of real PDFs stand where they were drawn, turned and cropped pages too; what breaks a reader costs one line."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pypdfium2 as pdfium
import pytest
from made_pages import HEIGHT, WIDTH, by_hand, drawn, empty_pages, page_of, picture_of, scanned, with_script
from reportlab.pdfbase.pdfmetrics import stringWidth

from latewood.errors import InputError, ShapeError, UsageError
from latewood.ingest import PageRanges, PageReader, Reading
from latewood.ingest.files import Found
from latewood.pages import PageFiles, PageText, Tesseract, Unreadable, Words, word_spans
from latewood.pages.words import words_of

needs_tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")


@pytest.fixture
def files():
    with PageFiles() as opened:
        yield opened


def write(path, data):
    path.write_bytes(data)
    return path


def read(files, path):
    return list(files.read(path, range(1, files.count(path) + 1)))


LINES = [(30, 250, "Late wood is dense"), (30, 232, "and dark, early wood is pale."), (210, 40, "A ring.")]


def test_words_stand_where_they_were_drawn(tmp_path, files):
    (page,) = read(files, write(tmp_path / "a.pdf", drawn([LINES])))
    assert page.text == "Late wood is dense\nand dark, early wood is pale.\nA ring."
    assert page.geometry.size == (WIDTH, HEIGHT)
    points = page.geometry.to_points(page.boxes)
    spans = word_spans(page.text)
    assert len(points) == len(spans) == 12
    number = 0
    for x, y, line in LINES:
        for word in line.split():
            left, bottom, right, top = points[number]
            # By the widths of the font's own table: where the word begins and ends on its line.
            begin = x + stringWidth(line[: line.index(word)], "Helvetica", 12)
            assert left == pytest.approx(begin, abs=1.5)
            assert right == pytest.approx(begin + stringWidth(word, "Helvetica", 12), abs=1.5)
            assert y - 4 <= bottom < top <= y + 12
            number += 1


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, (20, 30, 380, 280)])
def test_boxes_lie_on_ink_and_go_back_to_pdf_points_on_turned_and_cropped_pages(tmp_path, files, rotation, crop):
    plain = write(tmp_path / "a.pdf", drawn([LINES]))
    document = pdfium.PdfDocument(str(plain))
    document[0].set_rotation(rotation)
    if crop:
        document[0].set_cropbox(*crop)
    path = tmp_path / "turned.pdf"
    document.save(str(path))
    (page,) = read(files, path)
    # PDFium puts lines in the order in which they are shown, so text that lies on its side comes in another one.
    assert sorted(page.text.split()) == sorted(read(files, plain)[0].text.split())

    # PDFium's own way from points to pixels is the oracle of ours.
    again = pdfium.PdfDocument(str(path))[0]
    points = page.geometry.to_points(page.boxes)
    width, height = (round(side * 4) for side in again.get_size())
    for shown, (left, bottom, right, top) in zip(page.boxes * [width, height, width, height], points, strict=True):
        corners = [device(again, width, height, x, y) for x, y in ((left, bottom), (right, top))]
        (x0, x1), (y0, y1) = (sorted(c[i] for c in corners) for i in (0, 1))
        assert shown == pytest.approx([x0, y0, x1, y1], abs=1.5)

    # And there is ink in every box, none outside of all.
    picture = files.picture(path, 1, 288).min(axis=2) < 128
    assert picture.shape == (height, width)
    outside = picture.copy()
    for left, top, right, bottom in page.boxes * [width, height, width, height]:
        rows, columns = slice(int(top) - 2, int(bottom) + 3), slice(int(left) - 2, int(right) + 3)
        assert picture[rows, columns].any()
        outside[rows, columns] = False
    assert not outside.any()


def test_text_that_is_drawn_on_its_side_and_turned_upright_reads_in_order(tmp_path, files):
    sideways = drawn([LINES], turned=True)
    document = pdfium.PdfDocument(write(tmp_path / "a.pdf", sideways))
    document[0].set_rotation(90)
    document.save(str(tmp_path / "b.pdf"))
    (page,) = read(files, tmp_path / "b.pdf")
    assert page.geometry.size == (WIDTH, HEIGHT)
    assert page.text == "Late wood is dense\nand dark, early wood is pale.\nA ring."
    left, top, _, bottom = page.boxes[0] * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    assert left == pytest.approx(30, abs=1.5)
    assert HEIGHT - 250 - 12 <= top < bottom <= HEIGHT - 250 + 4


def device(page, width, height, x, y):
    import ctypes

    at = ctypes.c_int(), ctypes.c_int()
    pdfium.raw.FPDF_PageToDevice(page.raw, 0, 0, width, height, 0, x, y, *at)
    return at[0].value, at[1].value


def test_what_is_cropped_away_is_not_on_the_page(tmp_path, files):
    (page,) = read(files, write(tmp_path / "a.pdf", page_of((0, 0, 400, 300), page=b"/CropBox [100 0 400 300]")))
    assert page.text == ""
    (page,) = read(files, write(tmp_path / "b.pdf", page_of((0, 0, 400, 300), page=b"/CropBox [30 0 400 300]")))
    assert page.text == "late wood"
    assert page.boxes[0][0] == 0


def test_characters_become_words():
    text = "of\x02\n\ufb01ne re\xadsin\u200b \u00a0 \ue001ok\ufffe"
    codes = np.array([ord(c) for c in text])
    boxes = np.stack([np.arange(len(text)), np.zeros(len(text)), np.arange(len(text)) + 1, np.ones(len(text))], axis=1)
    words = words_of(codes, boxes, (0, 0, 100, 10))
    assert words.text == "of-\nfine resin \ue001ok-"
    assert words.boxes[:, [0, 2]].tolist() == [[0, 3], [4, 7], [8, 15], [18, 22]]
    assert word_spans(words.text).tolist() == [[0, 3], [4, 8], [9, 14], [15, 19]]
    with pytest.raises(ShapeError):
        Words("two words", np.zeros((1, 4)))


MANY = b"BT /F 1 Tf %s ET" % b"".join(
    b"1 0 0 1 %d %d Tm (abcdefghij) Tj " % (i % 40 * 40, i // 40 * 3) for i in range(24_000)
)

HOSTILE = {
    "truncated": (drawn([LINES])[:400], "not a PDF, or broken beyond reading"),
    "nothing": (b"", "not a PDF, or broken beyond reading"),
    "noise": (np.random.default_rng(7).bytes(4000), "not a PDF, or broken beyond reading"),
    "locked": (drawn([LINES], password="secret"), "it is encrypted, and opens only with a password"),
    "no pages": (by_hand([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [] /Count 0 >>"]), "broken"),
    "loop": (
        by_hand(
            [b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 5 /Parent 2 0 R >>"]
        ),
        "",
    ),
    "empty": (empty_pages(300), "pages 1-300 of 300 blank"),
    "wide": (page_of((0, 0, 2834646, 300)), ""),
    "script": (with_script(), ""),
    "flat": (page_of((0, 0, 100, 0)), ""),
    "many letters": (page_of((0, 0, 2000, 2000), MANY), "more than 200,000 on one page"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_file_costs_one_line(tmp_path, name):
    data, reason = HOSTILE[name]
    path = write(tmp_path / "h.pdf", data)
    with PageReader(Reading(ocr="off")) as reader:
        try:
            pages = list(reader.pages(Found(path, "h.pdf", "pdf")))
            said = [note.reason for note in reader.report.notes]
        except InputError as error:
            pages, said = [], [str(error)]
    assert len(said) <= 1
    assert all("\n" not in line for line in said)
    if reason:
        assert reason in said[0]
        assert not pages
    if name == "wide":
        assert [page.text for page in pages] == ["late wood"]
        assert said == ["page 1 of 1 1,000 x 0.1058 m large"]
    if name == "script":
        assert [page.text for page in pages] == ["late wood"]
        assert not said


@pytest.mark.long
def test_a_hundred_thousand_empty_pages_cost_one_line(tmp_path):
    path = write(tmp_path / "h.pdf", empty_pages(100_000))
    with (
        PageReader(Reading(ocr="off")) as reader,
        pytest.raises(InputError, match=r"^pages 1-100000 of 100,000 blank$"),
    ):
        list(reader.pages(Found(path, "h.pdf", "pdf")))
    assert reader.report.blank == 100_000


def test_a_wide_page_is_drawn_within_the_limits(tmp_path, files):
    path = write(tmp_path / "w.pdf", page_of((0, 0, 2834646, 300)))
    assert max(files.picture(path, 1, 150).shape) <= 4097
    large = write(tmp_path / "l.pdf", page_of((0, 0, 14000, 14000)))
    assert np.prod(files.picture(large, 1, 600, longest=100_000, pixels=1_000_000).shape[:2]) <= 1_010_000


def test_a_reader_that_breaks_costs_one_page_and_the_file_goes_on(tmp_path, files):
    path = write(tmp_path / "a.pdf", drawn([[(30, 250, f"page {n}")] for n in range(1, 40)]))
    found = []
    for page in files.read(path, range(1, 40)):
        found.append(page)
        if page.number == 20:
            os.kill(files._worker._process.pid, signal.SIGKILL)
    broken = [page for page in found if isinstance(page, Unreadable)]
    assert [page.number for page in found] == list(range(1, 40))
    assert len(broken) <= 1  # none where all had been read ahead
    assert all("broke the reader" in page.reason for page in broken)
    assert [p.text for p in found if isinstance(p, PageText)] == [f"page {p.number}" for p in found if p not in broken]


def test_time_and_memory_have_limits(tmp_path):
    path = write(tmp_path / "a.pdf", drawn([LINES] * 5))
    with PageFiles(seconds=1e-4) as files:
        found = list(files.read(path, range(1, 6)))
    assert [page.reason for page in found][2:4] == [
        "it took more than 0 seconds",
        "not read, since pages before it broke the reader",
    ]
    with PageFiles(memory=600 << 20) as files:
        assert files.count(path) == 5
        with pytest.raises(InputError, match="memory"):
            files.picture(path, 1, 72 * 40, longest=100_000, pixels=400_000_000)
        assert files.count(path) == 5


def test_ranges_of_pages():
    assert PageRanges().of(3) == [1, 2, 3]
    assert PageRanges("2, 4-5,9-").of(10) == [2, 4, 5, 9, 10]
    assert PageRanges("4-5,1-4").of(4) == [1, 2, 3, 4]
    assert PageRanges("7").of(3) == []
    for wrong in ("0", "3-1", "a", "1,,2", "-3", "1-2-3"):
        with pytest.raises(UsageError):
            PageRanges(wrong)


def test_pages_without_text_are_named_and_not_passages(tmp_path):
    path = write(tmp_path / "a.pdf", scanned(["late wood", "early wood"]))
    with PageReader(Reading(ocr="off")) as reader, pytest.raises(InputError, match=r"^pages 1-2 of 2 without text$"):
        list(reader.pages(Found(path, "a.pdf", "pdf")))
    assert (reader.report.without_text, reader.report.taken) == (2, 0)
    with pytest.raises(UsageError):
        Reading(ocr="perhaps")


@needs_tesseract
def test_tesseract_reads_pictures_and_says_where(tmp_path):
    path = write(tmp_path / "a.pdf", scanned(["late wood", "early wood"]))
    with PageReader() as reader:
        one, two = reader.pages(Found(path, "a.pdf", "pdf"))
    assert [one.text, two.text] == ["late wood", "early wood"]
    assert one.metadata["ocr"] is True
    assert (two.metadata["passages"], "passages" in one.metadata) == (2, False)
    # The ink of the picture, as fractions of it, is what the two words' boxes are around.
    ink = np.argwhere(picture_of("late wood").min(axis=2) < 128)
    (top, left), (bottom, right) = ink.min(axis=0) / [300, 900], ink.max(axis=0) / [300, 900]
    around = [*one.boxes[:, :2].min(axis=0), *one.boxes[:, 2:].max(axis=0)]
    assert around == pytest.approx([left, top, right, bottom], abs=0.02)
    with pytest.raises(UsageError, match="no language"):
        Tesseract.find("klingon")


@needs_tesseract
def test_image_files_are_pages(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(picture_of(text)) for text in ("late wood", "early wood")]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:], dpi=(300, 300))
    frames[0].save(tmp_path / "b.png")
    (tmp_path / "c.jpg").write_bytes(b"no picture")
    with PageReader() as reader:
        one, two = reader.pages(Found(tmp_path / "a.tiff", "a.tiff", "image"))
        (three,) = reader.pages(Found(tmp_path / "b.png", "b.png", "image"))
        assert [one.text, two.text, three.text] == ["late wood", "early wood", "late wood"]
        assert one.metadata["page_box"] == [0, 0, 216, 72, 0]
        with pytest.raises(InputError, match="not a picture"):
            list(reader.pages(Found(tmp_path / "c.jpg", "c.jpg", "image")))
