"""Qdrant Edge: Qdrant's engine in this process, one collection to a folder. Its `Points`.

Edge keeps no notes about a collection, so latewood's stand in a file of its own beside the shard's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from latewood.errors import EndpointError, InputError, MissingExtra, UsageError
from latewood.stores.homes import QdrantAddress
from latewood.stores.qdrant_filters import AnyOf, Between, Clause, Equals, HasVector
from latewood.stores.qdrant_layout import POOLED
from latewood.stores.qdrant_points import Found, Plan, Point, PointId, Search, Storage, VectorShape, as_array

__all__ = ["EdgePoints"]

NOTES = "latewood.json"
CONFIG = "edge_config.json"
_FULL_SCAN = 10_000


def load_edge() -> Any:
    """The qdrant_edge module.

    Raises:
        MissingExtra: it isn't installed.
    """
    try:
        import qdrant_edge
    except ImportError as err:
        raise MissingExtra("a Qdrant Edge collection", "qdrant-edge-py", "edge") from err
    return qdrant_edge


class EdgePoints:
    """One shard: `Points`.

    Args:
        address: of kind edge.
    """

    def __init__(self, address: QdrantAddress) -> None:
        self._edge = load_edge()
        self.address = address
        self._folder = Path(address.location)
        self._shard: Any = None

    @property
    def shard(self) -> Any:
        """The open shard.

        Raises:
            InputError: there is none.
            EndpointError: it can't be opened.
        """
        if self._shard is None:
            if not self.exists():
                raise InputError(f"{self.address}: {self._folder} holds no Qdrant Edge shard")
            self._shard = self._call(lambda: self._edge.EdgeShard.load(str(self._folder)))
        return self._shard

    def _call(self, function: Any) -> Any:
        try:
            return function()
        except (LookupError, TypeError):
            raise
        except Exception as err:  # the engine raises one kind of its own for everything
            raise EndpointError(f"{self.address}: {' '.join(str(err).split())[:200]}") from err

    # -- the collection --------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether it is there."""
        return (self._folder / "segments").is_dir()

    def found(self) -> Found:
        """What the collection is.

        Raises:
            InputError: there is none, or its shape isn't noted.
        """
        info = self._call(self.shard.info)
        notes = self._folder / NOTES
        if not notes.exists():
            raise InputError(f"{self.address}: this shard wasn't made by latewood; expected {NOTES} in {self._folder}")
        given = json.loads(notes.read_text(encoding="utf-8"))
        shapes = {name: VectorShape(**shape) for name, shape in given["vectors"].items()}
        return Found(shapes, (), given["metadata"], exact=not info.indexed_vectors_count)

    def create(self, plan: Plan) -> None:
        """Make it."""
        edge = self._edge
        if self._folder.exists() and any(self._folder.iterdir()):
            raise InputError(f"can't create {self.address}: {self._folder} is already something")
        self._folder.mkdir(parents=True, exist_ok=True)
        config = edge.EdgeConfig(
            vectors={name: self._params(shape, plan, name) for name, shape in plan.vectors.items()}
        )
        self._shard = self._call(lambda: edge.EdgeShard.create(str(self._folder), config))
        shapes = {
            name: {"size": shape.size, "distance": shape.distance, "multi": shape.multi}
            for name, shape in plan.vectors.items()
        }
        written = self._folder / f".{NOTES}.new"
        written.write_text(json.dumps({"vectors": shapes, "metadata": dict(plan.metadata)}), encoding="utf-8")
        written.replace(self._folder / NOTES)

    def _params(self, shape: VectorShape, plan: Plan, name: str) -> Any:
        edge = self._edge
        late = name == plan.late
        kept = late or name == POOLED
        datatypes = {"float32": edge.VectorStorageDatatype.Float32, "float16": edge.VectorStorageDatatype.Float16}
        return edge.EdgeVectorParams(
            shape.size,
            getattr(edge.Distance, shape.distance.capitalize()),
            multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if shape.multi else None,
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=_FULL_SCAN) if late else None,
            datatype=datatypes[plan.storage.datatype] if kept else None,
            memory=edge.Memory.Cold if late and plan.storage.on_disk else None,
            quantization_config=self._quantization(plan.storage) if kept else None,
        )

    def _quantization(self, storage: Storage) -> Any:
        edge = self._edge
        if storage.quantization == "scalar":
            return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, memory=edge.Memory.Pinned)
        if storage.quantization == "binary":
            return edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned)
        if storage.quantization.startswith("turbo"):
            bits = getattr(edge.TurboQuantBitSize, f"Bits{storage.quantization[-1]}")
            return edge.TurboQuantQuantizationConfig(bits=bits, memory=edge.Memory.Pinned)
        return None

    def count(self, where: Sequence[Clause] | None = None) -> int:
        """How many points there are, exactly."""
        return int(
            self._call(lambda: self.shard.count(self._edge.CountRequest(filter=self._filter(where), exact=True)))
        )

    # -- points ----------------------------------------------------------------------------------------------------

    def scroll(
        self,
        payload: Sequence[str] | bool,
        vectors: Sequence[str],
        batch: int,
        where: Sequence[Clause] | None = None,
    ) -> Iterator[list[Point]]:
        """All points, in the order of their ids."""
        after: Any = None
        while True:
            request = self._edge.ScrollRequest(
                offset=after,
                limit=batch,
                filter=self._filter(where),
                with_payload=_fields(payload),
                with_vector=list(vectors) or False,
            )
            records, after = self._call(lambda request=request: self.shard.scroll(request))
            if records:
                yield [_point(record) for record in records]
            if after is None:
                return

    def retrieve(self, ids: Sequence[PointId], payload: Sequence[str] | bool, vectors: Sequence[str]) -> list[Point]:
        """Those of these points that are there, in any order."""
        if not ids:
            return []
        records = self._call(
            lambda: self.shard.retrieve(
                point_ids=list(ids), with_payload=_fields(payload), with_vector=list(vectors) or False
            )
        )
        return [_point(record) for record in records]

    def query(
        self,
        searches: Sequence[Search],
        *,
        payload: Sequence[str] = (),
        only: Sequence[PointId] | None = None,
        where: Sequence[Clause] | None = None,
        exact: bool,
    ) -> list[tuple[Point, float]]:
        """Run searches one behind the other, as one query; the last one's order and scores."""
        edge = self._edge
        params = (
            edge.SearchParams(exact=True, quantization=edge.QuantizationSearchParams(ignore=True)) if exact else None
        )
        among = self._filter(where, only)
        inner: list[Any] = []
        for search in searches[:-1]:
            among_here = among if not inner else None
            query = edge.Query.Nearest(search.query.tolist(), using=search.using)
            inner = [edge.Prefetch(limit=search.limit, query=query, prefetches=inner, params=params, filter=among_here)]
        last = searches[-1]
        request = edge.QueryRequest(
            limit=last.limit,
            query=edge.Query.Nearest(last.query.tolist(), using=last.using),
            prefetches=inner,
            filter=among if not inner else None,
            params=params,
            with_payload=_fields(payload),
        )
        return [(_point(point), float(point.score)) for point in self._call(lambda: self.shard.query(request))]

    def upsert(self, points: Sequence[Point]) -> None:
        """Write whole points, and return when they can be found."""
        edge = self._edge
        made = [
            edge.Point(point.id, {name: vector.tolist() for name, vector in point.vectors.items()}, dict(point.payload))
            for point in points
        ]
        self._call(lambda: self.shard.update(edge.UpdateOperation.upsert_points(made)))

    def delete(self, ids: Sequence[PointId]) -> None:
        """Delete points."""
        if ids:
            self._call(lambda: self.shard.update(self._edge.UpdateOperation.delete_points(list(ids))))

    def close(self) -> None:
        """Give the files back, everything written."""
        if self._shard is not None:
            self._shard.flush()
            self._shard.close()
            self._shard = None

    # -- filters ---------------------------------------------------------------------------------------------------

    def _filter(self, where: Sequence[Clause] | None, only: Sequence[PointId] | None = None) -> Any:
        must = [self._clause(clause) for clause in where or ()]
        if only is not None:
            must.append(self._edge.HasIdCondition(set(only)))
        return self._edge.Filter(must=must) if must else None

    def _clause(self, clause: Clause) -> Any:
        edge = self._edge
        if isinstance(clause, Equals):
            if isinstance(clause.value, bool):
                raise UsageError(
                    f"where: {clause.key}: Qdrant Edge's Python door matches no true and false: use a text"
                )
            return edge.FieldCondition(clause.key, match=edge.MatchValue(clause.value))
        if isinstance(clause, Between):
            bounds = edge.RangeFloat(gt=clause.gt, gte=clause.gte, lt=clause.lt, lte=clause.lte)
            return edge.FieldCondition(clause.key, range=bounds)
        if isinstance(clause, HasVector):
            return edge.HasVectorCondition(clause.name)
        assert isinstance(clause, AnyOf)
        if not clause.clauses:
            return edge.HasIdCondition(set())
        return edge.Filter(should=[self._clause(each) for each in clause.clauses])


def _fields(payload: Sequence[str] | bool) -> Any:
    return payload if isinstance(payload, bool) else list(payload) or False


def _id(given: Any) -> PointId:
    return given if isinstance(given, int) else str(given)


def _point(record: Any) -> Point:
    vectors = record.vector or {}
    vectors = vectors if isinstance(vectors, dict) else {"": vectors}
    return Point(_id(record.id), record.payload or {}, {name: as_array(one) for name, one in vectors.items()})
