"""A stream of records: groups, acknowledgements, deletes, wrong lines, the end of input and SIGTERM."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from latewood.collection import Collection
from latewood.errors import InputError, UsageError
from latewood.following import Follower
from latewood.types import Passage


@pytest.fixture
def kb(minilm, tmp_path):
    with Collection.create(tmp_path / "kb.lw", minilm) as made:
        yield made


def fed(kb, content, **settings):
    """What was told, after all of this came and the stream ended."""
    read, write = os.pipe()
    os.write(write, content)
    os.close(write)
    told = []
    try:
        Follower(kb, read, **settings).run(told.append)
    finally:
        os.close(read)
        kb.told = told
    return told


def line(name, text="a river"):
    return json.dumps({"_id": name, "text": text, "year": 1998}).encode() + b"\n"


def test_what_comes_together_is_committed_together(kb):
    told = fed(kb, b"".join(line(str(i), f"river number {i}") for i in range(10)), most=4, within=60)
    assert [(done.lines, done.passages.added, done.generation) for done in told] == [(4, 4, 1), (8, 4, 2), (10, 2, 3)]
    assert kb.search("river number 7", 1, "bm25").hits[0].id == "7"
    assert kb.get(["3"])[0] == Passage("3", "river number 3", source="standard input", metadata={"year": 1998})


def test_a_line_waits_no_longer_than_it_is_told(kb):
    read, write = os.pipe()
    told = []
    follower = Follower(kb, read, most=100, within=0.05)
    os.write(write, line("a") + line("b"))

    def tell(done):
        told.append(done.lines)
        if len(told) == 1:
            os.write(write, line("c"))
        else:
            os.close(write)

    assert follower.run(tell) == 3
    assert told[-1] == 3
    assert len(told) >= 2


def test_of_one_id_the_last_line_counts_and_lines_may_delete(kb):
    kb.add([Passage("old", "an old one"), Passage("other", "another")])
    gone = json.dumps({"_id": "old", "_delete": True}).encode()
    again = json.dumps({"_id": "b", "_delete": True}).encode()
    told = fed(kb, line("a", "first") + line("a", "second") + gone + b"\n\n" + line("b") + again)
    assert [(done.lines, done.passages.added, done.deleted) for done in told] == [(6, 1, 1)]
    assert sorted(kb.sources()) == ["a", "other"]
    assert kb.get(["a"])[0].text == "second"


def test_a_wrong_line_is_named_and_what_came_before_is_kept(kb):
    with pytest.raises(InputError, match="standard input:3: not JSON"):
        fed(kb, line("a") + line("b") + b"{oh\n" + line("c"))
    assert [done.lines for done in kb.told] == [2]
    assert sorted(kb.sources()) == ["a", "b"]
    with pytest.raises(InputError, match='"_delete" must be true'):
        fed(kb, b'{"_id": "a", "_delete": 1}\n')
    with pytest.raises(UsageError, match="at least 1 line"):
        Follower(kb, 0, most=0)


def started(folder, *options):
    command = [sys.executable, "-m", "latewood", "index", "-c", str(folder), "--follow", "--json", *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_command_acknowledges_and_ends_with_its_input(tmp_path):
    with started(tmp_path / "kb.lw", "--commit-within", "0.1") as process:
        process.stdin.write(line("a"))
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        rest, errors = process.communicate(line("b") + line("c").rstrip())
    assert process.returncode == 0, errors
    assert list(first) == [
        "schema", "lines", "added", "replaced", "unchanged", "duplicates", "cut", "reused", "deleted", "generation",
        "seconds",
    ]  # fmt: skip
    assert (first["lines"], first["added"], first["generation"]) == (1, 1, 1)
    assert json.loads(rest.splitlines()[-1])["lines"] == 3


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_sigterm_commits_what_was_read(tmp_path):
    with started(tmp_path / "kb.lw", "--commit-within", "600", "--commit-every", "3") as process:
        process.stdin.write(line("a") + line("b") + line("c") + line("d") + line("e") + b'{"_id": "half')
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["lines"] == 3
        time.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()  # while standard input stays open
        assert process.wait() == 0
    assert json.loads(rest.splitlines()[-1])["lines"] == 5
    with Collection.open(tmp_path / "kb.lw") as kb:
        assert sorted(kb.sources()) == ["a", "b", "c", "d", "e"]


def test_what_does_not_go_with_a_stream_is_refused(tmp_path):
    command = [sys.executable, "-m", "latewood", "index", "-c", str(tmp_path / "kb.lw"), "--follow"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.returncode, "--follow reads standard input alone" in done.stderr) == (2, True)
    assert not (tmp_path / "kb.lw").exists()
