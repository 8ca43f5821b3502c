"""Rows to tokens after edits: the artifacts, the ledgers and the warnings are those of a clean build; errors too."""

from __future__ import annotations

import json
import os
import random
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunekit.data import cutting
from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.hashing import sha256_bytes
from tunekit.steps.dataset.mapping import Mapping
from tunekit.steps.dataset.run import run as make_dataset
from tunekit.steps.tokens.run import run as make_tokens

MAP = """
def drop(row):
    return None if row["id"] % 5 == 0 else row

def several(row):
    return [dict(row, id=row["id"] + i) for i in range(row["id"] % 3)]

def changing(row):
    row["id"] = row.pop("id") + 1
    return row

def raising(row):
    if row["id"] == 99:
        raise ValueError("no such id")
    return row
"""
BASE = ["sha256:" + "b" * 64]
MAPS = ["", "", "data.py:drop", "data.py:several", "data.py:changing", "data.py:raising"]
# Which rows there are, and in what order: no part is made again for that.
READ: list[dict[str, Any]] = [
    {},
    {},
    {"shuffle": True, "seed": 3},
    {"shuffle": True, "limit": 25},
    {"limit": 30},
    {"limit": 41},
    {"limit": 1},
    {"split": "[7:60]", "limit": 50},
    {"split": "[10%:80%]"},
    {"split": "[-30:]", "limit": 20},
]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """About 12 rows a chunk, and no disk to wait for."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(cutting, "QUIET", 3)
    monkeypatch.setattr(cutting, "MOST_ROWS", 40)
    monkeypatch.setattr(cutting, "_MARK", np.uint64(2**64 // 8))


def talk(rng: random.Random) -> dict[str, Any]:
    """A conversation: some have no label, some call a function, some have a system prompt."""
    said = " ".join(rng.choice(["it", "is", "so", "4", "é"]) for _ in range(rng.randrange(1, 9)))
    answer: dict[str, Any] = {"role": "assistant", "content": said}
    if rng.random() < 0.2:
        answer["weight"] = rng.choice([0, 1, 1.0])
    messages = [{"role": "user", "content": said + "?"}, answer][: 1 if rng.random() < 0.15 else 2]
    if rng.random() < 0.2:
        messages.insert(0, {"role": "system", "content": said[:3] + "."})
    return {"messages": messages, "id": rng.randrange(40)}


def text(rng: random.Random) -> dict[str, Any]:
    return {"text": rng.choice(["what is it", "4 é 4", "so " * 9]), "id": rng.randrange(40)}


def edited(rows: list[dict[str, Any]], make: Any, rng: random.Random) -> list[dict[str, Any]]:
    """The rows after one edit; now and then right at the first or the last of them."""
    rows = list(rows)
    at = rng.choice([0, len(rows), rng.randint(0, len(rows)), rng.randint(0, len(rows))])
    match rng.choice(["insert", "delete", "edit", "copy", "move", "append"]):
        case "insert":
            rows[at:at] = [make(rng) for _ in range(rng.randrange(1, 4))]
        case "delete":
            del rows[at : at + rng.randrange(1, 15)]
        case "edit":
            rows[at : at + 1] = [make(rng)]
        case "copy":
            rows[at:at] = rows[: rng.randrange(1, 20)]
        case "move":
            rows = [*rows[at:], *rows[:at]]
        case "append":
            rows += [make(rng) for _ in range(rng.randrange(1, 30))]
    return rows


def spoiled(rows: list[Any], kind: str, rng: random.Random) -> list[Any]:
    """The rows with one more that is wrong in some way or other, at least for some settings."""
    wrong: list[Any] = [{"id": 99, "text": "?"}, {"id": "?", "text": "it"}, {"messages": [{"role": "?"}], "id": 1}, []]
    at = rng.randint(0, len(rows))
    return [*rows[:at], rng.choice([*wrong, "{torn"] if kind == "jsonl" else wrong), *rows[at:]]


def lines_of(rows: list[Any]) -> str:
    return "".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows)


def write(root: Path, rows: list[Any], kind: str, files: int) -> None:
    """The rows as files of one kind; where one ends says nothing of the rows."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    cuts = [0, *sorted(hash((i, len(rows))) % (len(rows) + 1) for i in range(files - 1)), len(rows)]
    for number, (start, stop) in enumerate(pairwise(cuts)):
        some = rows[start:stop]
        if kind == "jsonl":
            (root / f"{number}.jsonl").write_text(lines_of(some))
        else:
            (root / f"{number}.json").write_text(json.dumps(some, indent=1))


def files_of(ran) -> dict[str, bytes]:
    return {str(p.relative_to(ran.main)): p.read_bytes() for p in sorted(ran.main.rglob("*")) if p.is_file()}


def told(ran) -> tuple[Any, ...]:
    said = ran.said
    return said.effective(), [(e["slug"], e["message"]) for e in said.of("warning")], [
        (e["name"], e["passed"], e["measured"]) for e in said.of("gate")
    ]  # fmt: skip


def attempt(room, *given) -> Any:
    """What ran, or the error."""
    try:
        return room(*given)
    except ActionError as e:
        return (e.slug, e.message)


def same(found: Any, clean: Any) -> bool:
    """Whether two executions came to the same, be it the same error. Raises AssertionError where they did not."""
    if isinstance(found, tuple) and isinstance(found[0], str):
        assert found == clean
        return False
    assert not isinstance(clean[0], str), clean
    assert files_of(found) == files_of(clean) and told(found) == told(clean)
    return True


def incremental_equals_clean(room, source, code, chatml, seed: int) -> None:
    rng = random.Random(seed)
    code(MAP)
    make = rng.choice([talk, talk, text])
    kind, files = rng.choice(["jsonl", "jsonl", "json"]), rng.randrange(1, 4)
    settings = {"source": "path:d", "format": "auto", "map": rng.choice(MAPS)}
    if make is talk and rng.random() < 0.5:
        settings["format"] = "chat"
    items = {"items": [{"format": "auto"}, {"format": "auto", "train_on": "all"}]}
    rows = [make(rng) for _ in range(rng.randrange(20, 130))]
    read = source({})
    before, earlier = None, None
    bases = [sha256_bytes(json.dumps(settings).encode())]
    for _ in range(4):
        spec = settings | rng.choice(READ)
        write(Path(read.path), spoiled(rows, kind, rng) if rng.random() < 0.3 else rows, kind, files)
        ran = attempt(room, make_dataset, spec, {"source": [read]}, bases, before)
        if same(ran, attempt(room, make_dataset, spec, {"source": [read]})):
            before = ran
            data = read._replace(path=str(ran.main), label="dataset:x")
            inputs = {"data": [data, data], "tokenizer": [chatml]}
            cpus = rng.choice([1, 1, 2])
            tokens = attempt(room, make_tokens, items, inputs, [bases[0], sha256_bytes(b"all")], earlier, cpus)
            if same(tokens, attempt(room, make_tokens, items, inputs)):
                earlier = tokens
        for _ in range(rng.randint(1, 4)):
            rows = edited(rows, make, rng)


@pytest.mark.parametrize("seed", range(20))
def test_incremental_equals_clean(room, source, code, chatml, seed):
    incremental_equals_clean(room, source, code, chatml, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 1100))
def test_incremental_equals_clean_long(room, source, code, chatml, seed):
    incremental_equals_clean(room, source, code, chatml, seed)


@pytest.fixture
def mapped(monkeypatch) -> list[int]:
    """The numbers of the rows that a map was called with."""
    seen: list[int] = []
    original = Mapping.of

    def of(self, row, number):
        seen.append(number)
        return original(self, row, number)

    monkeypatch.setattr(Mapping, "of", of)
    return seen


@pytest.mark.parametrize(("bad", "slug", "message"), [
    ({"id": 99, "text": "?"}, "map-failed", "data.py:raising raised ValueError on row 252 (1.jsonl, its row 132): no"),
    ('{"id": 7, "text": "?"', "bad-line", "1.jsonl:133: not JSON"),
    ({"id": 7, "texts": "?"}, "wrong-shape", "row 252 (1.jsonl, its row 132) is not a `completion` row"),
    ({"id": "x", "text": "?"}, "mixed-types", "column `id`, row 252 (1.jsonl, its row 132): str where earlier"),
])  # fmt: skip
def test_a_bad_row_of_a_changed_chunk_is_named_and_other_work_is_kept(room, source, code, mapped, bad, slug, message):
    code(MAP)
    rng = random.Random(1)
    spec = {"source": "path:d", "format": "auto", "map": "data.py:raising"}
    rows = [text(rng) for _ in range(300)]
    read = source({"0.jsonl": lines_of(rows[:120]), "1.jsonl": lines_of(rows[120:])})
    first = room(make_dataset, spec, {"source": [read]}, BASE)
    del mapped[:]
    new = [{"id": 1, "text": f"new {i}"} for i in range(20)]  # in the chunks before the bad one, and behind it
    spoilt = [*rows[120:140], *new[:10], *rows[150:252], bad, *rows[253:290], *new[10:]]
    read = source({"1.jsonl": lines_of(spoilt)})
    with pytest.raises(ActionError) as e:
        room(make_dataset, spec, {"source": [read]}, BASE, first)
    assert e.value.slug == slug and e.value.message.startswith(message)
    before = [n for n in mapped if n < 240]
    assert before == list(range(140, 150))
    del mapped[:]
    spoilt[132] = rows[252]
    read = source({"1.jsonl": lines_of(spoilt)})
    again = room(make_dataset, spec, {"source": [read]}, BASE, first)
    assert mapped == list(range(290, 300))  # all else was made in one of the two builds before
    assert files_of(again) == files_of(room(make_dataset, spec, {"source": [read]}))


@pytest.mark.parametrize("more", [{"limit": 4}, {"format": "auto"}, {"format": "auto", "limit": 4}])
def test_a_map_that_changes_its_row_is_given_a_new_one(room, source, code, more):
    """CSV comes parsed: the same row is mapped to find the format and the limit, and then to be made."""
    code("def f(row):\n    row['text'] = row.pop('t') + '!'\n    return row\n")
    read = source({"a.csv": "t\n" + "".join(f"x{i}\n" for i in range(30))})
    ran = room(make_dataset, {"source": "path:d", "map": "data.py:f", **more}, {"source": [read]}, BASE)
    assert [r["text"] for r in open_dataset(ran.main).iter_rows()] == [f"x{i}!" for i in range(more.get("limit", 30))]


def test_a_generator_may_fill_one_row_again_and_again(room, code):
    code("def g(seed):\n    row = {}\n    for i in range(30):\n        row['i'] = i\n        yield row\n")
    ran = room(make_dataset, {"source": "make:data.py:g"}, {}, BASE)
    assert [r["i"] for r in open_dataset(ran.main).iter_rows()] == list(range(30))


def test_rows_of_another_form_are_not_copied(room, dataset, chatml):
    """Under `auto` the settings do not say the form: equal rows of a dataset that is read otherwise are made anew."""
    rows = [{"text": f"it is {i}", "segments": [{"text": f"so {i}", "train": True}], "end": True} for i in range(9)]
    items, bases = {"items": [{"format": "auto"}]}, [sha256_bytes(b"auto")]
    before = room(make_tokens, items, {"data": [dataset(rows, "completion")], "tokenizer": [chatml]}, bases)
    inputs = {"data": [dataset(rows[1:], "segments")], "tokenizer": [chatml]}
    ran = room(make_tokens, items, inputs, bases, before)
    assert files_of(ran) == files_of(room(make_tokens, items, inputs)) and not ran.parts()[0]["copied"]
