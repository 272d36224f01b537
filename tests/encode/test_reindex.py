"""Another encoder beside the one in use: built, compared, switched to, and back; killed at any moment."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoints as tiny

from latewood import reindex
from latewood.cli import main
from latewood.collection import Collection
from latewood.errors import CorruptionError, InputError, LockedError, ModelError, StorageError, UsageError
from latewood.stores.encodings import FIRST, current_names
from latewood.types import Passage

WOODS = ["oak", "ash", "beech", "pine", "larch", "elm", "maple", "birch", "yew", "alder", "cherry", "walnut"]
WORDS = [
    f"{kind}{part}"
    for kind in ("ring", "beam", "wood", "frost", "shade")
    for part in ("early", "late", "inner", "outer", "dark")
]
PASSAGES = [Passage(wood, f"{wood} has {' '.join(WORDS[i:] + WORDS[:i])}.") for i, wood in enumerate(WOODS)]
PROCESS = Path(__file__).with_name("reindexing_process.py")


@pytest.fixture(scope="module")
def colbert(tmp_path_factory):
    return str(tiny.stanford(tmp_path_factory.mktemp("colbert") / "model", doc_maxlen=96))


@pytest.fixture
def path(tmp_path, save_tiny):
    """A collection of a tiny bi-encoder; both of its kinds of vector are 32 wide."""
    path = tmp_path / "kb.lw"
    with Collection.create(path, save_tiny(limit=128)) as kb:
        kb.add(PASSAGES)
    return path


def found(path, question="rings of oak"):
    with Collection.open(path) as kb:
        assert kb.check() == []
        return kb.spec.dim, [(hit.id, round(hit.score, 5)) for hit in kb.search(question).hits]


def test_there_and_back_again(path, colbert, tmp_path):
    before = found(path)
    brought = reindex.build(path, colbert)
    assert (brought.passages.added, brought.removed) == (12, 0)
    assert found(path) == before  # until it is told to, nothing changes
    assert [(one.name, one.current) for one in reindex.encodings(path)] == [(FIRST, True), (brought.name, False)]

    assert reindex.switch(path, brought.name).passages.unchanged == 12
    dim, hits = found(path)
    assert dim == 16
    with Collection.create(tmp_path / "fresh.lw", colbert) as fresh:
        fresh.add(PASSAGES)
        assert hits == [(hit.id, round(hit.score, 5)) for hit in fresh.search("rings of oak").hits]
    # What is done meanwhile is brought over on the way back.
    with Collection.open(path) as kb:
        kb.add([Passage("spruce", "spruce is felled in winter"), Passage("oak", "oak, another text")])
        kb.delete(["ash"])
    returned = reindex.back(path)
    assert (returned.name, returned.passages.added, returned.passages.replaced, returned.removed) == (FIRST, 1, 1, 1)
    with Collection.open(path) as kb:
        assert kb.spec.dim == 32
        assert set(kb.sources()) == {*WOODS, "spruce"} - {"ash"}
        assert kb.get(["oak"])[0].text == "oak, another text"
    assert reindex.back(path).name == brought.name  # and there again
    with pytest.raises(UsageError, match="is in use: go --back first"):
        reindex.drop(path, brought.name)
    reindex.back(path)
    reindex.drop(path, brought.name)
    assert [one.name for one in reindex.encodings(path)] == [FIRST]
    assert current_names(path) == (FIRST, FIRST)


def test_a_second_run_goes_on_where_the_first_ended(path, colbert):
    first = reindex.build(path, colbert)
    with Collection.open(path) as kb:
        kb.add([Passage("spruce", "spruce is felled in winter")])
    again = reindex.build(path, colbert)
    assert (again.name, again.passages.added, again.passages.unchanged) == (first.name, 1, 12)
    with pytest.raises(UsageError, match="is of this encoder already"):
        reindex.build(path, str(Path(reindex.encodings(path)[0].encoder)))


def test_who_had_it_open_is_not_misled(path, colbert):
    name = reindex.build(path, colbert).name
    with Collection.open(path) as reader, Collection.open(path) as writer:
        before = [hit.id for hit in reader.search("rings of oak").hits]
        reindex.switch(path, name)
        assert [hit.id for hit in reader.search("rings of oak").hits] == before
        with pytest.raises(StorageError, match="was switched to another encoding since it was opened; open it again"):
            writer.add([Passage("late", "too late")])
    with Collection.open(path) as writer:
        writer.start_writing()
        with pytest.raises(LockedError):
            reindex.back(path)
    assert current_names(path)[0] == name


def test_what_cannot_be_done_is_said(path, colbert, tmp_path):
    with pytest.raises(UsageError, match="has used no other encoding than 'first': there is nothing to go back to"):
        reindex.back(path)
    with pytest.raises(InputError, match="has no encoding 'other'; it has first"):
        reindex.switch(path, "other")
    with pytest.raises(ModelError, match="neither known nor a folder"):
        reindex.build(path, "nowhere")
    with pytest.raises(UsageError, match="first encoding can't be dropped"):
        reindex.drop(path, FIRST)
    name = reindex.build(path, colbert).name
    reindex.switch(path, name)
    (path / "encodings" / "current").write_text("no such\n")
    with pytest.raises(CorruptionError, match="is not what was written, or names an encoding that isn't there"):
        Collection.open(path)


def test_the_command(path, colbert, tmp_path, capsys):
    def run(*arguments, code=0):
        with pytest.raises(SystemExit) as done:
            main(["reindex", str(path), *map(str, arguments), "--json"])
        assert (done.value.code or 0) == code
        shown = capsys.readouterr()
        return json.loads(shown.out) if not code else shown.err

    built = run("--encoder", colbert, "--questions", 10)
    assert [one["current"] for one in built["encodings"]] == [True, False]
    name = built["built"]["name"]
    systems = [row["pipeline"] for row in built["compared"]["pipelines"]]
    assert systems == [f"dense:50 >> late @ {FIRST}", f"late @ {name}"]
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps({"_id": wood, "text": f"rings of {wood}"}) + "\n" for wood in WOODS)
    )
    (tmp_path / "r.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{wood}\t{wood}\t1\n" for wood in WOODS))
    given = run("--encoder", colbert, "-q", tmp_path / "q.jsonl", "-r", tmp_path / "r.tsv", "--switch")
    assert given["built"]["unchanged"] == 12
    assert all(row["metrics"] for row in given["compared"]["pipelines"])
    assert [one["current"] for one in given["encodings"]] == [False, True]
    assert run("--back")["encodings"][0]["current"]
    assert [one["name"] for one in run("--drop", name)["encodings"]] == [FIRST]
    assert "one thing at a time" in run("--back", "--encoder", "x", code=2)
    assert "one thing at a time" in run("--switch", code=2)


def test_what_was_interrupted_changes_nothing_and_goes_on(path, colbert, monkeypatch):
    before = found(path)
    monkeypatch.setattr("latewood.collection.BATCH", 4)
    done = []

    def interrupt(n):
        done.append(n)
        if sum(done) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reindex.build(path, colbert, progress=interrupt)
    assert found(path) == before
    again = reindex.build(path, colbert)
    assert (again.passages.unchanged, again.passages.added) == (4, 8)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("latewood.index.disk.os.replace", full)
        with pytest.raises(StorageError):
            reindex.switch(path, again.name)
    assert found(path) == before
    reindex.switch(path, again.name)
    assert found(path)[0] == 16


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")
def test_kills_while_building_and_switching(path, colbert):
    """Whatever moment it is killed at: the old encoding answers as before, or the new one is whole and in use."""
    with Collection.open(path) as kb:
        kb.add(Passage(f"{wood}-{i}", f"{wood} {i}, felled and sawn") for wood in WOODS for i in range(6))
    before, random = found(path), np.random.default_rng(4)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, str(PROCESS), str(path), colbert, "switch"], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        words = int(random.integers(1, 9))
        for _ in range(words):
            process.stdout.readline()
        time.sleep(float(random.random()) * 0.05)
        process.kill()
        process.wait()
        if current_names(path)[0] == FIRST:
            assert found(path) == before
        else:
            assert found(path)[0] == 16
    done = subprocess.run(
        [sys.executable, str(PROCESS), str(path), colbert, "build" if current_names(path)[0] == FIRST else "switch"],
        capture_output=True,
        text=True,
    )
    if current_names(path)[0] == FIRST:
        assert done.returncode == 0, done.stderr
        reindex.switch(path, reindex.encodings(path)[1].name)
    with Collection.open(path) as kb:
        assert (kb.spec.dim, kb.stats()["passages"]) == (16, 84)
        assert kb.check() == []
