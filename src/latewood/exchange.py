"""Moving in and out: token vectors of fast-plaid, next-plaid or plain .npy files, to an index or a collection and back.

A folder that `export_vectors` writes holds the vectors in one of two layouts, `ids.json`, and, out of a collection,
`passages.jsonl` with all that was stored of each passage.

    plaid   what fast-plaid and next-plaid open (`latewood.index.plaid`): small, and lossy
    npy     vectors.npy [T, D] float32, lengths.npy [N] int64: as they are stored here
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.collection import Collection, Progress
from latewood.errors import InputError, ShapeError, UsageError
from latewood.index import Catalogue, MultiVectorIndex, disk_errors, flush_folder
from latewood.index.codebook import floats
from latewood.index.live import CATALOGUE
from latewood.index.plaid import PlaidFolder, write_plaid
from latewood.types import EncodedPassages, FloatArray, MultiVectors, Passage

__all__ = [
    "LAYOUTS",
    "Exported",
    "Vectors",
    "export_vectors",
    "import_collection",
    "import_index",
    "open_vectors",
    "read_passages",
]

LAYOUTS = ("plaid", "npy")
IDS, PASSAGES = "ids.json", "passages.jsonl"
VECTORS, LENGTHS = "vectors.npy", "lengths.npy"

_AT_ONCE = 2048
_FIELDS = ("id", "source_id", "source", "title", "text", "metadata")


@dataclass(frozen=True, slots=True)
class Vectors:
    """Documents of token vectors from elsewhere.

    Args:
        documents: gives [T, D] float32 each, in order, each time that it is called.
        count: N.
        ids: N ids, where they are known.
    """

    documents: Callable[[], Iterator[FloatArray]]
    count: int
    ids: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: documents, vectors, D."""

    documents: int
    vectors: int
    dim: int


# -- in --------------------------------------------------------------------------------------------------------------


def open_vectors(source: str | Path, lengths: str | Path | None = None, ids: str | Path | None = None) -> Vectors:
    """Vectors as some other tool has left them.

    Args:
        source: a folder of fast-plaid or next-plaid, a folder with vectors.npy and lengths.npy, or a .npy file of all
            vectors, [T, D] float32 or float16, one document's after the other's.
        lengths: a .npy file of N lengths that sum to T; lengths.npy of the folder by default.
        ids: a text file with N lines; ids.json of the folder by default, where it has one.

    Raises:
        InputError: it is none of these, or the parts don't belong together.
    """
    source = Path(source)
    folder = source if source.is_dir() else source.parent
    if source.is_dir() and not (source / VECTORS).exists():
        plaid = PlaidFolder(source)
        documents, count = plaid.documents, len(plaid)
    else:
        path = source / VECTORS if source.is_dir() else source
        documents, count = _flat(path, Path(lengths) if lengths else folder / LENGTHS)
    names = _ids(Path(ids) if ids else folder / IDS, given=ids is not None) if ids or source.is_dir() else None
    if names is not None and len(names) != count:
        raise InputError(f"{source}: {count} documents and {len(names)} ids; expected one for each")
    if names is not None and len(set(names)) < count:
        raise InputError(f"{source}: an id comes twice; expected each document under its own")
    return Vectors(documents, count, names)


def import_index(
    source: Vectors,
    destination: str | Path,
    *,
    threads: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> MultiVectorIndex:
    """A `MultiVectorIndex` of these documents, built and tuned. Their numbers are their ids, where there are none.

    Raises:
        UsageError: there are no vectors.
        InputError: the folder is something else.
        StorageError: the disk refused.
    """
    return MultiVectorIndex.build(destination, source.documents(), ids=source.ids, threads=threads, progress=progress)


def import_collection(
    source: Vectors, passages: Iterable[Passage], collection: Collection, progress: Progress | None = None
) -> int:
    """Add passages with these vectors, in batches, without encoding them; how many.

    Args:
        source: their vectors, made by the collection's own model.
        passages: N passages, in the order of the vectors.
        collection: of an encoder that gives token vectors and no others.
        progress: called with the number of passages done since the last call.

    Raises:
        UsageError: the encoder gives a single vector as well, which didn't come.
        InputError: fewer or more passages than vectors, other ids, or a text that doesn't have as many tokens as
            vectors came for it: then they are in another order, or of another model.
        ShapeError: another D.
    """
    spec = collection.spec
    if spec.dense_dim or not spec.dim:
        raise UsageError(
            f"'{spec.name}' gives {'a single vector as well' if spec.dense_dim else 'no token vectors'}, which doesn't "
            f"come with these: import into an index of vectors alone (leave --jsonl out), or index the texts"
        )
    remaining, vectors, done = iter(passages), source.documents(), 0
    while batch := list(islice(remaining, _AT_ONCE)):
        arrays = list(islice(vectors, len(batch)))
        if len(arrays) < len(batch):
            raise InputError(
                f"there are vectors of {source.count} documents, and more passages: {batch[len(arrays)].id}"
            )
        for number, (passage, array) in enumerate(zip(batch, arrays, strict=True), done):
            _check(passage, array, collection, source.ids[number] if source.ids else None)
        collection.add_encoded(batch, EncodedPassages(MultiVectors.of(arrays), MultiVectors.none(len(batch))))
        done += len(batch)
        if progress is not None:
            progress(len(batch))
    if done < source.count:
        raise InputError(f"there are vectors of {source.count} documents, and only {done} passages; {done} were added")
    return done


def _check(passage: Passage, array: FloatArray, collection: Collection, name: str | None) -> None:
    if name is not None and name != passage.id:
        raise InputError(f"passage '{passage.id}' comes where the vectors are those of '{name}'; expected their order")
    if array.shape[1] != collection.spec.dim:
        raise ShapeError(f"vectors have D {array.shape[1]}, '{collection.spec.name}' gives D {collection.spec.dim}")
    expected = len(collection.encoder.label(passage.text))
    if len(array) != expected:
        raise InputError(
            f"passage '{passage.id}': {len(array)} vectors came, and '{collection.spec.name}' gives its text "
            f"{expected}: they are in another order, or of another model or length limit"
        )


def read_passages(path: str | Path) -> Iterator[Passage]:
    """The passages of a `passages.jsonl` that `export_vectors` wrote.

    Raises:
        InputError: at the first line that is none.
    """
    with disk_errors(Path(path), "read"), Path(path).open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
                passage = Passage(**{field: record[field] for field in _FIELDS})
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}:{number}: no passage as an export writes them: {error!r:.80}") from None
            yield passage


def _flat(path: Path, lengths: Path) -> tuple[Callable[[], Iterator[FloatArray]], int]:
    tokens, counts = _array(path), _array(lengths)
    if tokens.ndim != 2 or tokens.dtype not in (np.float32, np.float16):
        raise InputError(f"{path}: got shape {tokens.shape} {tokens.dtype}, expected [T, D] float32 or float16")
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or (len(counts) and counts.min() < 0):
        raise InputError(
            f"{lengths}: got shape {counts.shape} {counts.dtype}, expected [N] whole numbers, none below 0"
        )
    if int(counts.sum()) != len(tokens):
        raise InputError(f"{lengths}: the lengths sum to {int(counts.sum())}, and {path} has {len(tokens)} vectors")
    ends = np.cumsum(counts, dtype=np.int64)

    def documents() -> Iterator[FloatArray]:
        for length, end in zip(counts.tolist(), ends.tolist(), strict=True):
            yield np.ascontiguousarray(tokens[end - length : end], np.float32)

    return documents, len(counts)


def _array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: could not be read as .npy: {error}") from None
    return array


def _ids(path: Path, *, given: bool) -> tuple[str, ...] | None:
    if not given and not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if path.suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: could not be read: {error}") from None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise InputError(f"{path}: expected a list of ids")
    return tuple(found)


# -- out -------------------------------------------------------------------------------------------------------------


def export_vectors(
    source: str | Path, destination: str | Path, *, layout: str = "plaid", nbits: int = 4, threads: int = 1
) -> Exported:
    """Write a collection's token vectors, or those of a `MultiVectorIndex`, as other tools read them.

    Args:
        source: the folder of the collection or index; its newest generation is written.
        destination: a folder, which must not be there; it appears whole or not at all.
        layout: one of `LAYOUTS`.
        nbits: of plaid: 1, 2, 4 or 8 bits a dimension.
        threads: most threads to use; the files don't depend on it.

    Raises:
        UsageError: another layout, or no vectors.
        InputError: the source is neither, the destination is there, or vectors that the layout can't keep.
        StorageError: the disk refused.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"layout: got {layout!r:.40}, expected one of {', '.join(LAYOUTS)}")
    source, destination = Path(source), Path(destination)
    if destination.exists():
        raise InputError(f"can't write {destination}: something is there; choose another folder")
    if not destination.absolute().parent.is_dir():
        raise InputError(f"can't write {destination}: its parent {destination.parent} is not a folder")
    if _is_collection(source):
        with Collection.open(source) as kb:
            snapshot = kb.snapshot
            rows = snapshot.live_rows

            def batches() -> Iterator[MultiVectors]:
                for start in range(0, len(rows), _AT_ONCE):
                    yield snapshot.vectors(rows[start : start + _AT_ONCE])

            def passages() -> Iterator[Passage]:
                for start in range(0, len(rows), _AT_ONCE):
                    yield from snapshot.passages(rows[start : start + _AT_ONCE])

            return _write(destination, batches, snapshot.ids(rows), passages, layout, nbits, threads)
    with MultiVectorIndex.open(source) as index:
        ids = index.ids()
        return _write(destination, lambda: index.batches(_AT_ONCE), ids, None, layout, nbits, threads)


def _write(
    destination: Path,
    batches: Callable[[], Iterator[MultiVectors]],
    ids: Sequence[str],
    passages: Callable[[], Iterator[Passage]] | None,
    layout: str,
    nbits: int,
    threads: int,
) -> Exported:
    building = destination.with_name(f".{destination.name}.exporting")
    with disk_errors(destination, "write"):
        shutil.rmtree(building, ignore_errors=True)
        try:
            if layout == "plaid":
                write_plaid(building, batches, nbits=nbits, threads=threads)
            else:
                _write_flat(building, batches)
            (building / IDS).write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
            if passages is not None:
                with (building / PASSAGES).open("w", encoding="utf-8") as file:
                    for one in passages():
                        record = {field: getattr(one, field) for field in _FIELDS[:-1]} | {
                            "metadata": dict(one.metadata)
                        }
                        file.write(json.dumps(record, ensure_ascii=False) + "\n")
            flush_folder(building)
            building.rename(destination)
            flush_folder(destination.absolute().parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
    sizes = [(len(batch.tokens), batch.dim) for batch in batches()]
    return Exported(len(ids), sum(size for size, _ in sizes), sizes[0][1] if sizes else 0)


def _write_flat(folder: Path, batches: Callable[[], Iterator[MultiVectors]]) -> None:
    lengths = np.concatenate([np.zeros(0, np.int64), *(np.diff(batch.offsets) for batch in batches())])
    if not lengths.sum():
        raise UsageError("no vectors to export")
    folder.mkdir()
    np.save(folder / LENGTHS, lengths)
    out: npt.NDArray[Any] | None = None
    start = 0
    for batch in batches():
        if out is None:
            shape = (int(lengths.sum()), batch.dim)
            out = np.lib.format.open_memmap(folder / VECTORS, "w+", np.float32, shape)
        out[start : start + len(batch.tokens)] = floats(batch)
        start += len(batch.tokens)
    assert out is not None
    out.flush()  # type: ignore[attr-defined]


def _is_collection(path: Path) -> bool:
    """Whether the catalogue there is that of a collection and not of an index of vectors alone."""
    catalogue = Catalogue.open(path / CATALOGUE)
    try:
        return bool(catalogue.execute("SELECT 1 FROM meta WHERE key = 'spec'"))
    finally:
        catalogue.close()
