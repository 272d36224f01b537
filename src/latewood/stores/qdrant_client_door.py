"""Qdrant by its Python client: a server over HTTP, or the client's own local mode. The `Points` of both."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from latewood.errors import EndpointError, InputError, LockedError, MissingExtra
from latewood.stores.homes import QdrantAddress
from latewood.stores.qdrant_filters import AnyOf, Between, Clause, Equals, HasVector
from latewood.stores.qdrant_layout import POOLED
from latewood.stores.qdrant_points import Found, Plan, Point, PointId, Search, Storage, VectorShape, as_array

__all__ = ["ClientPoints", "clients_of", "connect"]

T = TypeVar("T")

MAXSIM_SINCE = (1, 10)
"""Servers of this version on compare multivectors by MaxSim."""

METADATA_SINCE = (1, 16)
"""Servers of this version on keep notes about a collection; latewood keeps there which encoder filled it."""

TURBO_SINCE = (1, 18)

TIMEOUT = 60
WAITS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt at what may pass: no connection, 408, 429, 5xx. Every request can be repeated."""

_PASSING = {408, 429, 500, 502, 503, 504}


def load_client(need: str = "a Qdrant collection") -> Any:
    """The qdrant_client module.

    Raises:
        MissingExtra: it isn't installed.
    """
    try:
        import qdrant_client
    except ImportError as err:
        raise MissingExtra(need, "qdrant-client", "qdrant") from err
    return qdrant_client


def connect(address: QdrantAddress, *, make: bool = False) -> Any:
    """A client of the Qdrant at an address.

    Args:
        address: of a server or a local folder.
        make: the folder may be a new one. Otherwise it must be there: the client would make it.

    Raises:
        InputError: no such folder.
        LockedError: another process has the folder.
        EndpointError: the server can't be reached, or is too old to compare multivectors.
    """
    module = load_client()
    if address.kind == "server":
        client = module.QdrantClient(
            url=address.location,
            api_key=os.environ.get("QDRANT_API_KEY"),
            timeout=TIMEOUT,
            check_compatibility=False,
        )
        require(client, address, MAXSIM_SINCE, "multivectors compared by MaxSim")
        return client
    folder = Path(address.location)
    if not make and not (folder / "meta.json").exists():
        raise InputError(f"{address}: {folder} is no folder of Qdrant's local mode; expected one with meta.json in it")
    try:
        return module.QdrantClient(path=str(folder))
    except RuntimeError as err:
        raise LockedError(
            f"{folder} is in use by another process: Qdrant's local mode has room for one at a time; close the other"
        ) from err


def require(client: Any, address: QdrantAddress, version: tuple[int, int], what: str) -> None:
    """Refuse a server that is older.

    Raises:
        EndpointError: it is, or doesn't answer as Qdrant does.
    """
    if address.kind != "server":
        return
    found = str(calling(address.location, client.info).version)
    numbers = re.match(r"(\d+)\.(\d+)", found)
    if numbers is None:
        raise EndpointError(f"{address.location} says it is version {found!r:.40}, expected one such as 1.18.0")
    if (int(numbers[1]), int(numbers[2])) < version:
        wanted = ".".join(map(str, version))
        raise EndpointError(
            f"the Qdrant at {address.location} is version {found}, and {what} came with {wanted}: "
            f"upgrade the server, or keep token vectors beside it (latewood sidecar)"
        )


def calling(where: str, function: Callable[[], T], again: Sequence[float] = WAITS) -> T:
    """Call Qdrant, again after a while where that may help.

    Raises:
        EndpointError: it can't be reached, or refuses.
    """
    from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
    from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

    waits = iter(again)
    while True:
        try:
            return function()
        except UnexpectedResponse as err:
            said = " ".join(err.content.decode(errors="replace").split())[:200]
            problem, cause = f"answered {err.status_code}: {said}", err
            if err.status_code not in _PASSING:
                raise EndpointError(f"{where} {problem}") from err
        except ResourceExhaustedResponse as err:
            problem, cause = f"asks for {err.retry_after_s} s of patience", err  # type: ignore[assignment]
        except ResponseHandlingException as err:
            source = err.source
            problem, cause = f"could not be asked ({type(source).__name__}: {source}); is it up?", err  # type: ignore[assignment]
        wait = next(waits, None)
        if wait is None:
            raise EndpointError(f"{where} {problem}, {len(again) + 1} times") from cause
        time.sleep(max(wait, getattr(cause, "retry_after_s", 0)))


class ClientPoints:
    """One collection behind a client: `Points`.

    Args:
        client: from `connect`; closed with this.
        address: of the collection.
    """

    def __init__(self, client: Any, address: QdrantAddress) -> None:
        self._client = client
        self._models = load_client().models
        self.address = address
        self._name = address.collection or self._only_one()

    def _only_one(self) -> str:
        names = sorted(each.name for each in self._call(lambda: self._client.get_collections()).collections)
        if len(names) != 1:
            there = ", ".join(names) or "none"
            raise InputError(f"{self.address}: which collection? There are: {there}. Put #NAME behind the folder")
        return str(names[0])

    def _call(self, function: Callable[[], T]) -> T:
        return calling(str(self.address), function)

    # -- the collection --------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self._call(lambda: self._client.collection_exists(self._name)))

    def found(self) -> Found:
        """What the collection is.

        Raises:
            InputError: there is none.
        """
        if not self.exists():
            names = ", ".join(sorted(each.name for each in self._call(self._client.get_collections).collections)[:10])
            raise InputError(f"{self.address}: no collection {self._name!r}; there are: {names or 'none'}")
        info = self._call(lambda: self._client.get_collection(self._name))
        given = info.config.params.vectors or {}
        vectors = given if isinstance(given, dict) else {"": given}
        shapes = {
            name: VectorShape(one.size, one.distance.value.lower(), one.multivector_config is not None)
            for name, one in vectors.items()
        }
        exact = self.address.kind == "local" or not info.indexed_vectors_count
        return Found(shapes, tuple(info.config.params.sparse_vectors or ()), info.config.metadata or {}, exact)

    def create(self, plan: Plan) -> None:
        """Make it."""
        require(self._client, self.address, METADATA_SINCE, "notes about a collection")
        if plan.storage.quantization.startswith("turbo"):
            require(self._client, self.address, TURBO_SINCE, "turbo quantisation")
        vectors = {name: self._params(shape, plan, name) for name, shape in plan.vectors.items()}
        settings: dict[str, Any] = {}
        indexes: dict[str, Any] = {}
        if plan.like is not None:
            like = self._call(lambda: self._client.get_collection(plan.like))
            settings, indexes = _settings(like), dict(like.payload_schema)
            theirs = like.config.params.vectors
            vectors |= theirs if isinstance(theirs, dict) else {"": theirs}
        self._call(
            lambda: self._client.create_collection(
                self._name, vectors_config=vectors, metadata=dict(plan.metadata), **settings
            )
        )
        for field, schema in indexes.items():
            wanted = schema.params or schema.data_type
            self._call(partial(self._client.create_payload_index, self._name, field, wanted))

    def _params(self, shape: VectorShape, plan: Plan, name: str) -> Any:
        models = self._models
        late = name == plan.late
        kept = late or name == POOLED
        multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM) if shape.multi else None
        return models.VectorParams(
            size=shape.size,
            distance=models.Distance[shape.distance.upper()],
            multivector_config=multi,
            # MaxSim over a graph of documents is slow to build and to walk; token vectors are for reordering a pool.
            hnsw_config=models.HnswConfigDiff(m=0) if late else None,
            datatype=models.Datatype(plan.storage.datatype) if kept else None,
            on_disk=plan.storage.on_disk if late else None,
            quantization_config=self._quantization(plan.storage) if kept else None,
        )

    def _quantization(self, storage: Storage) -> Any:
        models = self._models
        if storage.quantization == "scalar":
            scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            return models.ScalarQuantization(scalar=scalar)
        if storage.quantization == "binary":
            return models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        if storage.quantization.startswith("turbo"):
            bits = models.TurboQuantBitSize(f"bits{storage.quantization[-1]}")
            return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(always_ram=True, bits=bits))
        return None

    def count(self, where: Sequence[Clause] | None = None) -> int:
        """How many points there are, exactly."""
        return int(self._call(lambda: self._client.count(self._name, self._filter(where), exact=True)).count)

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
            records, after = self._call(
                lambda after=after: self._client.scroll(  # type: ignore[misc]
                    self._name,
                    scroll_filter=self._filter(where),
                    limit=batch,
                    offset=after,
                    with_payload=_fields(payload),
                    with_vectors=_names(vectors),
                )
            )
            if records:
                yield [_point(record) for record in records]
            if after is None:
                return

    def retrieve(self, ids: Sequence[PointId], payload: Sequence[str] | bool, vectors: Sequence[str]) -> list[Point]:
        """Those of these points that are there, in any order."""
        if not ids:
            return []
        records = self._call(
            lambda: self._client.retrieve(
                self._name, list(ids), with_payload=_fields(payload), with_vectors=_names(vectors)
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
        models = self._models
        params = None
        if exact and self.address.kind == "server":
            ignored = models.QuantizationSearchParams(ignore=True)
            params = models.SearchParams(exact=True, quantization=ignored)
        among = self._filter(where, only)
        inner: Any = None
        for search in searches[:-1]:
            inner = models.Prefetch(
                query=search.query.tolist(),
                using=search.using or None,
                limit=search.limit,
                filter=among if inner is None else None,
                prefetch=inner,
                params=params,
            )
        last = searches[-1]
        found = self._call(
            lambda: self._client.query_points(
                self._name,
                prefetch=inner,
                query=last.query.tolist(),
                using=last.using or None,
                limit=last.limit,
                query_filter=among if inner is None else None,
                search_params=params,
                with_payload=_fields(payload),
            )
        )
        return [(_point(point), float(point.score)) for point in found.points]

    def upsert(self, points: Sequence[Point]) -> None:
        """Write whole points, and return when they can be found."""
        models = self._models
        structs = [
            models.PointStruct(id=point.id, payload=dict(point.payload), vector=_vectors(point)) for point in points
        ]
        self._call(lambda: self._client.upsert(self._name, structs, wait=True))

    def delete(self, ids: Sequence[PointId]) -> None:
        """Delete points."""
        if ids:
            selector = self._models.PointIdsList(points=list(ids))
            self._call(lambda: self._client.delete(self._name, selector, wait=True))

    def close(self) -> None:
        """Give files and connections back."""
        self._client.close()

    # -- aliases ---------------------------------------------------------------------------------------------------

    def alias(self, name: str) -> str | None:
        """The collection that an alias stands for, None where there is no such alias."""
        aliases = self._call(self._client.get_aliases).aliases
        return next((str(one.collection_name) for one in aliases if one.alias_name == name), None)

    def switch(self, name: str) -> None:
        """Have an alias stand for this collection, in one step."""
        models = self._models
        steps = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=self._name, alias_name=name))
        ]
        if self.alias(name) is not None:
            steps.insert(0, models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)))
        self._call(lambda: self._client.update_collection_aliases(steps))

    # -- filters ---------------------------------------------------------------------------------------------------

    def _filter(self, where: Sequence[Clause] | None, only: Sequence[PointId] | None = None) -> Any:
        must = [self._clause(clause) for clause in where or ()]
        if only is not None:
            must.append(self._models.HasIdCondition(has_id=list(only)))
        return self._models.Filter(must=must) if must else None

    def _clause(self, clause: Clause) -> Any:
        models = self._models
        if isinstance(clause, Equals):
            return models.FieldCondition(key=clause.key, match=models.MatchValue(value=clause.value))
        if isinstance(clause, Between):
            bounds = models.Range(gt=clause.gt, gte=clause.gte, lt=clause.lt, lte=clause.lte)
            return models.FieldCondition(key=clause.key, range=bounds)
        if isinstance(clause, HasVector):
            return models.HasVectorCondition(has_vector=clause.name)
        assert isinstance(clause, AnyOf)
        if not clause.clauses:
            return models.HasIdCondition(has_id=[])
        return models.Filter(should=[self._clause(each) for each in clause.clauses])


def clients_of(address: QdrantAddress, *names: str, make: bool = False) -> list[ClientPoints]:
    """Several collections behind one client; a local folder has room for no second one."""
    client = connect(address, make=make)
    return [ClientPoints(client, address.sibling(name)) for name in names]


def _settings(like: Any) -> dict[str, Any]:
    """What a new collection takes over from another one besides its vectors."""
    params = like.config.params
    given = {
        "sparse_vectors_config": params.sparse_vectors,
        "shard_number": params.shard_number,
        "replication_factor": params.replication_factor,
        "write_consistency_factor": params.write_consistency_factor,
        "on_disk_payload": params.on_disk_payload,
        "hnsw_config": _differences(like.config.hnsw_config),
        "quantization_config": like.config.quantization_config,
    }
    return {name: value for name, value in given.items() if value is not None}


def _differences(hnsw: Any) -> Any:
    models = load_client().models
    return models.HnswConfigDiff(**hnsw.model_dump(exclude_none=True)) if hnsw is not None else None


def _fields(payload: Sequence[str] | bool) -> Any:
    return payload if isinstance(payload, bool) else list(payload) or False


def _names(vectors: Sequence[str]) -> Any:
    """The unnamed vector can't be asked for by name: all are, then."""
    return True if "" in vectors else list(vectors) or False


def _point(record: Any) -> Point:
    given = record.vector or {}
    vectors = given if isinstance(given, dict) else {"": given}
    dense = {name: as_array(vector) for name, vector in vectors.items() if isinstance(vector, list)}
    sparse = {name: vector for name, vector in vectors.items() if not isinstance(vector, list)}
    return Point(record.id, record.payload or {}, dense, sparse)


def _vectors(point: Point) -> Any:
    """By name; "" is the unnamed one, which a collection may have beside named ones."""
    return {**{name: vector.tolist() for name, vector in point.vectors.items()}, **point.sparse}
