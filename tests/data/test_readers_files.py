"""Which files are read: the layouts that data sets come in, splits by name, and what is left out aloud."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.data.readers import data_files, read_file
from tunekit.errors import ActionError

ROWS = [{"q": f"question {i}", "n": i, "turns": [{"role": "user", "content": "é\u2028"}] * (i % 3)} for i in range(7)]


def chosen(root: Path, split: str = "", reader: str = "auto") -> tuple[list[str], list[str]]:
    """Names, and warnings."""
    told: list[str] = []
    files = data_files(root, reader, split, lambda slug, message: told.append(f"{slug}: {message}"))
    assert all(path == (root / name if root.is_dir() else root) for name, path, _ in files)
    return [name for name, _, _ in files], told


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('{"a": 1}\n')


LAYOUTS = {
    "shards": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
    "folders": ["train/0.parquet", "train/b/1.parquet"],
    "names": ["train.parquet"],
    "after a name": ["gsm8k_train.parquet"],
    "in a name": ["x-train-1.parquet", "x.train.2.parquet"],
    "folders of a name": ["en-train/0.parquet"],
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_the_layouts_that_datasets_come_in(tmp_path, layout):
    names = LAYOUTS[layout]
    make(tmp_path, *names, *(name.replace("train", "test") for name in names), "retrained.parquet")
    make(tmp_path, "README.md", "dataset_infos.json", ".cache/train.parquet")
    found, told = chosen(tmp_path, "train")
    assert found == names and told == []
    assert chosen(tmp_path, "test")[0] == [name.replace("train", "test") for name in names]


def test_a_name_that_begins_with_the_split_wins(tmp_path):
    make(tmp_path, "train.jsonl", "test-of-train.jsonl")
    assert chosen(tmp_path, "train")[0] == ["train.jsonl"]
    with pytest.raises(ActionError) as e:
        chosen(tmp_path, "trian")
    assert e.value.slug == "unknown-split" and "did you mean `train`?" in e.value.hint


def test_missing_shards_are_said(tmp_path):
    make(tmp_path, *(f"data/train-0000{i}-of-00005.jsonl" for i in (0, 1, 3)), "data/x-00000-of-00001.jsonl")
    assert chosen(tmp_path)[1] == [
        "missing-shards: data/train-00002-of-00005.jsonl is not there (2 of 5 shards are missing)"
    ]
    assert chosen(tmp_path / "data" / "train-00001-of-00005.jsonl") == (["train-00001-of-00005.jsonl"], [])


def test_packed_files_are_the_kind_that_they_hold(tmp_path):
    make(tmp_path, "a.jsonl.gz", "b.jsonl.zst", "c.ndjson", "D.JSONL.GZ")
    assert chosen(tmp_path)[0] == ["D.JSONL.GZ", "a.jsonl.gz", "b.jsonl.zst", "c.ndjson"]
    make(tmp_path / "other", "a.parquet.gz")
    with pytest.raises(ActionError) as e:
        chosen(tmp_path / "other")
    assert e.value.slug == "no-data-files"


def test_a_file_beside_the_data_is_left_out_only_aloud(tmp_path):
    make(tmp_path, "d.arrow", "state.json", "dataset_info.json", "notes.bin")
    assert chosen(tmp_path) == (["d.arrow"], ["files-left-out: not arrow, left out: notes.bin (1 files)"])
    make(tmp_path / "only", "state.json")
    assert chosen(tmp_path / "only")[0] == ["state.json"]


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["arrow", "dict", "jsonl", "json", "csv", "parquet"])
def test_what_datasets_writes_is_read(tmp_path, kind):
    datasets = pytest.importorskip("datasets")
    rows = [{"q": row["q"], "n": str(row["n"])} for row in ROWS] if kind == "csv" else ROWS
    data = datasets.Dataset.from_list(rows)
    split = ""
    if kind == "arrow":
        data.save_to_disk(tmp_path / "d", num_shards=2)
    elif kind == "dict":
        datasets.DatasetDict(train=data, test=data.select(range(2))).save_to_disk(tmp_path / "d")
        split = "train"
    elif kind in ("jsonl", "json"):
        data.to_json(tmp_path / f"d.{kind}", lines=kind == "jsonl")
    else:
        getattr(data, f"to_{kind}")(tmp_path / f"d.{kind}")
    told: list[str] = []
    files = data_files(tmp_path, "auto", split, lambda *said: told.append(said[0]))
    assert [row for file in files for row in read_file(*file, lambda *said: told.append(said[0]))] == rows
    assert not told
