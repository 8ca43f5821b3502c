"""A dataset of files, through the room: what the spec says about files reaches the readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.steps.dataset.run import run


def rows_of(ran) -> list[dict]:
    return list(open_dataset(ran.main).iter_rows())


def test_an_encoding_is_used_or_missed(room, source):
    given = source({"a.csv": ""})
    (Path(given.path) / "a.csv").write_bytes("q\nok\ncafé\n".encode("latin-1"))
    with pytest.raises(ActionError) as e:
        room(run, {"source": "path:d"}, {"source": [given]})
    assert e.value.slug == "not-utf8" and "a.csv:3" in e.value.message
    ran = room(run, {"source": "path:d", "encoding": "latin-1"}, {"source": [given]})
    assert rows_of(ran) == [{"q": "ok"}, {"q": "café"}]


def test_tables_of_different_columns_are_joined_aloud(room, source):
    ran = room(run, {"source": "path:d"}, {"source": [source({"a.csv": "q,a\n1,2\n", "b.csv": "q,x\n3,4\n"})]})
    assert rows_of(ran) == [{"q": "1", "a": "2", "x": None}, {"q": "3", "a": None, "x": "4"}]
    assert ran.said.warnings() == ["mixed-columns"]


@pytest.mark.parametrize(
    ("reader", "wanted"), [("text", ["a\nb\n\nc\n", "d"]), ("lines", list("abcd")), ("paragraphs", ["a\nb", "c", "d"])]
)
def test_text_is_cut_as_the_reader_says(room, source, reader, wanted):
    files = {"a.txt": "a\nb\n\nc\n", "b.txt": "d"}
    ran = room(run, {"source": "path:d", "reader": reader}, {"source": [source(files)]})
    assert [row["text"] for row in rows_of(ran)] == wanted


@pytest.mark.parametrize(("split", "wanted"), [("[-2:]", [3, 4]), ("[:-40%]", [0, 1, 2]), ("[-60%:4]", [2, 3])])
def test_splits_count_from_the_end(room, source, split, wanted):
    files = {"a.jsonl": "".join(f'{{"n": {i}}}\n' for i in range(3)), "b.jsonl": '{"n": 3}\n{"n": 4}\n'}
    ran = room(run, {"source": "path:d", "split": split}, {"source": [source(files)]})
    assert [row["n"] for row in rows_of(ran)] == wanted
