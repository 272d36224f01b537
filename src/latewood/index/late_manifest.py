"""Which files are a late-interaction index, and of which commit: writing this makes them the index."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latewood.errors import CorruptionError, InputError
from latewood.index.depths import Depths
from latewood.index.disk import disk_errors, publish, write_all

__all__ = ["FORMAT", "MANIFEST", "Extension", "Manifest"]

MANIFEST = "manifest.json"
FORMAT = 4
"""Format 1 had none of the figures with which an index is extended: it counts as just trained. Format 2 had no
extensions: one file covered everything. Format 3 had no margins: nobody was left out for standing too far behind."""


@dataclass(frozen=True, slots=True)
class Extension:
    """A file that covers rows which came later, under the centroids that there were.

    Args:
        file: its name in the folder.
        bytes: its length.
        header_crc: CRC-32 of its header.
        rows: how many it covers.
        vectors: the token vectors in it.
        passages: rows that were alive when it was written.
    """

    file: str
    bytes: int
    header_crc: int
    rows: int
    vectors: int
    passages: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Which file is the index, of which commit, and how deep it is searched.

    Args:
        file: its name in the folder: the centroids, and the lists of the first rows.
        bytes: its length.
        header_crc: CRC-32 of its header, which holds that of every block.
        generation: the commit whose rows are covered.
        crc: that commit's checksum.
        rows: the rows 0 to rows - 1 are covered, by the file and its extensions.
        vectors: T, the token vectors in all of them.
        depths: tuned.
        target: overlap@10 that they were tuned for.
        queries: what they were tuned on: "given" or "pseudo".
        tuned_on: how many of those.
        residual: mean distance of a training vector to its centroid.
        trained: the token vectors that there were when the codebook was trained.
        crowding: centroids for each vector of the sample that they are means of; 0 where that isn't known.
        passages: rows that were alive when the files were written.
        appended: token vectors that came since, and were given to the centroids that there are.
        appended_residual: their mean distance to them.
        extensions: files over the rows behind those of the first one, in their order.
    """

    file: str
    bytes: int
    header_crc: int
    generation: int
    crc: int
    rows: int
    vectors: int
    depths: Depths
    target: float
    queries: str
    tuned_on: int
    residual: float
    trained: int
    crowding: float
    passages: int
    appended: int = 0
    appended_residual: float = 0.0
    extensions: tuple[Extension, ...] = ()

    @property
    def first_rows(self) -> int:
        """How many rows the file itself covers."""
        return self.rows - sum(each.rows for each in self.extensions)

    @property
    def all_bytes(self) -> int:
        """Length of all files."""
        return self.bytes + sum(each.bytes for each in self.extensions)

    @property
    def files(self) -> tuple[str, ...]:
        """The names of all files."""
        return self.file, *(each.file for each in self.extensions)

    @property
    def drift(self) -> float:
        """How much further from their centroids the appended vectors lie than was to be expected; 1 for as far.

        The mean of n vectors lies nearer to these than to others of their kind: squared distances are (n - 1) / n and
        (n + 1) / n of the variance.
        """
        if not self.appended or not self.residual:
            return 1.0
        crowding = min(self.crowding, 0.9)
        return self.appended_residual / (self.residual * float(np.sqrt((1 + crowding) / (1 - crowding))))

    def write(self, folder: Path) -> None:
        """Make this the manifest of the folder, in one step."""
        content = {"format": FORMAT, **asdict(self)}
        line = json.dumps({**content, "crc32": _crc(content)}, indent=1).encode()
        path = folder / MANIFEST
        with disk_errors(path, "write"), publish(path) as descriptor:
            write_all(descriptor, line)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The folder's manifest; None where no index was built.

        Raises:
            CorruptionError: it is not what was written.
            InputError: a newer latewood wrote it.
        """
        path = folder / MANIFEST
        if not folder.is_dir():
            return None
        try:
            with disk_errors(path, "open"):
                content = json.loads(path.read_bytes())
            crc = content.pop("crc32")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CorruptionError(f"{path} is not what was written; build the index again: latewood build") from None
        if content.get("format") not in range(1, FORMAT + 1):
            raise InputError(
                f"{path} has format {content.get('format')}, this latewood reads up to {FORMAT}: upgrade latewood"
            )
        if crc != _crc(content):
            raise CorruptionError(f"{path} is not what was written; build the index again: latewood build")
        del content["format"]
        content = {"trained": content["vectors"], "crowding": 0.0, "passages": content["rows"], **content}
        extensions = tuple(Extension(**each) for each in content.pop("extensions", ()))
        return cls(**{**content, "depths": Depths(**content["depths"]), "extensions": extensions})


def _crc(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())
