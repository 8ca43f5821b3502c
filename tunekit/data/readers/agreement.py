"""Whether several tables have the same columns: a column that one file lacks is null there, which must be said."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa

from tunekit.data.readers.files import Warn
from tunekit.data.readers.streams import Torn, open_stream
from tunekit.data.readers.tables import columns_of_table
from tunekit.data.readers.texts import header_of
from tunekit.errors import ActionError


def compare_columns(files: list[tuple[str, Path, str]], warn: Warn, encoding: str = "utf-8") -> None:
    """Warns (`mixed-columns`) of each file of a table whose columns are not those of the first; reads only headers.

    JSON is not looked at: there each row has its own columns. A file that cannot be opened is the reader's to name.
    """
    first: list[str] = []
    for name, path, reader in files:
        columns = _columns(name, path, reader, encoding)
        first = first or columns
        lacks, adds = sorted(set(first) - set(columns)), sorted(set(columns) - set(first))
        if columns and (lacks or adds):
            said = [f"lacks {', '.join(lacks)}"] * bool(lacks) + [f"adds {', '.join(adds)}"] * bool(adds)
            warn("mixed-columns", f"{name} {' and '.join(said)}, compared with {files[0][0]}; null where it is not")


def _columns(name: str, path: Path, reader: str, encoding: str) -> list[str]:
    try:
        if reader in ("parquet", "arrow"):
            return columns_of_table(path, reader)
        if reader in ("csv", "tsv"):
            with open_stream(name, path, encoding) as stream:
                return header_of(stream, reader)
    except (ActionError, OSError, ValueError, Torn, pa.ArrowException, csv.Error):
        pass
    return []
