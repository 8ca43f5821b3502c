"""Any bytes become rows or a named error; rows survive every way of writing them; blocks cut nothing wrongly.

`TUNEKIT_FUZZ=20000 pytest tests/data/test_readers_fuzz.py -s` tries that many cases of each and says how many ran.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import io
import json
import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.data.readers import Lines, count_rows, items, lines, parse, read_blocks, rows_of, streams, texts
from tunekit.errors import ActionError

CASES = int(os.environ.get("TUNEKIT_FUZZ", "50"))
READERS = ["jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "lines", "paragraphs"]
SLUGS = {"bad-file", "bad-line", "bad-row", "not-utf8"}
ran: Counter[str] = Counter()
many = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def report():
    yield
    print(f"\n{sum(ran.values())} cases: {dict(sorted(ran.items()))}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def small_steps(patch: pytest.MonkeyPatch, step: int, block: int) -> None:
    """Pieces and blocks so small that every row lies across several."""
    for module in (lines, items, texts, streams):
        patch.setattr(module, "STEP", step)
    for module in (lines, items, texts):
        patch.setattr(module, "BLOCK", block)


def read(path: Path, reader: str, encoding: str = "utf-8") -> list[dict]:
    found: list[dict] = []
    for block in read_blocks(path.name, path, reader, lambda slug, message: None, encoding):
        assert block.first == len(found) and block.n > 0
        rows = rows_of(block)
        if isinstance(block, Lines):
            assert rows == [parse(block, i) for i in range(block.n)]
        found += rows
    return found


# Any bytes.

WORDS = [
    b'{"a": 1}',
    b'{"a":',
    b'"',
    b"\\",
    b"\n",
    b"\r\n",
    b",",
    b"[",
    b"]",
    b"}",
    b"{",
    b":",
    b"1",
    b"\x00",
    b"\xff",
    b" ",
]
WORDS += [
    b'"a"',
    b"null",
    b"NaN",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\\ud800",
    b"\t",
    b"a,b\n",
    b"\n\n",
    b"1e999",
    b"\\u003a",
]
soup = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=4)), max_size=25).map(b"".join)


def sound_files() -> dict[str, bytes]:
    table = pa.table({"a": [1, None, 3], "b": ["x", "y" * 50, None], "c": [[1], [], None]})
    parquet, stream, file = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    feather.write_feather(table, file, compression="lz4")
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    text = b"".join(b'{"q": "x, \\"%d\\"", "n": [%d, {"z": null}]}\n' % (i, i) for i in range(5))
    return {
        "d.parquet": parquet.getvalue(),
        "d.arrow": file.getvalue(),
        "e.arrow": stream.getvalue(),
        "d.jsonl": text,
        "d.json": b"[" + b",".join(text.splitlines()) + b"]",
        "d.csv": b'a,b\n1,"x\n""y"""\n2,z\n',
        "d.jsonl.gz": gzip.compress(text) * 2,
        "d.jsonl.zst": pa.compress(text, "zstd", asbytes=True),
    }


SOUND = sound_files()


@st.composite
def torn(draw) -> tuple[str, bytes]:
    """A sound file, cut, changed or grown somewhere."""
    name = draw(st.sampled_from(sorted(SOUND)))
    data = SOUND[name]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data = draw(
            st.sampled_from(
                [data[:at], data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at + 1 :], data[at:]]
            )
        )
    return name, data


def rows_or_named(path: Path, reader: str, encoding: str = "utf-8") -> list[dict] | None:
    try:
        rows = read(path, reader, encoding)
    except ActionError as e:
        assert e.slug in SLUGS and path.name in e.message, e
        ran["refused"] += 1
        return None
    ran["read"] += 1
    return rows


@many
@given(data=soup, reader=st.sampled_from(READERS), step=st.integers(1, 40), packed=st.sampled_from(["", ".gz", ".zst"]))
def test_any_bytes_are_rows_or_a_named_error(folder, data, reader, step, packed):
    path = folder / f"d{packed}"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        small_steps(patch, step, step)
        rows_or_named(path, reader)


@many
@given(case=torn(), encoding=st.sampled_from(["utf-8"] * 4 + ["latin-1", "utf-16", "cp1252", "shift_jis"]))
def test_a_torn_file_is_rows_or_a_named_error(folder, case, encoding):
    name, data = case
    path = folder / name
    path.write_bytes(data)
    reader = {"arrow": "arrow", "parquet": "parquet"}.get(path.suffix[1:]) or name.split(".")[1]
    rows_or_named(path, reader, "utf-8" if reader in ("arrow", "parquet") else encoding)


# Against Python's own json, made strict.


def strict(text: str) -> object:
    def pairs(found: list[tuple[str, object]]) -> dict:
        if len({name for name, _ in found}) < len(found):
            raise ValueError("twice")
        return dict(found)

    def refuse(text: str) -> float:
        raise ValueError(text)

    def real(text: str) -> float:
        value = float(text)
        return value if abs(value) != float("inf") else refuse(text)

    value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse, parse_float=real)
    json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair
    return value


def expected(data: bytes, reader: str) -> list[dict] | None:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        if reader == "json":
            rows = strict(data.decode())
            assert isinstance(rows, list)
        else:
            rows = [strict(line.decode()) for line in data.split(b"\n") if line.strip()]
        assert all(isinstance(row, dict) for row in rows)
    except (ValueError, AssertionError):
        return None
    return rows


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(max_size=4), values, max_size=4), max_size=6)


@st.composite
def nearly_json(draw) -> tuple[str, bytes]:
    """JSON as somebody may write it, and here and there something that is none."""
    rows, indent = draw(objects), draw(st.sampled_from([None, 1]))
    ascii_only = draw(st.booleans())
    separators = draw(st.sampled_from([(",", ":"), (", ", " : ")]))
    reader = draw(st.sampled_from(["json", "jsonl"]))
    if reader == "json":
        text = json.dumps(rows, indent=indent, ensure_ascii=ascii_only, separators=separators)
    else:
        end = draw(st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]))
        text = "".join(json.dumps(row, ensure_ascii=ascii_only, separators=separators) + end for row in rows)
    data = text.encode()
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.sampled_from([*WORDS, b""])) + data[at + draw(st.integers(0, 1)) :]
    return reader, data


@many
@given(case=st.one_of(nearly_json(), st.tuples(st.sampled_from(["json", "jsonl"]), soup)), step=st.integers(1, 40))
def test_json_is_read_as_pythons_own_reads_it(folder, case, step):
    reader, data = case
    path = folder / "d.json"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        small_steps(patch, step, step)
        found = rows_or_named(path, reader)
        wanted = expected(data, reader)
        assert repr(found) == repr(wanted)
        if wanted is not None:
            assert count_rows(path.name, path, reader) == len(wanted)


# Rows that are written and read again.

cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
PACK = {
    "": lambda b: b,
    ".gz": lambda b: gzip.compress(b[: len(b) // 2]) + gzip.compress(b[len(b) // 2 :]),
    ".zst": lambda b: pa.compress(b, "zstd", asbytes=True),
}


@many
@given(rows=objects, packed=st.sampled_from(sorted(PACK)), encoding=st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]))
def test_json_comes_back(folder, rows, packed, encoding):
    path = folder / f"r{packed}"
    for reader, text in {
        "json": json.dumps(rows, ensure_ascii=False),
        "jsonl": "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
    }.items():
        path.write_bytes(PACK[packed](text.encode(encoding)))
        assert repr(read(path, reader, encoding)) == repr(rows)
        ran["round trips"] += 1


@many
@given(
    table=st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=6)
    ),
    reader=st.sampled_from(["csv", "tsv"]),
    end=st.sampled_from(["\n", "\r\n"]),
    packed=st.sampled_from(sorted(PACK)),
)
def test_csv_comes_back(folder, table, reader, end, packed):
    names = [f"c{i}" for i in range(len(table[0]))]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="," if reader == "csv" else "\t", lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *table])
    path = folder / f"r.csv{packed}"
    path.write_bytes(PACK[packed](text.getvalue().encode()))
    rows = read(path, reader)
    assert rows == [dict(zip(names, row, strict=True)) for row in table]
    assert count_rows(path.name, path, reader) == len(rows)
    ran["round trips"] += 1


COLUMNS = {
    "i": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "f": (pa.float64(), st.floats(allow_nan=False)),
    "s": (pa.string(), cells),
    "b": (pa.binary(), st.binary(max_size=5)),
    "d": (pa.date32(), st.dates()),
    "t": (pa.timestamp("us"), st.datetimes()),
    "n": (pa.decimal128(12, 2), st.decimals(min_value=-999, max_value=999, places=2)),
    "l": (pa.list_(pa.struct([("role", pa.string()), ("x", pa.int64())])), None),
}
turns = st.lists(st.fixed_dictionaries({"role": cells, "x": st.none() | st.integers(0, 9)}), max_size=3)
typed = st.lists(
    st.fixed_dictionaries({n: st.none() | (s if s is not None else turns) for n, (_, s) in COLUMNS.items()}), max_size=8
)


@many
@given(rows=typed, groups=st.integers(1, 3), kind=st.sampled_from(["parquet", "file", "stream", "lz4"]))
def test_tables_come_back(folder, rows, groups, kind):
    table = pa.Table.from_pylist(rows, schema=pa.schema([(name, type) for name, (type, _) in COLUMNS.items()]))
    path = folder / "r.table"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=groups)
    elif kind == "stream":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=groups)
    else:
        feather.write_feather(table, path, compression="lz4" if kind == "lz4" else "uncompressed", chunksize=groups)
    reader = "parquet" if kind == "parquet" else "arrow"
    assert read(path, reader) == rows
    assert count_rows(path.name, path, reader) == len(rows)
    ran["round trips"] += 1


@many
@given(paragraphs=st.lists(st.text("ab é\u2028\r", min_size=1, max_size=9), max_size=8), step=st.integers(1, 9))
def test_lines_and_paragraphs_come_back(folder, paragraphs, step):
    text = "\n\n".join(paragraphs)
    path = folder / "r.txt"
    path.write_bytes(text.encode())
    kept = [line.removesuffix("\r") for line in text.split("\n") if line.encode().strip()]
    with pytest.MonkeyPatch.context() as patch:
        small_steps(patch, step, step)
        assert [row["text"] for row in read(path, "lines")] == kept
        assert [row["text"] for row in read(path, "paragraphs")] == kept
        assert [row["text"] for row in read(path, "text")] == ([text] if text else [])
    ran["round trips"] += 3


def test_a_date_and_a_decimal_stay_what_they_are(tmp_path):
    rows = [
        {"d": datetime.date(2024, 2, 29), "n": decimal.Decimal("1.10"), "t": datetime.datetime(2024, 1, 1, 2, 3, 4, 5)}
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")
    assert repr(read(tmp_path / "d.parquet", "parquet")) == repr(rows)
