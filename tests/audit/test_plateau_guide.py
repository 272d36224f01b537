"""The guide's commands, run as they stand on the page: on a part of cranfield, and, as `long`, on all of it.

Figures and times differ from machine to machine, so outputs are held to their form: every line of the page that carries
no digit must come again, in its order, up to the verdict; short ones only, since texts of documents are free to differ.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from latewood.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "plateau.md"
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def steps():
    """(command, lines that it printed on the page)."""
    for block in BLOCKS:
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, printed = part.partition("\n")
            yield command, printed.splitlines()


def fixed(lines):
    """The headings: short lines without a digit, up to the verdict, which a part may have another of."""
    kept = []
    for line in lines:
        if line.startswith(("Verdict", "verdict")):
            break
        if line.strip() and len(line) < 80 and not re.search(r"\d", line):
            kept.append(" ".join(line.split()))
    return kept


def walk(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    for command, printed in steps():
        words = shlex.split(command)
        assert words[0] == "latewood", command
        with pytest.raises(SystemExit) as left:
            main(words[1:])
        out = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
        assert not left.value.code, command
        remaining = iter(out)
        for heading in fixed(printed):
            assert any(heading == line for line in remaining), f"{command}: {heading!r} did not come"


def test_the_path_on_a_part_of_cranfield(data, tmp_path, capsys, monkeypatch):
    """Twelve questions, their answers, and every fortieth other document."""
    source = data("cranfield")
    queries = [json.loads(line) for line in (source / "queries.jsonl").read_text().splitlines()][:12]
    judged = [line.split("\t") for line in (source / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    kept = [fields for fields in judged if fields[0] in {query["_id"] for query in queries}]
    wanted = {fields[1] for fields in kept}
    lines = (source / "corpus.jsonl").read_text().splitlines()
    chosen = [line for at, line in enumerate(lines) if json.loads(line)["_id"] in wanted or at % 40 == 0]
    (tmp_path / "corpus.jsonl").write_text("\n".join(chosen) + "\n")
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    (tmp_path / "qrels.tsv").write_text("".join("\t".join(fields) + "\n" for fields in kept))
    walk(tmp_path, capsys, monkeypatch)


@pytest.mark.long
def test_the_path_on_all_of_cranfield(data, tmp_path, capsys, monkeypatch):
    source = data("cranfield")
    for name in ("corpus.jsonl", "queries.jsonl"):
        shutil.copy(source / name, tmp_path / name)
    shutil.copy(source / "qrels" / "test.tsv", tmp_path / "qrels.tsv")
    walk(tmp_path, capsys, monkeypatch)


def test_the_page_has_commands_to_run():
    assert len(list(steps())) >= 4
