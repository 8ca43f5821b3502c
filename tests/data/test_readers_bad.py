"""Every way a file can be wrong has a name, a place and a way out; what can be read before it is read."""

from __future__ import annotations

import gzip
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from tunekit.data.readers import compare_columns, items, lines, read_blocks, rows_of, texts
from tunekit.errors import ActionError

READERS = ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "lines", "paragraphs"]


def read(path: Path, reader: str = "", encoding: str = "utf-8") -> Iterator[dict]:
    for block in read_blocks(path.name, path, reader or path.name.split(".")[1], ignore, encoding):
        yield from rows_of(block)


def ignore(slug: str, message: str) -> None:
    pass


def fault(path: Path, reader: str = "", encoding: str = "utf-8") -> ActionError:
    with pytest.raises(ActionError) as e:
        list(read(path, reader, encoding))
    assert path.name in e.value.message
    return e.value


def small_steps(patch: pytest.MonkeyPatch) -> None:
    for module in (lines, items, texts):
        patch.setattr(module, "STEP", 1000)
        patch.setattr(module, "BLOCK", 3000)


def made(tmp_path: Path, name: str, data: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# JSON that says one thing and would be read as another.


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"a": 1, "a": 2}', 'the key "a" is there twice'),
        ('{"x": {"a": 1, "a": 1}}', 'the key "a" is there twice'),
        ('{"\\u0061": 1, "a" : 2}', 'the key "a" is there twice'),
        ('{"a\\u003a": 1, "b": ":", "b" :1}', 'the key "b" is there twice'),
        ('{"a": NaN}', "not JSON: it holds NaN"),
        ('{"a": [-Infinity]}', "not JSON: it holds -Infinity"),
        ('{"a": "\\ud83d"}', "not JSON: half of a surrogate pair"),
        ('{"a": 1e999}', "not JSON: Number out of range"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON: "),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON: maximum recursion depth"),
        ('{"a": "\t"}', "not JSON: Invalid control character"),
        ("\0\0\0", "not JSON: "),
        ("null", "null, not an object"),
        ("true", "true or false, not an object"),
    ],
)
def test_json_that_would_be_read_as_something_else(tmp_path, line, why):
    error = fault(made(tmp_path, "d.jsonl", '{"a": 1}\n\n' + line + "\n"))
    assert error.slug == "bad-line" and f"d.jsonl:3: {why}" in error.message


def test_large_numbers_stay_exact(tmp_path):
    path = made(tmp_path, "d.jsonl", '{"a": 123456789012345678901234567890, "b": -0.0, "c": 0.1}\n')
    assert repr(list(read(path))) == "[{'a': 123456789012345678901234567890, 'b': -0.0, 'c': 0.1}]"


def test_marks_line_ends_and_separators(tmp_path):
    path = made(tmp_path, "d.jsonl", '\ufeff{"a": "x\u2028y\u0085"}\r\n \t\r\n{"a": "\ufeff"}')
    assert list(read(path)) == [{"a": "x\u2028y\u0085"}, {"a": "\ufeff"}]
    path = made(tmp_path, "d.csv", "\ufeffa,b\r\n1,\u2028\r\n")
    assert list(read(path)) == [{"a": "1", "b": "\u2028"}]
    assert list(read(made(tmp_path, "d.json", '\ufeff[{"a": 1}]'))) == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "slug", "message"),
    [
        ("", "bad-line", "d.json:1: not a list of objects: nothing at its start"),
        ('{"data": [{"a": 1}]}', "bad-line", 'd.json:1: not a list of objects: `{"data": [{"a": 1}]}` at its start'),
        ('[{"a": 1},\n]', "bad-line", "d.json:1: not a list of objects: `,\n]` behind item 0"),
        ('[{"a": 1}\n{"a": 1}]', "bad-line", 'd.json:1: not a list of objects: `{"a": 1}]` behind item 0'),
        ('[{"a": 1}]\n[{"a": 2}]', "bad-line", "behind item 0"),
        ("[1, 2]", "bad-line", "d.json:1: not a list of objects: `[1, 2]` at its start"),
        ('[{"a": 1}, {"a": "x', "bad-file", "d.json is broken after 1 rows: the text ends inside item 1"),
        ('[{"a": 1}', "bad-file", "d.json is broken after 1 rows: the text ends inside the list"),
        ('[{"a": 1},\n\n[2]]', "bad-line", "d.json:3, item 1: a list, not an object"),
    ],
)
def test_json_files(tmp_path, text, slug, message):
    error = fault(made(tmp_path, "d.json", text))
    assert error.slug == slug and message in error.message


# Encodings.


def test_bytes_that_are_not_utf8_are_an_error_with_their_line(tmp_path):
    text = '{"a": "ok"}\n{"a": "caf\u00e9"}\n'.encode("latin-1")
    error = fault(made(tmp_path, "d.jsonl", text))
    assert (error.slug, error.message) == ("not-utf8", "d.jsonl:2 is not UTF-8 (bytes e9 22 7d)")
    assert "latin-1" in error.hint
    assert list(read(tmp_path / "d.jsonl", encoding="latin-1"))[1] == {"a": "café"}
    for name, reader in [("d.csv", "csv"), ("d.txt", "text"), ("d.txt", "lines"), ("d.txt", "paragraphs")]:
        error = fault(made(tmp_path, name, b"a,b\n1,2\n3,\xff\n"), reader)
        assert error.slug == "not-utf8" and f"{name}:3 is not UTF-8 (bytes ff" in error.message


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.txt"])
def test_utf_16_is_recognised_and_read_when_named(tmp_path, name):
    rows = {"d.jsonl": '{"a": "é"}', "d.csv": "a\né\n", "d.txt": "é"}[name]
    reader = {"d.txt": "lines"}.get(name, "")
    path = made(tmp_path, name, rows.encode("utf-16"))
    error = fault(path, reader)
    assert error.slug in ("not-utf8", "bad-line")
    if error.slug == "not-utf8":
        assert "utf-16" in error.hint
    assert "é" in next(read(path, reader, "utf-16")).values()
    path.write_bytes(rows.encode("utf-16")[:-1])
    assert fault(path, reader, "utf-16").slug == "not-utf8"


def test_tables_have_no_encoding(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "d.parquet")
    assert fault(tmp_path / "d.parquet", encoding="latin-1").slug == "bad-encoding"


# Files that are cut, empty, or not what their name says.


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_a_cut_stream_says_how_many_rows_were_read(tmp_path, monkeypatch, packed):
    small_steps(monkeypatch)
    rows = [{"i": i, "t": f"{i * 7919 % 10007:x}"} for i in range(20_000)]
    for name, text in {
        "d.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "d.json": json.dumps(rows),
        "d.csv": "i,t\n" + "".join(f"{r['i']},{r['t']}\n" for r in rows),
    }.items():
        data = gzip.compress(text.encode()) if packed == "gz" else pa.compress(text.encode(), "zstd", asbytes=True)
        path = made(tmp_path, f"{name}.{packed}", data[:-9])
        found = []
        with pytest.raises(ActionError) as e:
            found.extend(read(path))
        assert e.value.slug == "bad-file"
        assert f"{path.name} is broken after {len(found)} rows: Truncated compressed stream" in e.value.message
        assert len(found) > 1000 and [str(r["i"]) for r in found] == [str(r["i"]) for r in rows[: len(found)]]


def test_of_a_short_file_that_is_cut_rows_are_read_too(tmp_path):
    rows = [{"i": i, "t": f"{i * 7919 % 10007:x}"} for i in range(3000)]
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    error = fault(made(tmp_path, "d.jsonl.gz", data[: len(data) // 2]))
    assert re.fullmatch(r"d\.jsonl\.gz is broken after 1[2-6]\d\d rows: Truncated compressed stream", error.message)


def test_names_and_contents_that_differ(tmp_path):
    error = fault(made(tmp_path, "d.jsonl", gzip.compress(b"{}")))
    assert (error.slug, error.message) == ("bad-file", "d.jsonl is a gzip file") and ".gz" in error.hint
    assert "is a zstd file" in fault(made(tmp_path, "d.csv", pa.compress(b"a", "zstd", asbytes=True))).message
    assert fault(made(tmp_path, "d.jsonl.gz", b'{"a": 1}')).slug == "bad-file"
    assert fault(made(tmp_path, "d.parquet", b'{"a": 1}')).slug == "bad-file"
    assert fault(tmp_path / "gone.jsonl").slug == "bad-file"


@pytest.mark.parametrize("reader", READERS)
def test_an_empty_file_is_said(tmp_path, reader):
    told: list[str] = []
    try:
        blocks = list(read_blocks("d", made(tmp_path, "d", b""), reader, lambda slug, message: told.append(slug)))
        assert not blocks and told == ["empty-file"]
        assert reader in ("jsonl", "text", "lines", "paragraphs")
    except ActionError as e:
        assert e.slug in ("bad-file", "bad-line") and reader in ("json", "csv", "tsv", "parquet", "arrow")


@pytest.mark.parametrize("reader", ["jsonl", "json", "parquet", "arrow"])
def test_a_large_file_of_nul_bytes_is_refused_before_it_is_read(tmp_path, reader):
    path = tmp_path / "d"
    with open(path, "wb") as file:
        file.truncate(40 << 30)  # takes no disk
    if reader == "csv":
        pytest.skip("one name of 40 GiB: CSV takes any bytes for a cell")
    assert fault(path, reader).slug in ("bad-line", "bad-file")


@pytest.mark.parametrize("reader", ["jsonl", "lines", "paragraphs", "text"])
def test_a_row_that_no_column_can_hold(tmp_path, monkeypatch, reader):
    for module in (lines, texts):
        monkeypatch.setattr(module, "LONGEST", 1 << 20)
        monkeypatch.setattr(module, "STEP", 1 << 18)
    monkeypatch.setattr(lines, "BLOCK", 1 << 18)
    path = made(tmp_path, "d", b'{"a": "' + b"x" * (2 << 20) + b'"}')
    assert fault(path, reader).slug == "row-too-long"


def test_a_file_that_grows_while_it_is_read(tmp_path, monkeypatch):
    small_steps(monkeypatch)
    path = made(tmp_path, "d.jsonl", b'{"a": 1}\n' * 10_000)
    rows = read(path)
    next(rows)
    with path.open("ab") as file:
        file.write(b'{"a": 2}\n')
    with pytest.raises(ActionError) as e:
        sum(1 for _ in rows)
    assert e.value.slug == "file-changed"


def test_a_table_that_shrinks_while_it_is_read(tmp_path):
    feather.write_feather(pa.table({"a": range(10_000)}), tmp_path / "d.arrow", "uncompressed", chunksize=1000)
    rows = read(tmp_path / "d.arrow")
    next(rows)
    with (tmp_path / "d.arrow").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ActionError) as e:
        sum(1 for _ in rows)
    assert e.value.slug == "file-changed"


# Tables.


@pytest.mark.parametrize("text", ['a,b\n1,"x', 'a,b\n"x"y,1\n', 'a,b\n1,"""\n'])
def test_csv_that_others_read_leniently(tmp_path, text):
    error = fault(made(tmp_path, "d.csv", text))
    assert error.slug == "bad-line" and "d.csv:2: not CSV" in error.message


def test_two_columns_of_a_name(tmp_path):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "d.parquet")
    feather.write_feather(pa.table({"a": [1]}), tmp_path / "d.arrow")
    with pa.OSFile(str(tmp_path / "e.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("d.parquet", "e.arrow"):
        assert "two columns of the name `a`" in fault(tmp_path / name).message


def test_a_map_is_a_table_and_its_keys_differ(tmp_path):
    kind = pa.map_(pa.string(), pa.int64())
    pq.write_table(pa.table({"m": pa.array([[("x", 1)], None], kind)}), tmp_path / "d.parquet")
    assert list(read(tmp_path / "d.parquet")) == [{"m": {"x": 1}}, {"m": None}]
    pq.write_table(pa.table({"m": pa.array([[], [("x", 1), ("x", 2)]], kind)}), tmp_path / "d.parquet")
    error = fault(tmp_path / "d.parquet")
    assert error.slug == "bad-row" and "d.parquet, row 1" in error.message


def test_nanoseconds_do_not_depend_on_pandas(tmp_path):
    stamps = pa.array([[1_000, None]], pa.list_(pa.timestamp("ns")))
    pq.write_table(pa.table({"t": stamps}), tmp_path / "d.parquet")
    value = next(read(tmp_path / "d.parquet"))["t"]
    assert repr(value) == "[datetime.datetime(1970, 1, 1, 0, 0, 0, 1), None]"
    pq.write_table(pa.table({"t": pa.array([1_000, 1_001], pa.timestamp("ns"))}), tmp_path / "d.parquet")
    error = fault(tmp_path / "d.parquet")
    assert error.slug == "bad-row" and "d.parquet, row 1" in error.message


def test_text_in_a_table_that_is_not_utf8(tmp_path):
    bad = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(struct.pack("3i", 0, 1, 2)), pa.py_buffer(b"a\xff")]
    )
    pq.write_table(pa.table({"t": bad}), tmp_path / "d.parquet")
    error = fault(tmp_path / "d.parquet")
    assert error.slug == "not-utf8" and "d.parquet, row 1" in error.message


@pytest.mark.parametrize("values", [pa.string(), pa.list_(pa.int64()), pa.struct([("x", pa.large_string())])])
def test_offsets_that_lead_out_of_the_file(tmp_path, values):
    item = {"x": "abcdefgh"} if pa.types.is_struct(values) else [7] * 8 if pa.types.is_list(values) else "abcdefgh"
    path = tmp_path / "d.arrow"
    feather.write_feather(pa.table({"a": pa.array([item, item], values)}), path, "uncompressed")
    size = "q" if pa.types.is_struct(values) else "i"
    data = path.read_bytes()
    offsets = struct.pack(f"3{size}", 0, 8, 16)
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, struct.pack(f"3{size}", 0, 1 << 30, 16)))
    assert fault(path).slug == "bad-file"


def test_columns_that_only_some_files_have_are_said(tmp_path):
    made(tmp_path, "a.csv", "q,a\n1,2\n")
    made(tmp_path, "b.csv", "q,answer\n1,2\n")
    pq.write_table(pa.table({"q": ["x"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"q": [1]}), tmp_path / "b.parquet")
    told: list[str] = []
    for kind in ("csv", "parquet"):
        files = [(f"{n}.{kind}", tmp_path / f"{n}.{kind}", kind) for n in "ab"]
        compare_columns(files, lambda slug, message: told.append(f"{slug}: {message}"))
    assert told == ["mixed-columns: b.csv lacks a and adds answer, compared with a.csv; null where it is not"]
