"""A segment file: named arrays, written once, checksummed in blocks. The only module that knows its bytes.

    0   8   magic
    8   u32 format version
    12  u32 length of the header; the arrays begin there
    16  u32 CRC-32 of the header, these four bytes left out
    20  u32 length of the description
    24  u32 bytes per block
    28  u32 number of blocks
    32  u64 length of the file
    40      description (JSON): name, dtype, shape, offset (from the end of the header) and first block of every array
            CRC-32 (u32) of every block, array after array; a block never spans two arrays
            the arrays, each at a multiple of 64; gaps are zero

Integers are little-endian. The first 20 bytes mean the same in every version. docs/format.md says it in prose.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import CorruptionError, InputError
from latewood.index.disk import disk_errors, map_file, publish, release, write_all
from latewood.types import IntArray

__all__ = ["BLOCK_BYTES", "VERSION", "Array", "Pieces", "SegmentFile", "SegmentSeal", "write_segment"]

MAGIC = b"\x89LWSEG\r\n"
VERSION = 1
BLOCK_BYTES = 256 * 1024
"""Small enough that reranking fifty passages of a cold segment reads little more than them; large enough that the
checksums are one part in 65,536."""

_ALIGN = 64
_PREFIX = struct.Struct("<8sIII")
_REST = struct.Struct("<IIIQ")
_FIXED = _PREFIX.size + _REST.size

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class SegmentSeal:
    """What the catalogue remembers of a segment file, so that another valid file in its place is noticed.

    Args:
        bytes: length of the file.
        header_crc: CRC-32 of the header, which holds the CRC-32 of every block.
    """

    bytes: int
    header_crc: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where one array lies, and the number of its first block."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    first_block: int

    @property
    def bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Arrays end to end along the first axis, as one array that is written without being made.

    Args:
        parts: C-contiguous, of one dtype and one shape behind the first axis; at least one.
    """

    parts: Sequence[Array]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of all parts."""
        return self.parts[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        return (sum(len(part) for part in self.parts), *self.parts[0].shape[1:])

    @property
    def nbytes(self) -> int:
        """Of the whole."""
        return sum(part.nbytes for part in self.parts)

    def blocks(self) -> Iterator[memoryview]:
        """The bytes in blocks of `BLOCK_BYTES`, the last one shorter."""
        held = bytearray()
        for part in self.parts:
            for block in _blocks(part.reshape(-1).view(np.uint8).data, BLOCK_BYTES):
                held += block
                if len(held) >= BLOCK_BYTES:
                    yield memoryview(bytes(held[:BLOCK_BYTES]))
                    del held[:BLOCK_BYTES]
        if held:
            yield memoryview(bytes(held))


def _aligned(position: int) -> int:
    return -(-position // _ALIGN) * _ALIGN


def _blocks(view: memoryview, block_bytes: int) -> Iterator[memoryview]:
    for start in range(0, len(view), block_bytes):
        yield view[start : start + block_bytes]


def write_segment(path: Path, arrays: Mapping[str, Array | Pieces]) -> SegmentSeal:
    """Write a segment file so that it is either whole under its name or not there.

    A temporary file in the same folder is written, flushed to the disk and renamed; then the folder is flushed.

    Args:
        path: where it shall be.
        arrays: C-contiguous arrays of any little-endian dtype, whole or in pieces.

    Raises:
        StorageError: the disk refused; nothing is left under `path`.
    """
    crcs = [zlib.crc32(block) for array in arrays.values() for block in _blocks_of(array)]
    header, offsets, size = _header(arrays, crcs)
    with disk_errors(path, "write"), publish(path) as descriptor:
        write_all(descriptor, header)
        position = len(header)
        for array, offset in zip(arrays.values(), offsets, strict=True):
            write_all(descriptor, bytes(offset - position))
            for content in array.blocks() if isinstance(array, Pieces) else [_bytes_of(array)]:
                write_all(descriptor, content)
            position = offset + array.nbytes
    return SegmentSeal(size, _PREFIX.unpack_from(header)[3])


def _bytes_of(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _blocks_of(array: Array | Pieces) -> Iterator[memoryview]:
    return array.blocks() if isinstance(array, Pieces) else _blocks(_bytes_of(array), BLOCK_BYTES)


def _header(arrays: Mapping[str, Array | Pieces], crcs: list[int]) -> tuple[bytes, list[int], int]:
    """The header, where each array goes in the file, and the length of the file."""
    described, position, block = [], 0, 0
    for name, array in arrays.items():
        position = _aligned(position)
        described.append(
            {"name": name, "dtype": array.dtype.str, "shape": array.shape, "offset": position, "first_block": block}
        )
        position += array.nbytes
        block += -(-array.nbytes // BLOCK_BYTES)
    description = json.dumps(described).encode()
    length = _aligned(_FIXED + len(description) + 4 * len(crcs))
    rest = _REST.pack(len(description), BLOCK_BYTES, len(crcs), length + position)
    rest = (rest + description + np.array(crcs, "<u4").tobytes()).ljust(length - _PREFIX.size, b"\0")
    prefix = struct.pack("<8sII", MAGIC, VERSION, length)
    header = prefix + struct.pack("<I", zlib.crc32(rest, zlib.crc32(prefix))) + rest
    return header, [length + entry["offset"] for entry in described], length + position


class SegmentFile:
    """A segment file, mapped. What is read of it is verified at first touch, block by block, and then never again.

    To have written it counts as having verified it.

    Truncating a file while it is mapped ends the process (SIGBUS), as with every mapped file.
    """

    def __init__(self, path: Path, seal: SegmentSeal, *, written: bool = False) -> None:
        """Map the file and verify its header.

        Args:
            path: the file.
            seal: what the catalogue says it is.
            written: this process has just written it, from arrays whose checksums it then worked out: its blocks count
                as verified.

        Raises:
            CorruptionError: the header or the length is not what was written.
            InputError: a newer latewood wrote it.
            StorageError: the file can't be opened.
        """
        self.path = path
        self._map = _open_map(path, seal)
        self._entries, self._crcs, self._block_bytes = _read_header(path, self._map, seal)
        self._verified = np.full(len(self._crcs), written)
        self._pending = {name: 0 if written else self._span(entry)[1] for name, entry in self._entries.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays in the file."""
        return tuple(self._entries)

    def bytes_of(self, name: str) -> int:
        """Length of an array in bytes."""
        return self._entries[name].bytes

    def map(self, name: str) -> Array:
        """An array as it lies in the file, read-only and **not verified**: `verify` what you read of it."""
        entry = self._entry(name)
        array: Array = np.ndarray(entry.shape, entry.dtype, buffer=self._map, offset=entry.offset)
        return array

    def read(self, name: str) -> Array:
        """A whole array, read-only, verified."""
        self.verify(name)
        return self.map(name)

    def verify(self, name: str, starts: IntArray | None = None, stops: IntArray | None = None) -> None:
        """Verify the blocks that these slices of the first axis touch, unless they have been.

        Args:
            name: the array.
            starts: [n] first items; None for the whole array.
            stops: [n] the items behind the last ones.

        Raises:
            CorruptionError: naming file, array and block.
        """
        if not self._pending.get(name, 1):
            return
        entry = self._entry(name)
        first, count = self._span(entry)
        touched = np.arange(count) if starts is None or stops is None else self._touched(entry, starts, stops)
        blocks = touched[~self._verified[first + touched]]
        for block in blocks:
            self._verify_block(name, entry, int(block))
        self._pending[name] = count - int(np.count_nonzero(self._verified[first : first + count]))

    def release(self, name: str) -> None:
        """Let go of what this process has mapped of an array; it is mapped again when it is read."""
        if name in self:
            entry = self._entry(name)
            release(self._map[entry.offset : entry.offset + entry.bytes])

    def findings(self) -> list[str]:
        """One line for every block that is not what was written, and for gaps that aren't zero. Reads all."""
        found: list[str] = []
        end = 0
        for name, entry in self._entries.items():
            for block in range(self._span(entry)[1]):
                with _noting(found):
                    self._verify_block(name, entry, block)
            if end and any(self._map[end : entry.offset]):
                found.append(f"{self.path}: bytes {end} to {entry.offset} are not zero; nothing is stored there")
            end = entry.offset + entry.bytes
        return found

    def _entry(self, name: str) -> _Entry:
        try:
            return self._entries[name]
        except KeyError:
            raise CorruptionError(f"{self.path}: no array '{name}' in it, only {', '.join(self._entries)}") from None

    def _span(self, entry: _Entry) -> tuple[int, int]:
        return entry.first_block, -(-entry.bytes // self._block_bytes)

    def _touched(self, entry: _Entry, starts: IntArray, stops: IntArray) -> IntArray:
        width = entry.bytes // max(entry.shape[0], 1)
        some = stops > starts
        low = starts[some] * width // self._block_bytes
        high = (stops[some] * width - 1) // self._block_bytes
        if not len(low):
            return low
        # Most slices touch one block or two: spelling out as many columns as the widest one needs stays small.
        columns = low[:, None] + np.arange(int((high - low).max()) + 1)
        return np.unique(np.minimum(columns, high[:, None]))

    def _verify_block(self, name: str, entry: _Entry, block: int) -> None:
        start = entry.offset + block * self._block_bytes
        stop = min(start + self._block_bytes, entry.offset + entry.bytes)
        if zlib.crc32(self._map[start:stop]) != self._crcs[entry.first_block + block]:
            raise CorruptionError(
                f"{self.path}: block {block} of '{name}' (bytes {start} to {stop}) is not what was written; "
                f"restore the file from a copy, or index the documents again"
            )
        self._verified[entry.first_block + block] = True


@contextmanager
def _noting(found: list[str]) -> Iterator[None]:
    try:
        yield
    except CorruptionError as error:
        found.append(str(error))


def _open_map(path: Path, seal: SegmentSeal) -> memoryview:
    try:
        with disk_errors(path, "open"):
            content = map_file(path)
    except FileNotFoundError:
        raise CorruptionError(f"{path} is missing; restore it from a copy, or index the documents again") from None
    if len(content) != seal.bytes:
        raise CorruptionError(f"{path} has {len(content)} bytes, {seal.bytes} were written; restore it from a copy")
    return content


def _read_header(path: Path, content: memoryview, seal: SegmentSeal) -> tuple[dict[str, _Entry], list[int], int]:
    if len(content) < _FIXED or content[:8] != MAGIC:
        raise CorruptionError(f"{path} is not a segment: it begins with {bytes(content[:8])!r}, expected {MAGIC!r}")
    _, version, length, crc = _PREFIX.unpack_from(content)
    if length < _FIXED or length > len(content) or _header_crc(content, length) != crc or crc != seal.header_crc:
        raise CorruptionError(f"{path}: its header is not what was written; restore it from a copy")
    if version != VERSION:
        raise InputError(f"{path} has format {version}, this latewood reads {VERSION}: upgrade latewood")
    described, block_bytes, blocks, _ = _REST.unpack_from(content, _PREFIX.size)
    # The checksum holds, so from here on this is what `write_segment` wrote.
    entries = {
        item["name"]: _Entry(
            np.dtype(item["dtype"]), tuple(item["shape"]), length + item["offset"], item["first_block"]
        )
        for item in json.loads(bytes(content[_FIXED : _FIXED + described]))
    }
    table = np.frombuffer(content[_FIXED + described : _FIXED + described + 4 * blocks], "<u4")
    return entries, table.tolist(), block_bytes


def _header_crc(content: memoryview, length: int) -> int:
    return zlib.crc32(content[20:length], zlib.crc32(content[:16]))
