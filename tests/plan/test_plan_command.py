"""The command as it is typed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from latewood.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def run(command, capsys):
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    return left.value.code or 0, *capsys.readouterr()


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    records = [{"_id": f"d{i}", "title": "Rings", "text": "Late wood is dense. " * (i + 1)} for i in range(6)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "give --jsonl FILE, or both --chunks and --tokens-per-chunk"),
        ("--chunks 5", "give --jsonl FILE, or both"),
        ("--chunks 0 --tokens-per-chunk 9", "--chunks: got 0"),
        ("--chunks 5 --tokens-per-chunk -2", "--tokens-per-chunk: got -2"),
        ("--chunks 5 --tokens-per-chunk 9 --dim 0", "--dim: got 0"),
        ("--chunks 5 --tokens-per-chunk 9 --machine-price nan", "--machine-price: got nan"),
        ("--chunks 5 --tokens-per-chunk 9 --seconds 0", "--seconds: got 0"),
        ("--jsonl nowhere.jsonl", "nowhere.jsonl"),
        ("--jsonl corpus.jsonl --tokens-per-chunk 9", "give one of the two"),
        ("--chunks 5 --tokens-per-chunk 9 --model nowhere", "model 'nowhere'"),
        ("--chunks 5 --tokens-per-chunk 9 -q nowhere.jsonl", "nowhere.jsonl"),
    ],
)
def test_bad_input_is_one_line(arguments, said, capsys):
    code, out, err = run(f"plan {arguments}", capsys)
    assert code in {2, 3}
    assert out == ""
    assert err.count("\n") == 1
    assert said in err


def test_json_of_a_sample_has_what_the_page_says(corpus, capsys):
    code, out, _ = run(f"plan --jsonl {corpus} --chunks 2000 --machine-price 0.1 --seconds 0.1 --json", capsys)
    printed = json.loads(out)
    assert code == 0
    assert (printed["schema"], printed["chunks"], printed["pages"], printed["dim"]) == (1, 2000, 2000, 384)
    assert "6 of 6 passages" in printed["obtained"]["tokens_per_chunk"]
    # "[CLS] rings late wood is dense . … [SEP]": five tokens a sentence, one to six sentences
    assert printed["tokens_per_chunk"]["mean"] == 3 + 5 * 3.5
    section = PAGE.split("## plan")[1].split("\n## ")[0]
    documented = set(re.findall(r"`(\w+)`", section))
    row, depth = printed["options"][0], printed["depths"][0]
    keys = {*printed, *printed["measured"], *row, *row["obtained"], *depth, *printed["claims"][0]}
    assert keys <= documented
    assert {"option", "bytes", "resident_bytes", "build_seconds", "p50", "p95", "obtained"} <= set(row)


def test_stated_counts_and_another_model_s_dimensions(capsys):
    code, out, err = run(
        "plan --chunks 3000 --tokens-per-chunk 12 --dim 32 --dense-dim 16 --pages 5 --seconds 0.1", capsys
    )
    assert code == 0
    assert "3,000 chunks of 12 token vectors, D 32" in out
    assert "stated, the same for every chunk" in out
    assert "what is usually said" in out
    assert "price" not in out
    assert "measuring on this machine" in err
