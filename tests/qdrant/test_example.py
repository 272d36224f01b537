"""The founder's case, in a small form: the script of `examples/`, on a part of a real collection."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("qdrant_client")

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "existing_qdrant.py"


@pytest.mark.long
@pytest.mark.parametrize(("name", "count"), [("cranfield", 40), ("scifact", 400)])
def test_an_existing_collection_is_audited_reranked_and_untouched(data, tmp_path, name, count):
    given = [data(name), tmp_path / "work", "--count", str(count), "--sample", "2"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, given)], capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"recall@5 before [01]\.\d+, after [01]\.\d+: [+-]0\.\d+ \(95 %: ", done.stdout)
    assert "their collection: " in done.stdout
    assert "as it was" in done.stdout
    assert (tmp_path / "work" / "compare.json").exists()


def test_the_part_that_is_theirs_has_no_latewood_in_it():
    source = SCRIPT.read_text(encoding="utf-8")
    theirs = source[source.index("# -- 1. theirs") : source.index("# -- 2 to 4")]
    assert "latewood" not in theirs
    assert "import latewood" not in source
    assert "from latewood" not in source
