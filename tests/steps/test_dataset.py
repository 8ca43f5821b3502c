"""The dataset room: where rows come from, what happens to them, and that nothing is lost silently."""

from __future__ import annotations

import json
import time

import pytest

from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.steps.dataset.run import run

ROWS = [{"n": i} for i in range(10)]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)


def rows_of(ran) -> list[dict]:
    return list(open_dataset(ran.main).iter_rows())


def numbers(ran) -> list[int]:
    return [row["n"] for row in rows_of(ran)]


def test_files_of_a_source(room, source):
    ran = room(run, {"source": "path:d"}, {"source": [source({"a.jsonl": JSONL})]})
    assert rows_of(ran) == ROWS and open_dataset(ran.main).shape == "rows"
    assert ran.said.effective()["ledger"] == {
        "read": 10,
        "outside_split": 0,
        "dropped": 0,
        "dropped_rows": [],
        "made": 10,
        "over_limit": 0,
        "kept": 10,
    }
    assert ran.said.of("progress")[-1]["done"] == 10


def test_other_datasets_of_several_chunks(room, dataset):
    inputs = {"from": [dataset(ROWS, "rows", 7), dataset([{"n": 10, "m": "x"}])]}
    ran = room(run, {"from": ["dataset:a", "dataset:b"]}, inputs)
    assert rows_of(ran) == [row | {"m": None} for row in ROWS] + [{"n": 10, "m": "x"}]


@pytest.mark.parametrize(
    ("split", "wanted"),
    [
        ("", range(10)),
        ("[:3]", range(3)),
        ("[8:]", [8, 9]),
        ("[2:4]", [2, 3]),
        ("[:25%]", [0, 1]),
        ("[50%:70%]", [5, 6]),
        ("[8:100]", [8, 9]),
        ("train[:2]", [0, 1]),
    ],
)
def test_split(room, source, split, wanted):
    ran = room(run, {"source": "path:d", "split": split}, {"source": [source({"train.jsonl": JSONL})]})
    assert numbers(ran) == list(wanted)
    assert ran.said.effective()["ledger"]["outside_split"] == 10 - len(list(wanted))


def test_order_of_work_is_split_map_shuffle_limit(room, dataset, code):
    code("def f(row, add):\n    return {'n': row['n'] + add} if row['n'] % 2 else None\n")
    spec = {"from": ["d"], "split": "[:8]", "map": "data.py:f", "args": {"add": 100}, "shuffle": True, "limit": 3}
    ran = room(run, spec | {"seed": 5}, {"from": [dataset(ROWS, "rows", 3)]})
    found = numbers(ran)
    assert len(set(found)) == 3 and set(found) < {101, 103, 105, 107} and found != sorted(found)
    ledger = ran.said.effective()["ledger"]
    assert ledger == {
        "read": 10,
        "outside_split": 2,
        "dropped": 4,
        "dropped_rows": [0, 2, 4, 6],
        "made": 4,
        "over_limit": 1,
        "kept": 3,
    }


def test_map_may_make_several_rows(room, dataset, code):
    code("def f(row):\n    return [row] * row['n']\n")
    ran = room(run, {"from": ["d"], "map": "data.py:f", "limit": 4}, {"from": [dataset(ROWS)]})
    assert numbers(ran) == [1, 2, 2, 3]
    assert ran.said.effective()["ledger"]["dropped_rows"] == [0]


def test_the_ledger_names_the_first_twenty_dropped(room, dataset, code):
    code("def f(row):\n    return row if row['n'] == 49 else None\n")
    ran = room(run, {"from": ["d"], "map": "data.py:f"}, {"from": [dataset([{"n": i} for i in range(50)])]})
    ledger = ran.said.effective()["ledger"]
    assert ledger["dropped"] == 49 and ledger["dropped_rows"] == list(range(20))


def test_make_is_called_with_args_and_seed(room, code):
    code("def make(count, seed):\n    for i in range(count):\n        yield {'n': i + seed}\n")
    ran = room(run, {"source": "make:data.py:make", "args": {"count": 3}, "seed": 7})
    assert numbers(ran) == [7, 8, 9]


def failed(room, spec, inputs=None) -> ActionError:
    with pytest.raises(ActionError) as e:
        room(run, spec, inputs)
    assert e.value.hint or e.value.slug.startswith("code")
    return e.value


@pytest.mark.parametrize(
    ("body", "slug", "message"),
    [
        (
            "return {'n': 1 // (row['n'] - 12)}",
            "map-failed",
            "data.py:f raised ZeroDivisionError on row 12 (b.jsonl, its row 2)",
        ),
        ("return 3", "map-result", "data.py:f returned int on row 0 (a.jsonl)"),
        ("return {1: 2}", "map-result", "returned dict on row 0"),
        ("return [row, 3]", "map-result", "returned list on row 0"),
        ("return None", "empty-dataset", "no rows"),
    ],
)
def test_a_map_that_goes_wrong(room, source, code, body, slug, message):
    code(f"def f(row):\n    {body}\n")
    more = "".join(json.dumps({"n": i}) + "\n" for i in range(10, 20))
    inputs = {"source": [source({"a.jsonl": JSONL, "b.jsonl": more})]}
    error = failed(room, {"source": "path:d", "map": "data.py:f"}, inputs)
    assert error.slug == slug and message in error.message


@pytest.mark.parametrize(
    ("body", "slug", "message"),
    [
        ("yield {'n': 1}\n    raise ValueError('x')", "make-failed", "data.py:make raised ValueError at row 1: x"),
        ("return [3]", "make-result", "data.py:make, row 0: int"),
        ("return None", "make-failed", "raised TypeError at row 0"),
        ("yield from ()", "empty-dataset", "no rows"),
    ],
)
def test_a_make_that_goes_wrong(room, code, body, slug, message):
    code(f"def make(seed):\n    {body}\n")
    error = failed(room, {"source": "make:data.py:make"})
    assert error.slug == slug and message in error.message


def test_a_wrong_shape_names_the_row_as_it_was_read(room, source):
    files = {"a.jsonl": '{"text": "x"}\n' * 3, "b.jsonl": '{"text": "x"}\n{"text": ""}\n'}
    spec = {"source": "path:d", "format": "completion", "shuffle": True}
    error = failed(room, spec, {"source": [source(files)]})
    assert error.slug == "wrong-shape"
    assert error.message.startswith("row 4 (b.jsonl, its row 1) is not a `completion` row: `text` is '', not")


SHAREGPT = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}], "id": 1}
CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}], "id": 1}


def test_a_format_makes_rows_of_its_form(room, dataset):
    fields = {"messages": "conversations", "role": "from", "content": "value"}
    ran = room(run, {"from": ["d"], "format": "chat", "fields": fields}, {"from": [dataset([SHAREGPT])]})
    assert rows_of(ran) == [CHAT] and open_dataset(ran.main).shape == "chat"
    effective = ran.said.effective()
    assert (effective["format"], effective["form"], effective["fields"]) == ("chat", "chat", fields)
    assert not ran.said.warnings()


def test_map_comes_before_the_format(room, dataset, code):
    code("def f(row):\n    return {'instruction': row['q'], 'output': row['a']}\n")
    spec = {"from": ["d"], "map": "data.py:f", "format": "alpaca"}
    ran = room(run, spec, {"from": [dataset([{"q": "hi", "a": "hello"}])]})
    assert rows_of(ran) == [{"messages": CHAT["messages"]}] and open_dataset(ran.main).shape == "chat"


def test_auto_says_what_it_found(room, dataset):
    ran = room(run, {"from": ["d"], "format": "auto"}, {"from": [dataset([SHAREGPT, SHAREGPT])]})
    assert rows_of(ran) == [CHAT, CHAT] and open_dataset(ran.main).shape == "chat"
    (warning,) = ran.said.of("warning")
    assert warning["slug"] == "format-detected"
    assert warning["message"].startswith('columns conversations, id: format = "chat", fields = { messages =')
    assert ran.said.effective()["format"] == "chat"


@pytest.mark.parametrize(
    ("row", "slug", "message"),
    [
        (
            {"question": "a", "answer": "b"},
            "ambiguous-format",
            "row 0 (d.jsonl) fits more than one format (columns: an",
        ),
        ({"x": 1}, "unknown-format", "row 0 (d.jsonl) fits no format (columns: x)"),
    ],
)
def test_auto_asks(room, source, row, slug, message):
    inputs = {"source": [source({"d.jsonl": json.dumps(row)})]}
    error = failed(room, {"source": "path:d", "format": "auto"}, inputs)
    assert error.slug == slug and error.message.startswith(message)


def test_one_row_for_each_answer_is_counted_as_made(room, dataset):
    spec = {"from": ["d"], "format": "ground_truth", "fields": {"turns": "all"}, "limit": 3}
    rows = [{"messages": CHAT["messages"] * 2, "id": i} for i in range(2)]
    ran = room(run, spec, {"from": [dataset(rows)]})
    assert [(row["id"], len(row["prompt"]), row["ground_truth"]) for row in rows_of(ran)] == [
        (0, 1, "hello"),
        (0, 3, "hello"),
        (1, 1, "hello"),
    ]
    ledger = ran.said.effective()["ledger"]
    assert (ledger["read"], ledger["made"], ledger["over_limit"], ledger["kept"]) == (2, 4, 1, 3)
    bad = {"from": [dataset([*rows, {"messages": CHAT["messages"][:1]}])]}
    assert "row 2 (dataset:d1) is not a `ground_truth` row: `messages` has no answer" in (
        failed(room, spec, bad).message
    )


@pytest.mark.parametrize("spec", [{"from": ["d"], "split": "train"}, {"source": "make:data.py:make", "split": "train"}])
def test_only_files_have_named_splits(room, dataset, code, spec):
    code("def make(seed):\n    return [{}]\n")
    with pytest.raises(ActionError) as e:
        room(run, spec, {"from": [dataset(ROWS)]} if "from" in spec else None)
    assert e.value.slug == "unknown-split"


def test_warnings_of_the_reader_are_events(room, source):
    ran = room(run, {"source": "path:d"}, {"source": [source({"a.jsonl": JSONL, "README.md": "x"})]})
    assert ran.said.warnings() == ["files-left-out"]


def test_behind_a_limit_nothing_is_read(room, source, code):
    code("def f(row):\n    return [row] * (row['n'] % 3)\n")
    spec = {"source": "path:d", "map": "data.py:f", "limit": 4}
    ran = room(run, spec, {"source": [source({"a.jsonl": JSONL, "b.jsonl": "not JSON\n" * 5})]})
    assert numbers(ran) == [1, 2, 2, 4]
    ledger = ran.said.effective()["ledger"]
    assert (ledger["read"], ledger["made"], ledger["over_limit"], ledger["dropped_rows"]) == (5, 4, 0, [0, 3])


def test_a_chunk_of_another_dataset_is_linked(room, dataset):
    given = dataset(ROWS, "rows", 4)
    ran = room(run, {"from": ["d"], "split": "[2:8]"}, {"from": [given]})
    assert numbers(ran) == list(range(2, 8))
    whole = {c.digest for c in open_dataset(given.path).chunk_list}
    assert [c.digest in whole for c in open_dataset(ran.main).chunk_list] == [False, True]
    clean = dataset(ROWS[2:4], "rows")
    assert open_dataset(ran.main).chunk_list[0] == open_dataset(clean.path).chunk_list[0]


def test_a_chain_of_tiny_datasets_is_cheap(room, dataset):
    inputs = {"from": [dataset(ROWS[:1])]}
    room(run, {"from": ["d"]}, inputs)
    best = 1.0
    for _ in range(10):
        start = time.perf_counter()
        room(run, {"from": ["d"]}, inputs)
        best = min(best, time.perf_counter() - start)
    assert best < 0.005
