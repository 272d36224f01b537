"""Every test that takes `isa` runs once on each instruction set that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latewood import _kernel


@pytest.fixture(params=_kernel.usable())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = _kernel.isa()
    assert _kernel.force(request.param)
    yield request.param
    _kernel.force(before)
