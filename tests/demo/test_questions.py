"""The questions against the corpus: every label exists, and the words that make it right are where it points.

`evidence.tsv` holds, for each judgement, a quote of the passage that answers the question. So a label can be checked by
reading two lines, and by a machine on every version of Python.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from interpreters import VERSIONS, records

from latewood.demo import stdlib_docs

DEMO = Path(stdlib_docs.__file__).parent
MIN_QUESTIONS = 150
RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def questions() -> dict[str, str]:
    lines = (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert all(set(q) == {"_id", "text"} for q in found)
    assert len({q["_id"] for q in found}) == len(found)
    return {q["_id"]: q["text"] for q in found}


@pytest.fixture(scope="module")
def golds() -> dict[str, list[str]]:
    header, *rows = _rows(DEMO / "qrels.tsv")
    assert header == ["query-id", "corpus-id", "score"]
    found: dict[str, list[str]] = defaultdict(list)
    for query, gold, score in rows:
        assert score == "1"
        found[query].append(gold)
    return found


def _texts(version: str) -> dict[str, str]:
    """Source id to its text on that version of Python, with blanks and line breaks made single blanks."""
    found: dict[str, str] = defaultdict(str)
    for record in records(version):
        found[record.source_id] += " " + " ".join(f"{record.title} {record.body}".split())
    return found


def test_enough_questions_and_each_is_judged(questions: dict[str, str], golds: dict[str, list[str]]):
    assert len(questions) >= MIN_QUESTIONS
    assert set(golds) == set(questions)
    assert all(len(set(g)) == len(g) for g in golds.values())
    assert len({text.casefold() for text in questions.values()}) == len(questions)


def test_every_judgement_has_one_quote(golds: dict[str, list[str]]):
    header, *rows = _rows(Path(__file__).with_name("evidence.tsv"))
    assert header == ["query-id", "corpus-id", "quote"]
    assert sorted((q, g) for q, g, _ in rows) == sorted((q, g) for q, gs in golds.items() for g in gs)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_gold_is_in_the_corpus_and_holds_its_quote(version: str, golds: dict[str, list[str]]):
    texts = _texts(version)
    assert [g for gs in golds.values() for g in gs if g not in texts] == []
    _, *rows = _rows(Path(__file__).with_name("evidence.tsv"))
    assert [(q, g, quote) for q, g, quote in rows if quote not in texts[g]] == []


def test_no_question_names_its_answer(questions: dict[str, str], golds: dict[str, list[str]]):
    titles = {r.source_id: r.title for r in records(RUNNING)}
    for query, text in questions.items():
        for gold in golds[query]:
            name = titles[gold]
            assert not re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text, re.IGNORECASE), (query, name)


def test_questions_share_few_words_with_the_titles_of_their_answers(
    questions: dict[str, str], golds: dict[str, list[str]]
):
    """Share of a question's words that are in the title of an answer, on average: 0.02 when they were written."""
    titles = {r.source_id: r.title for r in records(RUNNING)}

    def words(text: str) -> set[str]:
        return set(re.findall(r"[a-z]{3,}", text.casefold())) - {"the", "and", "with", "for", "from"}

    shares = []
    for query, text in questions.items():
        asked = words(text)
        answered = set().union(*(words(titles[gold]) for gold in golds[query]))
        shares.append(len(asked & answered) / max(1, len(asked)))
    assert sum(shares) / len(shares) < 0.1


def test_questions_are_spread(golds: dict[str, list[str]]):
    """About a third on the language, the rest over many modules, and no source is the answer to a tenth of them."""
    first = [g[0] for g in golds.values()]
    topics = [g for g in first if g.startswith("topic:")]
    assert 0.25 <= len(topics) / len(first) <= 0.45
    modules = {r.source_id: r.module for r in records(RUNNING)}
    assert len({modules[g] for g in first}) >= 45
    assert max(first.count(g) for g in set(first)) <= 0.1 * len(first)
