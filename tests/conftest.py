"""What tests of several rooms share: the bundled model, loaded once, and the place of real collections."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from latewood import encode

DATA = Path(os.environ.get("LATEWOOD_DATA") or Path(__file__).resolve().parent.parent.parent / "shared" / "data")


# How long an example takes says what else the machine does.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def minilm():
    """The bundled model, windowing long texts."""
    return encode.load("minilm")


@pytest.fixture(scope="session")
def data():
    """A function from a collection's name to its folder; skips where it isn't on this machine."""

    def folder(name: str) -> Path:
        if not (DATA / name / "corpus.jsonl").exists():
            pytest.skip(f"{name} is not in {DATA}: set LATEWOOD_DATA to a folder of BEIR collections")
        return DATA / name

    return folder
