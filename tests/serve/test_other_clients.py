"""LiteLLM, LangChain and LlamaIndex: each wants another release of the same packages, so each has an environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

PACKAGES = {
    "litellm": ["litellm==1.106.2"],
    "langchain": ["langchain-cohere", "langchain-voyageai"],
    "llamaindex": ["llama-index-postprocessor-cohere-rerank", "llama-index-postprocessor-jinaai-rerank"],
}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_client_of_its_own_environment(name, server, tmp_path):
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    command = [python, "-m", "pip", "install", "-q", *PACKAGES[name]]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip can't install {name} here: {installed.stderr.strip()[-200:]}")
    script = Path(__file__).parent / "other_clients.py"
    found = subprocess.run([python, script, name, server.url], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.count(" ok\n") >= 2
