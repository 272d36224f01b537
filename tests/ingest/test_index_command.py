"""`latewood index FOLDER` as a user types it."""

from __future__ import annotations

import json

import pytest

from latewood.cli import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return left.value.code or 0, *capsys.readouterr()


def test_a_folder_is_indexed_once_and_what_is_not_read_is_said(tmp_path, capsys):
    docs, kb = tmp_path / "docs", tmp_path / "kb.lw"
    docs.mkdir()
    (docs / "rings.md").write_text("# Rings\n年輪は密\n", encoding="utf-8")
    (docs / "binary.txt").write_bytes(b"\x7fELF\2\1\1\0\0\0\0\0\0")
    (docs / "image.png").write_bytes(b"x")
    code, out, err = run(capsys, "index", docs, "-c", kb, "--language", "auto")
    assert code == 0
    assert out.startswith("added 1, replaced 0, unchanged 0 in ")
    assert "files: 1 read, 0 unchanged, 1 skipped, 0 removed" in out
    assert f"{docs / 'binary.txt'}: binary" in err
    assert "1 .png" in err

    printed = json.loads(run(capsys, "index", docs, "-c", kb, "--json")[1])
    assert (printed["added"], printed["generation"]) == (0, 1)
    assert printed["files"] == {"found": 2, "read": 0, "unchanged": 1, "excluded": 0, "other_types": {".png": 1}}
    assert printed["skipped"] == [{"path": str(docs / "binary.txt"), "reason": "binary"}]
    assert (printed["decoded"], printed["pruned"], printed["surplus"]) == ([], [], 0)

    hits = json.loads(run(capsys, "search", kb, "輪は", "--pipeline", "bm25", "--json")[1])["hits"]
    assert [hit["id"] for hit in hits] == ["rings.md"]

    (docs / "rings.md").unlink()
    printed = json.loads(run(capsys, "index", docs, "-c", kb, "--prune", "--json")[1])
    assert printed["pruned"] == ["rings.md"]

    code, _, err = run(capsys, "index", docs, "-c", kb, "--language", "french")
    assert (code, "has the language auto" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to index"),
        (("nowhere",), "nothing is there"),
        (("--language", "klingon", "."), "expected one of english, auto"),
    ],
)
def test_wrong_usage_makes_no_collection(tmp_path, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "index", *arguments, "-c", "kb.lw")
    assert (code, said in err) == (2, True)
    assert not (tmp_path / "kb.lw").exists()
