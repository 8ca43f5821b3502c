"""Files to rows, and every way a file can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunekit.data.readers import data_files, read_file
from tunekit.errors import ActionError

ROWS = [{"q": "1, 2", "a": "007"}, {"q": 'line\nbreak "x"', "a": "\u2028é"}]


def read(root: Path, reader: str = "auto", split: str = "") -> tuple[list[dict], list[str]]:
    warned: list[str] = []

    def warn(slug: str, message: str) -> None:
        warned.append(f"{slug}: {message}")

    rows = [r for file in data_files(root, reader, split, warn) for r in read_file(*file, warn)]
    return rows, warned


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def fault(root: Path, reader: str = "auto", split: str = "") -> ActionError:
    with pytest.raises(ActionError) as e:
        read(root, reader, split)
    return e.value


@pytest.mark.parametrize("name", ["d.jsonl", "d.json", "d.csv", "d.parquet", "d.jsonl.gz", "d.csv.gz", "d.json.gz"])
def test_every_kind_of_file(tmp_path, name):
    file = tmp_path / name
    plain = {
        "d.jsonl": "\n".join(json.dumps(r, ensure_ascii=False) for r in ROWS) + "\n\n",
        "d.json": json.dumps(ROWS),
        "d.csv": 'q,a\r\n"1, 2",007\r\n"line\nbreak ""x""",\u2028é\r\n',
    }.get(name.removesuffix(".gz"), "")
    if name == "d.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    elif name.endswith(".gz"):
        file.write_bytes(gzip.compress(plain.encode()))
    else:
        file.write_bytes(plain.encode())
    assert read(tmp_path) == (ROWS, [])
    assert read(file) == (ROWS, [])


def test_text_is_one_row_a_file_in_name_order(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.txt").write_text("two")
    (tmp_path / "a.txt").write_text("\ufeffone\n")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.txt").write_text("no")
    assert read(tmp_path)[0] == [{"text": "one\n", "file": "a.txt"}, {"text": "two", "file": "b/2.txt"}]


def test_any_file_is_text_when_the_reader_says_so(tmp_path):
    (tmp_path / "x.py").write_text("pass")
    assert read(tmp_path, "text")[0] == [{"text": "pass", "file": "x.py"}]
    assert fault(tmp_path).slug == "no-data-files"


def test_a_readme_beside_the_data_is_left_out_aloud(tmp_path):
    write_jsonl(tmp_path / "d.jsonl", ROWS)
    (tmp_path / "README.md").write_text("# data")
    rows, warned = read(tmp_path)
    assert rows == ROWS and "README.md" in warned[0] and warned[0].startswith("files-left-out")


def test_a_named_split_chooses_files(tmp_path):
    write_jsonl(tmp_path / "train-00000.jsonl", ROWS[:1])
    write_jsonl(tmp_path / "test.jsonl", ROWS[1:])
    write_jsonl(tmp_path / "dev" / "x.jsonl", ROWS)
    assert read(tmp_path, split="train")[0] == ROWS[:1]
    assert read(tmp_path, split="test")[0] == ROWS[1:]
    assert read(tmp_path, split="dev")[0] == ROWS
    error = fault(tmp_path, split="tes")
    assert error.slug == "unknown-split" and "test.jsonl" in error.message


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.jsonl", '{"a": 1}\n{"a": \n', "d.jsonl:2: not JSON"),
        ("d.jsonl", '{"a": 1}\n\n[1]\n', "d.jsonl:3: a list, not an object"),
        ("d.json", '[{"a": 1},\n {]', "d.json:2, item 1: not JSON"),
        ("d.json", '{"a": 1}', 'd.json:1: not a list of objects: `{"a": 1}` at its start'),
        ("d.json", '[{"a": 1}, "x"]', 'd.json:1: not a list of objects: `, "x"]` behind item 0'),
        ("d.json", '{"a": 1}\n{"a": 2}', "d.json:1: not a list of objects"),
        ("d.csv", "a,b\n1,2\n3\n", "d.csv:3: 1 cells, the header has 2"),
        ("d.csv", "a,a\n1,2\n", "d.csv:1: the first line must name every column once"),
        ("d.csv", 'a,b\n"1,2\n', "d.csv:2: not CSV"),
    ],
)
def test_a_bad_line_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    error = fault(tmp_path)
    assert error.slug == "bad-line" and message in error.message


def test_json_lines_under_a_json_name_get_a_hint(tmp_path):
    (tmp_path / "d.json").write_text('{"a": 1}\n{"a": 2}')
    assert "jsonl" in fault(tmp_path).hint
    assert read(tmp_path, "jsonl")[0] == [{"a": 1}, {"a": 2}]


def test_a_torn_file_is_named(tmp_path):
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b"{}" * 100)[:-9])
    assert fault(tmp_path).slug == "bad-file"
    (tmp_path / "d.jsonl.gz").unlink()
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    error = fault(tmp_path)
    assert error.slug == "bad-file" and "d.parquet" in error.message


def test_mixed_files_and_no_files(tmp_path):
    assert fault(tmp_path).slug == "no-data-files"
    write_jsonl(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "b.csv").write_text("a\n1\n")
    error = fault(tmp_path)
    assert error.slug == "mixed-files" and "csv, jsonl" in error.message
