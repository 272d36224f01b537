"""`latewood compare` as it is typed: several collections, foreign runs, a report, runs written and read again."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest

from latewood.cli import main

DOCUMENTS = [
    {"_id": "oak", "title": "Oak", "text": "Oak wood is hard and heavy. It was the timber of ships."},
    {"_id": "larch", "title": "Larch", "text": "A conifer that loses its needles in autumn."},
    {"_id": "mast", "text": "Tall straight pines were kept for masts."},
]


def run(command, capsys):
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    return left.value.code or 0, *capsys.readouterr()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    lines = "".join(json.dumps(document) + "\n" for document in DOCUMENTS)
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
    (folder / "twice.jsonl").write_text(lines + lines, encoding="utf-8")
    (folder / "queries.jsonl").write_text(
        '{"_id": "1", "text": "heavy timber"}\n{"_id": "2", "text": "pine"}\n', encoding="utf-8"
    )
    (folder / "qrels.txt").write_text("1 0 oak 1\n2 0 mast 2\n", encoding="utf-8")
    (folder / "today.run").write_text("1 Q0 larch 1 9 x\n1 Q0 oak 2 8 x\n2 Q0 mast 1 7 x\n", encoding="utf-8")
    (folder / "other.run").write_text("x Q0 larch 1 9 x\n", encoding="utf-8")
    (folder / "nan.run").write_text("1 Q0 larch 1 nan x\n", encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        main(["index", "--jsonl", str(folder / "corpus.jsonl"), "-c", str(folder / "kb.lw")])
    assert not left.value.code
    shutil.copytree(folder / "kb.lw", folder / "copy.lw")
    return folder


def asked(place, rest):
    return f"compare -q {place}/queries.jsonl -r {place}/qrels.txt {rest}".format(place=place)


def test_collections_and_runs_in_one_table_with_a_report_and_runs(place, capsys, tmp_path):
    html, runs = tmp_path / "report.html", tmp_path / "runs"
    rest = (
        f"{place}/kb.lw -c {place}/copy.lw -p bm25:2 -p 'dense:2 >> late' --run today={place}/today.run "
        f"--baseline today -m nDCG@10 -m R@1 --html {html} --save-runs {runs} --json"
    )
    code, out, err = run(asked(place, rest), capsys)
    printed = json.loads(out)
    assert code == 0
    names = ["today", "bm25:2 @ kb", "dense:2 >> late @ kb", "bm25:2 @ copy", "dense:2 >> late @ copy"]
    assert [of["pipeline"] for of in printed["pipelines"]] == names
    assert list(printed["pipelines"][0]["metrics"]) == ["nDCG@10", "R@1"]
    assert printed["pipelines"][0]["difference"] is None
    assert printed["tests"]["count"] == 8
    assert printed["verdict"]["code"] == "no_difference", "two questions tell nothing"
    assert f"report: {html}" in err
    page = html.read_text(encoding="utf-8")
    assert "dense:2 &gt;&gt; late @ copy" in page
    assert "<mark>" in page
    assert "It was the" in page

    written = sorted(path.name for path in runs.iterdir())
    assert written[:2] == ["1-today.run", "2-bm25-2-kb.run"]
    given = " ".join(
        f"--run '{of['pipeline']}={runs}/{name}'" for of, name in zip(printed["pipelines"], written, strict=False)
    )
    again = json.loads(run(asked(place, f"{given} -m nDCG@10 -m R@1 --json"), capsys)[1])
    assert [of["metrics"] for of in again["pipelines"]] == [of["metrics"] for of in printed["pipelines"]]
    assert [of["difference"] for of in again["pipelines"]] == [of["difference"] for of in printed["pipelines"]]


def test_a_run_alone_with_its_corpus(place, capsys, tmp_path):
    html = tmp_path / "report.html"
    code, out, _ = run(
        asked(place, f"--run today={place}/today.run --corpus {place}/corpus.jsonl --html {html}"), capsys
    )
    assert code == 0
    assert "'today' reaches R@5 1.000" in out
    assert "a run: no times" in out
    code, out, _ = run(asked(place, f"--run today={place}/today.run --json"), capsys)
    assert json.loads(out)["group"]["found"] is None


@pytest.mark.parametrize(
    ("rest", "code", "said"),
    [
        ("", 2, "nothing to compare: give a COLLECTION with --pipeline, or --run NAME=FILE"),
        ("{place}/kb.lw", 2, "which pipelines?"),
        ("-p dense", 2, "has nothing to run on"),
        ("--run today.run", 2, "expected NAME=FILE"),
        ("--run a={place}/no.run", 2, "no.run: No such file"),
        ("--run a={place}/nan.run", 2, "nan.run:1: the score is 'nan'"),
        ("--run a={place}/other.run", 2, "run 'a' has none of the 2 judged queries"),
        ("--run a={place}/today.run --run a={place}/today.run", 2, "'a' was given twice"),
        ("--run a={place}/today.run --baseline b", 2, "--baseline 'b' is none of those compared: 'a'"),
        ("--run a={place}/today.run --corpus {place}/twice.jsonl", 2, "the id 'oak' comes twice"),
        ("--run a={place}/today.run --html {place}/no/a.html", 3, "there is no folder"),
        ("--run a={place}/today.run -m Nonsense@5", 2, "metric 'Nonsense@5'"),
    ],
)
def test_what_can_not_be_compared_is_one_line(place, capsys, rest, code, said):
    found = run(asked(place, rest.format(place=place)), capsys)
    assert found[:2] == (code, "")
    assert found[2].startswith("latewood: ")
    assert said in found[2]
    assert found[2].count("\n") == 1
