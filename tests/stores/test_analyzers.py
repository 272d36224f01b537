"""How BM25 cuts text: hand-worked terms, and that every language that is offered exists."""

from __future__ import annotations

import pytest

from latewood.errors import UsageError
from latewood.stores.analyzers import ANALYZERS, Analyzer

pytest.importorskip("tantivy")


@pytest.mark.parametrize(
    ("name", "text", "terms"),
    [
        ("auto", "Running Oaks", ["run", "oak"]),
        ("auto", "年輪は密", ["年輪", "輪は", "は密"]),
        ("auto", "木", ["木"]),
        ("auto", "Python3の使い方", ["python3", "の使", "使い", "い方"]),
        ("auto", "วงปี", ["วง", "งป", "ปี"]),
        ("auto", "книги", ["книг"]),
        ("russian", "книги", ["книг"]),
        ("german", "Häuser", ["haus"]),
        ("english", "年輪は密", ["年輪は密"]),
        ("plain", "Running Oaks", ["running", "oaks"]),
        ("ngram", "oak", ["oa", "oak", "ak"]),
    ],
)
def test_terms(name, text, terms):
    assert Analyzer.of(name).terms(text) == terms


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("english", "running books of the libraries"),
        ("russian", "читающие книги библиотеки"),
        ("greek", "διαβάζοντας βιβλία"),
        ("arabic", "الكتب المدارس يقرأون"),
        ("tamil", "புத்தகங்கள் மரங்கள்"),
    ],
)
def test_auto_stems_each_script_as_its_own_language_does(language, text):
    assert Analyzer.of("auto").terms(text) == Analyzer.of(language).terms(text)


@pytest.mark.parametrize("name", ANALYZERS)
def test_all_that_are_offered_exist(name):
    assert Analyzer.of(name).terms("oak") != []


def test_an_unknown_language_is_refused_by_name():
    with pytest.raises(UsageError, match="'klingon', expected one of english, auto"):
        Analyzer.of("klingon")
