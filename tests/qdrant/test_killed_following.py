"""kill -9 at random moments of sync and migrate: another run ends where an undisturbed one does."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import theirs

pytest.importorskip("qdrant_client")

from following_process import COUNT, READ, follow, text_of

from latewood import sidecar
from latewood.collection import Collection
from latewood.qdrant import QdrantCollection
from letter_encoder import LetterEncoder

HERE = Path(__file__).parent
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kill -9 is a signal of POSIX")


def kill_at_random(arguments, rng, longest):
    """Whether the process was killed before it ended."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    script = [sys.executable, str(HERE / "following_process.py"), *map(str, arguments)]
    with subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def kill_until_done(arguments, times, seed):
    """`times` kills, each of them somewhere else; then a run that nobody disturbs."""
    rng = random.Random(seed)
    killed = sum(kill_at_random(arguments, rng, 0.1 + 0.15 * number) for number in range(times))
    assert killed > times // 3
    follow(*arguments)


def their_points(folder, name="docs"):
    client = theirs.client_at(folder)
    records, _ = client.scroll(name, limit=10_000, with_payload=True, with_vectors=True)
    client.close()
    return {record.id: (record.payload, record.vector) for record in records}


def passages(path):
    with Collection.open(path, LetterEncoder()) as kb:
        assert kb.check() == []
        rows = kb.snapshot.live_rows
        held = kb.snapshot.passages(rows)
        vectors = kb.snapshot.vectors(rows)
        return {passage.id: (passage, vectors[i].tolist()) for i, passage in enumerate(held)}


@pytest.fixture
def unquestioned(monkeypatch):
    """Their vectors are of letters, too, and such an encoder has no name by which it could be loaded and asked."""
    monkeypatch.setattr(QdrantCollection, "agreement", lambda self: None)


def killed_syncs(folder, times, seed):
    home = theirs.make(folder / "q", LetterEncoder(), [text_of(number) for number in range(COUNT)])
    before = theirs.digest(folder / "q")
    for name in ("part.lw", "whole.lw"):
        sidecar.create(folder / name, home, **READ, model=LetterEncoder())
    kill_until_done(["sync", home, folder / "part.lw"], times, seed)
    follow("sync", home, folder / "whole.lw")
    assert passages(folder / "part.lw") == passages(folder / "whole.lw")
    assert len(passages(folder / "part.lw")) == COUNT
    assert theirs.digest(folder / "q") == before


def killed_migrations(folder, times, seed):
    home = theirs.make(folder / "q", LetterEncoder(), [text_of(number) for number in range(COUNT)])
    before = theirs.digest(folder / "q")
    kill_until_done(["migrate", home, "part"], times, seed)
    follow("migrate", home, "whole")
    part, whole = their_points(folder / "q", "part"), their_points(folder / "q", "whole")
    assert part == whole
    assert len(part) == COUNT
    assert theirs.digest(folder / "q") == before


@pytest.mark.usefixtures("unquestioned")
def test_a_sync_is_killed_three_times(tmp_path):
    killed_syncs(tmp_path, 3, seed=1)


def test_a_migration_is_killed_three_times(tmp_path):
    killed_migrations(tmp_path, 3, seed=1)


@pytest.mark.long
@pytest.mark.usefixtures("unquestioned")
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_sync_is_killed_again_and_again(tmp_path, seed):
    killed_syncs(tmp_path, 12, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_migration_is_killed_again_and_again(tmp_path, seed):
    killed_migrations(tmp_path, 12, seed)
