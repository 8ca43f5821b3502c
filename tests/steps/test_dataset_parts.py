"""Parts of a dataset: what is done again after an edit, and that the result is the one of a clean build."""

from __future__ import annotations

import json
import os
import random
import re

import numpy as np
import pytest

from tunekit.data import cutting
from tunekit.data.rowset import open_dataset
from tunekit.errors import ActionError
from tunekit.hashing import sha256_bytes
from tunekit.protocol import Input
from tunekit.steps.dataset import origins
from tunekit.steps.dataset.mapping import Mapping
from tunekit.steps.dataset.run import run

SPEC = {"source": "path:d"}
BASE = ["sha256:" + "b" * 64]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """About 12 rows a chunk, and no disk to wait for."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    monkeypatch.setattr(cutting, "QUIET", 3)
    monkeypatch.setattr(cutting, "MOST_ROWS", 40)
    monkeypatch.setattr(cutting, "_MARK", np.uint64(2**64 // 8))


@pytest.fixture
def parsed(monkeypatch):
    """The numbers of the rows that were parsed."""
    seen: list[int] = []
    original = Mapping.of

    def of(self, row, number):
        seen.append(number)
        return original(self, row, number)

    monkeypatch.setattr(Mapping, "of", of)
    return seen


def lines_of(rows: list) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def files_of(ran) -> dict[str, bytes]:
    return {str(p.relative_to(ran.main)): p.read_bytes() for p in sorted(ran.main.rglob("*")) if p.is_file()}


def rows(count: int, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    return [{"id": i, "t": "x" * rng.randrange(20), "v": rng.choice([1, 0.5])} for i in range(count)]


def test_nothing_is_parsed_twice(room, source, parsed):
    given_rows = rows(500)
    first = room(run, SPEC, {"source": [source({"a.jsonl": lines_of(given_rows)})]}, BASE)
    assert parsed == list(range(500)) and 20 < len(first.parts()) < 80
    del parsed[:]
    again = room(run, SPEC, {"source": [source({"a.jsonl": lines_of(given_rows)})]}, BASE, first)
    assert not parsed and not again.parts() and files_of(again) == files_of(first)
    del given_rows[100:110]
    given_rows.insert(300, {"id": "new", "t": "y", "v": 2} | {"id": 1000})
    edited = room(run, SPEC, {"source": [source({"a.jsonl": lines_of(given_rows)})]}, BASE, again)
    assert parsed == [300] and 1 <= len(edited.parts()) <= 6
    copied = sum(e["copied"] for e in edited.parts())
    assert copied == sum(e["rows"] for e in edited.parts()) - 1
    assert files_of(edited) == files_of(room(run, SPEC, {"source": [source({"a.jsonl": lines_of(given_rows)})]}))


def test_other_settings_copy_nothing(room, source, parsed):
    given = {"source": [source({"a.jsonl": lines_of(rows(100))})]}
    first = room(run, SPEC, given, BASE)
    del parsed[:]
    room(run, SPEC, given, ["sha256:" + "c" * 64], first)
    assert len(parsed) == 100


def test_split_shuffle_and_limit_make_no_part_again(room, source, parsed):
    given = {"source": [source({"a.jsonl": lines_of(rows(300))})]}
    first = room(run, SPEC, given, BASE)
    del parsed[:]
    for more in ({"shuffle": True, "seed": 3}, {"limit": 77}, {"shuffle": True, "limit": 9}):
        ran = room(run, SPEC | more, given, BASE, first)
        assert not parsed and files_of(ran) == files_of(room(run, SPEC | more, given))
        del parsed[:]
    ran = room(run, SPEC | {"split": "[10%:90%]"}, given, BASE, first)
    assert not parsed and files_of(ran) == files_of(room(run, SPEC | {"split": "[10%:90%]"}, given))


def test_a_kill_loses_at_most_one_part(room, source, code, parsed):
    given = {"source": [source({"a.jsonl": lines_of(rows(200))})]}
    code("def f(row):\n    if row['id'] == 150:\n        raise ValueError('killed here')\n    return row\n")
    with pytest.raises(ActionError, match="row 150"):
        room(run, SPEC | {"map": "data.py:f"}, given, BASE)
    del parsed[:]
    code("def f(row):\n    return row\n")
    room(run, SPEC | {"map": "data.py:f"}, given, BASE)
    assert 110 < parsed[0] <= 150


ODD = [{"t": "ab", "n": 3, "m": [{"a": 0.5, "b": None}, {"b": None, "a": 0}], "o": None}, {"t": "c", "o": None},
       {"t": "", "n": 0.5}, {"t": "d", "n": 2}, {"t": "", "m": []}, {"t": "e", "m": [{"a": 1}]},
       {"t": "\u2028\x00é", "o": False}]  # fmt: skip


def incremental_equals_clean(room, source, code, seed: int) -> None:
    """Edits, inserts, deletes, duplicates and moves, several builds in a row, each copying from the one before."""
    rng = random.Random(seed)

    def row() -> dict:
        found = {"t": ""} if rng.random() < 0.7 else dict(rng.choice(ODD))
        return found | ({"id": rng.randrange(99)} if rng.random() < 0.5 else {})

    code("def f(row):\n    return [{**row, 'i': i} for i in range(len(row['t']))]\n")
    how = rng.choice(["", "map", "shuffle", "from", "auto"])
    spec = {"": SPEC, "map": SPEC | {"map": "data.py:f"}, "shuffle": SPEC | {"shuffle": True, "seed": 1},
            "from": {"from": ["d"], "map": "data.py:f"}, "auto": SPEC | {"format": "auto"}}[how]  # fmt: skip
    first = {"t": "abc"} if how != "auto" else {"text": "abc"}
    base = [first, *(row() for _ in range(rng.randrange(1, 120)))]
    if how == "auto":
        base = [{"text": "abc" + r.pop("t", ""), **r} for r in base]
    previous = None
    for _ in range(3):
        given = source({"a.jsonl": lines_of(base)})
        if how == "from":
            upstream = room(run, SPEC, {"source": [given]})
            inputs = {"from": [given._replace(path=str(upstream.main))]}
        else:
            inputs = {"source": [given]}
        ran = room(run, spec, inputs, [sha256_bytes(how.encode())], previous)
        assert files_of(ran) == files_of(room(run, spec, inputs)), how
        previous = ran
        for _ in range(rng.randint(1, 4)):
            at = rng.randint(0, len(base))
            match rng.choice(["insert", "delete", "edit", "copy", "move"]):
                case "insert":
                    base[at:at] = [dict(rng.choice(base)) | {"id": -1} for _ in range(rng.randrange(5))]
                case "delete":
                    del base[at : at + 3]
                case "edit":
                    base[at : at + 1] = [dict(rng.choice(base)) | {"id": rng.randrange(99)}] if base else []
                case "copy":
                    base[at:at] = base[: rng.randrange(20)]
                case "move":
                    base = [*base[at:], *base[:at]]
        base = [first, *base]


@pytest.mark.parametrize("seed", range(12))
def test_incremental_equals_clean(room, source, code, seed):
    incremental_equals_clean(room, source, code, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 1100))
def test_incremental_equals_clean_long(room, source, code, seed):
    incremental_equals_clean(room, source, code, seed)


def test_an_edited_row_moves_only_itself_in_a_shuffle(room, source):
    given_rows = rows(400)
    spec = SPEC | {"shuffle": True, "seed": 7}
    one = room(run, spec, {"source": [source({"a.jsonl": lines_of(given_rows)})]})
    given_rows[200] = {"id": 200, "t": "edited", "v": 1}
    other = room(run, spec, {"source": [source({"a.jsonl": lines_of(given_rows)})]})
    before, after = ([r["id"] for r in open_dataset(x.main).iter_rows()] for x in (one, other))
    assert before != list(range(400)) and sorted(before) == list(range(400))
    assert [i for i in before if i != 200] == [i for i in after if i != 200]
    chunks = [{c.digest for c in open_dataset(x.main).chunk_list} for x in (one, other)]
    assert len(chunks[1] - chunks[0]) <= 4 and len(chunks[1]) > 20


def test_a_seed_is_an_order(room, source):
    given = {"source": [source({"a.jsonl": lines_of(rows(50))})]}
    orders = set()
    for seed in range(5):
        ran = room(run, SPEC | {"shuffle": True, "seed": seed}, given)
        orders.add(tuple(r["id"] for r in open_dataset(ran.main).iter_rows()))
    assert len(orders) == 5


def test_a_map_whose_rows_stay_the_same_gives_the_same_artifact(room, source, code):
    """Early cutoff: chunks are named by rows, not by the code that made them."""
    given = {"source": [source({"a.jsonl": lines_of(rows(100))})]}
    made = []
    for text in ("return row", "return dict(reversed(row.items()))"):
        code(f"def f(row):\n    {text}\n")
        made.append(files_of(room(run, SPEC | {"map": "data.py:f"}, given)))
    assert made[0] == made[1]


def test_files_and_their_ends_make_no_difference(room, source):
    text = lines_of(rows(90))
    half = text.index("\n", len(text) // 2) + 1
    one = room(run, SPEC, {"source": [source({"a.jsonl": text})]})
    two = room(run, SPEC, {"source": [source({"a.jsonl": text[:half], "b.jsonl": text[half:].rstrip("\n")})]})
    crlf = room(run, SPEC, {"source": [source({"a.jsonl": text[:half].replace("\n", "\r\n"), "b.jsonl": text[half:]})]})
    assert files_of(one) == files_of(two) == files_of(crlf)


def test_blocks_of_a_file_make_no_difference(room, source, monkeypatch):
    from tunekit.data.readers import lines

    text = lines_of(rows(300))
    one = room(run, SPEC, {"source": [source({"a.jsonl": text})]}, BASE)
    monkeypatch.setattr(lines, "BLOCK", 700)
    monkeypatch.setattr(lines, "STEP", 100)
    two = room(run, SPEC, {"source": [source({"a.jsonl": text})]}, BASE, one)
    assert files_of(one) == files_of(two) and not two.parts()


@pytest.mark.parametrize(("text", "message"), [
    (lines_of([*rows(60), {"id": "x"}]), "column `id`, row 60 (a.jsonl): str where earlier rows have int"),
    (lines_of([*rows(60), {"v": 2**60 + 1}]), "column `v`, row 60 (a.jsonl): Integer value"),
])  # fmt: skip
def test_a_clash_names_the_row_also_between_parts(room, source, text, message):
    with pytest.raises(ActionError) as e:
        room(run, SPEC, {"source": [source({"a.jsonl": text})]}, BASE)
    assert e.value.slug == "mixed-types" and e.value.message.startswith(message)


def test_a_clash_names_the_row_wherever_it_stands_in_its_chunk(room, source):
    """The first row of a chunk is judged by the rows before the chunk, not by the ones behind it."""
    for at in range(1, 60):
        spoilt = rows(60)
        spoilt[at]["id"] = "x"
        with pytest.raises(ActionError) as e:
            room(run, SPEC, {"source": [source({"a.jsonl": lines_of(spoilt)})]}, BASE)
        assert e.value.message.startswith(f"column `id`, row {at} (a.jsonl): str where earlier rows have int")


MAPS = """
def drop(row):
    return None if row["id"] % 5 == 0 else row

def several(row):
    return [row] * (row["id"] % 3)
"""


def told_of(ran) -> Input:
    """What a later step is given of a dataset."""
    origins = ran.said.effective().get("origins", [])
    return Input(str(ran.main), "sha256:" + "1" * 64, "dataset", "dataset:x", origins=origins)


@pytest.mark.parametrize("mapped", ["", "data.py:drop", "data.py:several"])
@pytest.mark.parametrize("read", [{}, {"limit": 41}, {"split": "[7:130]"}, {"split": "[10%:80%]", "limit": 60}])
def test_the_record_says_which_row_of_which_file_a_row_is(room, source, code, mapped, read):
    """Also where parts are found again; what a later step is told is what it would have to read."""
    code(MAPS)
    text = {"a.jsonl": lines_of(rows(90)), "b.jsonl": lines_of([]), "c.jsonl": lines_of(rows(70, 1))}
    spec = SPEC | {"map": mapped} | read
    first = room(run, spec, {"source": [source(text)]}, BASE)
    for ran in (first, room(run, spec, {"source": [source(text)]}, BASE, first)):
        told = told_of(ran)
        lines = {name: [json.loads(line) for line in held.splitlines()] for name, held in text.items()}
        where = re.compile(r" \((.)\.jsonl(?:, its row (\d+))?\)")
        for number, row in enumerate(open_dataset(ran.main).iter_rows()):
            name, inner = where.fullmatch(told.came_from(number)).groups()
            assert lines[f"{name}.jsonl"][int(inner or number)] == row
        assert mapped or len(told.origins) <= 3


def test_a_record_does_not_grow_with_the_rows_that_a_map_drops(room, source, code, monkeypatch):
    monkeypatch.setattr(origins, "MOST", 4)
    code(MAPS)
    ran = room(run, SPEC | {"map": "data.py:drop"}, {"source": [source({"a.jsonl": lines_of(rows(90))})]}, BASE)
    told = told_of(ran)
    assert [told.came_from(n) for n in (0, 3, 15, 16, 50)] == [
        " (a.jsonl, its row 1)", " (a.jsonl, its row 4)", " (a.jsonl, its row 19)", "", "",
    ]  # fmt: skip


def test_a_shuffle_tells_no_rows_of_files(room, source):
    ran = room(run, SPEC | {"shuffle": True}, {"source": [source({"a.jsonl": lines_of(rows(90))})]}, BASE)
    assert "origins" not in ran.said.effective() and told_of(ran).came_from(3) == ""


def test_the_ledger_of_reused_parts_is_the_same(room, source, code):
    code("def f(row):\n    return row if row['id'] % 10 else None\n")
    given = {"source": [source({"a.jsonl": lines_of(rows(100))})]}
    spec = SPEC | {"map": "data.py:f"}
    first = room(run, spec, given, BASE)
    again = room(run, spec, given, BASE, first)
    assert again.said.effective() == first.said.effective()
    assert first.said.effective()["ledger"]["dropped_rows"] == list(range(0, 100, 10))
