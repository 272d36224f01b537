"""Chunks cover the text, fit the limit and say exactly where they come from, for any text and any tokenizer."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latewood.errors import UsageError
from latewood.ingest import Chunker
from latewood.ingest.document import Document, Section
from latewood.ingest.markup import read_markdown, read_text


def words(text):
    """A tokenizer of words and marks, with two special tokens."""
    return 2 + len(re.findall(r"\w+|[^\w\s]", text))


def quarters(text):
    """One of pieces of four characters: what two texts have together isn't the sum of what they have."""
    return 2 + -(-len(text) // 4)


TEXT = st.text(alphabet="ab .\n#é木。!-\t", max_size=400)
LIMIT = st.integers(8, 40)


@settings(deadline=None, max_examples=300)
@given(TEXT, LIMIT, st.sampled_from([words, quarters]), st.sampled_from([read_text, read_markdown]))
def test_chunks_cover_the_text_fit_and_are_where_they_say(text, limit, count, read):
    document = read(text)
    chunks = list(Chunker(count, limit, overlap=(limit - 1) // 2).chunks(document))
    covered = [False] * len(text)
    for chunk in chunks:
        assert count(chunk.text) <= limit
        assert chunk.text == "\n".join(filter(None, [chunk.title, text[chunk.start : chunk.end]]))
        covered[chunk.start : chunk.end] = [True] * (chunk.end - chunk.start)
    for section in document.sections:
        assert all(covered[i] or text[i].isspace() for i in range(section.start, section.end))
    starts = [chunk.start for chunk in chunks]
    assert starts == sorted(starts)


@settings(deadline=None, max_examples=200)
@given(TEXT, LIMIT)
def test_a_chunk_lies_in_one_section(text, limit):
    document = read_markdown(text)
    for chunk in Chunker(words, limit).chunks(document):
        assert any(section.start <= chunk.start <= chunk.end <= section.end for section in document.sections)


def test_paragraphs_stay_whole_while_they_fit():
    text = "one two three\n\nfour five six\n\nseven eight nine"
    chunks = list(Chunker(words, 8).chunks(read_text(text)))
    assert [text[chunk.start : chunk.end] for chunk in chunks] == [
        "one two three\n\nfour five six",
        "seven eight nine",
    ]


def test_neighbours_share_what_the_overlap_allows():
    text = "a a.\nb b.\nc c.\nd d.\ne e."  # three tokens a line
    chunks = list(Chunker(words, 11, overlap=3).chunks(read_text(text)))
    assert [text[chunk.start : chunk.end] for chunk in chunks] == ["a a.\nb b.\nc c.", "c c.\nd d.\ne e."]


def test_a_paragraph_too_long_is_cut_at_sentences_and_a_sentence_at_words():
    text = "One two three four. Five six. " + "w " * 9
    chunks = list(Chunker(words, 9).chunks(read_text(text)))
    assert [text[chunk.start : chunk.end] for chunk in chunks] == [
        "One two three four.",
        "Five six. w w w w",
        "w w w w w",
    ]


def test_the_title_counts_and_outer_headings_go_first():
    document = Document("a b c d e f", (Section(("An outer heading", "Inner"), 0, 11),))
    chunks = list(Chunker(words, 8).chunks(document))
    assert {chunk.title for chunk in chunks} == {"Inner"}
    assert chunks[0].text == "Inner\na b c d e"


def test_a_heading_with_nothing_below_is_a_chunk_of_its_own():
    chunks = list(Chunker(words, 20).chunks(read_markdown("# Guide\n## Install\npip it\n## Upgrade\n")))
    assert [(chunk.title, chunk.text) for chunk in chunks] == [
        ("Guide > Install", "Guide > Install\npip it"),
        ("Guide > Upgrade", "Guide > Upgrade"),
    ]


@pytest.mark.parametrize(("limit", "overlap"), [(7, 0), (20, 10), (20, -1)])
def test_impossible_limits_are_refused(limit, overlap):
    with pytest.raises(UsageError, match="expected 8 or more"):
        Chunker(words, limit, overlap)
