"""The bytes of a segment file, read by an independent parser; and what is noticed when they change."""

from __future__ import annotations

import json
import os
import struct
import sys
import zlib

import numpy as np
import pytest

from latewood.errors import CorruptionError, InputError, StorageError
from latewood.index.format import BLOCK_BYTES, SegmentFile, SegmentSeal, write_segment


def arrays_of_all_kinds():
    rng = np.random.default_rng(1)
    return {
        "tokens": rng.integers(-127, 128, (1001, 48)).astype(np.int8),
        "tokens.scales": rng.random(1001, np.float32),
        "none": np.zeros((0, 48), np.int8),
        "offsets": np.arange(12, dtype=np.int64) ** 2,
        "hashes": rng.integers(0, 2**63, 5).astype(np.uint64),
        "halves": rng.random((3, 5)).astype(np.float16),
        "large": rng.random((3 * BLOCK_BYTES // 16 + 3, 4), np.float32),
    }


@pytest.fixture
def written(tmp_path):
    arrays = arrays_of_all_kinds()
    path = tmp_path / "000001.seg"
    return path, write_segment(path, arrays), arrays


def test_arrays_come_back_as_they_were(written):
    path, seal, arrays = written
    file = SegmentFile(path, seal)
    assert file.names == tuple(arrays)
    for name, array in arrays.items():
        found = file.read(name)
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
        assert file.bytes_of(name) == array.nbytes
        assert not found.flags.writeable
    assert file.findings() == []
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_what_the_format_page_says(written):
    path, seal, arrays = written
    content = path.read_bytes()
    magic, version, length, crc, described, block, blocks, size = struct.unpack_from("<8sIIIIIIQ", content)
    assert (magic, version, block, size) == (b"\x89LWSEG\r\n", 1, 256 * 1024, len(content))
    assert crc == zlib.crc32(content[:16] + content[20:length]) == seal.header_crc
    assert seal.bytes == len(content)
    entries = json.loads(content[40 : 40 + described])
    table = struct.unpack_from(f"<{blocks}I", content, 40 + described)
    expected_table = []
    for entry, (name, array) in zip(entries, arrays.items(), strict=True):
        start = length + entry["offset"]
        assert start % 64 == 0
        raw = content[start : start + array.nbytes]
        assert entry["name"] == name
        assert np.array_equal(np.frombuffer(raw, entry["dtype"]).reshape(entry["shape"]), array)
        assert entry["first_block"] == len(expected_table)
        expected_table += [zlib.crc32(raw[i : i + block]) for i in range(0, len(raw), block)]
    assert list(table) == expected_table


def test_the_same_arrays_give_the_same_bytes(tmp_path, written):
    path, seal, arrays = written
    assert write_segment(tmp_path / "again", arrays) == seal
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_only_the_blocks_that_are_touched_are_verified(written):
    path, seal, arrays = written
    rows = BLOCK_BYTES // 16
    content = path.read_bytes()
    length = struct.unpack_from("<I", content, 12)[0]
    described = struct.unpack_from("<I", content, 20)[0]
    start = length + json.loads(content[40 : 40 + described])[-1]["offset"]
    flip(path, start + BLOCK_BYTES + 5)
    file = SegmentFile(path, seal)
    first, last = np.array([0, rows - 2]), np.array([2, rows])
    file.verify("large", first, last)
    assert np.array_equal(file.map("large")[:rows], arrays["large"][:rows])
    file.verify("large", np.array([2 * rows]), np.array([3 * rows + 3]))
    for starts, stops in ([rows - 1], [rows + 1]), ([rows + 4], [rows + 5]), ([0], [3 * rows]):
        with pytest.raises(CorruptionError, match=r"000001\.seg: block 1 of 'large'"):
            file.verify("large", np.array(starts), np.array(stops))
    file.verify("large", np.array([rows + 4]), np.array([rows + 4]))  # an empty slice touches nothing
    with pytest.raises(CorruptionError, match="block 1 of 'large'"):
        file.read("large")
    assert len(file.findings()) == 1


def test_every_part_of_the_file_is_covered(written):
    path, seal, _ = written
    size = path.stat().st_size
    whole = path.read_bytes()
    for position in [*range(0, 1200, 7), *range(1200, size, 4999), size - 1]:
        flip(path, position)
        try:
            findings = SegmentFile(path, seal).findings()
        except CorruptionError as error:
            findings = [str(error)]
        assert len(findings) == 1, position
        assert "000001.seg" in findings[0]
        path.write_bytes(whole)


@pytest.mark.parametrize("length", [0, 1, 39, 40, 1000, 50_000, -1])
def test_a_cut_file_is_refused(written, length):
    path, seal, _ = written
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CorruptionError, match=r"000001\.seg has \d+ bytes, \d+ were written"):
        SegmentFile(path, seal)


def test_another_file_of_the_right_length_is_refused(written):
    path, seal, _ = written
    path.write_bytes(b"x" * seal.bytes)
    with pytest.raises(CorruptionError, match="is not a segment"):
        SegmentFile(path, seal)


def test_a_newer_format_asks_for_an_upgrade(written):
    path, seal, _ = written
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 8, 2)
    length = struct.unpack_from("<I", content, 12)[0]
    crc = zlib.crc32(content[:16] + content[20:length])
    struct.pack_into("<I", content, 16, crc)
    path.write_bytes(content)
    with pytest.raises(InputError, match="has format 2, this latewood reads 1: upgrade"):
        SegmentFile(path, SegmentSeal(seal.bytes, crc))


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match="no such folder"):
        write_segment(tmp_path / "nowhere" / "1.seg", {"a": np.zeros(3)})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
def test_mapped_files_hold_no_descriptors(written):
    path, seal, _ = written
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count of names
    files = [SegmentFile(path, seal) for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    array = files[7].read("offsets")
    del files
    assert array.tolist() == [n * n for n in range(12)]  # the map lives as long as an array on it
