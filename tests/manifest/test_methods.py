"""A project's own methods: what their files declare is read and never run, errors name the line, and the key has the
bytes of the file and of what it imports."""

from __future__ import annotations

import ast
import json
import sys
import typing
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "plan"))
from keys_of import Fixed

from tunekit import kinds
from tunekit.manifest.method import Method, read_method
from tunekit.manifest.project import load
from tunekit.manifest.scope import build_graph
from tunekit.spec import NUMERIC, OPERATIONAL, SEMANTIC, fields_of, plain

MINE = '''\
"""A method."""
raise SystemExit("the project was run, not read")
from typing import Annotated, Literal
from tunekit.methods.sft.spec import Sft
from tunekit.spec import PositiveInt, numeric, operational, semantic
import losses

class Mine(Sft, frozen=True, kw_only=True):
    """Mine."""

    alpha: Annotated[float, semantic("Alpha.", ge=0, lt=1)] = 0.1
    mode: Annotated[Literal["a", "b"], semantic("Mode.")] = "a"
    ratios: Annotated[list[float], semantic("Ratios.")] = []
    limit: Annotated[PositiveInt | None, numeric("Limit.")] = None
    notes: Annotated[dict[str, str], operational("Notes.")] = {}

def run(request, events):
    return losses.train(request)
'''
TOML = """
[dataset.a]
source = "path:a.jsonl"
format = "chat"
[model.m]
source = "path:a.jsonl"
[run.x]
method = "methods/mine.py"
model = "model:m"
data = ["dataset:a"]
"""


@pytest.fixture
def declared(project):
    project.rows("a.jsonl", [{}])
    project.write("methods/mine.py", MINE)
    project.write("methods/losses.py", "import shapes\n")
    project.write("shapes.py", "")
    project.write("tunekit.toml", f'[project]\nname = "p"\n{TOML}')
    return project


def key_of(project, more: str = "") -> str:
    from tunekit.lockfile import empty_lock
    from tunekit.plan.planner import Planner
    from tunekit.plan.state import State
    from tunekit.store.store import Store

    project.write("tunekit.toml", f'[project]\nname = "p"\n{TOML}{more}')
    graph, _ = build_graph(load(project.root, [], []), [])
    state = State(project.root)
    planner = Planner(graph, state, Store(project.root / "none"), Fixed(project.root, state, empty_lock()))
    for label in graph.actions:
        node = planner.evaluate(label)
        node.outputs = node.outputs or {"main": "sha256:" + "0" * 64}
    return planner.nodes["run:x"].key


def test_the_action(declared):
    graph, code = build_graph(load(declared.root, [], []), [])
    action = graph.actions["run:x"]
    assert action.kind == "run.sft:methods/mine.py" and action.code == ["methods/mine.py"]
    assert declared.root / "methods/mine.py" in code, "the cached graph counts while the file is as it was"
    assert list(action.inputs) == ["base", "tokens"] and "run:x#tokens" in graph.actions
    assert action.spec.keys() == {"model", "data"} and "method" not in action.fields
    room = kinds.kind_of(action.kind)
    assert (room.room, room.file, room.preload) == ("tunekit.methods.sft", "methods/mine.py", "torch")
    assert graph.versions[action.kind] == kinds.METHODS["run.sft"].version


def test_settings_are_typed_as_those_of_a_built_in_method(declared):
    manifest = load(declared.root, [], [])
    struct = type(manifest.targets["run:x"].spec)
    fields = fields_of(struct)
    assert [fields[n].cls for n in ("alpha", "mode", "ratios", "limit", "notes")] == [
        SEMANTIC, SEMANTIC, SEMANTIC, NUMERIC, OPERATIONAL
    ]  # fmt: skip
    assert fields["alpha"].doc == "Alpha." and struct.__doc__ == "Mine." and fields["learning_rate"].default == 2e-5
    for toml, slug, word in [
        ("alpa = 0.2", "unknown-key", "did you mean `alpha`?"),
        ("alpha = 1.0", "wrong-type", "< 1.0"),
        ('alpha = "x"', "wrong-type", "Alpha."),
        ('mode = "c"', "wrong-type", "mode"),
        ("limit = 0", "wrong-type", ">= 1"),
        ("batch_size = 0", "wrong-type", ">= 1"),
        ('keep = "best"', "bad-value", "eval_data"),
    ]:
        declared.write("tunekit.toml", f'[project]\nname = "p"\n{TOML}{toml}\n')
        (problem,) = declared.problems()
        assert (problem.slug, problem.file, problem.table) == (slug, "tunekit.toml", "run.x"), problem
        assert problem.line == 13 and word in problem.message + problem.hint


def test_the_key(declared):
    """Semantic settings, the file, and what it imports are in it; nothing else is."""
    first = key_of(declared)
    assert key_of(declared, "alpha = 0.1\nlimit = 3\nnotes = { a = 'b' }\n") == first
    assert len({first, key_of(declared, "alpha = 0.2\n"), key_of(declared, "ratios = [1]\n")}) == 3
    for file in ("methods/mine.py", "methods/losses.py", "shapes.py"):
        before = (declared.root / file).read_text()
        declared.write(file, before + "\n# edited\n")
        assert key_of(declared) != first, file
        declared.write(file, before)
    declared.write("unused.py", "import losses\n")
    assert key_of(declared) == first


def test_a_new_version_of_the_base_counts_for_it(declared, monkeypatch):
    first = key_of(declared)
    monkeypatch.setitem(kinds.METHODS, "run.sft", kinds.METHODS["run.sft"]._replace(version=99))
    assert key_of(declared) != first


def test_an_edit_of_the_declaration_is_seen(declared):
    """The parsed graph is cached; the file is one of those that it depends on."""
    assert "alpha" not in declared.planner().graph.actions["run:x"].fields
    declared.write("methods/mine.py", MINE.replace("= 0.1", "= 0.1\n    beta: Annotated[int, semantic('B.')]"))
    assert declared.run("plan").code == 2
    declared.write("tunekit.toml", f'[project]\nname = "p"\n{TOML}beta = 3\n')
    assert declared.planner().graph.actions["run:x"].fields["beta"] == 3


def test_nothing_but_a_build_runs_it_and_that_only_if_it_is_trusted(declared):
    """The file ends the process that imports it."""
    declared.trust = False
    for verb in (["plan"], ["status"], ["lock"], ["why", "run:x"], ["graph"], ["trust", "--list"], ["build", "-n"]):
        assert declared.run(*verb).code == 0, verb
    listed = declared.run("trust", "--list").out
    assert all(file in listed for file in ("methods/mine.py", "methods/losses.py", "shapes.py"))
    done = declared.run("build", "run:x")
    assert done.code == 6 and "methods/mine.py" in done.err and "tunekit trust" in done.err
    assert not list((declared.store / "ac").iterdir()), "nothing at all ran"
    said = json.loads(declared.run("why", "run:x", "--json").out)
    assert said["kind"] == "run.sft:methods/mine.py"


MODE = '    mode: Annotated[Literal["a", "b"], semantic("Mode.")] = "a"'
# (what to replace in the file, by what, slug, line, key, a word)
FLAWS = [
    ("def run(request, events):", "def run(:", "bad-code", 17, "", "not Python"),
    ("class Mine(Sft,", "class Mine(object,", "method-no-spec", 0, "", "declare one class on top of"),
    ("class Mine(Sft,", "class Sub(Sft): pass\nclass Mine(Sft,", "method-no-spec", 9, "", "several classes: Sub, Mine"),
    ("def run(request, events)", "def ran(request, events)", "method-no-run", 0, "", "def run(request, events)"),
    ("def run(request, events)", "def run(request)", "method-no-run", 17, "", "(request, events)"),
    ("def run(request, events)", "def run(request, events, *, more)", "method-no-run", 17, "", "(request, events)"),
    ("def run(", "async def run(", "method-no-run", 0, "", "no function `run`"),
    (', semantic("Alpha.", ge=0, lt=1)] = 0.1', "] = 0.1", "method-field", 11, "alpha", "its class"),
    ('Annotated[float, semantic("Alpha.", ge=0, lt=1)] = 0.1', "float = 0.1", "method-field", 11, "alpha", "its class"),
    ("Annotated[float, s", "Annotated[losses.T, s", "method-field", 11, "alpha", "`losses.T` is not one of bool, int"),
    ("Annotated[float, s", "Annotated[set[int], s", "method-field", 11, "alpha", "`set[int]`"),
    ("Annotated[float, s", "Annotated[str, s", "method-field", 11, "alpha", "`ge`"),
    ("= 0.1", "= 1 / 10", "method-field", 11, "alpha", "`1 / 10` is not a literal"),
    ("= 0.1", '= "much"', "method-field", 11, "alpha", "'much'"),
    ("= 0.1", "= 1.0", "method-field", 11, "alpha", "< 1.0"),
    ("ge=0", "at_least=0", "method-field", 11, "alpha", "ge, gt, le"),
    ("ge=0", "ge=zero()", "method-field", 11, "alpha", "not a literal"),
    ('"Alpha.", ', "", "method-field", 11, "alpha", "one line of documentation"),
    ("alpha: Annotated[float,", "epochs: Annotated[int,", "method-field", 11, "epochs", "another type"),
    ("alpha:", "method:", "method-field", 11, "method", "taken"),
    ("alpha:", "_alpha:", "method-field", 11, "_alpha", "taken"),
    (MODE, "    mode = 3", "method-field", 12, "", "no field"),
    (MODE, "    def checks(self): pass", "method-field", 12,
     "", "raise an ActionError in `run`"),
    ("= []", "= [1.0]", "method-field", 8, "", "mutable"),
    ("kw_only=True", 'rename="camel"', "method-field", 8, "", "`rename` is not read"),
    ("class Mine", "@final\nclass Mine", "method-field", 9, "", "decorator"),
    ("import losses\n", "import losses\nfloat = str\n", "method-field", 12, "alpha", "`float`"),
    ("import losses\n", "import losses\nsemantic = print\n", "method-field", 12, "alpha", "its class"),
    ("from tunekit.spec", "from other.spec", "method-field", 11, "alpha", "its class"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "slug", "line", "key", "word"), FLAWS)
def test_what_cannot_be_read_is_named_with_its_line(declared, old, new, slug, line, key, word):
    assert old in MINE
    text = MINE.replace(old, new, 1)
    declared.write("methods/mine.py", text)
    problems = declared.problems()
    assert {(p.slug, p.file) for p in problems} == {(slug, "methods/mine.py")}
    problem = problems[0]
    assert (problem.line, problem.key) == (line, key), problem
    assert word in problem.message + problem.hint


@pytest.mark.parametrize(
    ("name", "slug", "word"),
    [
        ("methods/mien.py", "missing-file", "did you mean `methods/mine.py`?"),
        ("methods", "unknown-method", "valid: distill, "),
        ("../mine.py", "path-outside-project", "outside"),
        ("/etc/mine.py", "path-outside-project", "outside"),
        ("methods.py/x.py", "missing-file", "does not exist"),
        ("\\u0000.py", "missing-file", "does not exist"),
        ("a" * 300 + ".py", "missing-file", "does not exist"),
    ],
)
def test_files_that_are_no_methods(declared, name, slug, word):
    toml = (declared.root / "tunekit.toml").read_text()
    declared.write("tunekit.toml", toml.replace("methods/mine.py", name))
    (problem,) = declared.problems()
    assert (problem.slug, problem.table, problem.key) == (slug, "run.x", "method"), problem
    assert problem.line == 10 and word in problem.message + problem.hint


def test_a_method_is_read_once_and_its_flaws_are_told_once(declared):
    toml = (declared.root / "tunekit.toml").read_text()
    run = toml[toml.index("[run.x]") :].replace("run.x", "run.y").replace("methods/mine", "./methods/../methods/mine")
    declared.write("tunekit.toml", toml + run)
    graph, _ = build_graph(load(declared.root, [], []), [])
    assert graph.actions["run:y"].kind == graph.actions["run:x"].kind
    declared.write("methods/mine.py", MINE.replace("= 0.1", "= f()").replace('"a"\n', "g()\n"))
    assert [p.key for p in declared.problems()] == ["alpha", "mode"]


def test_a_recipe_may_name_it(declared):
    declared.write("recipes/soft.toml", 'method = "methods/mine.py"\nalpha = 0.3\n')
    toml = (declared.root / "tunekit.toml").read_text()
    declared.write("tunekit.toml", toml.replace('method = "methods/mine.py"', 'recipe = "soft"'))
    assert declared.planner().graph.actions["run:x"].fields["alpha"] == 0.3
    declared.write("recipes/soft.toml", 'method = "methods/mine.py"\nalpa = 0.3\n')
    assert "recipes/soft.toml" in {p.file for p in declared.problems()}


def test_bases(declared):
    """`Run`: the rows themselves; `Grpo`: prompts and rewards, whose code is beside the method's."""
    rows = MINE.replace("from tunekit.methods.sft.spec import Sft", "from tunekit.methods.spec import Run as Sft")
    declared.write("methods/mine.py", rows)
    toml = (declared.root / "tunekit.toml").read_text()
    item = '{ dataset = "dataset:a", train_on = "all", weight = 0.5 }'
    declared.write("tunekit.toml", toml.replace('["dataset:a"]', f"[{item}]"))
    action = declared.planner().graph.actions["run:x"]
    assert action.kind == "run.rows:methods/mine.py" and [e.action for e in action.inputs["data"]] == ["dataset:a"]
    assert action.fields["data"] == [{"train_on": "all", "weight": 0.5}] and "method" not in action.spec
    grpo = MINE.replace("from tunekit.methods.sft.spec import Sft", "import tunekit.methods.grpo.spec").replace(
        "Mine(Sft", "Mine(tunekit.methods.grpo.spec.Grpo"
    )
    declared.write("methods/mine.py", grpo)
    declared.write("rewards.py", "def good(completions): return []\n")
    more = toml.replace('format = "chat"', 'format = "prompt"') + 'rewards = [{ fn = "rewards.py:good" }]\n'
    declared.write("tunekit.toml", more)
    action = declared.planner().graph.actions["run:x"]
    assert action.kind == "run.grpo:methods/mine.py" and action.code == ["rewards.py", "methods/mine.py"]
    assert action.after == ["run:x#rewards"]


def test_modules_of_tunekit_are_not_the_projects_code(declared):
    """Also where a project lies in tunekit's own clone."""
    declared.write("tunekit/methods/sft/spec.py", "")
    first = key_of(declared)
    declared.write("tunekit/methods/sft/spec.py", "# edited\n")
    assert key_of(declared) == first


def test_the_schema_lets_it_through(declared):
    body = json.loads(declared.run("schema").out)
    (own,) = [x for x in body["properties"]["run"]["patternProperties"].popitem()[1]["anyOf"] if "$ref" not in x]
    assert own["required"] == ["method"] and own["properties"]["method"]["pattern"] == r"\.py$"


# -- what is read is what Python makes of it -------------------------------------------------------

TYPES = st.sampled_from(["bool", "int", "float", "str"])
HINTS = TYPES | TYPES.map("list[{}]".format) | TYPES.map("dict[str, {}]".format) | TYPES.map("{} | None".format) | (
    st.sampled_from(['Literal["a", "b"]', "Literal[1, 2]", "PositiveInt", "Share | None", "typing.Literal['x']"])
)  # fmt: skip
DEFAULTS = {"bool": "True", "int": "-3", "float": "2.5", "str": "'é'", "list": "[]", "dict": "{}", "Literal[\"a": "'b'",
            "Literal[1": "2", "PositiveInt": "7", "Share": "0.5", "typing": "'x'"}  # fmt: skip


@st.composite
def declarations(draw: st.DrawFn) -> str:
    lines = []
    for i, hint in enumerate(draw(st.lists(HINTS, min_size=1, max_size=5))):
        cls = draw(st.sampled_from(["semantic", "numeric", "operational"]))
        value = next(v for k, v in DEFAULTS.items() if hint.startswith(k))
        default = draw(st.sampled_from(["", f" = {value}"] + ([" = None"] if "None" in hint else [])))
        lines.append(f'    f{i}: Annotated[{hint}, {cls}("Field {i}.")]{default}')
    return "\n".join(lines)


@settings(max_examples=40, deadline=None)
@given(declarations())
def test_the_declaration_as_read_is_the_class_as_python_makes_it(body):
    code = (
        "import typing\nfrom typing import Annotated, Literal\nfrom tunekit.methods.spec import Run\n"
        "from tunekit.spec import PositiveInt, Share, numeric, operational, semantic\n"
        f"class Mine(Run, frozen=True, kw_only=True):\n{body}\ndef run(request, events): pass\n"
    )
    found = read_method(code.encode(), "m.py")
    assert isinstance(found, Method), found
    scope: dict = {"__name__": "mine"}
    exec(compile(code, "m.py", "exec", dont_inherit=True), scope)
    real, read = fields_of(scope["Mine"]), fields_of(found.struct)
    assert list(real) == list(read)
    for name, info in real.items():
        assert (info.cls, info.doc, info.required, info.default) == (
            read[name].cls, read[name].doc, read[name].required, read[name].default
        )  # fmt: skip
        assert typing.get_args(info.type)[0] == typing.get_args(read[name].type)[0]
    needed = {n: DEFAULTS[next(k for k in DEFAULTS if _hint(body, n).startswith(k))] for n in real if n[0] == "f"
              and real[n].required and n[1:].isdigit()}  # fmt: skip
    table = {"model": "model:m", "data": ["dataset:a"], **{n: ast.literal_eval(v) for n, v in needed.items()}}
    made = msgspec.convert(table, found.struct)
    assert plain(made) == plain(msgspec.convert(table, scope["Mine"]))


def _hint(body: str, name: str) -> str:
    return next(line for line in body.splitlines() if f" {name}:" in line).partition("Annotated[")[2]


@given(st.text(st.sampled_from("class Run(:)[]=\n \tdefrunsemantic\"'.,0|é\0"), max_size=80))
def test_no_text_makes_the_reader_crash(text):
    found = read_method(text.encode(), "m.py")
    assert isinstance(found, Method) or all(f.slug and f.message for f in found)
