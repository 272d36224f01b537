"""The collections of a service: one handle that reads, and one that writes while somebody writes."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from latewood.binding import BoundPipeline
from latewood.collection import BATCH, AddReport, Collection
from latewood.distinct import Distinct
from latewood.errors import InputError, PipelineError, UsageError
from latewood.late_index import certify
from latewood.pipeline import Pipeline, Stage, parse
from latewood.protocols import PairScorer
from latewood.serve.lanes import Cancelled, Lane, LaneEncoder
from latewood.serve.problems import Refusal
from latewood.stores.conditions import Where
from latewood.stores.embedded import EmbeddedSnapshot
from latewood.stores.filtered import FilteredSnapshot, filtered
from latewood.types import EncodedQuery, Passage

__all__ = ["NAME", "Shelf", "Shelves"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"

_LOOK = 0.2
"""Seconds after which a search asks whether another process has committed."""


class Shelf:
    """One collection.

    Args:
        name: in requests.
        path: its folder.
        lane: the model that made it.
        scorer: gives the scorer of a `cross` stage that may run here, and refuses others.
        owned: the service made it and may remove it.
    """

    def __init__(
        self, name: str, path: Path, lane: Lane, scorer: Callable[[Stage], PairScorer], *, owned: bool = False
    ) -> None:
        self.name = name
        self.path = path
        self.lane = lane
        self.owned = owned
        self._scorer = scorer
        self._reader = Collection.open(path, LaneEncoder(lane))
        self._writing = threading.Lock()
        self._looked = time.monotonic()

    def close(self) -> None:
        """Give the files back."""
        self._reader.close()

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def default_pipeline(self) -> str:
        """What is run when a request doesn't say."""
        return self._reader.default_pipeline

    def bind(
        self,
        text: str,
        cancelled: threading.Event,
        wheres: Sequence[Where] = (),
        *,
        distinct: Distinct | None = None,
        depth: int = 2000,
        memo: dict[str, tuple[EncodedQuery, float]] | None = None,
    ) -> BoundPipeline:
        """A pipeline on the newest generation, with what a caller may see.

        Raises:
            PipelineError: it can't be read or run here, or asks for more than `depth` candidates.
        """
        self._look()
        pipeline = parse(text)
        _check_depth(pipeline, depth)
        bound = self._reader.bind(pipeline, wheres, distinct)
        encoder = self.encoder(cancelled)
        return replace(bound, encoder=lambda: encoder, scorer=self._scorer, memo=memo)

    def snapshot(self, wheres: Sequence[Where] = ()) -> EmbeddedSnapshot | FilteredSnapshot:
        """The newest generation, with what a caller may see."""
        self._look()
        return filtered(self._reader.snapshot, wheres)

    def encoder(self, cancelled: threading.Event) -> LaneEncoder:
        """What made its vectors, for one request."""
        return LaneEncoder(self.lane, cancelled=cancelled)

    def stats(self) -> Mapping[str, Any]:
        """As `latewood stats --json`, with the name in place of the path."""
        self._look()
        found = dict(self._reader.stats())
        del found["path"]
        return {"name": self.name, **found}

    def certificate(self, samples: int, cancelled: threading.Event) -> dict[str, Any]:
        """How much of the exact ranking `late` keeps, measured now on sentences of passages."""
        with Collection.open(self.path, self._background(cancelled)) as kb:
            head = {"collection": self.name, "generation": kb.refresh()}
            if kb.snapshot.late_index is None or not len(kb.snapshot):
                return {**head, "exact": True}
            found = certify(kb, samples=samples)
        names = ("certified", "samples", "queries", "p50_ms", "p95_ms", "exhaustive_p50_ms")
        estimates = {"overlap": asdict(found.overlap), "stored_vs_float32": asdict(found.stored_vs_float32)}
        return {**head, "exact": False, **estimates, **{name: getattr(found, name) for name in names}}

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked > _LOOK:
            self._looked = now
            self._reader.refresh()

    # -- writing ---------------------------------------------------------------------------------------------------

    def add(
        self, passages: Iterable[Passage], progress: Callable[[int], None], cancelled: threading.Event
    ) -> tuple[AddReport, int]:
        """Add passages, batch by batch; each is committed and visible before the next is read.

        Args:
            passages: they may be made while this runs.
            progress: called with the number of passages encoded since the last call.
            cancelled: stops it after the running batch.

        Returns:
            What was done, and the generation that has it.

        Raises:
            LockedError: another process is writing.
            Cancelled: the event was set; what was committed stays.
        """
        report = AddReport()
        with self._writing, Collection.open(self.path, self._background(cancelled)) as writer:
            for batch in _batches(passages):
                if cancelled.is_set():
                    raise Cancelled
                report += writer.add(batch, progress)
                self._reader.refresh()
            return report, self._reader.refresh()

    def delete(self, ids: Sequence[str]) -> tuple[int, int]:
        """Delete passages by id in one commit: how many were there, and the generation without them."""
        with self._writing, Collection.open(self.path) as writer:
            gone = writer.delete(ids)
            return gone, self._reader.refresh()

    def sources(self) -> dict[str, str]:
        """Passage id → id of its document, of the newest generation."""
        self._reader.refresh()
        return self._reader.sources()

    def _background(self, cancelled: threading.Event) -> LaneEncoder:
        return LaneEncoder(self.lane, background=True, cancelled=cancelled)


class Shelves:
    """The collections by name.

    Args:
        root: where new ones are made; None to make none.
        lane_for: gives the lane of the model that made a collection.
        lane_named: gives the lane of a model's name.
        scorer: see `Shelf`.
    """

    def __init__(
        self,
        root: Path | None,
        lane_for: Callable[[Path], Lane],
        lane_named: Callable[[str | None], Lane],
        scorer: Callable[[Stage], PairScorer],
    ) -> None:
        self.root = root
        self._lane_for = lane_for
        self._lane_named = lane_named
        self._scorer = scorer
        self._shelves: dict[str, Shelf] = {}
        self._mutex = threading.Lock()

    def __iter__(self) -> Iterator[Shelf]:
        return iter(sorted(self._shelves.values(), key=lambda shelf: shelf.name))

    def __len__(self) -> int:
        return len(self._shelves)

    def open(self, path: Path, *, owned: bool = False) -> Shelf:
        """Open a collection under the name of its folder, less ".lw".

        Raises:
            InputError: it isn't one, or the name is taken.
        """
        name = _named(path)
        if name in self._shelves:
            raise InputError(
                f"two collections would be called '{name}': {self._shelves[name].path} and {path}; rename one"
            )
        shelf = Shelf(name, path, self._lane_for(path), self._scorer, owned=owned)
        self._shelves[name] = shelf
        return shelf

    def open_root(self) -> None:
        """Open what earlier runs made."""
        if self.root is not None:
            for path in sorted(self.root.glob("*.lw")):
                if not path.name.startswith("."):
                    self.open(path, owned=True)

    def get(self, name: str | None) -> Shelf:
        """The collection of this name; the only one, when there is no name.

        Raises:
            Refusal: 404, 422.
        """
        if name is None:
            if len(self._shelves) == 1:
                return next(iter(self._shelves.values()))
            raise Refusal(422, f"which collection? this service has {self._names()}", "collection")
        shelf = self._shelves.get(name)
        if shelf is None:
            raise Refusal(404, f"no collection '{name[:80]}': this service has {self._names()}", "collection")
        return shelf

    def create(self, name: str, model: str | None, *, language: str) -> Shelf:
        """Make an empty collection under the root.

        Raises:
            Refusal: 403 without a root, 404 for a model that isn't loaded, 409 for a name that is taken.
        """
        if self.root is None:
            raise Refusal(403, "this service makes no collections: start it with --root FOLDER")
        if not re.fullmatch(NAME, name):
            raise Refusal(422, "name: expected letters, digits, - and _, at most 64", "name")
        lane = self._lane_named(model)
        with self._mutex:
            if name in self._shelves:
                raise Refusal(409, f"there is a collection '{name}' already", "name")
            path = self.root / f"{name}.lw"
            Collection.create(path, LaneEncoder(lane), language=language).close()
            return self.open(path, owned=True)

    def remove(self, name: str) -> None:
        """Remove a collection that was made here, with all that is in it.

        Raises:
            Refusal: 403 for one that the service was started with.
        """
        shelf = self.get(name)
        if not shelf.owned or self.root is None:
            raise Refusal(403, f"'{name}' was there before this service: remove its folder yourself")
        with self._mutex, shelf._writing:
            if self._shelves.pop(name, None) is None:
                raise Refusal(404, f"no collection '{name}'", "collection")
            doomed = self.root / f".{name}.removed"
            shutil.rmtree(doomed, ignore_errors=True)
            shelf.close()
            shelf.path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def close(self) -> None:
        """Give all files back."""
        for shelf in self._shelves.values():
            shelf.close()

    def _names(self) -> str:
        return ", ".join(f"'{name}'" for name in sorted(self._shelves)) or "none"


def _named(path: Path) -> str:
    name = path.resolve().name.removesuffix(".lw")
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{path}: its name is its address here; expected letters, digits, - and _, at most 64")
    return name


def _check_depth(pipeline: Pipeline, depth: int) -> None:
    stages = [stage for step in pipeline.steps for stage in step.stages]
    deepest = max([*pipeline.depths(), *(stage.k or 0 for stage in stages)])
    if deepest > depth:
        raise PipelineError(f"'{pipeline}' asks for {deepest} candidates, this service allows {depth}")


def _batches(passages: Iterable[Passage]) -> Iterator[list[Passage]]:
    remaining = iter(passages)
    while batch := list(islice(remaining, BATCH)):
        yield batch
