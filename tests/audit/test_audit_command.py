"""`latewood audit` as it is typed: on a collection, on runs, on nothing; and what it prints is what it documents."""

from __future__ import annotations

import json
import shlex

import pytest

from latewood.cli import main
from latewood.collection import Collection
from latewood.types import Passage

TREES = {
    "oak": "Oak wood is hard and heavy, and was the timber of ships for as long as ships were made of wood.",
    "larch": "Larch is a conifer that loses its needles in autumn, which few other conifers do, and grows them anew.",
    "pine": "Tall straight pines were kept for masts, and a navy without pines had to buy them from the north.",
    "yew": "Yew was the wood of bows, since its sapwood stretches and its heartwood bears being pressed together.",
    "elm": "Elm does not rot under water, so that pipes, piles and keels were made of it for many hundred years.",
    "birch": "Birch bark is light and keeps water out: canoes and roofs were covered with it in the north.",
}
QUESTIONS = {"1": "warship timber", "2": "tree that sheds needles", "3": "wood under water", "4": "a bow"}
ANSWERS = {"1": "oak", "2": "larch", "3": "elm", "4": "gone"}


def run(command, capsys):
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    return left.value.code or 0, *capsys.readouterr()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, minilm):
    where = tmp_path_factory.mktemp("audit")
    lines = [json.dumps({"_id": key, "text": text}) for key, text in TREES.items()]
    (where / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    lines = [json.dumps({"_id": key, "text": text}) for key, text in QUESTIONS.items()]
    (where / "queries.jsonl").write_text("\n".join(lines) + "\n")
    (where / "qrels.tsv").write_text("".join(f"{query}\t{key}\t1\n" for query, key in ANSWERS.items()))
    ranked = {query: sorted(TREES, key=lambda key: (key != "birch", key)) for query in QUESTIONS}
    for name in ("one", "two"):
        rows = [f"{q} Q0 {key} {at} {-at} {name}\n" for q, keys in ranked.items() for at, key in enumerate(keys, 1)]
        (where / f"{name}.run").write_text("".join(rows))
    with Collection.create(where / "kb.lw", minilm) as kb:
        kb.add(Passage(key, text) for key, text in TREES.items())
    return where


def test_a_collection_gives_the_json_that_is_documented(folder, capsys):
    given = f"-q {folder}/queries.jsonl -r {folder}/qrels.tsv -k 1 --pool 4"
    code, out, _ = run(f"audit {folder}/kb.lw {given} --store pgvector --latency-budget 90 --json", capsys)
    printed = json.loads(out)
    assert code == 0
    keys = ["schema", "recall", "ceiling", "pairs", "misses", "label_hole_flags", "lift"]
    assert [key for key in printed if key in keys] == keys
    assert printed["pairs"] == 4
    assert set(printed["misses"]) == {"not_in_corpus", "chunk_boundary", "outside_pool", "in_pool"}
    assert sum(printed["misses"].values()) == printed["missed"]
    assert printed["misses"]["not_in_corpus"] == 1
    assert {"mean", "low", "high"} <= set(printed["lift"]["late"])
    assert printed["lift"]["cross"] is None
    assert "cross-encoder" in printed["lift_missing"]["cross"]
    assert set(printed["verdict"]) == {"code", "text", "adopt"}
    fired = {rule["rule"] for rule in printed["rules"] if rule["fired"]}
    assert {"tight_latency", "cross_encoder_floor", "store_without_multivectors"} <= fired
    assert all({"rule", "fired", "inputs", "threshold", "reason"} <= set(rule) for rule in printed["rules"])


def test_for_people_it_says_the_same(folder, capsys):
    code, out, _ = run(f"audit {folder}/kb.lw -q {folder}/queries.jsonl -r {folder}/qrels.tsv -k 1 --pool 4", capsys)
    assert code == 0
    for said in ("recall", "ceiling", "not in the corpus", "Verdict:", "Rules that fired", "not measured: no cross"):
        assert said in out


def test_runs_with_a_corpus_are_reranked_by_encoding_the_pool(folder, capsys):
    given = f"--run today={folder}/one.run --run tried={folder}/two.run -q {folder}/queries.jsonl -r {folder}/qrels.tsv"
    code, out, _ = run(f"audit {given} --corpus {folder}/corpus.jsonl -k 1 --json", capsys)
    printed = json.loads(out)
    assert code == 0
    assert printed["recall"] == 0.0  # birch is first for every question
    assert printed["ceiling"] == 0.75
    assert printed["misses"] == {"not_in_corpus": 1, "chunk_boundary": 0, "outside_pool": 0, "in_pool": 3}
    assert printed["lift"]["late"]["mean"] > 0.5
    assert printed["lift"]["late"]["latency_ms"] is None
    assert [system["system"] for system in printed["systems"]] == ["today", "tried"]
    code, out, _ = run(f"audit {given} -k 1 --json", capsys)
    assert json.loads(out)["lift"]["late"] is None
    assert "--corpus" in json.loads(out)["lift_missing"]["late"]


def test_the_lines_that_adopt_a_sidecar_run_as_they_are_printed(folder, capsys, tmp_path, monkeypatch):
    from latewood.evaluate.audit_adopt import Place, adopt

    monkeypatch.chdir(tmp_path)
    command, *lines = adopt("rerank_late", Place(corpus=str(folder / "corpus.jsonl")), 2)
    assert run(command.removeprefix("latewood "), capsys)[0] == 0
    names = {"question": "wood under water", "ids": ["birch", "yew", "elm"]}
    exec("\n".join(lines), names)
    names["kb"].close()
    assert names["ids"][0] == "elm"
    assert len(names["ids"]) == 2


def test_the_commands_that_adopt_a_pipeline_run_as_they_are_printed(folder, capsys):
    from latewood.evaluate.audit_adopt import Place, adopt

    files = str(folder / "queries.jsonl"), str(folder / "qrels.tsv")
    place = Place(str(folder / "kb.lw"), "dense", "dense:50 >> late:5", None, *files)
    for verdict in ("rerank_late", "late_only", "fix_first_stage"):
        lines = adopt(verdict, place, 5)
        assert lines
        for line in lines:
            assert run(line.removeprefix("latewood "), capsys)[0] == 0, line


def test_without_questions_they_are_generated_and_every_output_says_so(folder, capsys):
    code, out, _ = run(f"audit {folder}/kb.lw -k 1 --pool 4 --questions 4", capsys)
    assert code == 0
    assert "generated from the documents' own words, no judgements" in out
    assert "On generated questions:" in out
    printed = json.loads(run(f"audit {folder}/kb.lw -k 1 --pool 4 --questions 4 --json", capsys)[1])
    assert printed["questions"]["generated"] is True
    assert "generated" in printed["questions"]["by"]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("audit", "nothing to audit"),
        ("audit {f}/kb.lw -q {f}/queries.jsonl", "go together"),
        ("audit --run x={f}/one.run", "its own questions"),
        ("audit --run {f}/one.run -q {f}/queries.jsonl -r {f}/qrels.tsv", "NAME=FILE"),
        ("audit {f}/kb.lw --llm m", "--llm-url"),
        ("audit {f}/kb.lw --endpoint http://x", "two systems"),
        ("audit {f}/kb.lw -q {f}/queries.jsonl -r {f}/qrels.tsv --store shoebox -k 1 --pool 4", "shoebox"),
        ("audit --run x={f}/qrels.tsv -q {f}/queries.jsonl -r {f}/qrels.tsv", "qrels.tsv:1"),
        ("audit --run x={f}/one.run -q {f}/queries.jsonl --gold {f}/qrels.tsv", "--corpus"),
        ("audit {f}/kb.lw -q {f}/queries.jsonl -r {f}/qrels.tsv -k 5 --pool 5", "k < pool"),
    ],
)
def test_bad_usage_is_one_line(folder, capsys, command, said):
    code, out, err = run(command.format(f=folder), capsys)
    assert (code, out) == (2, "")
    assert err.startswith("latewood: ")
    assert said in err
    assert err.count("\n") == 1
