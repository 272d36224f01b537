"""Sizes: by hand, and held to a collection that is built for it."""

from __future__ import annotations

import numpy as np
import pytest
from plan_cases import workload

from latewood import MultiVectors, Passage
from latewood.collection import BATCH
from latewood.errors import UsageError
from latewood.evaluate.plan_sample import stated
from latewood.evaluate.plan_sizes import SEGMENT_CHUNKS, sizes
from latewood.stores.embedded import EmbeddedStore
from latewood.types import EncodedPassages, EncoderSpec

DIM, DENSE_DIM = 96, 48


def by_name(found):
    return {size.option.name: size for size in found}


def test_vectors_and_their_bytes_by_hand():
    found = by_name(sizes(workload()))
    vectors = {name: size.vectors for name, size in found.items()}
    assert vectors == {
        "single-vector": 10,
        "float32": 1000,
        "float16": 1000,
        "int8": 1000,
        "int8-pool2": 10 * (1 + 99 // 2),
        "int8-pool3": 10 * (1 + 99 // 3),
        "bits": 1000,
        "pages-int8": 3 * 1030,
        "qdrant": 1000,
    }
    assert {name: size.vector_bytes for name, size in found.items()} == {
        "single-vector": 10 * 64 * 4,
        "float32": 1000 * 512,
        "float16": 1000 * 256,
        "int8": 1000 * 132,
        "int8-pool2": 500 * 132,
        "int8-pool3": 340 * 132,
        "bits": 1000 * 16,
        "pages-int8": 3090 * 132,
        "qdrant": 1000 * 512,
    }


def test_a_chunk_of_one_or_two_tokens_is_not_pooled_away():
    found = by_name(sizes(workload(lengths=np.array([1, 2, 3]), chunks=3)))
    assert (found["int8"].vectors, found["int8-pool2"].vectors) == (6, 1 + 2 + 2)


def test_memory_is_less_than_disk_and_only_what_is_stored_mapped_is_scanned_in_part():
    for size in sizes(workload(chunks=5000)):
        assert size.scanned_bytes <= size.resident_bytes <= size.bytes
    found = by_name(sizes(workload(chunks=5000)))
    # single vectors, and per chunk 48 bytes of tables and two ids; int8 adds its scales
    single = 5000 * (64 * 4 + 48 + 10)
    assert found["single-vector"].scanned_bytes == single
    assert found["int8"].scanned_bytes == single + 5000 * 100 * 4
    assert found["int8"].resident_bytes == single + 5000 * 100 * 132


@pytest.mark.parametrize("change", [{"chunks": 0}, {"dim": 0}, {"dense_dim": -1}, {"pages": 0}])
def test_counts_below_one_are_named(change):
    with pytest.raises(UsageError, match=next(iter(change))):
        workload(**change)


def test_stated_counts_become_windows():
    assert stated(7, 256, 128, 64, 256).windows == 1
    assert stated(7, 257, 128, 64, 256).windows == 2
    with pytest.raises(UsageError, match="tokens per chunk"):
        stated(7, 0, 128, 64)


def test_what_the_planner_says_of_the_collection_is_what_it_does():
    assert SEGMENT_CHUNKS == BATCH


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A collection of 1,500 passages in two segments, BM25 made, closed; and the workload that describes it."""
    rng = np.random.default_rng(5)
    words = np.array(["".join(rng.choice(list("etaoinshrdlu"), 2 + i % 9)) for i in range(4000)])
    rank = 1 / np.arange(1, len(words) + 1)
    passages, lengths, windows = [], rng.integers(40, 120, 1500), rng.integers(1, 3, 1500)
    for i, length in enumerate(lengths):
        text = " ".join(rng.choice(words, int(length * 0.8), p=rank / rank.sum()))
        passages.append(Passage(f"doc-{i}", text, title=text[:30], source="corpus.jsonl", metadata={"year": 1900 + i}))
    spec = EncoderSpec("random", "0" * 64, DIM, DENSE_DIM, 256, 32)
    path = tmp_path_factory.mktemp("plan") / "kb.lw"
    store = EmbeddedStore.create(path, spec, golden=np.zeros((16, DENSE_DIM), np.float32))
    for start in range(0, 1500, BATCH):
        part = slice(start, start + BATCH)
        tokens, dense = (
            MultiVectors.of([rng.standard_normal((n, dim)).astype(np.float32) for n in counts[part]])
            for counts, dim in ((lengths, DIM), (windows, DENSE_DIM))
        )
        store.add(passages[part], EncodedPassages(tokens, dense))
    store.snapshot().bm25("eta", 5)
    parts = store.stats()["bytes"]
    store.close()
    described = workload(
        chunks=1500,
        lengths=lengths,
        dim=DIM,
        dense_dim=DENSE_DIM,
        windows=float(windows.mean()),
        text_bytes=float(np.mean([len(p.text) for p in passages])),
        record_bytes=float(np.mean([len(p.title) + len(p.source) + len('{"year": 1900}') for p in passages])),
        id_bytes=float(np.mean([len(p.id) for p in passages])),
    )
    return path, parts, by_name(sizes(described))["int8"]


def test_bytes_are_those_of_a_real_collection(built):
    path, parts, size = built
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert size.bytes == pytest.approx(on_disk, rel=0.05)
    assert size.bytes == pytest.approx(parts["total"], rel=0.05)


def test_segments_are_planned_to_the_header(built):
    path, parts, size = built
    segments = sum(file.stat().st_size for file in (path / "segments").iterdir())
    stored = parts["token_vectors"] + parts["dense_vectors"] + parts["ids"]
    # one last offset per column and segment, and nothing else, is left out of the formula
    assert 0 <= stored - size.resident_bytes <= 2 * 5 * 8
    assert segments - stored < 2 * 2048 + 4 * (stored // (256 * 1024) + 40)


def test_texts_take_what_the_constants_say(built):
    path, _, size = built
    segments = sum(file.stat().st_size for file in (path / "segments").iterdir())
    texts = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) - segments
    assert size.bytes - size.resident_bytes == pytest.approx(texts, rel=0.2)
