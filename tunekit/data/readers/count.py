"""How many rows a file has, without parsing them where that is possible."""

from __future__ import annotations

from pathlib import Path

from tunekit.data.readers.read import read_blocks
from tunekit.data.readers.tables import count_table


def count_rows(name: str, path: Path, reader: str, encoding: str = "utf-8") -> int:
    """What the blocks of `read_blocks` sum up to; its errors. Parquet and Arrow files are not read for it."""
    if reader in ("parquet", "arrow"):
        return count_table(name, path, reader)
    return sum(block.n for block in read_blocks(name, path, reader, lambda slug, message: None, encoding))
