"""Files to rows: JSON lines, JSON, CSV, Parquet, text; `.gz` of all but Parquet.

CSV has no types, so its values stay strings: guessing would turn the answer `007` into 7.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from tunekit.data.columns import Row
from tunekit.errors import ActionError

Warn = Callable[[str, str], None]  # (slug, message)


def read_file(name: str, path: Path, reader: str, warn: Warn) -> Iterator[Row]:
    """Rows of one file. `name` is what errors call it. Raises ActionError (`bad-file`, `bad-line`, …)."""
    if reader == "parquet":
        yield from _parquet(name, path)
        return
    text = _text(name, path, warn)
    if reader == "text":
        yield {"text": text, "file": name}
    elif reader == "jsonl":
        yield from _jsonl(name, text)
    elif reader == "json":
        yield from _json(name, text)
    else:
        yield from _csv(name, text)


def _text(name: str, path: Path, warn: Warn) -> str:
    try:
        data = path.read_bytes()
        if name.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as e:
        raise ActionError(f"{name} cannot be read: {e}", slug="bad-file") from e
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        warn("not-utf8", f"{name}:{line} is not UTF-8; the file is read as Latin-1")
        return data.decode("latin-1")


def _jsonl(name: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: JSON strings may hold U+2028
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as e:
            raise ActionError(f"{name}:{number}: not JSON: {e}", slug="bad-line") from e
        yield _object(value, f"{name}:{number}")


def _json(name: str, text: str) -> Iterator[Row]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        hint = 'one object a line? then set reader = "jsonl"' if e.msg == "Extra data" else ""
        raise ActionError(f"{name}:{e.lineno}: not JSON: {e.msg}", slug="bad-line", hint=hint) from e
    if not isinstance(value, list):
        raise ActionError(
            f"{name}:1: the file holds {_kind(value)}, not a list of objects",
            slug="bad-line",
            hint="a JSON file of rows is [{…}, {…}]",
        )
    for number, item in enumerate(value):
        yield _object(item, f"{name}: item {number}")


def _object(value: object, where: str) -> Row:
    if not isinstance(value, dict):
        raise ActionError(f"{where}: {_kind(value)}, not an object", slug="bad-line", hint="a row is {column: value}")
    return value


def _kind(value: object) -> str:
    return {dict: "an object", list: "a list", str: "a string", type(None): "null"}.get(type(value), "a number")


def _csv(name: str, text: str) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)  # a document in a cell is more than the default 128 KiB
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(lines, [])
        if not header or len(set(header)) < len(header):
            raise ActionError(f"{name}:1: the first line must name every column once", slug="bad-line")
        for cells in lines:
            if not cells:
                continue
            if len(cells) != len(header):
                message = f"{name}:{lines.line_num}: {len(cells)} cells, the header has {len(header)}"
                raise ActionError(message, slug="bad-line", hint="quote cells that hold a comma or a line break")
            yield dict(zip(header, cells, strict=True))
    except csv.Error as e:
        raise ActionError(f"{name}:{lines.line_num}: not CSV: {e}", slug="bad-line") from e


def _parquet(name: str, path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq  # 30 ms that other readers need not pay

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as e:
        raise ActionError(f"{name} cannot be read as Parquet: {e}", slug="bad-file") from e
