"""The guide's commands, run as they stand on the page against the stand-in server, as the page itself says.

Its files are written as the page shows them. Every line that the page shows of an output must come again, in order;
what a line leaves out the page marks by "…".
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from latewood.cli import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "answers.md").read_text(encoding="utf-8")


def steps():
    """(command, lines that it printed on the page)."""
    for block in re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed.splitlines()


def test_the_guide(server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATEWOOD_LLM", "gpt-4o-mini")
    for name, content in re.findall(r"^`([a-z]+\.[a-z]+)`:\n```\n(.*?)```", PAGE, flags=re.DOTALL | re.MULTILINE):
        (tmp_path / name).write_text(content, encoding="utf-8")
    # What a real model does where the passages don't help it: it says what it believes.
    server.model.by_heart = {"which part of a tree ring is the dense and dark one?": "Heartwood is the dense one. [1]"}
    for command, printed in steps():
        with pytest.raises(SystemExit) as left:
            main(shlex.split(command)[1:])
        said = capsys.readouterr()
        assert not left.value.code, f"{command}: {said.err}"
        out = [" ".join(line.split()) for line in said.out.splitlines()]
        remaining = iter(out)
        for line in printed:
            wanted = " ".join(line.split())
            pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))))
            assert any(pattern.fullmatch(each) for each in remaining), f"{command}: {line!r} didn't come in {out}"
    assert (tmp_path / "report.html").read_text(encoding="utf-8").count('<section id="answers">') == 1
    assert {asked.body["model"] for asked in server.asked} == {"gpt-4o-mini", "gpt-4o"}


def test_the_page_says_that_no_real_model_was_there():
    assert "**What you see here comes from no real model.**" in PAGE
