"""The report in a real browser: nothing leaves the file, nothing is said on the console, nobody is shut out."""

from __future__ import annotations

import os
import shutil

import pytest
from report_cases import comparison, systems, texts

from latewood.evaluate import write_report

CHROMIUM = os.environ.get("LATEWOOD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "compare.html"
    write_report(path, comparison(), systems(), texts, [("Questions", "queries.jsonl")])
    return path


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine: apt-get install chromium, or set LATEWOOD_CHROMIUM to its path")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield launched
        launched.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_report_in_a_browser(browser, report, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.set_default_timeout(60_000)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "only tables scroll sideways"
    assert page.locator("svg").count() == 8  # five metrics, the change, the recall curve, latency
    assert page.locator("mark").count() > 20
    found = axe.Axe().run(page).response["violations"]
    serious = [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")]
    assert serious == []
    page.close()


def test_a_printed_report_shows_what_the_questions_showed(browser, report):
    page = browser.new_page()
    page.goto(report.as_uri())
    first = page.locator("details.question .ranking li").first
    assert not first.is_visible()
    page.emulate_media(media="print")
    assert first.is_visible()
    page.close()
