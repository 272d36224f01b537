"""From the command line: ask, judge, compare --faithfulness; what they print, what they keep, what they need."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from latewood.cli import main
from stand_in import Say

DOCUMENTS = {
    "ring": "Late wood is the dense part of a ring.",
    "early": "Ring, ring, ring: which ring part? Early wood.",
    "oak": "Oak is heavy and sinks when green.",
    "elm": "Elm lasts under water for centuries.",
    "bell": "A bell has a ring to it; which part does it have?",
}
QUESTIONS = {
    "q1": "which part of a ring is the dense one?",
    "q2": "what lasts under water?",
    "q3": "what is heavy and sinks when it is green?",
    "q4": "which part does a bell have?",
}
ANSWERS = {"q1": "ring", "q2": "elm", "q3": "oak", "q4": "bell"}


@pytest.fixture
def files(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in DOCUMENTS.items())
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in QUESTIONS.items())
    )
    (tmp_path / "qrels.tsv").write_text("".join(f"{key}\t{gold}\t1\n" for key, gold in ANSWERS.items()))
    # Two rankings: one brings the answer first, one brings another document for two of the questions.
    for name, wrong in (("good", {}), ("poor", {"q1": "oak", "q3": "elm"})):
        lines = [f"{key} Q0 {wrong.get(key, gold)} 1 2.0 {name}\n" for key, gold in ANSWERS.items()]
        (tmp_path / f"{name}.run").write_text("".join(lines))
    server.model.by_heart = {QUESTIONS["q1"]: "Heartwood is the dense part. [1]"}
    assert run(capsys, "index", "--jsonl", "corpus.jsonl", "-c", "kb.lw", "--model", "openai:small")[0] == 0
    server.asked.clear()
    return tmp_path


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return left.value.code, said.out, said.err


def test_ask(server, files, capsys):
    code, out, _ = run(capsys, "ask", "kb.lw", QUESTIONS["q2"], "--llm", "scripted", "-p", "bm25:2")
    assert code == 0
    assert out.splitlines() == ["Elm lasts under water for centuries. [1]", "[1] elm  corpus.jsonl"]
    code, out, _ = run(capsys, "ask", "kb.lw", QUESTIONS["q2"], "--llm", "scripted", "-p", "bm25:2", "--json")
    told = json.loads(out)
    assert (told["schema"], told["outcome"], told["cached"], told["pipeline"]) == (1, "answered", True, "bm25:2")
    assert told["citations"][0]["id"] == "elm"
    assert [hit["id"] for hit in told["passages"]][0:1] == ["elm"]
    assert len(server.asked) == 1


def test_ask_what_is_not_there(server, files, capsys):
    code, out, _ = run(capsys, "ask", "kb.lw", "who painted the lady with an ermine?", "--llm", "scripted")
    assert (code, out.strip()) == (0, "The passages don't answer this question.")


def test_what_an_answer_can_not_do_to_a_terminal(server, files, capsys):
    server.model.by_heart["why?"] = "\x1b]0;owned\x07Because.\x1b[2J [1] [9]"
    code, out, err = run(capsys, "ask", "kb.lw", "why?", "--llm", "scripted")
    assert code == 0
    assert "\x1b" not in out
    assert "Because." in out
    assert "cites 9, and there is no such passage" in err


@pytest.mark.parametrize("command", [["ask", "kb.lw", "why?"], ["judge", "answers.jsonl"]])
def test_without_a_model_or_an_endpoint_one_line_says_what_is_needed(server, files, capsys, monkeypatch, command):
    (files / "answers.jsonl").write_text(json.dumps({"question": "q", "answer": "a", "contexts": ["t"]}) + "\n")
    code, out, err = run(capsys, *command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    option = "--llm" if command[0] == "ask" else "--judge"
    assert f"this needs a chat model: name one by {option} or LATEWOOD_LLM" in err
    monkeypatch.delenv("OPENAI_BASE_URL")
    code, out, err = run(capsys, *command, option, "m")
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "needs an endpoint, and none is set: give OPENAI_API_KEY" in err


def given_elsewhere(folder):
    answers = [
        {
            "id": "a",
            "question": "?",
            "answer": "Oak is heavy. [1] Elm lasts.",
            "contexts": ["Oak is heavy.", {"text": "x"}],
        },
        {
            "id": "b",
            "question": "?",
            "answer": "Oak is heavy.",
            "contexts": ["Oak is heavy."],
            "reference": "Oak is heavy.",
        },
        {"_id": 7, "question": "?", "answer": "I don't know.", "contexts": ["Oak is heavy."]},
    ]
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
    labels = [
        {"id": "a", "verdict": "contradicted"},
        {"id": "b", "verdict": "supported"},
        {"id": "7", "verdict": "refusal"},
    ]
    (folder / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in labels))


def test_judge(server, files, capsys):
    given_elsewhere(files)
    arguments = ("judge", "answers.jsonl", "--judge", "scripted", "--labels", "labels.jsonl")
    code, out, err = run(capsys, *arguments, "--price", "2", "--json")
    assert code == 0
    assert re.search(
        r"to an endpoint: at most \d+ requests to the judge, about [\d,]+ tokens, and up to [\d,]+ back", err
    )
    told = json.loads(out)
    assert told["scores"]["faithfulness"]["mean"] == 0.75
    assert told["scores"]["answers"] == {"judged": 2, "refusal": 1, "no_claims": 0, "unjudged": 0}
    assert told["scores"]["correctness"]["mean"] == 1.0
    assert [item["verdict"] for item in told["items"]] == ["not_in_text", "supported", "refusal"]
    assert told["agreement"]["table"]["contradicted"] == {"not_in_text": 1}
    assert told["agreement"]["faithful"]["kappa"] == 1.0
    assert told["endpoint"]["requests"] == len(server.asked) > 4
    code, again, _ = run(capsys, *arguments, "--json")
    told.pop("endpoint"), (twice := json.loads(again)).pop("endpoint")
    assert twice == told
    code, out, _ = run(capsys, *arguments)
    assert "0.750" in out
    assert "agreement with labels, verdicts: kappa 0.571" in out  # p_o 2/3, p_e 2/9
    assert "66.7% of 3 the same" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{}", '"question" is None'),
        ('{"question": "q", "answer": "a"}', '"contexts" is None, expected the list of texts'),
        ('{"question": "q", "answer": "a", "contexts": "t"}', '"contexts" is'),
        ('{"question": "q", "answer": "a", "contexts": [1]}', '"contexts" is'),
        ('{"question": "q", "answer": 3, "contexts": []}', '"answer" is 3'),
        ('{"id": [], "question": "q", "answer": "a", "contexts": []}', '"id" is'),
        ('{"question": "q", "answer": "a", "contexts": [], "claims": [""]}', '"claims" is'),
        ("[1]", "got list, expected a JSON object"),
        ("{", "not JSON"),
    ],
)
def test_answers_that_can_not_be_read(server, files, capsys, line, said):
    (files / "answers.jsonl").write_text('{"question": "q", "answer": "a", "contexts": []}\n' + line + "\n")
    code, _, err = run(capsys, "judge", "answers.jsonl", "--judge", "scripted")
    assert code == 2
    assert "answers.jsonl:2: " in err
    assert said in err
    assert not server.asked


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"id": "a", "verdict": "true"}'], "the verdict is 'true', expected one of supported"),
        (['{"id": "a", "verdict": "supported"}'] * 2, "has a verdict already"),
        ([], "no verdicts"),
        (['{"id": "z", "verdict": "supported"}'], "name what wasn't judged, such as 'z'"),
    ],
)
def test_labels_that_can_not_be_used(server, files, capsys, lines, said):
    given_elsewhere(files)
    (files / "labels.jsonl").write_text("".join(line + "\n" for line in lines))
    code, _, err = run(capsys, "judge", "answers.jsonl", "--judge", "scripted", "--labels", "labels.jsonl")
    assert (code, said in err) == (2, True)


COMPARE = (
    "compare",
    "-q",
    "queries.jsonl",
    "-r",
    "qrels.tsv",
    "--corpus",
    "corpus.jsonl",
    "--run",
    "poor=poor.run",
    "--run",
)
ON = ("good=good.run", "--faithfulness", "--llm", "scripted", "--judge", "strict", "--answer-k", "1")


def test_compare_by_hand(server, files, capsys):
    """poor: q1 by heart and so not in the text, q3 refused, q2 and q4 right; good: all four right."""
    code, out, err = run(capsys, *COMPARE, *ON, "--json", "--html", "report.html")
    assert code == 0, err
    told = json.loads(out)["answers"]
    poor, good = told["pipelines"]
    assert poor["answers"] == {"judged": 3, "refusal": 1, "no_claims": 0, "unjudged": 0}
    assert poor["faithfulness"]["mean"] == pytest.approx(2 / 3)
    assert poor["supported_answers"]["mean"] == 0.5
    assert good["faithfulness"]["mean"] == 1.0
    assert good["difference"]["faithfulness"]["mean"] == pytest.approx(1 / 3)
    assert good["difference"]["faithfulness"]["questions"] == 3
    assert good["difference"]["supported_answers"]["mean"] == 0.5
    assert (good["gained"]["count"], good["lost"]["count"]) == (2, 0)
    assert {each["query_id"] for each in good["gained"]["examples"]} == {"q1", "q3"}
    assert (told["generator"], told["judge"], told["k"], told["questions"]) == ("scripted", "strict", 1, 4)
    assert "4 answers" not in err
    # The same passages are answered and judged once: six answers for eight cells.
    assert server.model.calls.count("answer the") == 6
    page = (files / "report.html").read_text()
    assert "Answers, and whether they are faithful" in page
    assert "Heartwood is the dense part. [1]" in page
    assert page.count('<details class="question won">') >= 2


def test_the_same_inputs_give_the_same_report(server, files, capsys):
    run(capsys, *COMPARE, *ON, "--html", "first.html")
    asked = len(server.asked)
    code, out, _ = run(capsys, *COMPARE, *ON, "--html", "second.html")
    assert code == 0
    assert len(server.asked) == asked
    assert "are the answers in what was found?" in out
    assert "'good' against 'poor': faithfulness +0.333" in out
    first, second = ((files / name).read_text() for name in ("first.html", "second.html"))
    section = re.compile(r'<section id="answers">.*?</section>', re.DOTALL)
    assert section.search(first)[0] == section.search(second)[0]
    (files / "cache" / "answers.sqlite").rename(files / "cache" / "gone.sqlite")
    run(capsys, *COMPARE, *ON, "--html", "third.html")
    assert section.search((files / "third.html").read_text())[0] == section.search(first)[0]


def test_pipelines_of_a_collection_with_references_and_a_sample(server, files, capsys):
    (files / "references.jsonl").write_text(json.dumps({"_id": "q2", "answer": DOCUMENTS["elm"]}) + "\n")
    code, out, err = run(
        capsys, "compare", "kb.lw", "-q", "queries.jsonl", "-r", "qrels.tsv", "-p", "dense:3", "-p", "bm25:3",
        "--faithfulness", "--llm", "scripted", "--references", "references.jsonl", "--answer-sample", "3", "--json",
    )  # fmt: skip
    assert code == 0, err
    told = json.loads(out)["answers"]
    assert (told["questions"], told["left_out"]) == (3, 1)
    assert told["judge"] == "scripted"


def test_a_run_without_texts_says_what_to_add(server, files, capsys):
    arguments = [each for each in (*COMPARE, *ON) if each not in {"--corpus", "corpus.jsonl"}]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "add --corpus FILE" in err


def test_much_is_agreed_to_before_anything_is_sent(server, files, capsys, monkeypatch):
    monkeypatch.setattr("latewood.cli.spending.ASK_FIRST", 100)
    code, _, err = run(capsys, *COMPARE, *ON)
    assert code == 2
    assert "give --yes, or --max-tokens N" in err
    assert "answers to write" in err
    assert not server.asked
    assert run(capsys, *COMPARE, *ON, "--yes")[0] == 0


def test_an_interrupted_run_loses_nothing(server, files):
    """Ctrl-C in the middle: what was answered is on the disk, and the second run asks for the rest alone."""
    lines = [
        json.dumps({"id": str(i), "question": "?", "answer": f"Tree {i} is oak.", "contexts": [f"Tree {i} is oak."]})
        for i in range(60)
    ]
    (files / "answers.jsonl").write_text("\n".join(lines) + "\n")
    server.script = [Say(wait=0.02) for _ in range(500)]
    command = [sys.executable, "-m", "latewood", "judge", "answers.jsonl", "--judge", "scripted", "--json"]
    environment = {**os.environ, "LATEWOOD_HTTP_CONCURRENCY": "2"}
    # Started in the background, a shell's children don't hear Ctrl-C; this one shall.
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, preexec_fn=hear
    )
    while len(server.asked) < 20 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    first = len(server.asked)
    assert 20 <= first < 120
    server.script = []
    done = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=60)
    told = json.loads(done.stdout)
    assert told["scores"]["faithfulness"]["mean"] == 1.0
    assert told["scores"]["answers"]["judged"] == 60
    # What was under way at the interruption, two requests at most, may be asked for again.
    assert 120 <= len(server.asked) <= 122
