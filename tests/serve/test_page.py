"""The page in a real browser: what is shaded, what moved, by mouse and keyboard; nothing comes from elsewhere."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest

from latewood.types import Match

QUESTION = "what was the timber of ships?"


@contextmanager
def opened(browser, server, address="/", *, width=1440, scheme="light", script=True):
    """A page, and what it said and asked for."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(server.url + address)
    yield page
    assert [url for url in page.asked if not url.startswith((server.url, "data:"))] == []
    context.close()


def ask(page, question, **choices):
    page.fill("#q", question)
    for name, value in choices.items():
        page.select_option(f"select[name={name}]", value)
    with page.expect_response(lambda response: "/?" in response.url):
        page.press("#q", "Enter")
    page.wait_for_selector("#answer:not([aria-busy]) .columns")


ADDRESSES = {
    "home": "/?collection=kb",
    "answer": "/?collection=kb&q=what+was+the+timber+of+ships%3F",
    "beside": "/?collection=kb&q=timber+of+ships&beside=bm25%3A50&k=5",
    "nothing": "/?collection=kb&q=zzqx&pipeline=bm25%3A50",
    "stats": "/stats",
    "login": "/login",
}


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (390, "dark"),
        pytest.param(1440, "light", marks=pytest.mark.long),
        pytest.param(1440, "dark", marks=pytest.mark.long),
        pytest.param(390, "light", marks=pytest.mark.long),
    ],
)
def test_nobody_is_shut_out(browser, server, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for name, address in ADDRESSES.items():
        with opened(browser, server, address, width=width, scheme=scheme) as page:
            page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
            assert page.said == [], name
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (
                f"{name}: only tables scroll sideways"
            )
            found = axe.Axe().run(page).response["violations"]
            serious = [
                (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
            ]
            assert serious == [], name


def test_what_matched_is_shaded_and_leads_to_its_word(browser, server):
    with opened(browser, server, "/?collection=kb") as page:
        assert "65 passages" in page.inner_text("#answer")
        ask(page, QUESTION)
        assert "q=what+was" in page.url
        first = page.locator(".hit").first
        assert first.get_attribute("data-id") == "oak"
        ships = first.locator("mark", has_text="ships").first
        assert ships.get_attribute("class").startswith("m5")
        ships.hover()
        assert re.fullmatch(r"“ships” answers ships 0\.\d\d.*", page.inner_text("#lit-by"))
        assert page.locator(".word.lit").all_inner_texts() == ["ships"]
        page.locator(".word", has_text="timber").click()
        page.mouse.move(0, 0)
        assert page.locator(".word[aria-pressed=true]").inner_text() == "timber"
        assert {text.lower() for text in page.locator("mark.lit").all_inner_texts()} >= {"timber"}
        first.locator("summary").click()
        assert first.locator("tbody tr").count() == len(page.locator(".word").all()) + 2  # [CLS] and [SEP]
        page.go_back()
        page.wait_for_selector("#answer .welcome")
        assert "65 passages" in page.inner_text("#answer")
        assert page.input_value("#q") == ""
        assert page.said == []


def test_by_keyboard(browser, server):
    with opened(browser, server, ADDRESSES["answer"]) as page:
        marks = page.locator(".hit").first.locator(".text").first.locator("mark")
        marks.first.focus()
        assert page.inner_text("#lit-by").startswith(f"“{marks.first.inner_text()}”")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.textContent") == marks.nth(1).inner_text()
        assert page.inner_text("#lit-by").startswith(f"“{marks.nth(1).inner_text()}”")
        page.keyboard.press("ArrowLeft")
        assert page.evaluate("document.activeElement.textContent") == marks.first.inner_text()
        page.keyboard.press("Escape")
        assert page.inner_text("#lit-by") == ""
        page.locator(".word").first.focus()
        page.keyboard.press("Enter")
        assert page.locator(".word[aria-pressed=true]").count() == 1


def test_two_pipelines_side_by_side(browser, server, http):
    with opened(browser, server, "/?collection=kb") as page:
        ask(page, "timber of ships", pipeline="dense:50 >> late", beside="bm25:50", k="5")
        shown = [column.locator(".hit") for column in page.locator(".column").all()]
        ranks = []
        for hits, pipeline in zip(shown, ("dense:50 >> late", "bm25:50"), strict=True):
            body = {"collection": "kb", "query": "timber of ships", "pipeline": pipeline, "k": 5}
            expected = [hit["id"] for hit in http.post("/v1/search", json=body).json()["hits"]]
            assert [hit.get_attribute("data-id") for hit in hits.all()] == expected
            ranks.append({name: rank for rank, name in enumerate(expected, 1)})
        for mine, theirs, hits in ((ranks[0], ranks[1], shown[0]), (ranks[1], ranks[0], shown[1])):
            for hit in hits.all():
                name = hit.get_attribute("data-id")
                rank, other = mine[name], theirs.get(name)
                sign = "+" if other is None else "=" if other == rank else "▲" if rank < other else "▼"
                assert hit.locator(".move").inner_text().startswith(sign), name
        shown[0].first.hover()
        assert page.locator(".hit.pair-lit").count() == 2
        page.set_viewport_size({"width": 390, "height": 900})
        left, right = page.locator(".column").all()
        assert right.bounding_box()["y"] > left.bounding_box()["y"] + 100, "below one another on a phone"


def test_a_choice_of_metadata(browser, server):
    with opened(browser, server, "/?collection=kb&q=wood") as page:
        with page.expect_response(lambda response: "w.kind=ship" in response.url):
            page.select_option("select[name='w.kind']", "ship")
        page.wait_for_selector(".hit[data-id=oak]", state="detached")
        page.wait_for_selector(".hit")
        assert {hit.get_attribute("data-id") for hit in page.locator(".hit").all()} == {"mast", "keel"}
        assert page.input_value("select[name='w.kind']") == "ship"


def test_without_a_script_it_works_as_forms_do(browser, server):
    with opened(browser, server, "/?collection=kb", script=False) as page:
        page.fill("#q", QUESTION)
        page.press("#q", "Enter")
        page.wait_for_selector(".hit")
        assert page.locator(".hit").first.get_attribute("data-id") == "oak"
        assert page.locator("mark").first.get_attribute("title")


def test_states(browser, server):
    with opened(browser, server, "/?collection=kb&q=x&pipeline=denes") as page:
        assert "unknown stage" in page.inner_text("[role=alert]")
        assert page.input_value("#q") == "x"
    with opened(browser, server, ADDRESSES["nothing"]) as page:
        assert "No passage shares a word" in page.inner_text("#answer")
    with opened(browser, server, "/?collection=kb") as page:
        page.route("**/?*", lambda route: route.abort())
        page.fill("#q", "anything")
        page.press("#q", "Enter")
        page.wait_for_selector("[role=alert]")
        assert "doesn’t answer" in page.inner_text("[role=alert]")
    with opened(browser, server, "/?collection=kb") as page:
        waiting = []
        page.route("**/?*", lambda route: waiting.append(route))
        page.fill("#q", "anything")
        page.press("#q", "Enter")
        page.wait_for_selector(".waiting")
        assert page.get_attribute("#answer", "aria-busy") == "true"
        waiting[0].continue_()
        page.wait_for_selector(".hit")
        assert page.get_attribute("#answer", "aria-busy") is None


def test_what_is_in_a_passage_stays_text(http):
    name = "hostile"
    http.post("/v1/collections", json={"name": name}).raise_for_status()
    text = "<script>alert(1)</script> <img src=x onerror=alert(2)> {{ 7 * 7 }}"
    document = {"_id": '"><script>x</script>', "text": text, "<b>field": "<i>value"}
    http.post(f"/v1/collections/{name}/documents", json={"documents": [document]}).raise_for_status()
    page = http.get("/", params={"collection": name, "q": "<script>alert(3)</script>", "pipeline": "late"}).text
    http.delete(f"/v1/collections/{name}")
    assert "<img" not in page.replace('<img src="/static/icon.svg"', "")
    assert re.findall(r"<script[^>]*>", page) == [
        '<script type="module" src="/static/search.js">',
        '<script type="module" src="/static/tokens.js">',
    ]
    assert "<i>value" not in page
    assert "49" not in page.partition('class="hits"')[2].partition("</ol>")[0].replace("0.49", "")


def test_shades_cover_the_text_and_tell_its_words():
    from latewood.serve.shading import shaded, unwrapped

    text = "Oak wood is hard. " * 30 + "It was the timber of ships. " + "Nothing here. " * 30
    at = text.index("timber")
    matches = [
        Match("[CLS]", "[CLS]", 0, 0, 0.9),
        Match("timber", "timber", at, at + 6, 0.95),
        Match("wood", "timber", at, at + 6, 0.5),
        Match("?", ".", at + 15, at + 16, 0.7),
        Match("ship", "ships", at + 10, at + 15, 0.3),
    ]
    whole = shaded(text, matches, None)
    assert "".join(piece.text for piece in whole) == text
    marked = {piece.text: piece for piece in whole if piece.level}
    assert set(marked) == {"timber", "ships"}
    assert (marked["timber"].level, marked["timber"].words, marked["timber"].said) == (
        5,
        (1, 2),
        "timber 0.95, wood 0.50",
    )
    assert marked["ships"].level == 1
    part = "".join(piece.text for piece in shaded(text, matches, 120))
    assert "timber of ships" in part
    assert len(part) < 140
    assert part.startswith("… ")
    assert part.endswith(" …")
    wrapped = "Title\na line that\n  goes on\n\nNew\nparagraph"
    assert unwrapped(wrapped, 5) == "Title\na line that   goes on\n\nNew paragraph"
