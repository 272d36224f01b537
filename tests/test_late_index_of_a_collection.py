"""A collection's late-interaction index through its doors: build, search, certify, stats, check, and the commands."""

from __future__ import annotations

import json
import shlex

import pytest

from latewood import late_index
from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import CorruptionError, PipelineError
from latewood.index import LATE_FOLDER
from latewood.types import Passage

TREES = ["oak", "beech", "larch", "pine", "ash", "elm", "birch", "alder", "yew", "lime"]
PLACES = ["by the river", "on the hill", "behind the mill", "at the crossroads", "near the quarry"]
USES = ["ships were built", "chairs are turned", "fences are made"]


def passages():
    for i, tree in enumerate(TREES):
        for j, place in enumerate(PLACES):
            for k, use in enumerate(USES):
                text = f"The {tree} that grows {place} is {20 * i + j} feet tall. From its wood {use} to this day."
                yield Passage(f"{tree}-{j}-{k}", text)


@pytest.fixture(scope="module")
def folder(minilm, tmp_path_factory):
    path = tmp_path_factory.mktemp("late") / "kb.lw"
    with Collection.create(path, minilm) as kb:
        kb.add(passages())
    return path


@pytest.fixture
def kb(folder, minilm):
    with Collection.open(folder, minilm) as opened:
        yield opened


def run(command, capsys):
    """Exit code, standard output, standard error."""
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    return left.value.code or 0, *capsys.readouterr()


def test_without_an_index_late_is_exact_and_there_is_nothing_to_certify(minilm, tmp_path, capsys):
    with Collection.create(tmp_path / "kb.lw", minilm) as made:
        made.add([Passage("a", "A tree by the river.")])
        assert made.search("river", pipeline="late").exact
        assert made.stats()["late_index"] is None
        with pytest.raises(PipelineError, match="latewood build"):
            late_index.certify(made)
    code, _, err = run(f"certify {tmp_path / 'kb.lw'}", capsys)
    assert (code, "latewood build" in err) == (2, True)


def test_build_and_certify_print_the_json_that_is_documented(folder, capsys):
    code, out, _ = run(f"build {folder} --samples 20 --threads 1 --json", capsys)
    printed = json.loads(out)
    assert code == 0
    assert list(printed) == [
        "schema", "collection", "passages", "vectors", "bytes", "depths", "target_overlap", "tuned_on", "queries",
        "seconds",
    ]  # fmt: skip
    assert (printed["passages"], printed["tuned_on"], printed["queries"]) == (150, 20, "pseudo")
    questions = folder.parent / "questions.jsonl"
    asked = [{"_id": tree, "text": f"how tall is the {tree}?"} for tree in TREES]
    questions.write_text("".join(json.dumps(question) + "\n" for question in asked))
    code, out, _ = run(f"certify {folder} -q {questions} --samples 10 --json", capsys)
    printed = json.loads(out)
    assert code == 0
    assert list(printed) == [
        "schema", "overlap@10", "stored_vs_float32", "certified", "samples", "queries", "pseudo", "p50_ms", "p95_ms",
        "exhaustive_p50_ms",
    ]  # fmt: skip
    assert list(printed["overlap@10"]) == ["mean", "low", "high"]
    assert printed["certified"] == printed["overlap@10"]["mean"] * printed["stored_vs_float32"]["mean"]
    assert (printed["samples"], printed["queries"]) == (10, "given")
    assert printed["overlap@10"]["mean"] >= 0.97
    assert printed["pseudo"]["mean"] >= 0.97
    assert "certified" in run(f"certify {folder} --samples 10", capsys)[1]
    assert "bytes a vector" in run(f"build {folder} --samples 10", capsys)[1]
    assert "late_index" in run(f"stats {folder}", capsys)[1]
    assert run(f"check {folder}", capsys)[0] == 0


def test_search_says_whether_it_was_exact(kb):
    late_index.build(kb, samples=20)
    assert kb.snapshot.late_index is not None
    question = "how tall is the larch near the quarry?"
    found = kb.search(question, 5, "late(n_full_scores=12)")
    exact = kb.search(question, 5, "late(exact=true)")
    assert exact.exact
    assert not found.exact
    assert [(hit.id, hit.score) for hit in found.hits] == [(hit.id, hit.score) for hit in exact.hits]
    assert kb.search(question, 5, "dense:20 >> late").exact  # twenty candidates are all scored
    with pytest.raises(PipelineError, match="n_probe"):
        kb.search(question, 5, "late(n_probe=many)")


def test_it_stays_right_while_the_collection_changes(minilm, tmp_path):
    with Collection.create(tmp_path / "kb.lw", minilm) as made:
        made.add(passages())
        late_index.build(made, samples=20)
        made.add([Passage("new", "The walnut that grows in the abbey garden is ninety feet tall.")])
        made.delete(["larch-4-0", "larch-4-1"])
        made.add([Passage("larch-4-2", "Something else altogether.")])
        for question in ("how tall is the walnut in the abbey garden?", "the larch near the quarry"):
            found, exact = (made.search(question, 10, p) for p in ("late(n_full_scores=12)", "late(exact=true)"))
            assert [hit.id for hit in found.hits][:3] == [hit.id for hit in exact.hits][:3]
        assert made.search("walnut", 1, "late").hits[0].id == "new"
        uncovered, vectors = made.uncovered()
        assert 0 < uncovered < vectors
        assert made.check() == []
        path = tmp_path / "kb.lw" / LATE_FOLDER / made.stats()["late_index"]["file"]
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
        assert any("late-" in finding for finding in made.check())


@pytest.mark.parametrize("file", ["late-", "manifest"])
def test_a_damaged_one_is_told_to_those_who_ask_for_it_and_built_anew(minilm, tmp_path, file):
    with Collection.create(tmp_path / "kb.lw", minilm) as made:
        made.add(passages())
        late_index.build(made, samples=20)
        expected = made.search("how tall is the larch?", 5, "late(exact=true)")
    path = next((tmp_path / "kb.lw" / LATE_FOLDER).glob(f"{file}*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with Collection.open(tmp_path / "kb.lw", minilm) as kb:
        for pipeline in "dense:5", "bm25:5", "late(exact=true):5":
            assert kb.search("how tall is the larch?", 5, pipeline).hits
        with pytest.raises(CorruptionError, match=rf"{path.name}.*latewood build makes the index anew"):
            kb.search("how tall is the larch?", 5, "late(n_full_scores=12)")
        assert any(path.name in finding for finding in kb.check())
        kb.add([Passage("more", "A sentence that comes later.")])
        kb.delete(["more"])
        late_index.build(kb, samples=20)
        found = kb.search("how tall is the larch?", 5, "late(n_full_scores=12)")
        assert [(hit.id, hit.score) for hit in found.hits] == [(hit.id, hit.score) for hit in expected.hits]
        assert kb.check() == []


def test_it_is_built_when_it_is_worthwhile(kb, monkeypatch):
    assert not late_index.is_worthwhile(kb)
    monkeypatch.setattr(late_index, "WORTHWHILE", 100)
    uncovered, vectors = kb.uncovered()
    assert late_index.is_worthwhile(kb) == (uncovered > 0.2 * vectors)


def test_pseudo_questions_are_sentences_of_the_passages(kb):
    drawn = late_index.sample_questions(kb, 30, seed=5)
    assert len(drawn) == 30
    whole = " ".join(passage.text for passage in passages())
    assert all(sentence in whole for sentence in drawn)
    assert drawn == late_index.sample_questions(kb, 30, seed=5)
    assert drawn != late_index.sample_questions(kb, 30, seed=6)
