"""JSONL documents to passages: one JSON object per line, as BEIR lays out its corpora.

    {"_id": "4983", "title": "Cell division", "text": "…", "year": 1998, "metadata": {"lang": "en"}}

`_id` names the document, `title` and `text` are what is indexed, every other field is kept as metadata (the
members of a `metadata` object are merged in). A document becomes one passage under its bare id; long texts are not
cut here. Lines end in LF or CRLF, blank lines are passed over, a byte order mark is allowed, `.gz` goes through gzip.

A caller that is about to change something reads the file twice: `count_jsonl` first, which validates every line
and gives the number of records, then `read_jsonl`. So broken JSON on line 7 changes nothing, and a progress bar
has its total. The first reading costs a few per cent of what even the fastest encoder takes.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

from latewood.errors import InputError, StorageError
from latewood.types import Passage

__all__ = ["count_jsonl", "passage_of", "read_jsonl"]

_BOM = b"\xef\xbb\xbf"
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")  # would break the lines of qrels and run files
_FIELDS = frozenset({"_id", "title", "text", "metadata"})


def read_jsonl(path: str | os.PathLike[str]) -> Iterator[Passage]:
    """Read one passage per record, in the order of the file.

    A passage's text is the title, a line feed and the text, each stripped (the title's inner whitespace becomes
    single spaces, so that it stays one line); without a title it is the text alone. `source` is `path` as given.
    An id may come more than once: the caller decides, and `Collection.add` lets the last one win.

    Args:
        path: a JSONL file in UTF-8, or the same compressed with gzip where the name ends in `.gz`.

    Yields:
        One Passage per record, of which at least one exists.

    Raises:
        InputError: at the first line that is not such a record, naming file and line, and on a file without records.
        StorageError: if the operating system refuses to read it.
    """
    name = os.fspath(path)
    records = 0
    for number, line in _lines(name):
        records += 1
        yield _passage(_record(line, f"{name}:{number}"), name, f"{name}:{number}")
    if records == 0:
        raise InputError(f'{name}: no records; expected one JSON object per line, such as {{"_id": "1", "text": "…"}}')


def count_jsonl(path: str | os.PathLike[str]) -> int:
    """Validate a whole file and count its records; what passes here is what `read_jsonl` yields.

    Args:
        path: as for `read_jsonl`; a regular file, since it will be read again.

    Returns:
        The number of records, at least 1. Ids that come twice are counted twice.

    Raises:
        InputError: as `read_jsonl`, and for a pipe or a device, which can't be read a second time.
        StorageError: as `read_jsonl`.
    """
    name = os.fspath(path)
    try:
        mode = Path(name).stat().st_mode
    except OSError as err:
        _refuse(name, err)
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(
            f"{name}: not a regular file, and it is read twice (validated, then indexed): save it to a file"
        )
    return sum(1 for _ in read_jsonl(name))


def passage_of(line: bytes, where: str, source: str) -> Passage | str:
    """The passage of one line of a stream, or the id that it says is to be deleted.

    Args:
        line: one JSON object as `read_jsonl` takes it, or `{"_id": "…", "_delete": true}`.
        where: names the line in errors.
        source: of the passage.

    Raises:
        InputError: it is no such record.
    """
    record = _record(_decode(line.rstrip(b"\r\n"), where), where)
    if "_delete" not in record:
        return _passage(record, source, where)
    if record["_delete"] is not True or len(record) != 2:
        raise InputError(f'{where}: "_delete" must be true, and stand beside "_id" alone (it has: {_names(record)})')
    return _id(record, where)


def _lines(name: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1, decoded one by one so that a bad byte has its line."""
    number = 0
    try:
        with _open(name) as file:
            for number, raw in enumerate(file, start=1):
                data = raw.rstrip(b"\r\n")
                if number == 1:
                    data = data.removeprefix(_BOM)
                if data.strip():
                    yield number, _decode(data, f"{name}:{number}")
    except (gzip.BadGzipFile, EOFError, zlib.error) as err:
        raise InputError(
            f"{name}: not a whole gzip file (broken after line {number}): {err}; compress it again"
        ) from err
    except OSError as err:
        _refuse(name, err)


def _open(name: str) -> BinaryIO:
    if name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(name, "rb"))
    return Path(name).open("rb")


def _refuse(name: str, err: OSError) -> NoReturn:
    if isinstance(err, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
        raise InputError(f"{name}: {err.strerror}; expected a JSONL file") from err
    raise StorageError(f"{name}: could not be read: {err.strerror or err}") from err


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as err:
        raise InputError(
            f"{where}: byte {data[err.start]:#04x} at column {err.start + 1} is not UTF-8; convert the file to UTF-8"
        ) from err


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is beyond the range of a number")
    return value


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        # Python reads NaN and 1e999 by default; neither could be printed as JSON again.
        record = json.loads(line, parse_constant=_not_json, parse_float=_finite)
        if "\\u" in line:  # the only way in for half a surrogate pair, which no UTF-8 can hold
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as err:
        raise InputError(f"{where}: a \\u escape is half of a surrogate pair; write the character itself") from err
    except json.JSONDecodeError as err:
        raise InputError(
            f"{where}: not JSON at column {err.colno}: {err.msg}; expected one JSON object per line"
        ) from err
    except (ValueError, RecursionError) as err:
        raise InputError(f"{where}: not JSON: {err}; expected one JSON object per line") from err
    if not isinstance(record, dict):
        raise InputError(f"{where}: got {_kind(record)}, expected a JSON object with _id, title and text")
    return record


def _passage(record: Mapping[str, Any], source: str, where: str) -> Passage:
    title = " ".join(_text(record, "title", where).split())
    text = _text(record, "text", where).strip()
    if record.get("title") is None and record.get("text") is None:
        raise InputError(
            f'{where}: neither "title" nor "text" (it has: {_names(record)}); expected the text under "text"'
        )
    return Passage(
        id=_id(record, where),
        text=f"{title}\n{text}" if title and text else title or text,
        title=title,
        source=source,
        metadata=_metadata(record, where),
    )


def _id(record: Mapping[str, Any], where: str) -> str:
    value = record.get("_id")
    if value is None:
        raise InputError(f'{where}: no "_id" (it has: {_names(record)}); expected a string or an integer of its own')
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InputError(f'{where}: "_id" is {_kind(value)}, expected a string or an integer')
    text = str(value)
    if not text.strip() or _CONTROL.search(text):
        raise InputError(f'{where}: "_id" is {text!r}, expected characters, none of them a tab or another control')
    return text


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f'{where}: "{key}" is {_kind(value)}, expected a string')
    return value


def _metadata(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    fields = {key: value for key, value in record.items() if key not in _FIELDS}
    nested = record.get("metadata")
    if nested is None:
        return fields
    if not isinstance(nested, dict):
        raise InputError(f'{where}: "metadata" is {_kind(nested)}, expected a JSON object')
    for key, value in nested.items():
        if key in fields and fields[key] != value:
            raise InputError(f'{where}: "{key}" stands in the record and, with another value, in "metadata": keep one')
        fields[key] = value
    return fields


def _kind(value: object) -> str:
    """The JSON name of a value's type, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _names(record: Mapping[str, Any]) -> str:
    names = [str(key) for key in list(record)[:6]]
    return ", ".join([*names, "…"] if len(record) > 6 else names) or "nothing"
