"""JSONL to passages: each record by hand, each way to be wrong with its file and line."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood.errors import InputError, StorageError
from latewood.ingest import count_jsonl, read_jsonl

DATA = Path(os.environ.get("LATEWOOD_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def write(tmp_path: Path, *lines: str, name: str = "docs.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes("\n".join(lines).encode("utf-8"))
    return path


def test_record_becomes_passage(tmp_path):
    path = write(
        tmp_path,
        '{"_id": "a", "title": "  Two\\n words ", "text": " Body of a.\\n", "year": 1998, "metadata": {"lang": "en"}}',
        '{"_id": 7, "text": "No title."}',
        '{"_id": "b", "title": "Only a title", "text": ""}',
        '{"_id": "c", "title": "", "text": ""}',
        '{"_id": "d#2", "title": null, "text": "x", "metadata": null}',
    )
    a, seven, b, c, d = read_jsonl(path)
    assert (a.id, a.source_id, a.title, a.text) == ("a", "a", "Two words", "Two words\nBody of a.")
    assert a.source == str(path)
    assert a.metadata == {"year": 1998, "lang": "en"}
    assert (seven.id, seven.text, seven.title, seven.metadata) == ("7", "No title.", "", {})
    assert (b.text, c.text) == ("Only a title", "")
    assert (d.id, d.source_id) == ("d#2", "d#2")


def test_lines_may_be_blank_end_in_crlf_and_start_with_a_mark(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"_id": "a", "text": "x"}\r\n\r\n  \n{"_id": "b", "text": "y\\u2028z"}')
    assert [(p.id, p.text) for p in read_jsonl(path)] == [("a", "x"), ("b", "y\u2028z")]
    assert count_jsonl(path) == 2


def test_a_line_separator_inside_a_string_is_no_line_end(tmp_path):
    path = write(tmp_path, '{"_id": "a", "text": "one\u2028two\u0085three"}')
    assert [p.text for p in read_jsonl(path)] == ["one\u2028two\u0085three"]


def test_ids_that_come_twice_are_the_callers_business(tmp_path):
    path = write(tmp_path, '{"_id": "a", "text": "old"}', '{"_id": "a", "text": "new"}')
    assert [p.text for p in read_jsonl(path)] == ["old", "new"]
    assert count_jsonl(path) == 2


def test_gzip(tmp_path):
    path = tmp_path / "docs.jsonl.gz"
    whole = gzip.compress(b'{"_id": "a", "text": "x"}\n' * 2000)
    path.write_bytes(whole)
    assert count_jsonl(path) == 2000
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"docs\.jsonl\.gz: not a whole gzip file \(broken after line \d+\)"):
        count_jsonl(path)
    path.write_bytes(b'{"_id": "a", "text": "x"}\n')
    with pytest.raises(InputError, match=r"docs\.jsonl\.gz: not a whole gzip file"):
        count_jsonl(path)


GOOD = '{"_id": "a", "text": "x"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"_id": "b", "text": ', "not JSON at column 22: Expecting value; expected one JSON object per line"),
        ('{"_id": "b"} trailing', "not JSON at column 14: Extra data"),
        ('{"_id": "b", "text": "x", "score": NaN}', "not JSON: NaN is not JSON"),
        ('{"_id": "b", "text": "x", "score": -Infinity}', "not JSON: -Infinity is not JSON"),
        ('{"_id": "b", "text": "x", "score": 1e999}', "not JSON: 1e999 is beyond the range"),
        ('{"_id": "b", "text": "x", "score": ' + "9" * 5000 + "}", "not JSON: "),
        ("[" * 200_000, "not JSON: "),
        ('{"_id": "b", "text": "half \\ud83d"}', "half of a surrogate pair"),
        ('{"_id": "b", "text": "x", "metadata": {"k": "\\udc00"}}', "half of a surrogate pair"),
        ('["b", "x"]', "got an array, expected a JSON object with _id, title and text"),
        ('"b"', "got a string, expected a JSON object"),
        ("null", "got null, expected a JSON object"),
        ('{"id": "b", "text": "x"}', 'no "_id" (it has: id, text); expected a string or an integer of its own'),
        ("{}", 'neither "title" nor "text" (it has: nothing)'),
        ('{"_id": null, "text": "x"}', 'no "_id" (it has: _id, text)'),
        ('{"_id": true, "text": "x"}', '"_id" is a boolean, expected a string or an integer'),
        ('{"_id": 1.5, "text": "x"}', '"_id" is a number, expected a string or an integer'),
        ('{"_id": "", "text": "x"}', "\"_id\" is '', expected characters"),
        ('{"_id": "a\\tb", "text": "x"}', "\"_id\" is 'a\\tb', expected characters, none of them a tab"),
        ('{"_id": "b", "body": "x"}', 'neither "title" nor "text" (it has: _id, body)'),
        ('{"_id": "b", "text": ["x"]}', '"text" is an array, expected a string'),
        ('{"_id": "b", "title": 3, "text": "x"}', '"title" is a number, expected a string'),
        ('{"_id": "b", "text": "x", "metadata": []}', '"metadata" is an array, expected a JSON object'),
        ('{"_id": "b", "text": "x", "k": 1, "metadata": {"k": 2}}', '"k" stands in the record and, with another value'),
    ],
)
def test_a_bad_record_on_line_7_is_one_line_that_names_it(tmp_path, line, message):
    path = write(tmp_path, *[GOOD] * 5, "", line, GOOD)
    for read in (count_jsonl, lambda p: list(read_jsonl(p))):
        with pytest.raises(InputError) as caught:
            read(path)
        text = str(caught.value)
        assert text.startswith(f"{path}:7: ")
        assert message in text
        assert "\n" not in text


def test_metadata_may_repeat_a_field_that_agrees(tmp_path):
    path = write(tmp_path, '{"_id": "b", "text": "x", "k": 1, "metadata": {"k": 1, "title": "kept"}}')
    (passage,) = read_jsonl(path)
    assert passage.metadata == {"k": 1, "title": "kept"}
    assert passage.title == ""


def test_not_utf8_names_line_and_byte(tmp_path):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + '{"_id": "b", "text": "caf\u00e9"}'.encode("latin-1"))
    with pytest.raises(InputError, match=r"docs\.jsonl:2: byte 0xe9 at column 26 is not UTF-8; convert the file"):
        count_jsonl(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_records_is_an_error(tmp_path, content):
    path = tmp_path / "docs.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"docs\.jsonl: no records; expected one JSON object per line"):
        count_jsonl(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(InputError, match="No such file or directory; expected a JSONL file"):
        count_jsonl(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="Is a directory; expected a JSONL file"):
        count_jsonl(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file, and it is read twice"):
        count_jsonl(tmp_path / "pipe")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write(tmp_path, GOOD)
    path.chmod(0)
    with pytest.raises(StorageError, match=r"docs\.jsonl: could not be read: Permission denied"):
        count_jsonl(path)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    fields=st.dictionaries(
        st.text().filter(lambda k: k not in {"_id", "title", "text", "metadata"}), json_values, max_size=4
    ),
    text=st.text(),
    ascii_only=st.booleans(),
)
def test_every_json_object_comes_back_as_it_was_written(tmp_path_factory, fields, text, ascii_only):
    path = tmp_path_factory.mktemp("any") / "docs.jsonl"
    record = {"_id": "a", "text": text, **fields}
    path.write_text(json.dumps(record, ensure_ascii=ascii_only) + "\n", encoding="utf-8", newline="\n")
    (passage,) = read_jsonl(path)
    assert passage.text == text.strip()
    assert passage.metadata == fields


@pytest.mark.parametrize("name", ["scifact", "cranfield", "cookbook_docs", "cosqa", "pdf_mmlong_dev", "xquad_multi"])
def test_real_collections(name):
    path = DATA / name / "corpus.jsonl"
    if not path.exists():
        pytest.skip(f"no {name} under LATEWOOD_DATA={DATA}")
    expected = {}
    for line in path.read_bytes().splitlines():
        record = json.loads(line)
        expected[record["_id"]] = (record["title"].split(), record["text"].strip())
    assert count_jsonl(path) == len(expected) == json.loads((path.parent / "stats.json").read_text())["docs"]
    for passage in read_jsonl(path):
        title, text = expected[passage.id]
        head, _, tail = passage.text.partition("\n") if title and text else (passage.title, "", passage.text)
        assert head.split() == title == passage.title.split()
        assert tail == (text or passage.title)
