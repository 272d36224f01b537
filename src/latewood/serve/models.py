"""The models of a service, by the names that requests use. Loaded at the start; a request loads nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latewood import encode
from latewood.collection import Collection
from latewood.errors import PipelineError, UsageError
from latewood.pipeline import Stage, parse
from latewood.protocols import Encoder, PairScorer
from latewood.serve.lanes import Cancelled, Lane
from latewood.serve.problems import Refusal
from latewood.types import EncoderSpec, FloatArray

__all__ = ["DEFAULT_MODEL", "Model", "Models", "Scorer"]

DEFAULT_MODEL = "minilm"

_PAIRS = 16
"""Pairs that a cross-encoder reads before somebody else's may go."""

_UNNAMED = {"", "default", "default/not-specified"}
"""What clients send that were told of no model: Infinity's own default among them."""


class Scorer:
    """A cross-encoder that several requests share, a few pairs each in turn."""

    def __init__(self, scorer: PairScorer) -> None:
        self.name = scorer.name
        self._scorer = scorer
        self._mutex = threading.Lock()

    @property
    def bounded(self) -> bool:
        """Its scores are in [0, 1] as they are."""
        return bool(getattr(self._scorer, "bounded", False))

    def score(self, query: str, texts: Sequence[str], cancelled: threading.Event | None = None) -> FloatArray:
        """[N] float32, as the model gives them.

        Raises:
            Cancelled: the event was set.
        """
        parts = [np.zeros(0, np.float32)]
        for start in range(0, len(texts), _PAIRS):
            if cancelled is not None and cancelled.is_set():
                raise Cancelled
            with self._mutex:
                parts.append(self._scorer.score(query, texts[start : start + _PAIRS]))
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Model:
    """A name, and what is behind it: a lane of an encoder, or a scorer of pairs."""

    name: str
    lane: Lane | None = None
    scorer: Scorer | None = None


class Models:
    """Models by name.

    Args:
        batch: see `Lane`.
        observe: see `Lane`.
    """

    def __init__(self, batch: int, observe: Callable[[int], None]) -> None:
        self._batch = batch
        self._observe = observe
        self._models: dict[str, Model] = {}
        self._stages: dict[Stage, Scorer] = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def load(self, name: str, folder: str) -> None:
        """Load an encoder under a name: the bundled one's, or a folder's.

        Raises:
            ModelError: there is none.
            UsageError: the name is taken.
        """
        self._put(Model(name, lane=self._lane_like(folder) or self._start(encode.load(folder))))

    def load_scorer(self, name: str, folder: str) -> None:
        """Load a cross-encoder under a name."""
        self._put(Model(name, scorer=Scorer(encode.load_scorer(folder))))

    def allow(self, pipeline: str) -> None:
        """Load what the `cross` stages of a pipeline need, and let requests use exactly those."""
        for step in parse(pipeline).steps:
            for stage in step.stages:
                key = replace(stage, k=None)
                if stage.name == "cross" and key not in self._stages and not self._named(stage):
                    model, url, dialect = (str(stage.option(name) or "") for name in ("model", "url", "dialect"))
                    self._stages[key] = Scorer(encode.load_scorer(model, url=url, dialect=dialect))

    def lane_for(self, path: Path) -> Lane:
        """The lane of the model that made a collection, loaded now if it isn't there yet.

        Raises:
            ModelError: it isn't where it was.
        """
        with Collection.open(path) as kb:
            spec = kb.spec
            for model in self:
                if model.lane is not None and _same(model.lane.spec, spec):
                    return model.lane
            lane = self._start(kb.encoder)
        name = Path(spec.name).name + ("-truncate" if spec.truncate else "")
        if name in self._models:
            name = f"{name}-{spec.model_hash[:8]}"
        self._models.setdefault(name, Model(name, lane=lane))
        return lane

    def get(self, name: str | None) -> Model:
        """The model of this name; the first, when there is no name.

        Raises:
            Refusal: 404.
        """
        if name is None or name in _UNNAMED:
            for model in self:
                return model
        found = self._models.get(str(name))
        if found is None:
            known = ", ".join(f"'{known}'" for known in self._models) or "none"
            raise Refusal(404, f"no model '{str(name)[:80]}': this service was started with {known}", "model")
        return found

    def lane(self, name: str | None) -> Lane:
        """The lane of an encoder.

        Raises:
            Refusal: 404; 422 for a cross-encoder.
        """
        model = self.get(name)
        if model.lane is None:
            raise Refusal(422, f"'{model.name}' is a cross-encoder, which gives no vectors", "model")
        return model.lane

    def scorer(self, stage: Stage) -> PairScorer:
        """What a `cross` stage scores with.

        Raises:
            PipelineError: it isn't one that the service was started with.
        """
        found = self._named(stage) or self._stages.get(replace(stage, k=None))
        if found is None:
            raise PipelineError(f"'{stage}' is none that this service was started with: see its --cross and --pipeline")
        return found

    def names(self) -> Mapping[str, str]:
        """Name → kind, for the list of models."""
        return {model.name: "encoder" if model.lane else "cross-encoder" for model in self}

    def close(self) -> None:
        """Stop all lanes."""
        for model in self:
            if model.lane is not None:
                model.lane.close()

    def _named(self, stage: Stage) -> Scorer | None:
        if set(dict(stage.options)) == {"model"}:
            found = self._models.get(str(stage.option("model")))
            return found.scorer if found is not None else None
        return None

    def _put(self, model: Model) -> None:
        if model.name in self._models:
            raise UsageError(f"two models are called '{model.name}': give one another name, NAME=FOLDER")
        self._models[model.name] = model

    def _start(self, encoder: Encoder) -> Lane:
        return Lane(encoder, self._batch, self._observe)

    def _lane_like(self, folder: str) -> Lane | None:
        """The lane that has this folder already, under another name."""
        wanted = folder if folder == DEFAULT_MODEL else str(Path(folder).resolve())
        lanes = [model.lane for model in self if model.lane is not None]
        return next((lane for lane in lanes if lane.spec.name == wanted and not lane.spec.truncate), None)


def _same(mine: EncoderSpec, theirs: EncoderSpec) -> bool:
    return replace(mine, name="", libraries={}) == replace(theirs, name="", libraries={})
