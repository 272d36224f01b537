"""Folders as fast-plaid and next-plaid write them: token vectors as a centroid each and a few bits a dimension.

    metadata.json                nbits, num_chunks, num_documents, num_embeddings, …
    centroids.npy                [K, D] float16 or float32, of length 1
    bucket_weights.npy           [2^nbits] float32: what is added to a centroid's component, by bucket
    bucket_cutoffs.npy           [2^nbits - 1]: where the buckets part
    doclens.C.json               vectors of each document of chunk C
    C.codes.npy                  [T] int64, the centroid of each vector
    C.residuals.npy              [T, D * nbits / 8] uint8: buckets, lowest bit first, from a byte's top bit on
    merged_codes.npy, …          all chunks in one (fast-plaid 1.7 keeps these alone); rows behind the last are padding
    ivf.npy, ivf_lengths.npy     [n] int64 and [K] int32: the documents that each centroid occurs in, list after list

A vector is its centroid plus its residual, scaled to length 1. Read off folders that fast-plaid 1.7 wrote, and held
against what it gives back of them (`FastPlaid.get_embeddings`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from latewood.errors import InputError, UsageError
from latewood.index.codebook import Codebook, centroid_count, floats, sample_size, take, train
from latewood.index.disk import disk_errors, flush_folder
from latewood.types import FloatArray, IntArray, MultiVectors

__all__ = ["PlaidFolder", "write_plaid"]

NBITS = (1, 2, 4, 8)
_CHUNK = 8192
"""Vectors that are decoded together."""

_UNIT = 0.02
"""Vectors whose mean length is further from 1 can't be kept by a format that scales all to 1."""

Batches = Callable[[], Iterator[MultiVectors]]


class PlaidFolder:
    """A folder, opened for reading."""

    def __init__(self, folder: str | Path) -> None:
        """Read all that is small.

        Args:
            folder: as fast-plaid or next-plaid wrote it, and nobody is writing it now.

        Raises:
            InputError: it isn't such a folder, or of a kind that isn't read: the message says which file.
        """
        self.folder = Path(folder)
        about = self._json("metadata.json")
        if (
            not isinstance(about, dict)
            or about.get("nbits") not in NBITS
            or not isinstance(about.get("num_chunks"), int)
        ):
            raise InputError(
                f"{self.folder / 'metadata.json'}: expected nbits of {NBITS} and num_chunks, got {about!r:.80}"
            )
        self.nbits: int = about["nbits"]
        self._centroids = self._array("centroids.npy", 2).astype(np.float32)
        self._weights = self._array("bucket_weights.npy", 1).astype(np.float32)
        if len(self._weights) != 1 << self.nbits:
            raise InputError(f"{self.folder}: {len(self._weights)} bucket weights, expected {1 << self.nbits}")
        chunks = [self._json(f"doclens.{i}.json") for i in range(about["num_chunks"])]
        if not all(isinstance(chunk, list) and all(type(n) is int and n >= 0 for n in chunk) for chunk in chunks):
            raise InputError(f"{self.folder}: doclens.*.json: expected arrays of lengths of documents")
        self._chunks = [np.array(chunk, np.int64) for chunk in chunks]
        self.lengths: IntArray = np.concatenate([np.zeros(0, np.int64), *self._chunks])
        for key, found in ("num_documents", len(self.lengths)), ("num_embeddings", int(self.lengths.sum())):
            if about.get(key, found) not in (found, 0):
                raise InputError(f"{self.folder}: metadata.json says {key} {about[key]}, the lengths say {found}")
        self._parts = [self._payload(i) for i in range(len(self._chunks))]

    def __len__(self) -> int:
        """N, the number of documents."""
        return len(self.lengths)

    @property
    def dim(self) -> int:
        """D."""
        return int(self._centroids.shape[1])

    def documents(self) -> Iterator[FloatArray]:
        """The token vectors [T, D] float32 of each document, of length 1.

        Raises:
            InputError: a code that is no centroid.
        """
        for lengths, (codes, residuals) in zip(self._chunks, self._parts, strict=True):
            ends = np.cumsum(lengths)
            first = 0
            while first < len(lengths):
                begin = int(ends[first] - lengths[first])
                last = max(first + 1, int(np.searchsorted(ends, begin + _CHUNK, "right")))
                stop = int(ends[last - 1])
                vectors = self._decoded(np.asarray(codes[begin:stop]), np.asarray(residuals[begin:stop]))
                for i in range(first, last):
                    yield vectors[ends[i] - lengths[i] - begin : ends[i] - begin]
                first = last

    def _decoded(self, codes: npt.NDArray[Any], residuals: npt.NDArray[Any]) -> FloatArray:
        if len(codes) and (codes.min() < 0 or codes.max() >= len(self._centroids)):
            raise InputError(
                f"{self.folder}: a code beyond the {len(self._centroids)} centroids; the folder is damaged"
            )
        bits = np.unpackbits(residuals, axis=1).reshape(len(codes), self.dim, self.nbits)
        buckets = bits @ (1 << np.arange(self.nbits))
        vectors = self._centroids[codes] + self._weights[buckets]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.ascontiguousarray(vectors / np.maximum(lengths, 1e-12), np.float32)

    def _payload(self, chunk: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Codes and residuals of a chunk, where they lie: its own files, or a stretch of the merged ones."""
        count, found = int(self._chunks[chunk].sum()), []
        for kind, ndim in ("codes", 1), ("residuals", 2):
            if (self.folder / f"{chunk}.{kind}.npy").is_file():
                array, start = self._array(f"{chunk}.{kind}.npy", ndim), 0
                right = len(array) == count
            else:
                array, start = self._array(f"merged_{kind}.npy", ndim), int(sum(c.sum() for c in self._chunks[:chunk]))
                right = len(array) >= start + count
            width = self.dim * self.nbits / 8
            if not right or (ndim == 2 and (array.shape[1] != width or array.dtype != np.uint8)):
                raise InputError(
                    f"{self.folder}: {kind} of chunk {chunk}: got {array.shape} {array.dtype}, the lengths say {count}"
                )
            found.append(array[start : start + count])
        return found[0], found[1]

    def _json(self, name: str) -> Any:
        path = self.folder / name
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: could not be read: {error}; expected a folder of fast-plaid or next-plaid"
            ) from None

    def _array(self, name: str, ndim: int) -> npt.NDArray[Any]:
        path = self.folder / name
        try:
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: could not be read: {error}") from None
        if array.ndim != ndim or array.dtype.kind not in "fiu":
            raise InputError(f"{path}: got shape {array.shape} {array.dtype}, expected {ndim} dimensions of numbers")
        return array


def write_plaid(folder: str | Path, batches: Batches, *, nbits: int = 4, threads: int = 1, seed: int = 0) -> None:
    """Write documents as such a folder, which fast-plaid and next-plaid open. It appears whole or not at all.

    Args:
        folder: new; its parent must exist.
        batches: gives all documents in batches, each time that it is called (twice).
        nbits: bits a dimension: 1, 2, 4 (as those libraries choose) or 8.
        threads: most threads to use; the files don't depend on it.
        seed: of sample and centroids.

    Raises:
        UsageError: no vectors, or a setting out of range.
        InputError: vectors that aren't of length 1, which this format can't keep; or the folder is there.
        StorageError: the disk refused.
    """
    folder = Path(folder)
    if nbits not in NBITS:
        raise UsageError(f"nbits: got {nbits}, expected one of {NBITS}")
    if folder.exists():
        raise InputError(f"can't write {folder}: something is there; choose another folder")
    sample, total = _sample(batches, seed)
    if sample.dim * nbits % 8:
        raise UsageError(f"D {sample.dim} with {nbits} bits: expected whole bytes a vector")
    book = _unit(train(sample, centroid_count(total), threads, seed))
    residuals = floats(sample) - book.centroids[book.assign(sample, threads)]
    cuts, weights = _buckets(residuals, nbits)
    building = folder.with_name(f".{folder.name}.writing")
    with disk_errors(folder, "write"):
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            _write_all(building, batches, book, cuts, weights, nbits, threads)
            np.save(building / "avg_residual.npy", np.abs(residuals).mean(axis=0).astype(np.float32))
            distance = np.linalg.norm(residuals, axis=1)
            np.save(building / "cluster_threshold.npy", np.array([np.quantile(distance, 0.75)], np.float32))
            flush_folder(building)
            building.rename(folder)
            flush_folder(folder.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


def _sample(batches: Batches, seed: int) -> tuple[MultiVectors, int]:
    """Token vectors to train on, as float32, and how many there are in all."""
    total = sum(len(batch.tokens) for batch in batches())
    if not total:
        raise UsageError("no vectors to export")
    rng = np.random.default_rng(seed)
    wanted = np.sort(rng.permutation(total)[: sample_size(centroid_count(total))])
    parts, start = [], 0
    for batch in batches():
        stop = start + len(batch.tokens)
        mine = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)] - start
        parts.append(floats(take(batch, mine)))
        start = stop
    values = np.ascontiguousarray(np.concatenate(parts))
    lengths = np.linalg.norm(values, axis=1)
    if abs(float(lengths[lengths > 0].mean() if (lengths > 0).any() else 1.0) - 1) > _UNIT:
        raise InputError(
            f"vectors have length {lengths.mean():.3f} at the mean, and plaid keeps directions only: export them as npy"
        )
    return MultiVectors(values, np.array([0, len(values)], np.int64)), total


def _unit(book: Codebook) -> Codebook:
    """The same cells with centroids of length 1, as half precision keeps them."""
    lengths = np.linalg.norm(book.centroids, axis=1, keepdims=True)
    centroids = (book.centroids / np.maximum(lengths, 1e-12)).astype(np.float16).astype(np.float32)
    return Codebook(centroids, book.coarse, book.cells, book.mean, book.residual)


def _buckets(residuals: FloatArray, nbits: int) -> tuple[FloatArray, FloatArray]:
    """Cuts and weights: quantiles of the residuals' components."""
    flat, count = residuals.reshape(-1), 1 << nbits
    flat = flat[:: max(1, len(flat) // 5_000_000)]
    cuts = np.quantile(flat, np.arange(1, count) / count).astype(np.float32)
    return cuts, np.quantile(flat, (np.arange(count) + 0.5) / count).astype(np.float32)


def _write_all(
    folder: Path, batches: Batches, book: Codebook, cuts: FloatArray, weights: FloatArray, nbits: int, threads: int
) -> None:
    np.save(folder / "centroids.npy", book.centroids)
    np.save(folder / "bucket_cutoffs.npy", cuts)
    np.save(folder / "bucket_weights.npy", weights)
    documents = vectors = chunks = 0
    pairs: list[IntArray] = []
    for chunk, batch in enumerate(batches()):
        codes = book.assign(batch, threads).astype(np.int64)
        buckets = np.searchsorted(cuts, floats(batch) - book.centroids[codes], "left").astype(np.uint8)
        bits = (buckets[:, :, None] >> np.arange(nbits, dtype=np.uint8)) & 1
        np.save(folder / f"{chunk}.codes.npy", codes)
        np.save(folder / f"{chunk}.residuals.npy", np.packbits(bits.reshape(len(codes), -1), axis=1))
        lengths = np.diff(batch.offsets)
        (folder / f"doclens.{chunk}.json").write_text(json.dumps(lengths.tolist()))
        about = {"num_documents": len(batch), "num_embeddings": len(codes), "embedding_offset": vectors}
        (folder / f"{chunk}.metadata.json").write_text(json.dumps(about, indent=2))
        owners = documents + np.repeat(np.arange(len(batch)), lengths)
        pairs.append(np.unique(codes << 40 | owners))
        documents, vectors, chunks = documents + len(batch), vectors + len(codes), chunk + 1
    joined = np.sort(np.concatenate(pairs))
    np.save(folder / "ivf.npy", joined & ((1 << 40) - 1))
    np.save(folder / "ivf_lengths.npy", np.bincount(joined >> 40, minlength=len(book.centroids)).astype(np.int32))
    (folder / "plan.json").write_text(json.dumps({"nbits": nbits, "num_chunks": chunks}, indent=2))
    whole: dict[str, Any] = {
        "num_chunks": chunks,
        "nbits": nbits,
        "num_partitions": len(book.centroids),
        "num_embeddings": vectors,
        "avg_doclen": vectors / documents,
        "num_documents": documents,
        "compress_only": False,
        "next_plaid_compatible": True,
    }
    (folder / "metadata.json").write_text(json.dumps(whole, indent=2))
