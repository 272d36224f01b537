"""The corpus as other versions of Python see it, where they are on the machine."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from latewood.demo import stdlib_docs

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
_READ = "import json, runpy, sys; json.dump(list(runpy.run_path(sys.argv[1])['records']()), sys.stdout)"


@cache
def records(version: str) -> list[stdlib_docs.Record]:
    """What `stdlib_docs.records` gives on that version; it needs nothing installed there. Skips where there is none."""
    done = subprocess.run(
        [_interpreter(version), "-c", _READ, str(stdlib_docs.__file__)], capture_output=True, check=True
    )
    return [stdlib_docs.Record(*fields) for fields in json.loads(done.stdout)]


def _interpreter(version: str) -> str:
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    # pyenv keeps its interpreters outside of PATH.
    for candidate in [*sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")), f"python{version}"]:
        try:
            subprocess.run([str(candidate), "-c", ""], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return str(candidate)
    pytest.skip(f"no Python {version} on this machine")
