"""A service as users start it: a process of its own, on a port of its own; and a small collection for it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

from latewood.collection import Collection
from latewood.types import Passage

CHROMIUM = os.environ.get("LATEWOOD_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

PASSAGES = [
    Passage(
        "oak",
        "Oak\nOak wood is hard and heavy. It was the timber of ships.",
        metadata={"kind": "tree", "year": 1805},
    ),
    Passage("larch", "Larch\nA conifer that loses its needles in autumn.", metadata={"kind": "tree", "year": 1900}),
    Passage("mast", "Tall straight pines were kept for masts.", metadata={"kind": "ship", "year": 1750}),
    Passage("ring", "Rings\nA ring has pale early wood and dense late wood.", metadata={"kind": "tree", "year": 1937}),
    Passage("keel", "The keel is the backbone of a ship, laid first.", metadata={"kind": "ship", "year": 1820}),
    *(
        Passage(
            f"note{i}",
            f"Note {i}: plank number {i} was sawn on day {i % 7} and dried for {i} weeks.",
            metadata={"kind": "note", "year": 2000 + i},
        )
        for i in range(60)
    ),
]


def make_collection(path, encoder):
    with Collection.create(path, encoder) as kb:
        kb.add(PASSAGES)
    return path


class Server:
    """A running process."""

    def __init__(self, *arguments, environment=None):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "latewood", "serve", *map(str, arguments), "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )
        self.url = ""
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._started.wait(120), "the service didn't start:\n" + "".join(self.lines)
        assert self.url, "the service ended:\n" + "".join(self.lines)

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line)
            if found := re.search(r"at (http://\S+)", line):
                self.url = found[1]
                self._started.set()
        self._started.set()

    def stop(self, how=signal.SIGTERM, within=60):
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(within)
        self._reader.join(10)
        return code


@contextmanager
def running(*arguments, **options):
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


@contextmanager
def in_this_process(service):
    """The same application over real HTTP, without the seconds that another process takes to load a model."""
    import uvicorn

    from latewood.serve import create_app
    from latewood.serve.app import _bound

    config = uvicorn.Config(create_app(service), port=0, log_level="warning", lifespan="on", server_header=False)
    server = uvicorn.Server(config)
    socket = _bound("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([socket],), daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    host, port = socket.getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(30)
