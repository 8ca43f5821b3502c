"""The dataset artifact: what goes in comes out, in the same bytes everywhere."""

from __future__ import annotations

import datetime
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.data.rowset import open_dataset, write_dataset
from tunekit.errors import ActionError
from tunekit.hashing import sha256_file

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INT = st.integers(-(2**63), 2**63 - 1)
ROW = st.fixed_dictionaries(
    {"n": INT, "t": TEXT, "messages": st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3)},
    optional={"extra": st.none() | st.booleans(), "f": st.floats(allow_nan=False)},
)


def filled(row: dict, columns: list[str]) -> dict:
    return {name: row.get(name) for name in columns}


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=9), chunk_rows=st.none() | st.integers(1, 4))
def test_rows_come_back_from_any_chunking(tmp_path_factory, rows, chunk_rows):
    root = tmp_path_factory.mktemp("d")
    written = write_dataset(root, rows, "rows", chunk_rows)
    found = open_dataset(root)
    assert found == written
    columns = sorted({name for row in rows for name in row})
    assert list(found.iter_rows()) == [filled(row, columns) for row in rows]
    assert found.rows == len(rows) == sum(c.rows for c in found.chunk_list)
    for chunk, (digest, table) in zip(found.chunk_list, found.chunks(), strict=True):
        file = root / "chunks" / f"{digest[7:]}.arrow"
        assert (sha256_file(file), file.stat().st_size, table.num_rows) == (chunk.digest, chunk.bytes, chunk.rows)


def test_index_is_the_documented_one(tmp_path):
    write_dataset(tmp_path, [{"b": 1, "a": "x"}, {"a": "y", "b": 2.5}], "rows", 1)
    body = json.loads((tmp_path / "dataset.json").read_text())
    assert sorted(body) == ["arrow", "chunks", "format", "rows", "schema", "shape"]
    assert (body["format"], body["rows"], body["shape"]) == (2, 2, "rows")
    assert body["schema"] == {"a": "string", "b": "double"}
    assert [sorted(c) for c in body["chunks"]] == [["bytes", "digest", "rows"]] * 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chunks", "dataset.json"]
    assert len(list((tmp_path / "chunks").iterdir())) == 2


def test_chunks_are_memory_mapped(tmp_path):
    write_dataset(tmp_path, [{"n": i} for i in range(100_000)], "rows")
    before = pa.total_allocated_bytes()
    ((_, table),) = open_dataset(tmp_path).chunks()
    assert table.num_rows == 100_000 and pa.total_allocated_bytes() - before < 10_000


def test_a_chunk_does_not_depend_on_its_neighbours(tmp_path):
    """What comes before or after a chunk changes no byte of it (no stray bits of a bigger table)."""
    rows = [{"b": True if i % 3 else None, "l": [i] * (i % 4)} for i in range(40)]
    whole = write_dataset(tmp_path / "whole", rows, "rows", 10).chunk_list
    alone = write_dataset(tmp_path / "alone", rows[10:20], "rows").chunk_list
    assert alone[0] == whole[1]


def test_readers_see_the_union_of_the_types(tmp_path):
    rows = [{"n": 1, "m": [{"a": 1}]}, {"n": 0.5, "m": None}, {"m": [{"a": None, "b": "x"}], "t": "y"}]
    found = write_dataset(tmp_path, rows, "rows", 1)
    assert [str(t.schema.field("n").type) for _, t in found.own_chunks() if "n" in t.column_names] == [
        "int64",
        "double",
    ]
    assert {t.schema for _, t in found.chunks()} == {found.schema}
    assert list(found.iter_rows()) == [
        {"m": [{"a": 1, "b": None}], "n": 1.0, "t": None},
        {"m": None, "n": 0.5, "t": None},
        {"m": [{"a": None, "b": "x"}], "n": None, "t": "y"},
    ]


@pytest.mark.parametrize("chunk_rows", [1, 2, None])
def test_a_clash_between_chunks_is_named_as_within_one(tmp_path, chunk_rows):
    for rows, where in (
        ([{"a": 1}, {}, {}, {"a": "x"}], "column `a`, row 3: str where earlier rows have int"),
        ([{"a": 0.5}, {}, {"b": 1}, {"a": 2**60 + 1}], "column `a`, row 3: Integer value"),
        ([{"a": 1}, {}, {"a": "x"}, {"a": 1}], "column `a`, row 2: str where earlier rows have int"),
    ):
        with pytest.raises(ActionError) as e:
            write_dataset(tmp_path / str(len(where)), rows, "rows", chunk_rows)
        assert e.value.slug == "mixed-types" and e.value.message.startswith(where)


def test_key_order_changes_nothing(tmp_path):
    one = write_dataset(tmp_path / "1", [{"a": 1, "b": {"x": 1, "y": 2}}], "rows")
    two = write_dataset(tmp_path / "2", [{"b": {"y": 2, "x": 1}, "a": 1}], "rows")
    assert one.chunk_list == two.chunk_list


SCRIPT = """
import sys
from tunekit.data.rowset import write_dataset
rows = [{"t": f"é{i}", "f": i if i % 2 else i / 3, "n": None if i % 3 else i, "m": [{"role": "user"}] * (i % 3)}
        for i in range(50)]
print([c.digest for c in write_dataset(sys.argv[1], rows, "rows", 20).chunk_list])
"""


def test_bytes_are_the_same_in_another_process(tmp_path):
    outputs = set()
    for seed in ("0", "4711"):
        folder = tmp_path / f"folder-{seed}"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        outputs.add((done.stdout, (folder / "dataset.json").read_bytes()))
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("rows", "where"),
    [
        ([{"a": 1}, {"a": "x"}], "column `a`, row 1: str where earlier rows have int"),
        ([{"a": 1.5}, {"a": 1.5}, {"a": True}], "column `a`, row 2: bool where"),
        ([{"a": "x"}, {"a": b"x"}], "row 1: bytes where earlier rows have str"),
        ([{"a": {"x": 1}}, {"a": {"x": "1"}}], "row 1: str where earlier rows have int"),
        ([{"a": [1]}, {"a": 1}], "row 1: int where earlier rows have a list"),
        ([{"a": 1}, {"a": {}}], "row 1: a table where earlier rows have int"),
        ([{"a": {1: 2}}], "the key 1 is not a string"),
        ([{"a": {"x", "y"}}], "a set has no order"),
        ([{"a": 1}, {"a": 2**63}], "row 1: 9223372036854775808 does not fit in 64 bits"),
        ([{"a": 0.5}, {"a": 2**60 + 1}], "column `a`, row 1: Integer value"),
        ([{"a": "x"}, {"a": "\ud800"}], "column `a`, row 1: 'utf-8' codec"),
        ([{"a": object()}], "column `a`, row 0: a object cannot be stored"),
    ],
)
def test_what_one_column_cannot_hold_is_named(tmp_path, rows, where):
    with pytest.raises(ActionError) as e:
        write_dataset(tmp_path, rows, "rows")
    assert e.value.slug == "mixed-types" and where in e.value.message and e.value.hint


def test_dates_and_numpy_numbers_are_held(tmp_path):
    numpy = pytest.importorskip("numpy")
    row = {"d": datetime.date(2024, 1, 2), "i": numpy.int64(3), "f": numpy.float32(0.5)}
    write_dataset(tmp_path, [row, {"i": 4}], "rows")
    assert list(open_dataset(tmp_path).iter_rows()) == [row, {"d": None, "i": 4, "f": None}]


def test_no_rows_is_an_error(tmp_path):
    with pytest.raises(ActionError) as e:
        write_dataset(tmp_path / "x", [], "rows")
    assert e.value.slug == "empty-dataset" and not (tmp_path / "x").exists()


def test_what_is_not_a_dataset_is_an_error(tmp_path):
    with pytest.raises(ActionError, match="cannot be read"):
        open_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"format": 1}')
    with pytest.raises(ActionError, match="not format 2"):
        open_dataset(tmp_path)
    found = write_dataset(tmp_path, [{"a": 1}], "rows")
    (tmp_path / "chunks" / f"{found.chunk_list[0].digest[7:]}.arrow").write_bytes(b"torn")
    with pytest.raises(ActionError) as e:
        list(found.iter_rows())
    assert e.value.slug == "bad-chunk"
