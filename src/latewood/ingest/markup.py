"""Text, Markdown and HTML to a `Document`."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from latewood.errors import MissingExtra
from latewood.ingest.document import Document, Outline, Section

__all__ = ["read_html", "read_markdown", "read_text"]

_FRONT_MATTER = re.compile(r"---\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = (
    "address article blockquote body center dd details dialog div dl dt fieldset figcaption figure footer form h1 h2 "
    "h3 h4 h5 h6 header hr legend main ol p pre section summary table ul"
)
_BLOCK_NAMES = frozenset(_BLOCKS.split())
_LINE_NAMES = frozenset({"br", "li", "option", "tr"})

# Semantic elements and ARIA roles first; then the classes by which Sphinx, DocBook and Texinfo mark the same.
_BOILERPLATE = (
    "script, style, noscript, template, svg, nav, header, footer, aside, form, button, [role=navigation], "
    "[role=search], [role=banner], [role=contentinfo], [role=complementary], .sphinxsidebar, .related, .headerlink, "
    ".navheader, .navfooter, .nav-panel, .skip-to-content, table.nav"
)
_MAIN = "main, [role=main]"


def read_text(text: str) -> Document:
    """Plain text: one section without headings."""
    return Document(text, (Section((), 0, len(text)),))


def read_markdown(text: str) -> Document:
    """CommonMark, its headings by markdown-it-py; the text stays as it is written. YAML front matter is left out.

    Raises:
        MissingExtra: markdown-it-py isn't installed.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError:
        raise MissingExtra("reading Markdown", "markdown-it-py", "files") from None
    front = _FRONT_MATTER.match(text)
    start = front.end() if front else 0
    lines = _line_starts(text, start)
    tokens = MarkdownIt("commonmark").parse(text[start:].replace("\0", "\ufffd"))
    outline, sections = Outline(), []
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            sections.append(Section(outline.path, start, lines[token.map[0]]))
            outline.enter(int(token.tag[1:]), _inline_text(inline))
            start = lines[token.map[1]]
    sections.append(Section(outline.path, start, len(text)))
    return Document(text, tuple(sections))


def _line_starts(text: str, start: int) -> list[int]:
    """Where each line from `start` on begins, and the end of the text, for spans that run up to it."""
    return [start, *(match.end() for match in re.compile("\n").finditer(text, start)), len(text)]


def _inline_text(inline: Any) -> str:
    words = (child.content if child.type in ("text", "code_inline") else " " for child in inline.children or ())
    return "".join(words)


def read_html(text: str) -> Document:
    """The main text of a page, its blocks apart by blank lines; spans are spans of this text, not of the markup.

    Left out: what the page itself marks as navigation, header, footer, sidebar, form or script. Where it marks its
    main part, that alone is read. Nothing is judged by its looks or its length.

    Raises:
        MissingExtra: selectolax isn't installed.
    """
    try:
        from selectolax.lexbor import LexborHTMLParser
    except ImportError:
        raise MissingExtra("reading HTML", "selectolax", "files") from None
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    outline = Outline()
    outline.enter(0, title.text() if title is not None else "")
    for node in tree.css(_BOILERPLATE):
        # A heading may stand in a <header> of the main part: it names what follows.
        if node.tag != "header" or node.css_first("h1, h2, h3") is None:
            node.decompose()
    root = tree.css_first(_MAIN) or tree.body
    writer = _Writer(outline)
    if root is not None:
        writer.walk(root)
    return writer.document()


class _Writer:
    """Collects the text of a page, block by block."""

    def __init__(self, outline: Outline) -> None:
        self._outline = outline
        self._parts: list[str] = []
        self._length = 0
        self._line = ""
        self._sections: list[Section] = []
        self._start = 0

    def walk(self, root: Any) -> None:
        """Take in a node and all below it; a stack of our own, since pages nest deeper than Python calls."""
        stack: list[tuple[Any, bool]] = [(root, False)]
        preformatted = 0
        while stack:
            node, leaving = stack.pop()
            tag = node.tag
            if tag == "-text":
                self._line += node.text_content if preformatted else re.sub(r"\s+", " ", node.text_content)
            elif not leaving and tag in _HEADINGS:
                self._heading(_HEADINGS[tag], node.text())
            else:
                self._flush("\n\n" if tag in _BLOCK_NAMES else "\n" if tag in _LINE_NAMES else "")
                self._line += " " if tag in ("td", "th") and not self._line.endswith(" ") else ""
                preformatted += (-1 if leaving else 1) * (tag == "pre")
                if not leaving:
                    stack.append((node, True))
                    stack.extend((child, False) for child in reversed(list(node.iter(include_text=True))))
        self._flush("\n")

    def document(self) -> Document:
        """All of it."""
        text = "".join(self._parts)
        return Document(text, (*self._sections, Section(self._outline.path, self._start, len(text))))

    def _heading(self, level: int, title: str) -> None:
        self._flush("\n\n")
        self._sections.append(Section(self._outline.path, self._start, self._length))
        self._outline.enter(level, title)
        self._put(" ".join(title.split()) + "\n\n")
        self._start = self._length

    def _flush(self, separator: str) -> None:
        """End the line, if a separator says so."""
        if not separator:
            return
        line, self._line = self._line, ""
        if line.strip():
            self._put(line.strip(" ").strip("\n") if "\n" in line else line.strip())
            self._put(separator)
        elif separator == "\n\n" and self._parts and not self._parts[-1].endswith("\n\n"):
            self._put("\n")

    def _put(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
