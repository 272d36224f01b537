"""Folders into a collection: what changed, what shrank, what went, and what can't be read."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from latewood.collection import Collection
from latewood.errors import InputError
from latewood.folders import index_paths
from latewood.ingest import Rules
from latewood.types import EncodedPassages, EncodedQuery, EncoderSpec, MultiVectors, TokenLabel


class WordEncoder:
    """One vector per word, of the word's letters: what the model thinks is not what is tested here."""

    spec = EncoderSpec("words", "0" * 64, dim=4, dense_dim=4, max_length=24, overlap=4)

    def __init__(self):
        self.encoded = []
        self.labelled = 0

    def encode_passages(self, texts, progress=None):
        self.encoded += texts
        vectors = [np.ones((len(text.split()) + 2, 4), np.float32) for text in texts]
        if progress is not None:
            progress(len(texts))
        return EncodedPassages(MultiVectors.of(vectors, 4), MultiVectors.of([v[:1] for v in vectors], 4))

    def encode_query(self, text):
        return EncodedQuery(text, np.ones(4, np.float32), np.ones((1, 4), np.float32), (TokenLabel(text, 0, 1),))

    def label(self, text):
        return [TokenLabel("", 0, 0)] * self.count_tokens(text)

    def count_tokens(self, text):
        self.labelled += 1
        return len(text.split()) + 2


LONG = "\n\n".join(f"Paragraph {i} of ten words that say nothing at all." for i in range(6))


@pytest.fixture
def encoder():
    return WordEncoder()


@pytest.fixture
def kb(tmp_path, encoder):
    with Collection.create(tmp_path / "kb.lw", encoder) as made:
        encoder.encoded.clear()
        yield made


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    for name, text in {
        "guide.md": "# Guide\n\n## Install\n\nUse pip.\n",
        "sub/page.html": "<title>Page</title><p>Words of a page.</p>",
        "long.txt": LONG,
        "README": "Read me.",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def ids(kb):
    return sorted(kb.sources())


ALL = ["README", "guide.md", "long.txt#1", "long.txt#2", "long.txt#3", "sub/page.html"]


def test_ids_titles_sources_and_spans(kb, docs):
    report = index_paths(kb, [docs])
    assert ids(kb) == ALL
    assert (report.read, report.unchanged, report.passages.added) == (4, 0, 6)
    for passage in kb.get(["long.txt#1", "long.txt#3"]):
        start, end = passage.metadata["span"]
        assert passage.text == LONG[start:end]
        assert (passage.source_id, passage.source) == ("long.txt", str(docs / "long.txt"))
    (guide,) = kb.get(["guide.md"])
    assert (guide.title, guide.text) == ("Guide > Install", "Guide > Install\nUse pip.")


def test_a_second_run_reads_no_text(kb, docs, encoder):
    index_paths(kb, [docs])
    encoder.encoded.clear()
    encoder.labelled = 0
    report = index_paths(kb, [docs])
    assert (report.read, report.unchanged, encoder.encoded, encoder.labelled) == (0, 4, [], 0)


def test_editing_one_file_encodes_one_file(kb, docs, encoder):
    index_paths(kb, [docs])
    encoder.encoded.clear()
    (docs / "README").write_text("Read me again.", encoding="utf-8")
    report = index_paths(kb, [docs])
    assert (report.read, report.unchanged, encoder.encoded) == (1, 3, ["Read me again."])


def test_a_file_that_shrank_leaves_nothing_behind(kb, docs):
    index_paths(kb, [docs])
    (docs / "long.txt").write_text("Short now.", encoding="utf-8")
    report = index_paths(kb, [docs])
    assert report.surplus == 3
    assert ids(kb) == ["README", "guide.md", "long.txt", "sub/page.html"]


def test_an_interrupted_run_goes_on(kb, docs, encoder):
    index_paths(kb, [docs])
    kb.delete(["long.txt#2"])  # as if the batch that held it had been lost
    encoder.encoded.clear()
    report = index_paths(kb, [docs])
    assert (report.read, report.passages.added, len(encoder.encoded)) == (1, 1, 1)
    assert ids(kb) == ALL


def test_what_is_gone_goes_when_asked(kb, docs, tmp_path):
    other = tmp_path / "docs2"
    other.mkdir()
    (other / "kept.md").write_text("Kept.", encoding="utf-8")
    index_paths(kb, [docs, other])
    (docs / "long.txt").unlink()
    assert index_paths(kb, [docs]).pruned == []
    assert index_paths(kb, [docs], prune=True).pruned == ["long.txt"]
    assert ids(kb) == ["README", "guide.md", "kept.md", "sub/page.html"]


def test_a_file_that_became_unreadable_is_not_gone(kb, docs):
    index_paths(kb, [docs])
    (docs / "README").write_bytes(b"\0\1\2\3" * 99)
    report = index_paths(kb, [docs], prune=True)
    assert [(skipped.path, skipped.reason) for skipped in report.listing.skipped] == [(str(docs / "README"), "binary")]
    assert report.pruned == []
    assert ids(kb) == ALL


def test_what_is_not_read_is_named_or_counted(kb, docs):
    (docs / "empty.md").write_text("\n", encoding="utf-8")
    (docs / "latin.txt").write_bytes("Größe, Härte und Länge der Bäume".encode("latin-1"))
    (docs / "picture.png").write_bytes(b"\x89PNG")
    (docs / "large.txt").write_text("x" * 2000, encoding="utf-8")
    (docs / ".git").mkdir()
    (docs / "loop").symlink_to(docs)
    (docs / "dangling.txt").symlink_to(docs / "nothing")
    os.mkfifo(docs / "pipe.txt")
    report = index_paths(kb, [docs], rules=Rules(max_bytes=1000))
    reasons = {os.path.relpath(skipped.path, docs): skipped.reason for skipped in report.listing.skipped}
    assert reasons == {
        "empty.md": "no text in it",
        "large.txt": "2,000 bytes, more than 1,000",
        "loop": "a link to a folder",
        "dangling.txt": "No such file or directory",
        "pipe.txt": "not a regular file",
    }
    assert report.listing.other_types == {".png": 1}
    assert report.listing.excluded == 1
    assert list(report.decoded) == [str(docs / "latin.txt")]


def test_globs(kb, docs):
    (docs / "code.py").write_text("print()", encoding="utf-8")
    index_paths(kb, [docs], rules=Rules(include=["*.py", "*.md", "*.html"], exclude=["sub"]))
    assert ids(kb) == ["code.py", "guide.md"]


def test_two_files_of_one_id_are_refused_before_anything_is_changed(kb, docs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "README").write_text("Another.", encoding="utf-8")
    with pytest.raises(InputError, match="would both be 'README'"):
        index_paths(kb, [docs, other])
    assert ids(kb) == []
    index_paths(kb, [docs])
    with pytest.raises(InputError, match=r"would replace .*docs/README"):
        index_paths(kb, [other])
    assert ids(kb) == ALL


def test_jsonl_documents_whole_or_cut(kb, tmp_path):
    path = tmp_path / "corpus.jsonl"
    records = [{"_id": "a", "title": "A title", "text": LONG, "year": 1}, {"_id": "b", "text": "Short."}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    index_paths(kb, [path])
    assert ids(kb) == ["a", "b"]
    index_paths(kb, [path], chunk_jsonl=True)
    assert ids(kb) == ["a#1", "a#2", "a#3", "b"]
    second = kb.get(["a#2"])[0]
    start, end = second.metadata["span"]
    assert (second.text, second.metadata["year"]) == (f"A title\n{LONG[start:end]}", 1)
    index_paths(kb, [path])
    assert ids(kb) == ["a", "b"]


def test_a_broken_jsonl_in_a_folder_is_named(kb, docs):
    (docs / "log.jsonl").write_text('{"level": "info"}\n', encoding="utf-8")
    report = index_paths(kb, [docs])
    assert len(report.listing.skipped) == 1
    assert 'neither "title" nor "text"' in report.listing.skipped[0].reason
    assert ids(kb) == ALL


def test_the_collection_in_the_folder_is_not_indexed(docs, encoder):
    with Collection.create(docs / "kb.lw", encoder) as kb:
        report = index_paths(kb, [docs])
        assert ids(kb) == ALL
        assert report.listing.other_types == {}
