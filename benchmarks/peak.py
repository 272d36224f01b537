"""The machine's own limits (peak.cpp), which every benchmark of ours is held against."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["limits"]

HERE = Path(__file__).resolve().parent


def limits() -> Any:
    """peak.cpp as a library, compiled for this machine."""
    folder = HERE / ".cache"
    folder.mkdir(exist_ok=True)
    library = folder / f"peak-{platform.machine()}.so"
    command = [os.environ.get("CXX", "c++"), "-O2", "-march=native", "-shared", "-fPIC", str(HERE / "peak.cpp")]
    subprocess.run([*command, "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.fma_peak.restype = ctypes.c_double
    loaded.fma_peak.argtypes = [ctypes.c_int64]
    return loaded
