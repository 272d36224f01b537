"""Encodings, Markdown and HTML, against texts worked out by hand."""

from __future__ import annotations

import codecs

import pytest

from latewood.errors import InputError
from latewood.ingest.decoding import decode
from latewood.ingest.markup import read_html, read_markdown

GERMAN = "Die Jahrringe einer Lärche zählen: früh hell, spät dunkel. Größe und Härte gehören zusammen.\n"


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        (GERMAN.encode(), GERMAN, "utf-8"),
        (codecs.BOM_UTF8 + GERMAN.encode(), GERMAN, "utf-8"),
        (GERMAN.encode("utf-16"), GERMAN, "utf-16"),
        (GERMAN.encode("utf-16-le"), GERMAN, "utf-16-le"),
        (GERMAN.encode("utf-16-be"), GERMAN, "utf-16-be"),
        (GERMAN.encode("utf-32"), GERMAN, "utf-32"),
        (b"a\r\nb\rc\n", "a\nb\nc\n", "utf-8"),
        (b"", "", "utf-8"),
    ],
)
def test_decoding(data, text, encoding):
    assert decode(data) == (text, encoding)


def test_latin_1_is_guessed():
    assert decode(GERMAN.encode("latin-1"))[0] == GERMAN


def test_a_page_says_its_encoding():
    page = '<meta charset="koi8-r"><p>кольца'
    assert decode(page.encode("koi8-r"), html=True) == (page, "koi8-r")


@pytest.mark.parametrize(
    "data", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x7fELF\2\1\1\0\0\0\0\0\0\0", bytes(range(256)) * 9]
)
def test_binary_is_refused(data):
    with pytest.raises(InputError, match="binary"):
        decode(data)


def test_what_is_marked_as_utf_16_and_is_not():
    with pytest.raises(InputError, match="begins as utf-16 and isn't"):
        decode(codecs.BOM_UTF16_LE + b"abc")


def sections(document):
    return [
        (" > ".join(section.path), document.text[section.start : section.end].strip()) for section in document.sections
    ]


def test_markdown_headings():
    text = (
        "---\ntitle: x\n---\nintro\n\n# A `b` *c*\n\none\n\nSub\n---\n\n```\n# no heading\n```\n\n"
        "> # nor this\n\n### Deep ###\nx\n# Z\n"
    )
    assert sections(read_markdown(text)) == [
        ("", "intro"),
        ("A b c", "one"),
        ("A b c > Sub", "```\n# no heading\n```\n\n> # nor this"),
        ("A b c > Sub > Deep", "x"),
        ("Z", ""),
    ]


PAGE = """<html><head><title>The page</title><style>p {}</style></head><body>
<nav><a href=x>Home</a></nav><div class="sphinxsidebar">Contents</div>
<div role="main"><header><h1>Rings<a class="headerlink">¶</a></h1></header>
<p>Pale   early <b>wood</b>,
dense late wood.<p>Next.<pre>x = 1
  y = 2</pre><ul><li>one<li>two</ul>
<h2>Ages</h2><table><tr><td>oak<td>900</table><script>alert(1)</script><aside>ad</aside></div>
<footer>Impressum</footer></body></html>"""


def test_html_main_text_and_headings():
    assert sections(read_html(PAGE)) == [
        ("The page", ""),
        ("The page > Rings", "Pale early wood, dense late wood.\n\nNext.\n\nx = 1\n  y = 2\n\none\ntwo"),
        ("The page > Rings > Ages", "oak 900"),
    ]


def test_html_without_a_marked_main_part_is_the_body():
    assert read_html("<p>one</p>two<br>three").text.rstrip().split("\n") == ["one", "", "two", "three"]


def test_html_nested_beyond_what_python_calls():
    assert read_html("<div>" * 5000 + "deep").text.strip() == "deep"
