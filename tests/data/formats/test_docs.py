"""docs/formats.md says what the code does: every example, every column, every reader."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tunekit.data.formats.choose import choose
from tunekit.forms import ACCEPTS, FORMATS, MESSAGE, ROLE_NAMES, ROLES

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
SECTIONS = {head: body for head, _, body in (s.partition("\n") for s in PAGE.split("\n## ")[1:])}
EXAMPLES = [(head, block) for head, body in SECTIONS.items() for block in re.findall(r"```text\n(.*?)```", body, re.S)]


@pytest.mark.parametrize(("format", "block"), EXAMPLES, ids=[e[0] for e in EXAMPLES])
def test_examples(format, block):
    given, _, wanted = block.partition("→ ")
    row, _, declared = given.partition("\nfields = ")
    form, _, made = wanted.partition("\n")
    fields = tomllib.loads(f"fields = {declared}")["fields"] if declared else {}
    choice = choose(format, fields, json.loads(row))
    assert choice.form == form and choice.maker()(json.loads(row)) == [json.loads(made)]


def test_every_format_has_a_section_with_its_columns_and_an_example():
    assert [head for head in SECTIONS if head in FORMATS] == list(FORMATS)
    for name, format in FORMATS.items():
        table = "\n".join(line for line in SECTIONS[name].splitlines() if line.startswith("|"))
        left = "\n".join(line.split("|")[1] for line in table.splitlines())
        assert set(re.findall(r"`(\w+)`", left)) - {"fields"} == {*format.columns, *format.choices}, name
        assert name == "rows" or any(example == name for example, _ in EXAMPLES)


def test_messages_and_readers():
    assert all(f"`{key}`" in SECTIONS["Messages"] for key in (*MESSAGE, "roles", "parts", "reasoning_parts"))
    assert all(role in SECTIONS["Messages"] for role in (*ROLES, *ROLE_NAMES))
    table = dict(re.findall(r"^\| (\w+) \| (.+) \|$", SECTIONS["Who reads which form"], re.M))
    del table["reader"]
    assert {name: tuple(re.findall(r"`(\w+)`", forms)) for name, forms in table.items()} == ACCEPTS
