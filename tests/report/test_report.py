"""What stands on the page: everything that was compared, escaped, and nothing that has to be fetched."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import pytest
from report_cases import CORPUS, QRELS, QUERIES, comparison, systems, texts

from latewood.errors import MissingExtra, StorageError
from latewood.evaluate import System, compare, plots, render, write_report
from latewood.evaluate.marks import excerpt
from latewood.types import Match


@pytest.fixture(scope="module")
def compared():
    return comparison()


@pytest.fixture(scope="module")
def page(compared):
    return render(compared, systems(), texts, [("Questions", "<queries>.jsonl")])


class Reader(HTMLParser):
    """Text of the page, links and sources, and the elements that were left open."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.links, self.count = [], [], [], {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href", "srcset")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        self.text.append(data)


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def test_nothing_is_fetched_and_nothing_runs(page):
    reader = read(page)
    assert reader.links == ["data:,"], "the empty icon, which keeps browsers from asking for one"
    assert "script" not in reader.count
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_names_and_texts_are_escaped(page):
    assert "today <our> search" not in page
    assert "today &lt;our&gt; search" in page
    assert "&lt;b&gt;&amp;amp; more" in page
    assert "&lt;queries&gt;.jsonl" in page


def test_the_verdict_the_notes_and_every_figure_are_there(page, compared):
    text = re.sub(r"\s+", " ", "".join(read(page).text))
    assert re.sub("'", "", compared.verdict.text) in text.replace("'", "")
    for note in compared.notes:
        assert note.text.replace("'", "") in text.replace("'", "")
    for result in compared.results:
        for value in [*result.metrics.values(), *result.recall_curve.values(), result.pool_recall]:
            assert f"{value:.3f}" in text
        for change in (result.difference or {}).values():
            assert f"{change.interval.low:+.3f} to {change.interval.high:+.3f}" in text
    smallest = compared["dense:50 >> late:50"].significance["R@5"].detectable
    assert f"{smallest:.3f}" in text
    assert "80 % power" in text


def test_questions_show_both_top_fives_and_mark_what_matched(page, compared):
    reader = read(page)
    assert reader.count["mark"] > 50
    first = re.search(r'<details class="question won">.*?</details>', page, re.DOTALL).group()
    assert len(re.findall(r"<li", first)) == 10
    late = page[page.index("late:50</code></span> against") :]
    question = re.search(r'<details class="question won">.*?</details>', late, re.DOTALL).group()
    asked = re.search(r'class="asked">([^<]+)<', question).group(1)
    query_id = next(key for key, text in QUERIES.items() if text == asked)
    for pipeline in ("dense:50", "dense:50 >> late:50"):
        for found in compared[pipeline].rankings[query_id][:5]:
            assert f'<span class="id">{found}</span>' in question
    wood = asked.split()[1]
    assert f"<mark>{wood}</mark>" in question
    (answer,) = QRELS[query_id]
    assert f'<li class="gold"><span class="id">{answer}</span>' in question


def test_runs_show_ids_only_where_no_texts_are_given(compared):
    runs = [system for system in systems() if system.explain is None]
    page = render(compared, runs)
    assert 'class="text"' not in page
    assert "<mark>" not in page
    assert '<span class="id">oak-ships</span>' in page


def test_one_system_and_one_question_make_a_page():
    (first, *_) = systems()
    page = render(compare([first], {"q0": QUERIES["q0"]}, QRELS, None))
    reader = read(page)
    assert "Is it luck?" not in page
    assert reader.count["svg"] == 7
    runs_only = [System("run", systems()[1].retriever)]
    page = render(compare(runs_only, QUERIES, QRELS, None))
    assert "milliseconds" not in page.lower().split("</style>")[1]
    assert read(page).count["svg"] == 6


def test_plots_stay_in_their_frames(compared):
    for panel in [
        *(plots.metric_rows(compared, name) for name in compared.results[0].metrics),
        plots.change_rows(compared, "R@5"),
    ]:
        for row in panel.rows:
            assert 0 <= row.low <= row.x <= row.high <= plots.WIDTH
            assert 0 < row.y < panel.height
        assert 2 <= len(panel.ticks) <= 8
    curves = plots.curves(compared)
    assert all(
        curves.left <= x <= plots.WIDTH and 0 <= y <= curves.bottom for line in curves.lines for x, y in line.points
    )
    spots = plots.scatter(compared, "R@5").spots
    assert [spot.name for spot in spots] == [of.pipeline for of in compared.results if of.latency]
    assert spots[0].x < spots[1].x < spots[2].x, "faster is left"
    labels = [(spot.x, spot.label_y) for spot in spots]
    assert len(set(labels)) == len(labels)


def test_an_excerpt_is_the_densest_part_and_marks_whole_words():
    text = "nothing here. " * 30 + "Timbers of the old ships."
    at = text.index("Timber")
    matches = [
        Match("timber", "timber", at, at + 6, 0.9),
        Match("ships", "ships", at + 19, at + 24, 0.8),
        Match("[CLS]", "[CLS]", 0, 0, 0.99),
        Match("?", ".", at + 24, at + 25, 0.95),
    ]
    pieces = excerpt(text, matches, 60)
    assert [piece.text for piece in pieces if piece.marked] == ["Timbers"]
    assert "".join(piece.text for piece in pieces).startswith("… ")
    assert excerpt("short", ()) == (excerpt("short", ())[0],)
    assert excerpt("", ()) == ()


def test_bad_places_and_missing_libraries(compared, tmp_path, monkeypatch):
    with pytest.raises(StorageError, match="could not be written"):
        write_report(tmp_path / "no" / "a.html", compared)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtra, match=r"an HTML report needs Jinja2.*latewood\[eval\]"):
        render(compared)


def test_the_cases_are_what_they_say(compared):
    assert len(CORPUS) == 80
    assert len(compared.judged) == 40
    assert compared.verdict.code == "better"
