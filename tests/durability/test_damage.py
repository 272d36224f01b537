"""Flipped bits and cut files: an error that names what is damaged, or the same answers. Never another ranking."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from script_of_changes import SPEC, apply, states

from latewood.collection import Collection
from latewood.errors import CorruptionError, InputError, LatewoodError
from latewood.index import extend_late
from latewood.stores.embedded import EmbeddedStore
from latewood.stores.encodings import current_names, set_current
from latewood.stores.filtered import filtered

GENERATION = 14


def answers(path):
    """Everything that can be asked, as plain values."""
    store = EmbeddedStore.open(path)
    try:
        snapshot = store.snapshot()
        rng = np.random.default_rng(7)
        query = rng.standard_normal((5, SPEC.dim), dtype=np.float32)
        late = snapshot.late(query, 100)
        # So few that the cascade chooses whom to score.
        few = snapshot.late(query, 1, depths={"n_full_scores": 2, "n_refined": 5, "n_gathered": 7, "n_probe": 1})
        dense = snapshot.dense(rng.standard_normal(SPEC.dense_dim, dtype=np.float32), 100)
        bm25 = snapshot.bm25("copper harbour of winter", 100)
        rankings = [
            (c.rows.tolist(), c.scores.tolist(), c.unscored, snapshot.ids(c.rows), c.exact)
            for c in (late, few, dense, bm25)
        ]
        known = sorted(states(GENERATION)[-1])
        rows = snapshot.rows(known)
        return (
            snapshot.generation,
            rankings,
            rows.tolist(),
            snapshot.passages(rows),
            filtered(snapshot, {"version": {"gte": 700}}).live_rows.tolist(),
            snapshot.source_ids(rows),
            snapshot.vectors(rows).tokens.tolist(),
            store.digests(known),
            store.golden.tolist(),
            store.spec,
            dict(store.settings),
        )
    finally:
        store.close()


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    path = tmp_path_factory.mktemp("healthy") / "kb.lw"
    store = EmbeddedStore.create(path, SPEC, golden=np.eye(3, dtype=np.float32))
    state = {}
    for n in range(1, GENERATION + 1):
        state = apply(store, n, state)
        if n == GENERATION - 2:
            store.build_late(target_overlap=0.5, centroids=16)
        if n == GENERATION - 1:
            assert extend_late(store._index, "tokens", least=1).manifest.extensions
    store.close()
    expected = answers(path)
    assert not expected[1][1][-1], "the cascade was not asked"
    assert EmbeddedStore.open(path).check() == []
    return path, expected


def files(path):
    return sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file() and p.stat().st_size)


def error_of(work):
    """The error that the work is refused with, None if it isn't; anything but a refusal of ours passes through."""
    try:
        work()
    except LatewoodError as error:
        return error
    return None


def findings_of(path):
    store = EmbeddedStore.open(path)
    try:
        return store.check()
    finally:
        store.close()


def assert_noticed_or_harmless(path, expected, what):
    """The collection answers as before, or refuses in one line; and if it refuses, opening does too, or `check`."""
    found = []
    error = error_of(lambda: found.append(answers(path)))
    if error is None:
        assert found == [expected], f"{what}: another answer"
    else:
        assert isinstance(error, CorruptionError | InputError), f"{what}: {error!r}"
        assert str(path) in str(error), f"{what}: {error}"
        assert "\n" not in str(error)
    findings = []
    refused = error_of(lambda: findings.extend(findings_of(path)))
    assert (error is None) or refused or findings, f"{what}: check finds nothing, and yet: {error}"
    assert (error is not None) or not refused, f"{what}: answers, and yet check raises {refused}"


def damage(healthy, folder, times, seed):
    source, expected = healthy
    rng = random.Random(seed)
    for number in range(times):
        path = folder / "kb.lw"
        shutil.copytree(source, path)
        name = rng.choice(files(path))
        content = bytearray((path / name).read_bytes())
        if rng.random() < 0.25:
            length = rng.randrange(len(content))
            del content[length:]
            what = f"case {number}: {name} cut to {length} bytes"
        else:
            position, bit = rng.randrange(len(content)), rng.randrange(8)
            content[position] ^= 1 << bit
            what = f"case {number}: {name}, byte {position}, bit {bit} flipped"
        (path / name).write_bytes(content)
        assert_noticed_or_harmless(path, expected, what)
        shutil.rmtree(path)


def test_sixty_damages(healthy, tmp_path):
    damage(healthy, tmp_path, 60, seed=3)


@pytest.mark.long
def test_five_hundred_damages(healthy, tmp_path):
    damage(healthy, tmp_path, 500, seed=4)


def test_every_byte_of_the_late_index_counts(healthy, tmp_path):
    source, expected = healthy
    path = tmp_path / "kb.lw"
    shutil.copytree(source, path)
    for file in sorted((path / "derived" / "late").iterdir()):
        content = file.read_bytes()
        for position in range(0, len(content), 53):
            changed = bytearray(content)
            changed[position] ^= 0x04
            file.write_bytes(changed)
            assert_noticed_or_harmless(path, expected, f"{file.name}, byte {position}")
            findings = []
            error = error_of(lambda: findings.extend(findings_of(path)))  # noqa: B023 - called at once
            assert any(file.name in line for line in [*findings, str(error)]), f"{file.name}, byte {position}"
        file.write_bytes(content)


def test_every_byte_of_a_segment_counts(healthy, tmp_path):
    source, _ = healthy
    path = tmp_path / "kb.lw"
    shutil.copytree(source, path)
    segment = sorted((path / "segments").iterdir())[0]
    content = segment.read_bytes()
    for position in range(0, len(content), 37):
        changed = bytearray(content)
        changed[position] ^= 0x10
        segment.write_bytes(changed)
        findings = []
        error = error_of(lambda: findings.extend(findings_of(path)))  # noqa: B023 - called at once
        assert any(segment.name in line for line in [*findings, str(error)]), position


@pytest.mark.parametrize("name", ["catalogue.sqlite", "segments/000001.seg"])
def test_a_missing_file_is_named(healthy, tmp_path, name):
    path = tmp_path / "kb.lw"
    shutil.copytree(healthy[0], path)
    (path / name).unlink()
    with pytest.raises((CorruptionError, InputError), match=name.split("/")[-1]):
        EmbeddedStore.open(path)


def test_a_segment_of_another_collection_is_noticed(healthy, tmp_path):
    path = tmp_path / "kb.lw"
    shutil.copytree(healthy[0], path)
    first, second, *_ = sorted((path / "segments").iterdir())
    first.write_bytes(second.read_bytes())
    with pytest.raises(CorruptionError, match=first.name):
        EmbeddedStore.open(path)


def test_bm25_files_are_made_anew_whatever_is_left_of_them(healthy, tmp_path):
    source, expected = healthy
    rng = random.Random(5)
    for number in range(12):
        path = tmp_path / f"{number}.lw"
        shutil.copytree(source, path)
        for file in sorted((path / "derived" / "bm25").rglob("*")):
            if file.is_file() and rng.random() < 0.5:
                file.write_bytes(file.read_bytes()[: rng.randrange(max(1, file.stat().st_size))])
        assert answers(path) == expected
        assert EmbeddedStore.open(path).check() == []


def test_a_bit_flipped_in_any_file_of_bm25_is_noticed_and_mended(healthy, tmp_path):
    source, expected = healthy
    rng = random.Random(6)
    for name in [name for name in files(source) if name.parts[:2] == ("derived", "bm25")]:
        path = tmp_path / "kb.lw"
        shutil.copytree(source, path)
        content = bytearray((path / name).read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        (path / name).write_bytes(content)
        (finding,) = findings_of(path)
        assert str(path / name.parent) in finding
        assert answers(path) == expected
        assert findings_of(path) == []
        shutil.rmtree(path)


@pytest.fixture
def with_two_encodings(healthy, tmp_path):
    path = tmp_path / "kb.lw"
    shutil.copytree(healthy[0], path)
    shutil.copytree(healthy[0], path / "encodings" / "other")
    set_current(path, "other")
    assert checked(path) == []
    return path


def checked(path):
    with Collection.open(path) as kb:
        return kb.check()


def test_check_reads_all_encodings(with_two_encodings):
    path = with_two_encodings
    for name in "segments", "encodings/other/segments", "derived/late", "encodings/other/derived/late":
        file = sorted((path / name).glob("*.seg"))[-1]
        content = file.read_bytes()
        file.write_bytes(content[:-5] + bytes([content[-5] ^ 1]) + content[-4:])
        found = []
        error = error_of(lambda: found.extend(checked(path)))  # noqa: B023 - called at once
        assert any(str(file) in line for line in [*found, str(error)]), name
        file.write_bytes(content)
    (path / "encodings" / "other" / "catalogue.sqlite").rename(path / "encodings" / "gone")
    with Collection.open(path, encoding="first") as kb:
        assert kb.check() == []  # asked for one alone
    with pytest.raises(CorruptionError, match="current"):
        Collection.open(path)


def test_every_bit_of_what_says_which_encoding_is_in_use(with_two_encodings):
    path = with_two_encodings
    file = path / "encodings" / "current"
    content = file.read_bytes()
    for position in range(len(content)):
        for changed in (content[:position], *(_flipped(content, position, bit) for bit in range(8))):
            file.write_bytes(changed)
            error = error_of(lambda: current_names(path))
            if error is None:
                assert current_names(path) == ("other", "first"), changed
            else:
                assert str(file) in str(error)
    file.write_bytes(b"other\nfirst\n")  # as the first version wrote it
    assert current_names(path) == ("other", "first")


def _flipped(content, position, bit):
    return content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]
