"""Answers by their own words or spans: whole, cut, or missing; by hand, and by arithmetic on real running text."""

from __future__ import annotations

import difflib
import json

import pytest

from latewood.errors import InputError
from latewood.evaluate.audit_corpus import Corpus, source_of
from latewood.evaluate.audit_gold import Excerpt, from_excerpts, read_gold
from latewood.ingest import read_jsonl
from latewood.types import Passage

WORDS = [f"w{at}" for at in range(30)]


def chunk(passage_id, words, source="doc", **metadata):
    return Passage(passage_id, " ".join(words), source_id=source, metadata=metadata)


def state(excerpt, *chunks):
    gold = from_excerpts([excerpt], Corpus.of(chunks))[0]
    return gold.state, gold.passages


def words_of(start, end):
    return Excerpt("q", "e", "doc", " ".join(WORDS[start:end]))


HALVES = chunk("doc#0", WORDS[:15]), chunk("doc#1", WORDS[15:])


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (5, 15, ("whole", ("doc#0",))),
        (6, 16, ("whole", ("doc#0",))),  # 9 of 10 words in one chunk: at the threshold
        (7, 17, ("whole", ("doc#0",))),  # 8 of 10, and the other 2 are too few in a row to count: nobody holds more
        (5, 19, ("cut", ())),  # 10 of 14, and the other 4
        (10, 20, ("cut", ())),
        (15, 25, ("whole", ("doc#1",))),
    ],
)
def test_an_excerpt_near_a_boundary(start, end, expected):
    assert state(words_of(start, end), *HALVES) == expected


def test_overlapping_chunks_hold_what_a_boundary_would_cut():
    overlapping = chunk("doc#0", WORDS[:18]), chunk("doc#1", WORDS[8:])
    assert state(words_of(10, 18), *overlapping) == ("whole", ("doc#0", "doc#1"))


@pytest.mark.parametrize(("held", "expected"), [(5, "whole"), (4, "missing")])
def test_an_excerpt_is_in_the_corpus_from_one_half_on(held, expected):
    assert state(words_of(0, 10), chunk("doc#0", [*WORDS[:held], *"abcdefg"]))[0] == expected


def test_case_and_punctuation_are_no_difference():
    there = Passage("doc#0", "The Cat (a big one) sat, on THE mat. And then it left.", source_id="doc")
    assert state(Excerpt("q", "e", "", "the cat a big one sat on the mat"), there)[0] == "whole"


def test_an_excerpt_of_another_source_is_not_found_there():
    other = chunk("other#0", WORDS[:15], source="other")
    assert state(words_of(0, 10), other)[0] == "missing"
    assert state(Excerpt("q", "e", "", " ".join(WORDS[:10])), other)[0] == "whole"


@pytest.mark.parametrize(
    ("end", "expected"), [(110, "whole"), (111, "cut"), (150, "cut"), (310, "cut"), (311, "missing")]
)
def test_spans_are_judged_by_overlap(end, expected):
    """Chunks 0:100 and 100:160 against a span from 10: 90 of 100 characters in the first, then 90 of 101 …

    Of 300 characters the two hold 150, one half; of 301 less than that.
    """
    chunks = chunk("doc#0", ["a"], start=0, end=100), chunk("doc#1", ["b"], start=100, end=160)
    assert state(Excerpt("q", "e", "doc", span=(10, end)), *chunks)[0] == expected


def test_spans_need_chunks_that_say_where_they_lie():
    with pytest.raises(InputError, match=r"chunk 'doc#0' doesn't say where"):
        state(Excerpt("q", "e", "doc", span=(0, 9)), chunk("doc#0", WORDS))


def test_words_and_spans_agree_on_real_text_that_is_cut_anew(data):
    """The five running texts of chroma_mixed, put together again and cut every 100 words.

    A gold is one of its passages of about 160 words. Where its words lie in the new chunks is arithmetic; looking its
    words up must give the same state. (Passages in which the text repeats itself can be found elsewhere too.)
    """
    texts: dict[str, list[str]] = {}
    places = []
    for passage in read_jsonl(data("chroma_mixed") / "corpus.jsonl"):
        running = texts.setdefault(passage.id.rpartition("-")[0], [])
        words = passage.text.split()
        source = passage.id.rpartition("-")[0]
        places += [(source, len(running) + at, words[at : at + 40]) for at in range(0, len(words) - 40, 60)]
        running += words
    chunks = [
        chunk(f"{source}#{at}", words[at : at + 100], source, start=at, end=at + 100)
        for source, words in texts.items()
        for at in range(0, len(words), 100)
    ]
    corpus = Corpus.of(chunks)
    kept = places[::40]
    by_words = from_excerpts([Excerpt("q", str(at), s, " ".join(w)) for at, (s, _, w) in enumerate(kept)], corpus)
    by_spans = from_excerpts([Excerpt("q", str(at), s, span=(b, b + 40)) for at, (s, b, _) in enumerate(kept)], corpus)
    assert {gold.state for gold in by_spans} == {"whole", "cut"}
    assert sum(gold.state == "cut" for gold in by_spans) > len(kept) / 5
    held = {passage.id: passage.text.split() for passage in chunks}
    for (_, _, excerpt), words, span in zip(kept, by_words, by_spans, strict=True):
        if words.state != span.state:
            # The text repeats itself: a chunk elsewhere holds it. difflib, strict about order, finds most of it there.
            assert (words.state, span.state) == ("whole", "cut")
            matcher = difflib.SequenceMatcher(None, excerpt, held[words.passages[0]], autojunk=False)
            assert sum(block.size for block in matcher.get_matching_blocks()) >= 0.7 * len(excerpt)


def test_a_gold_file(tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text(
        '{"query_id": "q1", "text": "some words", "source_id": "a.md"}\n\n'
        '{"query_id": 2, "source_id": "a.md", "start": 3, "end": 9}\n'
    )
    first, second = read_gold(path)
    assert (first.query_id, first.source_id, first.text, first.span) == ("q1", "a.md", "some words", None)
    assert (second.query_id, second.id, second.span) == ("2", "a.md[3:9]", (3, 9))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"text": "x"}', '"query_id" is null'),
        ('{"query_id": "q"}', 'expected "text"'),
        ('{"query_id": "q", "text": "  "}', 'expected "text"'),
        ('{"query_id": "q", "source_id": "a", "start": 5, "end": 5}', "0 <= start < end"),
        ('{"query_id": "q", "start": 5, "end": 9}', 'expected "text"'),
        ('{"query_id": "q", "text": 3}', "are strings"),
    ],
)
def test_a_bad_gold_file_names_its_line(tmp_path, line, said):
    path = tmp_path / "gold.jsonl"
    path.write_text(json.dumps({"query_id": "q0", "text": "fine"}) + "\n" + line + "\n")
    with pytest.raises(InputError, match=r"gold\.jsonl:2") as caught:
        read_gold(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gold_that_comes_twice_and_a_file_without_any(tmp_path):
    path = tmp_path / "gold.jsonl"
    path.write_text('{"query_id": "q", "text": "x"}\n' * 2)
    with pytest.raises(InputError, match="on line 1 already"):
        read_gold(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="no golds"):
        read_gold(path)


def test_sources_of_chunks():
    assert source_of("guide.md#12") == "guide.md"
    assert source_of("https://x.org/page#start") == "https://x.org/page#start"
    corpus = Corpus.of([Passage("a.pdf#2", "x"), Passage("c7", "y", metadata={"source_id": "b"}), Passage("d", "z")])
    assert corpus.sources == {"a.pdf#2": "a.pdf", "c7": "b", "d": "d"}
    assert (len(corpus), corpus.pages) == (3, 1)
    with pytest.raises(InputError, match="'d' twice"):
        Corpus.of([Passage("d", "x"), Passage("d", "y")])
    with pytest.raises(InputError, match="is empty"):
        Corpus.of([])
