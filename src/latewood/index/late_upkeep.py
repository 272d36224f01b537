"""What a writing process does for its late-interaction index beside its commits: two tasks of `upkeep.Upkeep`."""

from __future__ import annotations

from collections.abc import Callable

from latewood.index.late import LateIndex
from latewood.index.late_life import (
    LATE_FOLDER,
    TARGET,
    build_late,
    extend_late,
    is_due,
    is_outgrown,
    questions_in,
    uncovered,
)
from latewood.index.late_manifest import Manifest
from latewood.index.live import Index

__all__ = ["LateUpkeep"]


class LateUpkeep:
    """The index of a column is extended, and trained again.

    Each is a task of its own and has a thread of its own: what streams in must not be left to exact scoring for the
    minutes that a training may take.

    Args:
        index: that is being written.
        column: of token vectors.
        trains: train again when the index is outgrown; else that is left to `latewood build`.
        first: with `trains`, token vectors from which on a first index is trained, for runs of them; 0 for never.
    """

    def __init__(self, index: Index, column: str, *, trains: bool = False, first: int = 0) -> None:
        """Nothing is looked at yet."""
        self.trains = trains
        self.first = first
        self.latest: LateIndex | None = None
        """The index as it was last extended or trained here, for others who open it: its files are read already."""
        self._index = index
        self._column = column
        self.tasks = (_Extending(self), _Training(self))

    def is_indexed(self) -> bool:
        """Whether the column is of a kind that has an index."""
        space = self._index.snapshot().spaces.get(self._column)
        return (
            space is not None and space.signs is None and f"{self._column}.signs" not in self._index.snapshot().spaces
        )

    def manifest(self) -> Manifest | None:
        """That of the index that there is, if any."""
        manifest = Manifest.read(self._index.folder / LATE_FOLDER)
        ours = manifest is not None and self._index.catalogue.crc_at(manifest.generation) == manifest.crc
        return manifest if ours else None

    def is_to_be_extended(self) -> bool:
        """Whether too much isn't covered, or is dead."""
        manifest = self.manifest() if self.is_indexed() else None
        return manifest is not None and is_due(manifest, self._index.snapshot(), self._column)

    def extend(self) -> bool:
        """Extend the index, if that is due."""
        return extend_late(self._index, self._column, known=self.latest, tell=self._note) is not None

    def _note(self, late: LateIndex) -> None:
        self.latest = late

    def is_to_be_trained(self) -> bool:
        """Whether the index is outgrown, or the first one is due."""
        if not self.trains or not self.is_indexed():
            return False
        manifest = self.manifest()
        if manifest is None:
            return 0 < self.first <= uncovered(0, self._index.snapshot(), self._column)
        return is_outgrown(manifest)

    def train(self, check: Callable[[], None]) -> bool:
        """Train it. A training that is told to end by `check` keeps what it has finished for the next one."""
        check()
        late = LateIndex.of(self._index.folder / LATE_FOLDER, self._index.catalogue, self.latest)
        self.latest = build_late(
            self._index,
            self._column,
            target_overlap=late.manifest.target if late else TARGET,
            queries=questions_in(late.file) if late else None,
            kind=late.manifest.queries if late else "pseudo",
            progress=lambda step, done, total: check(),
        )
        return True


class _Extending:
    """A task."""

    def __init__(self, upkeep: LateUpkeep) -> None:
        self._upkeep = upkeep

    def is_due(self) -> bool:
        return self._upkeep.is_to_be_extended()

    def do(self, check: Callable[[], None]) -> bool:
        return self._upkeep.extend()


class _Training:
    """A task."""

    def __init__(self, upkeep: LateUpkeep) -> None:
        self._upkeep = upkeep

    def is_due(self) -> bool:
        return self._upkeep.is_to_be_trained()

    def do(self, check: Callable[[], None]) -> bool:
        return self._upkeep.train(check)
