"""Files where they lie: from any row on, with every reader, the rows are those of a straight reading."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekit.data.readers import blocks as reading_blocks
from tunekit.data.readers import lines, tables
from tunekit.engine import corpus
from tunekit.engine.corpus import file_shards
from tunekit.errors import ActionError
from tunekit.protocol import Input

TEXTS = [f"document {i} " + "word " * (i % 7) for i in range(60)]
ROWS = [{"text": text} for text in TEXTS]
TABLE = pa.table({"text": TEXTS})


def write_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))


def write_arrow(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        for batch in TABLE.to_batches(max_chunksize=9):
            writer.write_batch(batch)


WRITE: dict[str, Callable[[Path], Any]] = {
    "a.jsonl": write_jsonl,
    "a.jsonl.gz": lambda path: path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in ROWS).encode())),
    "a.json": lambda path: path.write_text(json.dumps(ROWS)),
    "a.csv": lambda path: path.write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS)),
    "a.parquet": lambda path: pq.write_table(TABLE, path, row_group_size=17),
    "a.arrow": write_arrow,
}


def source(folder: Path, **reading: Any) -> Input:
    signatures = {}
    for path in folder.rglob("*"):
        s = path.stat()
        signatures[path.relative_to(folder).as_posix()] = f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"
    said = {"reader": "auto", "encoding": "utf-8", "split": "", "format": "completion", "fields": {}} | reading
    return Input(str(folder), "", "files", "dataset:a#files", reading=said | {"signatures": signatures})


def quiet(slug: str, message: str) -> None:
    raise AssertionError(f"{slug}: {message}")


@pytest.mark.parametrize("name", WRITE)
def test_any_row_can_be_gone_on_from(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With blocks of some rows each, so that most are passed over."""
    for module in (reading_blocks, lines, tables):
        monkeypatch.setattr(module, "BLOCK", 200)
    monkeypatch.setattr(lines, "STEP", 100)
    WRITE[name](tmp_path / name)
    (shard,), form = file_shards(source(tmp_path), quiet)
    assert form == "completion" and shard.name == name
    straight = list(shard.rows(0))
    assert straight == list(enumerate(ROWS))
    for start in range(len(ROWS) + 1):
        assert list(shard.rows(start)) == straight[start:]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow"])
def test_rows_before_are_not_parsed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reading_blocks, lines, tables):
        monkeypatch.setattr(module, "BLOCK", 200)
    monkeypatch.setattr(lines, "STEP", 100)
    WRITE[name](tmp_path / name)
    (shard,), _ = file_shards(source(tmp_path), quiet)
    parsed = 0
    own = corpus.rows_of, tables._objects

    def rows_of(block: Any) -> Any:
        nonlocal parsed
        parsed += block.n
        return own[0](block)

    monkeypatch.setattr(corpus, "rows_of", rows_of)
    assert len(list(shard.rows(50))) == 10 and parsed < 20


def test_files_in_the_order_of_their_names_and_by_split(tmp_path: Path) -> None:
    for name in ("train-1.jsonl", "train-0.jsonl", "test-0.jsonl"):
        write_jsonl(tmp_path / name)
    shards, _ = file_shards(source(tmp_path, split="train"), quiet)
    assert [shard.name for shard in shards] == ["train-0.jsonl", "train-1.jsonl"]


def test_a_format_that_is_found(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    told = []
    shards, form = file_shards(source(tmp_path, format="auto"), lambda slug, message: told.append(slug))
    assert form == "completion" and told == ["format-detected"] and next(shards[0].rows(0)) == (0, ROWS[0])


def test_a_bad_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    (shard,), _ = file_shards(source(tmp_path), quiet)
    with pytest.raises(ActionError, match=r"row 1 of a\.jsonl is not a `completion` row") as error:
        list(shard.rows(0))
    assert error.value.slug == "wrong-shape"


def test_a_file_that_changes_under_the_reader(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    (shard,), _ = file_shards(source(tmp_path), quiet)
    left = shard.rows(0)
    next(left)
    os.utime(tmp_path / "a.jsonl", (1, 1))
    with pytest.raises(ActionError) as error:
        list(left)
    assert error.value.slug in ("file-changed", "source-changed")
    with pytest.raises(ActionError) as error:
        next(shard.rows(0))
    assert error.value.slug == "source-changed"
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(ActionError) as error:
        next(shard.rows(0))
    assert error.value.slug == "source-changed"


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(ActionError) as error:
        file_shards(source(tmp_path), quiet)
    assert error.value.slug == "no-rows"
