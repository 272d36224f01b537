"""Pages that can't rot: examples run, commands exist, figures come with the command behind them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import latewood

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INDEX = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL))
def test_the_examples_of_the_readme_run(block, tmp_path, monkeypatch, minilm):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    if "ids" in names:
        assert names["ids"][0] == 7
    if "hit" in names:
        assert names["hit"].passage is not None


def test_the_examples_of_the_index_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", INDEX, flags=re.DOTALL):
        exec(block, names)
    assert names["ids"][0] == "7"


def commands_on(page):
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("latewood "):
            yield shlex.split(line, comments=True)


def test_every_command_and_option_on_the_pages_exists():
    import typer.main

    from latewood.cli.app import app

    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in typer.main.get_command(app).commands.items()
    }
    found = set()
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for _, name, *arguments in commands_on(page):
            assert name in known, f"{page.name}: latewood {name}"
            given = {argument for argument in arguments if argument.startswith("-")}
            assert given <= known[name] | {"--help"}, f"{page.name}: latewood {name} {given - known[name]}"
            found.add(name)
    assert found | {"demo"} == set(known), "every command is shown somewhere"
    assert "latewood demo" in README


def test_every_option_says_what_it_does():
    import typer.main

    from latewood.cli.app import app

    for name, command in typer.main.get_command(app).commands.items():
        assert command.help, name
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"latewood {name}: {parameter.name} has no help"


def test_ci_runs_the_readme_s_own_test_command():
    lines = [line for line in README.splitlines() if line.endswith("&& pytest")]
    assert len(lines) == 1
    assert r"grep -m1 -E '&& pytest$' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_version_is_one():
    assert f'version = "{latewood.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert latewood.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_extras_in_error_messages_exist():
    extras = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for path in (ROOT / "src").rglob("*.py"):
        for extra in re.findall(r'MissingExtra\([^)]*"(\w+)"\)', path.read_text(encoding="utf-8")):
            assert extra in extras, f"{path.name}: extra '{extra}'"
