"""Where a collection lives, read from what the user typed: a folder, or an address of Qdrant.

kb.lw                                  a folder: the embedded store
qdrant://host:6333/collection          a Qdrant server over http (qdrant+https:// for TLS; key in QDRANT_API_KEY)
qdrant+local:FOLDER#collection         the Python client's own local mode; #collection may go where there is one
qdrant+edge:FOLDER                     Qdrant Edge: the engine in this process, one collection to a folder
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from latewood.errors import UsageError

__all__ = ["FORMS", "QdrantAddress", "is_qdrant", "parse_home"]

FORMS = "qdrant://HOST:6333/COLLECTION, qdrant+local:FOLDER#COLLECTION or qdrant+edge:FOLDER"

_SERVER = re.compile(r"qdrant(\+https)?://(?P<host>[^/#?\s]+)/(?P<collection>[^/#?\s]+)/?")
_SCHEME = re.compile(r"[a-z][a-z0-9+]+:")


@dataclass(frozen=True, slots=True)
class QdrantAddress:
    """One collection of a Qdrant.

    Args:
        kind: a server, the client's local mode, or Edge.
        location: the server's base URL, or the folder.
        collection: its name, or an alias; "" for the only one of a local folder, and for Edge.
    """

    kind: Literal["server", "local", "edge"]
    location: str
    collection: str = ""

    def __str__(self) -> str:
        if self.kind == "server":
            scheme, _, host = self.location.partition("://")
            return f"qdrant{'+https' if scheme == 'https' else ''}://{host}/{self.collection}"
        return f"qdrant+{self.kind}:{self.location}" + (f"#{self.collection}" if self.collection else "")

    def sibling(self, collection: str) -> QdrantAddress:
        """Another collection of the same Qdrant."""
        return QdrantAddress(self.kind, self.location, collection)


def is_qdrant(text: str) -> bool:
    """Whether this is meant as an address of Qdrant; write ./ before a folder of such a name."""
    return re.match(r"qdrant(\+\w+)?:", text) is not None


def parse_home(home: str | Path) -> Path | QdrantAddress:
    """A folder, or an address of Qdrant.

    Raises:
        UsageError: an address that isn't whole, or of something else.
    """
    text = str(home)
    if isinstance(home, Path) or not is_qdrant(text):
        if not isinstance(home, Path) and "://" in text and _SCHEME.match(text):
            raise UsageError(f"{text!r}: no store of that scheme: expected a folder, {FORMS}")
        return Path(home)
    server = _SERVER.fullmatch(text)
    if server is not None:
        scheme = "https" if server[1] else "http"
        host = server["host"]
        port = "" if re.search(r":[0-9]+$", host) else ":6333"
        return QdrantAddress("server", f"{scheme}://{host}{port}", server["collection"])
    for kind in ("local", "edge"):
        start = f"qdrant+{kind}:"
        if text.startswith(start):
            folder, _, collection = text.removeprefix(start).partition("#")
            if folder and not (kind == "edge" and collection):
                return QdrantAddress("local" if kind == "local" else "edge", folder, collection)
    raise UsageError(f"{text!r} is no address of a Qdrant collection: expected {FORMS}")
