"""Reading takes the memory of a block, however large the file: each file here is larger than what it may take."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOM = 100  # MiB beyond the interpreter with its libraries
KINDS = ["d.jsonl", "d.jsonl.gz", "d.jsonl.zst", "d.json", "d.csv", "d.parquet", "d.arrow", "d.txt"]

# Reads as the dataset room does: block by block, all rows parsed. Tables are imported before the mark.
READ = r"""
import re, sys
from pathlib import Path
import pyarrow.parquet
from tunekit.data.readers import read_blocks, rows_of
most = lambda: int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, rows = most(), 0
for block in read_blocks(sys.argv[1], Path(sys.argv[1]), sys.argv[2], print):
    rows += len(rows_of(block))
print(rows, most() - before)
"""  # not ru_maxrss: a child begins with that of its parent


def texts(size: int) -> Iterator[dict]:
    """About `size` bytes of chat rows that gzip cannot make much smaller than the block of a reader."""
    words = [f"{i * 7919 % 100003:x}" for i in range(5000)]
    for i in range(size // 1000):
        at = i * 31 % 4800
        turns = [{"role": "user", "content": " ".join(words[at : at + 90])}] * 2
        yield {"id": i, "messages": turns}


def write(path: Path, size: int) -> int:
    """The file; returns its number of rows."""
    rows = list(texts(min(size, 4_000_000)))
    times = size // 4_000_000 or 1
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    kind = path.name.split(".", 1)[1]
    if kind in ("parquet", "arrow"):
        table = pa.concat_tables([pa.Table.from_pylist(rows)] * times).combine_chunks()  # one row group, one batch
        if kind == "parquet":
            pq.write_table(table, path, row_group_size=len(table), use_dictionary=False, compression="none")
        else:
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        return len(table)
    block = {
        "json": b",".join(lines.splitlines()) + b",\n",
        "csv": b"".join(b'%d,"%s"\n' % (r["id"], r["messages"][0]["content"].encode() * 2) for r in rows),
    }.get(kind, lines)
    pack = {"gz": gzip.compress, "zst": lambda b: pa.compress(b, "zstd", asbytes=True)}.get(path.suffix[1:], bytes)
    with path.open("wb") as out:
        out.write({"json": b"[", "csv": b"id,text\n"}.get(kind, b""))
        block = pack(block)  # one of many members
        for _ in range(times):
            out.write(block)
        out.write(b'{"id": 0}]' if kind == "json" else b"")
    return len(rows) * times + (kind == "json")


def taken(path: Path, reader: str) -> tuple[int, float]:
    """Rows read, and MiB of memory at the peak beyond what was there before."""
    done = subprocess.run([sys.executable, "-c", READ, str(path), reader], capture_output=True, text=True, check=True)
    rows, more = done.stdout.split()[-2:]
    return int(rows), float(more)


def reader_of(name: str) -> str:
    return {"txt": "lines"}.get(name.split(".")[1], name.split(".")[1])


def test_a_file_is_read_in_the_memory_of_a_block(tmp_path):
    rows = write(tmp_path / "d.jsonl", 120 << 20)
    read, more = taken(tmp_path / "d.jsonl", "jsonl")
    assert read == rows and more < ROOM


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_a_larger_file_takes_no_more(tmp_path, name):
    rows = write(tmp_path / name, 400 << 20)
    read, more = taken(tmp_path / name, reader_of(name))
    print(f"{name}: {read} rows, {more:.0f} MiB")
    assert read == rows and more < ROOM


def test_a_row_of_many_blocks_is_read(tmp_path):
    """One row of 100 MB: it is held as bytes, as text and as the JSON that is compared."""
    path = tmp_path / "d.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * 100_000_000 + b'"}\n{"a": "y"}\n')
    read, more = taken(path, "jsonl")
    assert read == 2 and more < 5 * 100
