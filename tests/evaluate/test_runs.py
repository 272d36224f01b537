"""TREC runs in and out, and runs as systems: what is refused, and that written runs are judged as they were shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from term_overlap import TermOverlap

from latewood.errors import InputError, StorageError
from latewood.evaluate import Run, System, compare, read_run, write_run

TEXTS = {"ash": "ash wood", "bow": "a bow of yew wood", "oak": "oak wood", "yew": "old yew"}
CORPUS = {key: key for key in TEXTS}
QUERIES = {"1": "yew wood", "2": "oak", "3": "old ash"}
QRELS = {"1": {"bow": 1}, "2": {"oak": 1}, "3": {"ash": 1, "yew": 1}}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_run_as_trec_writes_it(tmp_path):
    run = read_run(write(tmp_path / "a.run", "1 Q0 oak 2 1.5 x\n\n1\tQ0\tbow\t1\t2.5\tx\r\n2 Q0 oak 1 -3e-1 x\n"))
    assert run.rankings == {"1": ("bow", "oak"), "2": ("oak",)}
    assert run.scores == {"1": (2.5, 1.5), "2": (-0.3,)}
    assert (run.depth, run.documents, run.ties_by) == (2, {"bow", "oak"}, "rank")


def test_equal_scores_stand_as_their_ranks_say_else_by_id(tmp_path):
    ranked = read_run(write(tmp_path / "a.run", "1 Q0 oak 1 5 x\n1 Q0 bow 2 5 x\n1 Q0 ash 3 4 x\n"))
    assert ranked.rankings["1"] == ("oak", "bow", "ash")
    unranked = read_run(write(tmp_path / "b.run", "1 Q0 oak 0 5 x\n1 Q0 bow 0 5 x\n1 Q0 ash 0 7 x\n"))
    assert (unranked.rankings["1"], unranked.ties_by) == (("ash", "bow", "oak"), "id")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 Q0 oak 1 2\n", "a.run:1: 5 columns; expected the 6 of a TREC run"),
        ("1 Q0 oak 1 2 x\n1 Q0 oak 2 1 x\n", "a.run:2: 'oak' came for query '1' on line 1 already"),
        ("1 Q0 oak 1 nan x\n", "a.run:1: the score is 'nan', expected a finite number"),
        ("1 Q0 oak 1 inf x\n", "a.run:1: the score is 'inf'"),
        ("1 Q0 oak 1 high x\n", "a.run:1: the score is 'high'"),
        ("1 Q0 oak first 1 x\n", "a.run:1: the rank is 'first', expected an integer"),
        ("1 Q0 oak 1 0.1 x\n1 Q0 bow 2 0.4 x\n", "rank 2 has a higher score than rank 1 .* negate the scores"),
        ("\n", "a.run: no rankings"),
    ],
)
def test_what_is_no_run(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_run(write(tmp_path / "a.run", text))


def test_files_that_can_not_be(tmp_path):
    with pytest.raises(InputError, match=r"no\.run: No such file"):
        read_run(tmp_path / "no.run")
    with pytest.raises(StorageError, match="could not be written"):
        write_run(tmp_path / "no" / "a.run", {"1": ["oak"]})
    with pytest.raises(InputError, match="id 'two words' has a blank in it"):
        write_run(tmp_path / "a.run", {"1": ["two words"]})


@settings(max_examples=80)
@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32) | st.sampled_from([0.0, 1.0, 0.1]), min_size=1, max_size=30))
def test_written_scores_fall_strictly_and_the_order_comes_back(tmp_path_factory, scores):
    falling = sorted(scores, reverse=True)
    ids = [f"d{at * 7 % 31:02}" for at in range(len(falling))]  # not in order of id
    path = tmp_path_factory.mktemp("run") / "a.run"
    write_run(path, {"q": ids}, {"q": falling}, tag="a b")
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    written = np.array([line[4] for line in lines], np.float32)
    assert bool((np.diff(written) < 0).all()), "as float32, which is what trec_eval reads"
    assert {line[5] for line in lines} == {"a_b"}
    assert read_run(path).rankings == {"q": tuple(ids)}


def test_a_run_is_judged_as_the_system_that_it_came_from(tmp_path):
    live = System("live", TermOverlap(TEXTS))
    first = compare([live], QUERIES, QRELS, CORPUS).results[0]
    write_run(tmp_path / "a.run", first.rankings, first.scores)
    run = System("run", read_run(tmp_path / "a.run"))
    found = compare([live, run], QUERIES, QRELS, CORPUS)
    assert found["run"].metrics == found["live"].metrics
    assert found["run"].per_query == found["live"].per_query
    assert (found["run"].latency, found["run"].exact, found["run"].is_run) == (None, None, True)
    assert found["live"].latency is not None
    printed = found.to_json()["pipelines"][1]
    assert (printed["latency_ms"], printed["total_ms"], printed["stages"], printed["run"]) == (None, None, [], True)


def test_runs_alone_need_no_corpus():
    runs = [
        System("a", Run({"1": ("bow",), "2": ("ash", "oak")}, {"1": (1.0,), "2": (2.0, 1.0)})),
        System("b", Run({"1": ("zinc", "bow")}, {"1": (2.0, 1.0)})),
    ]
    found = compare(runs, QUERIES, QRELS, None, metrics=["R@2", "R@1"])
    assert found["a"].metrics == {"R@2": pytest.approx(2 / 3), "R@1": pytest.approx(1 / 3)}
    assert found["b"].metrics == {"R@2": pytest.approx(1 / 3), "R@1": 0}
    assert found.to_json()["group"] == {"by": "passage", "judged": 4, "found": None}
    assert [(note.code, note.pipeline) for note in found.notes if note.pipeline] == [
        ("queries_empty", "a"),
        ("queries_empty", "b"),
    ]


@pytest.mark.parametrize(
    ("rankings", "corpus", "said"),
    [
        ([{"x1": ("oak",)}], CORPUS, "run 'r0' has none of the 3 judged queries .*'x1'.*'1'"),
        ([{"1": ("zinc",)}], CORPUS, "run 'r0' names no document of the corpus"),
        ([{"1": ("zinc",)}], None, "run 'r0' names no document of the judgements"),
        ([{"1": ("bow",)}, {"2": ("oak",)}], CORPUS, "the runs 'r0', 'r1' have no judged query in common"),
    ],
)
def test_runs_that_do_not_belong_here(rankings, corpus, said):
    runs = [
        System(f"r{at}", Run(given, {key: tuple(map(float, range(len(ids), 0, -1))) for key, ids in given.items()}))
        for at, given in enumerate(rankings)
    ]
    overlap = TermOverlap(TEXTS)
    with pytest.raises(InputError, match=said):
        compare([System("live", overlap), *runs], QUERIES, QRELS, corpus)
    assert overlap.asked == [], "found before the first question"
