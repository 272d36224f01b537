"""The documentation that ships inside Python, cut into passages. Standard library only.

Two sources, read from the interpreter that runs this:

- the topics of `pydoc_data.topics` (what `help("with")` shows: the language reference), and
- the docstrings of the modules in `MODULES`, read in that order from their source with `ast`. None of them is imported,
  so nothing of theirs is run; what is written in C has no docstring in a source file and is not here.

The rule of choice, which knows nothing of the demo's questions:

- Docstrings: of the module and of every class, function, method and property whose dotted name has no part that starts
  with an underscore. Where a name is defined twice (for two platforms, or a property and its setter), the first counts.
- Topics: all. They repeat each other (`compound` contains `with`), so they are taken from the shortest to the longest,
  and a paragraph that an earlier topic has is left out of the later ones: the narrowest topic owns it.
- Left out of both: doctest examples, productions of the grammar, and rules of tables. They are read by nobody in a list
  of results, and cost several times the tokens of prose.
- A text becomes passages of whole paragraphs, up to `MAX_WORDS` words each; fewer than `MIN_WORDS` are not a passage.
"""

from __future__ import annotations

import ast
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["MAX_WORDS", "MIN_WORDS", "MODULES", "Record", "records"]

MAX_WORDS = 130
MIN_WORDS = 8

# Modules that an application developer meets, by the chapters of the library reference. One that this Python
# doesn't have is not an error: modules leave the standard library with its versions.
# fmt: off
MODULES: tuple[str, ...] = (
    "string", "re", "textwrap",
    "datetime", "zoneinfo", "calendar", "collections", "heapq", "bisect", "weakref", "types", "copy", "pprint", "enum",
    "graphlib", "fractions", "random", "statistics", "functools", "operator",
    "pathlib", "os.path", "filecmp", "tempfile", "glob", "fnmatch", "linecache", "shutil",
    "pickle", "shelve", "sqlite3", "gzip", "zipfile", "csv", "configparser", "hashlib", "hmac", "secrets",
    "os", "argparse", "getpass", "logging",
    "threading", "multiprocessing.pool", "multiprocessing.shared_memory", "concurrent.futures", "subprocess", "sched",
    "queue", "asyncio", "socket", "email.utils", "json", "base64", "html",
    "webbrowser", "urllib.parse", "http", "http.client", "uuid",
    "shlex", "typing", "unittest", "unittest.mock", "timeit",
    "warnings", "dataclasses", "contextlib", "abc",
)
# fmt: on

# Modules whose public names are defined in other files: these are read, in order, as far as this Python has them.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "asyncio": (
        "runners",
        "tasks",
        "taskgroups",
        "timeouts",
        "futures",
        "locks",
        "queues",
        "streams",
        "subprocess",
        "threads",
    ),
    "concurrent.futures": ("_base", "thread", "process"),
    "json": ("decoder", "encoder"),
    "pathlib": ("_local",),
    "sqlite3": ("dbapi2",),
    "unittest": ("case", "async_case"),
    "zoneinfo": ("_zoneinfo", "_common"),
}

# Written in C or chosen by platform: the Python source that holds their docstrings.
_STAND_INS: Mapping[str, str] = {"datetime": "_pydatetime", "os.path": "posixpath"}

_RULE = re.compile(r"^[\s|+*=~^-]*[+*=~^-]{3,}[\s|+*=~^-]*$")  # an underline, or the line between two rows of a table
_ROLE = re.compile(r":[a-z]+(?::[a-z]+)?:`~?([^`<]+)`")
_EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)
_PRODUCTION = re.compile(r"^\s*\w+\s*::=", re.MULTILINE)


class Record(NamedTuple):
    """One passage, before it becomes one.

    Args:
        id: `source_id`, or `source_id#n` (n from 1) where the text is more than one passage.
        source_id: `topic:NAME`, or `py:` and the dotted name.
        title: the heading of the topic, or the dotted name.
        body: the text under the title.
        kind: "topic" or "docstring".
        module: where it is documented, e.g. "os".
        source: the file, relative to the standard library.
    """

    id: str
    source_id: str
    title: str
    body: str
    kind: str
    module: str
    source: str


def records() -> Iterator[Record]:
    """All passages of this interpreter: topics from short to long, then docstrings in the order of `MODULES`.

    Yields:
        Records in an order that depends on the Python version alone. Ids are unique.

    Raises:
        FileNotFoundError: where this Python ships without its topics.
        OSError: where a source file is there and can't be read.
        SyntaxError: where a source file is not Python.
    """
    library = Path(sysconfig.get_path("stdlib"))
    yield from _topics(library)
    yield from _docstrings(library)


def _topics(library: Path) -> Iterator[Record]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise FileNotFoundError("pydoc_data/topics.py is not part of this Python") from error
    seen: set[str] = set()
    for name in sorted(topics, key=lambda name: (len(topics[name]), name)):
        title, paragraphs = _heading(name, _paragraphs(topics[name]))
        fresh = []
        for paragraph in paragraphs:
            words = " ".join(paragraph.split())
            if words not in seen:
                fresh.append(paragraph)
            seen.add(words)
        yield from _cut(f"topic:{name}", title, fresh, "topic", "pydoc_data.topics", "pydoc_data/topics.py")


def _docstrings(library: Path) -> Iterator[Record]:
    for module in MODULES:
        seen: set[str] = set()
        for path in _files(library, module):
            tree = ast.parse(path.read_bytes(), str(path))
            for name, node in [(module, tree), *_public(tree.body, module)]:
                text = ast.get_docstring(node)
                if text is None or name in seen:
                    continue
                seen.add(name)
                relative = path.relative_to(library).as_posix()
                yield from _cut(f"py:{name}", name, _paragraphs(text), "docstring", module, relative)


def _files(library: Path, module: str) -> list[Path]:
    """The source files of a public module, found by name alone: `find_spec` would import the parent package."""
    names = [module, *(f"{module}.{part}" for part in _PARTS.get(module, ())), _STAND_INS.get(module, module)]
    found = []
    for name in dict.fromkeys(names):
        stem = library.joinpath(*name.split("."))
        found += [path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()]
    return found


def _public(
    body: Sequence[ast.stmt], prefix: str
) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Public definitions with their dotted names, those under `if` and `try` too (a platform's, a fallback's)."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not node.name.startswith("_"):
                name = f"{prefix}.{node.name}"
                yield name, node
                if isinstance(node, ast.ClassDef):
                    yield from _public(node.body, name)
        elif isinstance(node, ast.If):
            yield from _public([*node.body, *node.orelse], prefix)
        elif isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            yield from _public([*node.body, *handlers, *node.orelse], prefix)


def _paragraphs(text: str) -> list[str]:
    """Paragraphs without markup that hurts reading, doctest examples and grammar productions."""
    found = []
    for paragraph in re.split(r"\n\s*\n", _ROLE.sub(r"\1", text)):
        before_example = _EXAMPLE.split(paragraph, maxsplit=1)[0].rstrip()
        if before_example and not _PRODUCTION.search(before_example):
            found.append(before_example.strip("\n"))
    return found


def _heading(name: str, paragraphs: list[str]) -> tuple[str, list[str]]:
    """Title and the rest: the first paragraph of a topic is a heading if it is underlined."""
    lines = paragraphs[0].splitlines() if paragraphs else []
    if len(lines) == 2 and _RULE.match(lines[1]):
        return lines[0].strip(), paragraphs[1:]
    return name, paragraphs


def _cut(
    source_id: str, title: str, paragraphs: Sequence[str], kind: str, module: str, source: str
) -> Iterator[Record]:
    """Paragraphs to passages of at most MAX_WORDS words; nothing at all where they are fewer than MIN_WORDS words."""
    bodies: list[list[str]] = []
    size = MAX_WORDS
    for piece in (piece for paragraph in paragraphs for piece in _pieces(paragraph)):
        words = len(piece.split())
        if size + words > MAX_WORDS:
            bodies.append([])
            size = 0
        bodies[-1].append(piece)
        size += words
    texts = ["\n\n".join(body) for body in bodies]
    texts = [text for text in texts if len(text.split()) >= MIN_WORDS]
    for number, text in enumerate(texts, 1):
        id_ = source_id if len(texts) == 1 else f"{source_id}#{number}"
        yield Record(id_, source_id, title, text, kind, module, source)


def _pieces(paragraph: str) -> Iterator[str]:
    """The paragraph, or runs of its lines where it is longer than a passage (tables, long lists)."""
    lines: list[str] = []
    size = 0
    for line in [line for line in paragraph.splitlines() if not _RULE.match(line)]:
        words = len(line.split())
        if lines and size + words > MAX_WORDS:
            yield "\n".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += words
    if lines:
        yield "\n".join(lines)
