"""Recipes merge, positions are right, specs survive TOML, and no input makes the reader crash."""

from __future__ import annotations

import msgspec
import pytest
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunekit import kinds
from tunekit.errors import DeclarationError
from tunekit.manifest.convert import Place, convert
from tunekit.manifest.project import load
from tunekit.manifest.recipe import load_recipes, merged
from tunekit.manifest.scope import build_graph
from tunekit.manifest.toml import Document, read
from tunekit.spec import plain


def test_tables_merge_and_everything_else_replaces():
    below = {"a": 1, "t": {"x": 1, "y": {"z": 1}}, "l": [1, 2]}
    assert merged(below, {"t": {"y": {"z": 2}, "w": 3}, "l": [9]}) == {
        "a": 1, "t": {"x": 1, "y": {"z": 2}, "w": 3}, "l": [9],
    }  # fmt: skip
    assert below["t"] == {"x": 1, "y": {"z": 1}}


def test_a_recipe_lies_under_its_target(project):
    project.write("a.jsonl", "{}\n")
    project.write("recipes/small.toml", 'method = "sft"\nbatch_size = 4\nadapter = { r = 2, alpha = 4 }\n')
    project.manifest("""
        [dataset.a]
        source = "path:a.jsonl"
        format = "chat"
        [model.m]
        source = "path:a.jsonl"
        [run.x]
        recipe = "small"
        model = "model:m"
        data = ["dataset:a"]
        adapter = { r = 8 }
    """)
    fields = project.planner().graph.actions["run:x"].fields
    assert fields["batch_size"] == 4 and fields["adapter"] == {"method": "lora", "r": 8, "alpha": 4.0}


def test_shipped_recipes_are_whole():
    problems: list = []
    from pathlib import Path

    load_recipes(Path("/nowhere"), problems)
    assert problems == []


@pytest.mark.parametrize(
    ("path", "line"),
    [(("project",), 1), (("project", "name"), 2), (("run", "x"), 5),
     (("run", "x", "data"), 7), (("run", "x", "adapter"), 8),
     (("run", "x", "adapter", "r"), 8), (("run", "x", "nothing"), 5), (("merge", "quoted name"), 12), (("zzz",), 0),
     (("run", "x", "deep"), 10), (("run", "x", "deep", "k"), 11)],
)  # fmt: skip
def test_lines(tmp_path, path, line):
    text = """[project]
name = "p"

# [run.x] in a comment
[ run . x ]   # odd but valid
method = "sft"
data = [
]
adapter.r = 3
[run.x.deep]
k = 1
[merge."quoted name"]
inputs = []
""".replace("data = [\n]\nadapter.r", "data = []\nadapter.r")
    text = text.replace("adapter.r = 3\n", "adapter.r = 3\n\n")
    assert Document("t", {}, text).line(path) == line


SPECS = [k.spec_type() for t in (kinds.TARGETS, kinds.METHODS) for k in t.values()]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.__name__)
def test_a_spec_survives_toml(spec, tmp_path):
    """spec → TOML → spec, with every field said and with none but the required ones."""
    from tunekit.spec import fields_of

    required = {
        "model": "model:m",
        "data": ["dataset:a"],
        "inputs": ["run:x"],
        "rewards": [{"fn": "r.py:f"}],
        "teacher": "model:t",
        "method": None,
    }
    least = {n: required[n] for n, i in fields_of(spec).items() if i.required}
    for table in (
        least,
        least | {n: plain(i.default) for n, i in fields_of(spec).items() if not i.required and i.default is not None},
    ):
        file = tmp_path / "t.toml"
        file.write_text(tomlkit.dumps(table))
        problems: list = []
        document = read(file, "t.toml", problems)
        assert document is not None
        made = convert(document.values, spec, Place(document, ()), problems)
        slugs = {p.slug for p in problems}
        assert slugs <= {"bad-value"}, problems  # of those that need one of two fields
        if made is not None:
            assert made == msgspec.convert(table, spec)
            again = convert(plain(made), spec, Place(document, ()), [])
            assert again == made and plain(again) == plain(made)


keys = st.sampled_from(
    [
        "project",
        "dataset",
        "run",
        "model",
        "a",
        "x",
        "name",
        "source",
        "from",
        "data",
        "method",
        "recipe",
        "adapter",
        "args",
        "é",
        "",
    ]
)
scalars = (
    st.sampled_from(["", "a", "path:a", "dataset:a", "run:x@best", "sft", "make:f.py:g", "m.py:f", "grpo", "[:5]"])
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.booleans()
    | st.dates()
    | st.datetimes()
)
tables = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4), max_leaves=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(keys, tables, max_size=4), st.booleans())
def test_any_toml_loads_or_is_refused_with_reasons(project, values, named):
    """Never another exception, and a graph that was accepted has keys."""
    if named:
        values = {**values, "project": {"name": "p"}}
    try:
        text = tomlkit.dumps(values)
    except Exception:
        return
    project.write("tunekit.toml", text)
    project.write("m.py", "def f(row): return row\n")
    problems: list = []
    try:
        manifest = load(project.root, [], problems)
        graph, _ = build_graph(manifest, problems)
    except DeclarationError as e:
        assert e.problems and all(p.slug and p.message for p in e.problems)
        return
    assert all(action.stamp for action in graph.actions.values())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from("[]{}=\"'.,#\n \tabdx1e-:é\0\r"), max_size=60))
def test_any_text_is_read_or_refused(project, text):
    project.write("targets/x.toml", "")
    (project.root / "targets" / "x.toml").write_bytes(text.encode())
    project.manifest("")
    problems: list = []
    load(project.root, [], problems)
    assert all(p.file == "targets/x.toml" for p in problems)
