"""Questions and judgements: layouts read, and every way to be wrong named in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from latewood.errors import InputError
from latewood.evaluate import LeftOut, read_qrels, read_queries, select

DATA = Path(os.environ.get("LATEWOOD_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def write(tmp_path: Path, text: str | bytes, name: str = "file") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def test_queries(tmp_path):
    path = write(tmp_path, '\ufeff{"_id": "b", "text": " who? "}\r\n\n{"_id": 2, "text": "what?", "metadata": {}}\n')
    assert list(read_queries(path).items()) == [("b", " who? "), ("2", "what?")]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{", ":2: not JSON: Expecting property name"),
        ("[1]", ':2: not a JSON object; expected one with "_id" and "text"'),
        ('{"text": "x"}', ':2: "_id" is null, expected a string or an integer'),
        ('{"_id": true, "text": "x"}', ':2: "_id" is true, expected'),
        ('{"_id": " ", "text": "x"}', ':2: "_id" is " ", expected'),
        ('{"_id": "b"}', ":2: \"text\" of query 'b' is null, expected a string"),
        ('{"_id": "b", "text": "  "}', ":2: query 'b' has an empty text; write the question or remove the line"),
        ('{"_id": "a", "text": "x"}', ":2: query id 'a' came on line 1 already; give each its own id"),
    ],
)
def test_bad_queries(tmp_path, second, message):
    path = write(tmp_path, '{"_id": "a", "text": "x"}\n' + second)
    with pytest.raises(InputError) as caught:
        read_queries(path)
    assert f"{path}{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_queries(tmp_path):
    with pytest.raises(InputError, match="no queries; expected one JSON object per line"):
        read_queries(write(tmp_path, "\n"))
    with pytest.raises(InputError, match="absent: No such file or directory; expected a file"):
        read_queries(tmp_path / "absent")
    with pytest.raises(InputError, match=":1: not UTF-8"):
        read_queries(write(tmp_path, b'{"_id": "caf\xe9"}'))


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td 1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1\td 1\t2\r\nq1\td2\t0\r\n\r\nq2\td1\t1\r\n",
        "\ufeffqid\titer\tdocno\trelevance\nq1\t0\td 1\t2\nq1\tQ0\td2\t0\nq2\t0\td1\t1",
        "q1\td 1\t2\nq1\td 1\t2\nq1\td2\t0\nq2\td1\t+1\n",
    ],
    ids=["beir", "beir without a header", "trec by tabs", "a line that comes twice"],
)
def test_qrels(tmp_path, text):
    assert read_qrels(write(tmp_path, text)) == {"q1": {"d 1": 2, "d2": 0}, "q2": {"d1": 1}}


def test_qrels_by_blanks(tmp_path):
    assert read_qrels(write(tmp_path, "1 0  184 1\n1 0 29 -2\n")) == {"1": {"184": 1, "29": -2}}
    assert read_qrels(write(tmp_path, "1 184 1\n")) == {"1": {"184": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": no judgements; expected lines of query-id, corpus-id and score"),
        ("query-id\tcorpus-id\tscore\n", ": no judgements"),
        ("q1,d1,1\n", ":1: 1 columns; expected 3 separated by tabs (query-id, corpus-id, score), or 4 as TREC"),
        ("q1 Q0 d1 1 12.5 tag\n", ":1: 6 columns; expected 3"),
        ("q1\td1\t1\nq1\td2\n", ":2: 2 filled columns; expected 3, as on the first line"),
        ("q1\td1\t1\nq1\t\t1\n", ":2: 2 filled columns; expected 3, as on the first line"),
        ("q1\td1\t1\nq1\t0\td1\t1\n", ":2: 4 filled columns; expected 3, as on the first line"),
        ("q1\td1\tyes\n", ":1: the grade is 'yes', expected an integer such as 0 or 1 in the last column"),
        ("q1\td1\t1\nq1\td2\tscore\n", ":2: the grade is 'score', expected an integer"),
        ("q1\td1\t0.5\n", ":1: the grade is '0.5', expected an integer"),
        ("q1\t1\t31715818\n", ":1: the grade is 31715818, expected at most 1000; is the last column another one?"),
        ("q1\td1\t" + "9" * 5000, ":1: the grade is 99999999999999999999, expected at most 1000"),
        ("q1\td1\t1\nq1\td1\t0\n", ":2: 'd1' is graded 0 for query 'q1', and was 1 before; keep one"),
    ],
)
def test_bad_qrels(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_qrels(path)
    assert f"{path}{message}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_queries_that_can_not_be_judged_are_left_out_by_reason():
    queries = {"a": "?", "b": "?", "c": "?", "d": "?", "e": "?"}
    qrels = {"e": {"x": 1}, "a": {"x": 2, "y": 0}, "b": {"x": 0}, "c": {"x": -1}, "z": {"x": 1}, "d": {}}
    judged = select(queries, qrels)
    assert list(judged.queries) == ["a", "e"]
    assert judged.qrels == {"a": {"x": 2, "y": 0}, "e": {"x": 1}}
    assert judged.left_out == LeftOut(unjudged=1, no_positive=2, no_text=1)
    assert judged.positives("a") == {"x"}


def test_qrels_of_other_queries():
    with pytest.raises(
        InputError, match=r"none of the 3 queries has a judgement \(queries name 'a', 'b', …, qrels name '1'\)"
    ):
        select({"a": "?", "b": "?", "c": "?"}, {"1": {"x": 1}})
    with pytest.raises(InputError, match="none of the 1 judged queries has a judgement above 0"):
        select({"a": "?", "b": "?"}, {"a": {"x": 0}})


@pytest.mark.parametrize("name", ["scifact", "cranfield", "med", "xquad_multi", "pdf_financebench"])
def test_real_collections(name):
    folder = DATA / name
    if not folder.exists():
        pytest.skip(f"no {name} under LATEWOOD_DATA={DATA}")
    queries, qrels = read_queries(folder / "queries.jsonl"), read_qrels(folder / "qrels" / "test.tsv")
    lines = (folder / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split("\t") for line in sorted(lines)] == sorted(
        [query_id, document, str(grade)] for query_id, of in qrels.items() for document, grade in of.items()
    )
    assert len(select(queries, qrels)) == len(queries)
    assert select(queries, qrels).left_out == LeftOut()
