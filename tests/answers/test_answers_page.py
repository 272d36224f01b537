"""The answers page in a real browser: nothing said on the console, nobody shut out, texts stay texts."""

from __future__ import annotations

import os
import shutil

import pytest

from latewood.answers import compare_answers, render_answers
from latewood.evaluate import System, compare, write_report
from latewood.types import Hit, Passage, Ranking, StageTiming

CHROMIUM = os.environ.get("LATEWOOD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

TEXTS = {f"t{i}": f"Tree {i} <b>is</b> oak & grows in wood {i}." for i in range(12)}
QUESTIONS = {f"q{i}": f"what tree {i} is it that grows in wood {i}?" for i in range(12)}


class Ranked:
    """Gives the right text first for questions below a number, and another one's above."""

    def __init__(self, right):
        self.right = right

    def rank(self, query, k):
        number = int(query.split()[2])
        ids = [f"t{number}" if self.right(number) else f"t{(number + 1) % 12}"]
        hits = tuple(Hit(each, each, 1.0, 1, Passage(each, TEXTS[each])) for each in ids)
        return Ranking(query, "ranked", hits, True, 0, tuple(ids), (StageTiming("search", 1.0, 1),))


@pytest.fixture
def report(server, model, tmp_path):
    server.model.by_heart = dict.fromkeys(QUESTIONS.values(), "<script>alert(1)</script> It is ash. [1]")
    server.model.least = 6
    corpus = {key: key for key in TEXTS}
    rankers = {
        "first <of all>": Ranked(lambda i: i < 6),
        "second": Ranked(lambda i: i > 2),
        "third": Ranked(lambda i: i > 10),
    }
    systems = [System(name, of, corpus=corpus, explain=of.rank) for name, of in rankers.items()]
    comparison = compare(systems, QUESTIONS, {f"q{i}": {f"t{i}": 1} for i in range(12)}, None)
    contexts = {
        name: {key: [hit.passage for hit in of.rank(text, 1).hits] for key, text in QUESTIONS.items()}
        for name, of in rankers.items()
    }
    compared = compare_answers(contexts, QUESTIONS, model, model, k=1, references={"q1": TEXTS["t1"]})
    path = tmp_path / "compare.html"
    write_report(
        path, comparison, systems, lambda ids: {each: TEXTS[each] for each in ids}, (), [render_answers(compared)]
    )
    return path, compared


def test_texts_stay_texts(report):
    path, compared = report
    page = path.read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; It is ash. [1]" in page
    assert "first &lt;of all&gt;" in page
    gained, lost = compared.examples(compared.pipelines[1])
    assert (len(gained), len(lost)) == (6, 3)
    assert "<b>6</b> became wholly supported, <b>3</b> ceased to be" in page
    assert "Became supported, 5 of 6" in page
    assert "The judge is the generator: models favour their own." in page


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_page_in_a_browser(report, width, scheme):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine: apt-get install chromium, or set LATEWOOD_CHROMIUM to its path")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(report[0].as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        assert said == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll sideways"
        assert page.locator("#answers details.question").count() >= 8
        found = axe.Axe().run(page).response["violations"]
        serious = [
            (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
        ]
        assert serious == []
        if os.environ.get("LATEWOOD_SCREENSHOT"):
            page.locator("#answers").screenshot(path=os.environ["LATEWOOD_SCREENSHOT"])
        browser.close()
