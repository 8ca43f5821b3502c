"""Whatever a row holds: a row of the form or a Fault, nothing else; and a row of the form stays what it is.

`TUNEKIT_CASES=100000` runs as many cases per format as it says.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit.data.columns import Row
from tunekit.data.formats.choose import choose
from tunekit.data.formats.fault import Fault
from tunekit.data.formats.stored import open_messages, texts_of
from tunekit.data.rowset import open_dataset, write_dataset
from tunekit.forms import FORMATS, FORMS, MESSAGE

CASES = int(os.environ.get("TUNEKIT_CASES", "60"))
MANY = settings(
    max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=CASES == 60
)

_NAMES = sorted(
    {c for f in FORMATS.values() for c in f.columns}
    | set(MESSAGE)
    | {"conversations", "from", "value", "text", "parts", "reasoning_parts", "type", "function", "arguments", "end"}
    | {"begin_offset", "end_offset", "data"}
)
NAMES = st.sampled_from(_NAMES) | st.text(max_size=3)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.integers(), st.floats(), st.text(max_size=4),
    st.sampled_from(["user", "assistant", "human", "gpt", "text", "{}", "[]", "", "train"]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
ROWS = st.dictionaries(NAMES, JSON, max_size=6)

# Rows that are right or nearly so: else nothing that lies deep would be reached.
TEXT = st.text(min_size=1, max_size=6) | st.text(max_size=6)
FLAG = st.sampled_from([True, False, None, 1, 0])
PART = st.fixed_dictionaries({"text": TEXT}, optional={"train": FLAG, "type": st.just("text")})
CONTENT = TEXT | st.lists(PART, max_size=3)
CALL = st.fixed_dictionaries({"name": st.just("f"), "arguments": st.dictionaries(TEXT, JSON, max_size=2)})
STRETCH = st.fixed_dictionaries(
    {"begin_offset": st.integers(0, 3), "end_offset": st.integers(0, 3), "train": st.booleans()}
)
MORE = {"train": FLAG, "name": TEXT}
USERS = st.fixed_dictionaries({"role": st.sampled_from(["user", "human", "tool"]), "content": CONTENT}, optional=MORE)
ANSWERS = st.fixed_dictionaries(
    {"role": st.sampled_from(["assistant", "gpt"]), "content": CONTENT},
    optional={**MORE, "reasoning_content": CONTENT, "tool_calls": st.lists(CALL, max_size=2)},
)
MARKED = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXT}, optional={"train_detail": st.lists(STRETCH, max_size=2)}
)
MESSAGES = st.lists(st.one_of(USERS, ANSWERS, MARKED, USERS, ANSWERS), min_size=1, max_size=4)
PROMPTS = TEXT | st.lists(USERS, min_size=1, max_size=2)
REPLIES = st.one_of(TEXT, ANSWERS, st.lists(ANSWERS, min_size=1, max_size=2), MESSAGES)
COLUMNS = {
    "messages": MESSAGES, "prompt": PROMPTS, "chosen": REPLIES, "rejected": REPLIES, "completion": REPLIES,
    "label": FLAG, "labels": st.lists(FLAG, max_size=3) | st.just([-100, 1]),
    "completions": st.lists(TEXT, min_size=1, max_size=3),
    "segments": st.lists(st.fixed_dictionaries({"text": TEXT, "label": FLAG}), max_size=3), "remaining_turns": MESSAGES,
    "input_ids": st.lists(st.integers(0, 3), max_size=3) | st.just([1, 1]), "attention_mask": st.just([1, 0]),
    "choices": st.lists(st.sampled_from(["a", "B", "é"]), min_size=1, max_size=3),
    "answer": st.sampled_from([0, 1, "a", "B", "C"]),
    "tools": st.lists(st.dictionaries(NAMES, JSON, max_size=2), max_size=2),
}  # fmt: skip
OPTIONAL = {
    "system", "tools", "input", "prompt", "completion", "remaining_turns", "messages", "labels", "attention_mask"
}  # fmt: skip


@st.composite
def near_rows(draw: Any, format: str) -> Row:
    """Rows with the columns of a format; now and then one is missing or anything, or there is one more."""
    out = {}
    for name in FORMATS[format].columns or ("a",):
        if draw(st.integers(0, 9)) < (5 if name in OPTIONAL else 9):
            out[name] = draw(JSON if draw(st.integers(0, 19)) == 19 else COLUMNS.get(name, TEXT))
    if isinstance(out.get("completions"), list) and draw(st.booleans()):
        out["labels"] = [False for _ in out["completions"]]
    if format in ("preference", "unpaired") and draw(st.booleans()):
        out = {**out, **{n: draw(ANSWERS) for n in ("chosen", "rejected", "completion") if n in out}}
    return out | (draw(st.dictionaries(NAMES, JSON, max_size=1)) if draw(st.booleans()) else {})


def same(a: Any, b: Any) -> bool:
    """Equal, NaN and the kind of number included."""
    return repr(a) == repr(b)


@pytest.mark.parametrize("format", ["auto", *FORMATS])
def test_a_row_is_made_or_refused(format):
    seen = {True: 0, False: 0}

    @given(data=st.data())
    @MANY
    def one(data: Any) -> None:
        seen[_made(format, data)] += 1

    one()
    assert seen[True] >= CASES / 50, seen  # both happen, so the law was tried both ways
    assert seen[False] >= CASES / 50 or format == "rows", seen


def _made(format: str, data: Any) -> bool:
    """Whether a row could be made; else it was refused, as it must be."""
    near = near_rows(format if format != "auto" else data.draw(st.sampled_from(list(FORMATS))))
    row = data.draw(ROWS if data.draw(st.integers(0, 3)) == 3 else near)
    options = FORMATS[format].choices if format in FORMATS else {}
    fields = {key: data.draw(st.sampled_from(values)) for key, values in options.items() if data.draw(st.booleans())}
    for name in FORMATS[format].columns if format in FORMATS else ():
        if data.draw(st.integers(0, 9)) == 9:  # under another name, and now and then beside one that has its own
            fields[name] = f"my {name}"
            row = {**row, f"my {name}": row.get(name) if data.draw(st.booleans()) else row.pop(name, None)}
    before = copy.deepcopy(row)
    try:
        choice = choose(format, fields, row)
        made = choice.maker()(row)
    except Fault as fault:
        assert fault.reason and fault.hint and len(fault.reason) < 4000
        return False
    finally:
        assert same(row, before), "a row is not changed in place"
    for normal in made:
        _laws(normal, choice.form)
    return True


def _laws(normal: Row, form: str) -> None:
    needed = [c for c in FORMS[form] if c not in ("tools", "remaining_turns")]
    assert all(normal.get(column) is not None for column in needed)
    assert same(choose(form, {}, normal).maker()(normal), [normal]), "making a row of the form again changes nothing"
    list(texts_of(normal, form))
    for name in ("messages", "prompt", "chosen", "rejected", "completion", "remaining_turns"):
        if name in FORMS[form] and isinstance(normal.get(name), list):
            opened = open_messages(normal[name])
            assert same(choose("chat", {}, {}).maker()({"messages": opened}), [{"messages": normal[name]}])


@given(rows=st.lists(MESSAGES, min_size=1, max_size=3))
@MANY
def test_what_is_stored_comes_back_as_the_same_conversation(rows, tmp_path_factory):
    """Through the columns of a dataset: parts and strings, calls and none, in any mixture."""
    make = choose("chat", {}, {}).maker()
    made = []
    for messages in rows:
        try:
            (row,) = make({"messages": messages})
            json.dumps(row, ensure_ascii=False).encode()
        except (Fault, UnicodeEncodeError):
            continue
        made.append(row)
    if not made:
        return
    place = tmp_path_factory.mktemp("d")
    write_dataset(place, made, "chat")
    for stored, row in zip(open_dataset(place).iter_rows(), made, strict=True):
        assert open_messages(stored["messages"]) == open_messages(row["messages"])
        assert make(stored) == [row]


def test_nesting_without_end():
    """Deeper than Python's own stack: refused or kept, no crash."""
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"a": deep}}]}
    for row in ({"messages": deep}, {"messages": [call]}, {"messages": [{"role": deep}]}, {"text": deep}):
        for format in ("chat", "completion", "auto"):
            with pytest.raises(Fault):
                choose(format, {}, row).maker()(row)
    while isinstance(deep, list):  # taken apart by hand: the collector would recurse
        deep = deep.pop()
