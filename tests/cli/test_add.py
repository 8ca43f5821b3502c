"""`tunekit add` keeps a TOML file as it is and adds one table."""

from __future__ import annotations

import tomllib

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.cli.add import appended
from tunekit.errors import UsageError

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,12}", fullmatch=True)
words = st.text(max_size=20)
scalars = st.one_of(
    words, st.integers(-(2**40), 2**40), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
values = st.one_of(scalars, st.lists(words, max_size=3), st.dictionaries(names, scalars, max_size=3))
comments = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=("Cs", "Cc")), max_size=20)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A project file in somebody's hand: comments, blank lines, tables in any order, with or without a last newline."""
    lines = ["# " + draw(comments), "[project]", 'name = "x"  # ' + draw(comments), ""]
    for kind, name in draw(
        st.lists(st.tuples(st.sampled_from(["dataset", "model", "run"]), names), unique=True, max_size=4)
    ):
        table = tomlkit.dumps(draw(st.dictionaries(names, scalars, max_size=3)))
        lines += [f"[{kind}.{name}]", table.rstrip("\n"), "# " + draw(comments), ""]
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


@settings(max_examples=25, deadline=None)
@given(
    documents(), st.sampled_from(["dataset", "model"]), names, st.dictionaries(names, values, min_size=1, max_size=4)
)
def test_round_trip(text: str, kind: str, name: str, added: dict[str, object]) -> None:
    before = tomllib.loads(text)
    if name in before.get(kind, {}):
        with pytest.raises(UsageError, match="cannot stand"):
            appended(text, kind, name, added)
        return
    after = appended(text, kind, name, added)
    assert after.startswith(text)  # comments and order: byte for byte
    expected = {**before, kind: {**before.get(kind, {}), name: added}}
    assert tomllib.loads(after) == expected
    assert tomlkit.dumps(tomlkit.parse(after)) == after


def test_an_inline_table_of_the_kind_is_refused() -> None:
    with pytest.raises(UsageError) as e:
        appended('dataset = { a = { source = "path:x" } }\n', "dataset", "b", {"source": "path:y"})
    assert e.value.slug == "cannot-add"


class TestVerb:
    def test_adds_what_then_builds(self, fresh, call):
        old = (fresh / "tunekit.toml").read_text()
        said = call(fresh, "add", "dataset", "c", "path:a.jsonl", "--set", "limit=1", "--format", "rows")
        assert (said.code, said.out) == (0, "dataset:c added to tunekit.toml\n")
        assert (fresh / "tunekit.toml").read_text() == (
            old + '\n[dataset.c]\nsource = "path:a.jsonl"\nformat = "rows"\nlimit = 1\n'
        )
        assert "dataset:c" in call(fresh, "plan", "dataset:c").out

    def test_into_another_file(self, fresh, call):
        said = call(fresh, "add", "model", "m", "path:a.jsonl", "--file", "targets/models.toml")
        assert said.code == 0, said.err
        assert (fresh / "targets" / "models.toml").read_text() == '[model.m]\nsource = "path:a.jsonl"\n'

    @pytest.mark.parametrize(
        ("words", "slug"),
        [
            (("dataset", "a", "path:a.jsonl"), "duplicate-target"),
            (("dataset", "A b", "path:a.jsonl"), "bad-name"),
            (("dataset", "c", "a.jsonl"), "source-syntax"),
            (("dataset", "c", "npm:x/y"), "source-syntax"),
            (("dataset", "c", "path:b.jsonl"), "missing-file"),
            (("dataset", "c", "path:a.jsonl", "--format", "chatt"), "wrong-type"),
            (("dataset", "c", "path:a.jsonl", "--set", "lim=1"), "unknown-key"),
            (("dataset", "c", "path:a.jsonl", "--set", "map=no.py:f"), "missing-file"),
            (("dataset", "c", "path:a.jsonl", "--set", "limit"), "usage"),
            (("dataset", "c", "path:a.jsonl", "--file", "elsewhere.toml"), "unknown-file"),
            (("model", "c", "path:a.jsonl", "--format", "chat"), "usage"),
            (("merge", "c", "path:a.jsonl"), "usage"),
        ],
    )
    def test_refuses_and_writes_nothing(self, fresh, call, words, slug):
        old = (fresh / "tunekit.toml").read_text()
        said = call(fresh, "add", *words)
        assert said.code == 2 and f"error[{slug}]" in said.err
        assert (fresh / "tunekit.toml").read_text() == old
        assert not (fresh / "elsewhere.toml").exists()

    def test_a_broken_project_is_said_so(self, fresh, call):
        with open(fresh / "tunekit.toml", "a") as f:
            f.write("[dataset.z]\nsorce = 1\n")
        said = call(fresh, "add", "dataset", "c", "path:a.jsonl")
        assert said.code == 2 and "error[unknown-key]" in said.err
