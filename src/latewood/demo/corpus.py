"""The demo's corpus: the documentation that ships inside the Python that runs it, as passages.

What is taken, and by which rule, is told in `stdlib_docs`, which does the reading.
"""

from __future__ import annotations

import platform

from latewood.demo.stdlib_docs import Record, records
from latewood.errors import UnavailableError
from latewood.types import Passage

__all__ = ["MIN_PASSAGES", "passages"]

MIN_PASSAGES = 1500


def passages() -> list[Passage]:
    """All passages of this interpreter's documentation, in an order that depends on its version alone.

    `metadata` holds `kind` ("topic" or "docstring"), `module` and `python` (the version that they come from). Passages
    of one topic or docstring share its `source_id`: `topic:NAME`, or `py:` and a dotted name.

    Raises:
        UnavailableError: if this Python ships without its documentation, as embedded and minimal builds do.
    """
    version = platform.python_version()
    advice = "use a Python with its full standard library (python.org, pyenv, conda, uv)"
    try:
        found = [_passage(record, version) for record in records()]
    except (OSError, SyntaxError) as error:
        raise UnavailableError(f"the documentation of Python {version} can't be read: {error}; {advice}") from error
    if len(found) < MIN_PASSAGES:
        raise UnavailableError(
            f"Python {version} ships {len(found)} passages of documentation, the demo needs {MIN_PASSAGES}; {advice}"
        )
    return found


def _passage(record: Record, version: str) -> Passage:
    return Passage(
        id=record.id,
        text=f"{record.title}\n{record.body}",
        source_id=record.source_id,
        title=record.title,
        source=record.source,
        metadata={"kind": record.kind, "module": record.module, "python": version},
    )
