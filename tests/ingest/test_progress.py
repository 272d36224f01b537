"""What is said before the end: how many passages there will be, and how the work done grows."""

from __future__ import annotations

import numpy as np
import pytest
from test_folders import WordEncoder

from latewood.cli.output import Bar, Progress
from latewood.collection import Collection
from latewood.encode.windows import batches
from latewood.folders import index_paths


@pytest.fixture
def kb(tmp_path):
    with Collection.create(tmp_path / "kb.lw", WordEncoder()) as kb:
        yield kb


def test_a_tenth_of_the_batches_is_a_tenth_of_the_passages():
    """So that a time left by passages per second is right within a fifth after a tenth of the work."""
    random = np.random.default_rng(0)
    for count in 1024, 3000:
        lengths = np.clip(random.gamma(3, 60, count), 5, 256).astype(int)
        groups = list(batches(lengths, 1024))
        assert sorted(np.concatenate(groups).tolist()) == list(range(count))
        work = np.cumsum([lengths[group].max() * len(group) for group in groups])
        done = np.cumsum([len(group) for group in groups])
        for tenth in range(1, 10):
            at = int(np.searchsorted(work, work[-1] * tenth / 10))
            assert (done[at] / count) / (work[at] / work[-1]) == pytest.approx(1, abs=0.2)


def test_the_number_of_passages_is_known_before_the_files_are_read(kb, tmp_path):
    """Two kinds of file in folders of their own, of very different sizes: a count by what was read would mislead."""
    docs = tmp_path / "docs"
    paragraph = "Ten words of text that say nothing at all here. "
    for i in range(300):
        kind, size = ("md", 1 + i % 3) if i < 150 else ("html", 20)
        (docs / kind).mkdir(parents=True, exist_ok=True)
        body = "\n\n".join(f"{paragraph}{n}" for n in range(size))
        if kind == "html":
            body = f"<html><body><main>{body.replace(chr(10) * 2, '<p>')}</main></body></html>"
        (docs / kind / f"{i}.{kind}").write_text(body)
    expected: list[int] = []
    total = index_paths(kb, [docs], expect=expected.append).passages.added
    assert total > 1000
    assert expected[0] == pytest.approx(total, rel=0.2)
    assert expected[-1] == total
    assert all(estimate == pytest.approx(total, rel=0.2) for estimate in expected)
    # Nothing to do is nothing to expect, and an edited file is one file.
    again: list[int] = []
    index_paths(kb, [docs], expect=again.append)
    assert again == [0]
    (docs / "md" / "0.md").write_text(paragraph)
    again.clear()
    assert index_paths(kb, [docs], expect=again.append).passages.replaced == 1
    assert (again[0], again[-1]) == (1, 1)


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("latewood.cli.output.time.monotonic", lambda: clock[0])
    with Progress(disable=True, get_time=lambda: clock[0], speed_estimate_period=60) as progress:
        bar = Bar(progress, "indexing", None, lines=True)
        bar.expect(1000)
        for _ in range(10):
            clock[0] += 4
            bar(10)
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert said == ["indexing: 80 of 1,000, 2.5/s, 0:06:08 left"]
