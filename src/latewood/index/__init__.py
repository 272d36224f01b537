"""Vectors on disk, in segments under one catalogue, and their scores. Start at `live.Index`; bytes are in `format`."""

from __future__ import annotations

from latewood.index.catalogue import Catalogue, record_crc
from latewood.index.disk import disk_errors, file_bytes, flush_folder
from latewood.index.live import Index
from latewood.index.lock import WriteLock
from latewood.index.ranking import best
from latewood.index.snapshot import IndexSnapshot, Space

__all__ = [
    "Catalogue",
    "Index",
    "IndexSnapshot",
    "Space",
    "WriteLock",
    "best",
    "disk_errors",
    "file_bytes",
    "flush_folder",
    "record_crc",
]
