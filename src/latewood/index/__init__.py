"""Vectors on disk, in segments under one catalogue, and their scores. Start at `live.Index`; bytes are in `format`.

`late` is the cascade over them, `late_build` makes it, `depths` says how deep it goes, `certify` what that keeps.
`MultiVectorIndex` is all of it without texts and models.
"""

from __future__ import annotations

from latewood.index.catalogue import Catalogue, record_crc
from latewood.index.certify import Estimate, Measured, measure
from latewood.index.compaction import KEEP_FOR
from latewood.index.depths import TIE, TUNED_K, Depths, overlap
from latewood.index.disk import disk_errors, file_bytes, flush_folder
from latewood.index.ladder import decide
from latewood.index.late import LateIndex
from latewood.index.late_build import MEMORY_BUDGET
from latewood.index.late_life import LATE_FOLDER, build_late, extend_late, is_outgrown, late_stats, uncovered
from latewood.index.late_manifest import Manifest
from latewood.index.late_upkeep import LateUpkeep
from latewood.index.levels import DEFAULT_BITS, LEVELS, Bits, Form, Signs, Space, Stored, check_bits, floats_of
from latewood.index.live import Index
from latewood.index.lock import WriteLock
from latewood.index.multivector import MultiVectorIndex
from latewood.index.ranking import best
from latewood.index.snapshot import IndexSnapshot
from latewood.index.upkeep import Upkeep, compact

__all__ = [
    "DEFAULT_BITS",
    "KEEP_FOR",
    "LATE_FOLDER",
    "LEVELS",
    "MEMORY_BUDGET",
    "TIE",
    "TUNED_K",
    "Bits",
    "Catalogue",
    "Depths",
    "Estimate",
    "Form",
    "Index",
    "IndexSnapshot",
    "LateIndex",
    "LateUpkeep",
    "Manifest",
    "Measured",
    "MultiVectorIndex",
    "Signs",
    "Space",
    "Stored",
    "Upkeep",
    "WriteLock",
    "best",
    "build_late",
    "check_bits",
    "compact",
    "decide",
    "disk_errors",
    "extend_late",
    "file_bytes",
    "floats_of",
    "flush_folder",
    "is_outgrown",
    "late_stats",
    "measure",
    "overlap",
    "record_crc",
    "uncovered",
]
