"""Callers at once, threads of one pool, and a process that forks: the same scores."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import kernel_cases as cases
import numpy as np
import pytest

from latewood import maxsim


@pytest.mark.parametrize("form", cases.FORMATS)
def test_callers_do_not_disturb_each_other(form):
    rng = np.random.default_rng(0)
    docs = cases.documents(rng, [*cases.LENGTHS, 700] * 12, 48, form)
    queries = [cases.vectors(rng, count, 48) for count in (1, 3, 8, 10, 19, 32, 5, 27)]
    alone = [maxsim.scores(query, docs) for query in queries]

    def work(turn: int) -> bool:
        i = turn % len(queries)
        return np.array_equal(maxsim.scores(queries[i], docs, threads=1 + turn % 4), alone[i])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(160)))


def test_more_threads_than_work():
    rng = np.random.default_rng(1)
    query, docs = cases.vectors(rng, 4, 16), cases.documents(rng, [3, 0, 2], 16)
    np.testing.assert_array_equal(maxsim.scores(query, docs, threads=64), maxsim.scores(query, docs))
    none = np.zeros(0, np.int64)
    assert maxsim.scores(query, docs, none, threads=64).shape == (0,)


def test_python_runs_on_while_the_kernel_scores():
    rng = np.random.default_rng(2)
    query, docs = cases.vectors(rng, 128, 512), cases.documents(rng, [4000] * 6, 512)
    finished = threading.Event()

    def work() -> None:
        for _ in range(5):
            maxsim.scores(query, docs)
        finished.set()

    caller = threading.Thread(target=work)
    caller.start()
    turns = 0
    while not finished.is_set():
        turns += 1
        time.sleep(0.001)
    caller.join()
    # Were the GIL held, there would be about one turn for each of the five calls.
    assert turns > 10


FORK = """
import os, sys
import numpy as np
from latewood import maxsim
from latewood.types import MultiVectors
rng = np.random.default_rng(0)
docs = MultiVectors(rng.standard_normal((40_000, 16), dtype=np.float32), np.arange(0, 40_001, 20))
query = rng.standard_normal((9, 16), dtype=np.float32)
before = maxsim.scores(query, docs, threads=3)
child = os.fork()
same = np.array_equal(maxsim.scores(query, docs, threads=3), before)
if child == 0:
    os._exit(0 if same else 1)
sys.exit(0 if same and os.waitpid(child, 0)[1] == 0 else 1)
"""


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system doesn't fork")
def test_a_child_process_has_threads_of_its_own():
    ran = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == 0, ran.stderr
