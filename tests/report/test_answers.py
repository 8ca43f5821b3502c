"""Every verb's --json is what its schema says, and a schema changes in one direction only.

To write the pages of `docs/schemas` anew: `TUNEKIT_GOLDEN=1 pytest tests/report/test_answers.py`. It refuses what
would break a reader; then raise the version in the struct and in the verb.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import tunekit
from tunekit.cli.main import VERBS
from tunekit.report.answers.table import TABLE, json_schema

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "schemas"
GOLDEN = os.environ.get("TUNEKIT_GOLDEN") == "1"
TOML = """
[dataset.a]
source = "path:a.jsonl"

[dataset.b]
from = ["dataset:a"]
map = "ops.py:f"
args = { k = 1 }

[tokenizer.t]
data = ["dataset:a"]
vocab_size = 300

[dataset.broken]
from = ["dataset:a"]
map = "ops.py:broken"
"""
OPS = "def f(row, k):\n    print(row)\n    return {**row, 'k': k}\n\n\ndef broken(row):\n    raise ValueError('no')\n"


def decoded(text: str) -> list[Any]:
    """Every line as its type; the types forbid what they do not declare."""
    out = []
    for line in text.splitlines():
        name = json.loads(line)["schema"].split("/")[1]
        out.append(msgspec.json.decode(line, type=TABLE[name], strict=True))
    return out


# -- what verbs print ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(module_project):
    module_project.rows("a.jsonl", [{"text": "hi there"}, {"text": "ho"}])
    module_project.write("ops.py", OPS)
    module_project.manifest(TOML)
    assert module_project.run("lock").code == 0
    assert module_project.build("dataset:b", "tokenizer:t").code == 0
    toml = module_project.root / "tunekit.toml"
    toml.write_text(toml.read_text().replace("k = 1", "k = 2"))
    assert module_project.build("dataset:b").code == 0
    return module_project


# In this order: each line is a verb with words, and the schema of what it prints.
CALLS = [
    ("plan", "plan"),
    ("plan dataset:b --set dataset:b.args.k=3", "plan"),
    ("plan --estimate", "plan"),
    ("status", "status"),
    ("status --all", "status"),
    ("why dataset:b", "why"),
    ("why dataset:a#fetch", "why"),
    ("why dataset:broken", "why"),
    ("graph", "graph"),
    ("query deps dataset:b", "query"),
    ("show dataset:b", "show"),
    ("show dataset:a#fetch", "show"),
    ("show tokenizer:t", "show"),
    ("path dataset:b", "path"),
    ("inspect dataset:b", "inspect"),
    ("inspect dataset:b --diff", "inspect"),
    ("inspect dataset:a --grep hi", "inspect"),
    ("diff dataset:b", "diff"),
    ("report dataset:b -o {tmp}/b.html", "report"),
    ("report dataset:a dataset:b -o {tmp}/ab.html", "report"),
    ("export dataset:b {tmp}/exported", "export"),
    ("bundle dataset:b -o {tmp}/b.tar", "bundle"),
    ("bundle --open {tmp}/b.tar {tmp}/opened", "bundle-open"),
    ("lock --check", "lock-check"),
    ("lock", "lock"),
    ("env", "env"),
    ("doctor", "doctor"),
    ("trust --list", "trust"),
    ("promote dataset:b", "promote"),
    ("lock diff {old}", "lock-diff"),
    ("verify --results", "verify-results"),
    ("promote dataset:b --drop", "promote"),
    ("verify", "verify"),
    ("verify --rebuild dataset:b", "verify-rebuild"),
    ("build --dry-run dataset:b", "plan"),
    ("build dataset:b", "build"),
    ("build dataset:b", "build"),
    ("build --force dataset:b dataset:b", "build"),
    ("build dataset:broken", "build"),
    ("push dataset:b", "push"),
    ("pull dataset:b", "pull"),
    ("build dataset:b", "build"),
    ("clean", "clean"),
    ("gc", "gc"),
    ("gc --yes --grace 0", "gc"),
]


# What needs more than a project is decoded with its type by the tests of its verb.
ELSEWHERE = {
    "publish": "tests/sources/test_publish.py",
    "generate": "tests/e2e/test_watching.py",
    "plan-measure": "tests/e2e/test_watching.py",
}


def test_every_verb_prints_what_its_schema_says(built, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEKIT_REMOTE", str(tmp_path / "remote"))
    shutil.copyfile(built.root / "tunekit.lock", tmp_path / "old.lock")
    for words, name in CALLS:
        if words.startswith("pull"):  # on a machine that has nothing yet: the pull, and a build through the remote
            built = type(built)(built.root, tmp_path / "another-store", built.config)
        verb, *rest = words.format(tmp=tmp_path, old=tmp_path / "old.lock").split()
        done = built.run(verb, *rest, "--json")
        assert done.code == (1 if "broken" in words and verb == "build" else 0), (words, done.err)
        answers = decoded(done.out)
        assert answers, words
        assert all(a.schema.split("/")[1] == name for a in answers), words


def test_none_is_left_out():
    """Every verb with `--json`, and every schema."""
    with_json = {v for v, (m, _) in VERBS.items() if "--json" in _parser(m)._option_string_actions}
    assert {*(words.split()[0] for words, _ in CALLS), *(name.partition("-")[0] for name in ELSEWHERE)} == with_json
    assert {*(name for _, name in CALLS), *ELSEWHERE} == set(TABLE)
    for name, test in ELSEWHERE.items():
        assert f'TABLE["{name}"]' in (ROOT / test).read_text(encoding="utf-8")


def _parser(module: str) -> Any:
    return importlib.import_module(f"tunekit.cli.{module}").parser()


def test_what_is_printed_has_a_schema():
    """By reading the code: nothing is printed under a name that is in no table."""
    used = set()
    for path in Path(tunekit.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print_json":
                first = node.args[0]
                assert isinstance(first, ast.Constant), f"{path}:{node.lineno}: the name of a schema is a constant"
                used.add(first.value)
    assert used == set(TABLE)


def test_events_of_every_type_are_declared():
    from tunekit.protocol import EVENT_TYPES

    types = {t.__struct_config__.tag for t in TABLE["build"].__args__}
    ours = {"plan", "begin", "waiting", "fetch", "fetching", "fetched", "end", "failed", "summary"}
    assert types == {*EVENT_TYPES, *ours}


@pytest.mark.parametrize(
    "line",
    [
        {"type": "warning", "action": "run:x", "slug": "s", "message": "m", "rows": [1], "v": 1, "seq": 3, "t": 1.5},
        {"type": "gate", "action": "run:x", "name": "loss", "passed": True, "measured": 1.5, "wanted": "< 2"},
        {"type": "metric", "action": "run:x", "step": 3, "figures": {"loss": 0.5}, "v": 1, "seq": 3, "t": 1.5},
        {"type": "waiting", "action": "run:x"},
    ],
)
def test_events_that_a_small_build_has_not(line):
    (found,) = decoded(json.dumps({"schema": "tunekit/build/1", **line}))
    assert found.action == "run:x"


# -- what schemas may become ---------------------------------------------------------------------


def breaking(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What a reader of `old` would trip over in `new`, as places; nothing if the version differs."""
    if _version(old) != _version(new):
        return []
    return list(_breaks(old, new, old.get("$defs", {}), new.get("$defs", {}), "", set()))


def _version(schema: dict[str, Any]) -> str:
    found = [
        x for x in json.dumps(schema).split('"') if x.startswith("tunekit/") and not x.startswith("tunekit/record")
    ]
    return found[0]


def _breaks(old: Any, new: Any, was: Any, now: Any, at: str, seen: set[str]) -> Any:
    """Answers are read: a value that was promised must still be there, and none may come that was not promised."""
    if "$ref" in old:
        name = old["$ref"].rpartition("/")[2]
        if name in seen:
            return
        old, seen = was[name], seen | {name}
    if "$ref" in new:
        new = now[new["$ref"].rpartition("/")[2]]
    if "discriminator" in old:  # a type that is new is passed over by who does not know it
        found = new.get("discriminator", {}).get("mapping", {})
        for name, place in old["discriminator"]["mapping"].items():
            if name not in found:
                yield f"{at}: no {name} any more"
            else:
                yield from _breaks({"$ref": place}, {"$ref": found[name]}, was, now, f"{at}({name})", seen)
        return
    if "anyOf" in old or "anyOf" in new:
        choices = old.get("anyOf", [old])
        for one in new.get("anyOf", [new]):
            if all(list(_breaks(choice, one, was, now, at, seen)) for choice in choices):
                yield f"{at or 'answer'}: may be something else now"
        return
    if old.get("type") != new.get("type") and old.get("type") is not None:
        yield f"{at}: {old.get('type')} → {new.get('type')}"
        return
    if not set(new.get("enum", [])) <= set(old.get("enum", new.get("enum", []))) or (
        "enum" in old and "enum" not in new
    ):
        yield f"{at}: new values"
    for key, value in old.get("properties", {}).items():
        if key not in new.get("properties", {}):
            yield f"{at}.{key}: gone"
            continue
        if key in old.get("required", []) and key not in new.get("required", []):
            yield f"{at}.{key}: may be missing now"
        yield from _breaks(value, new["properties"][key], was, now, f"{at}.{key}", seen)
    for part in ("items", "additionalProperties"):
        if isinstance(old.get(part), dict):
            below = new.get(part) if isinstance(new.get(part), dict) else {}
            yield from _breaks(old[part], below, was, now, f"{at}[]", seen)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_schemas_are_as_published(name):
    page = PAGES / f"{name}.json"
    now = json_schema(name)
    if GOLDEN:
        broken = breaking(json.loads(page.read_text()), now) if page.exists() else []
        assert not broken, f"raise the version of tunekit/{name}: {broken}"
        page.write_text(json.dumps(now, indent=1) + "\n")
    assert page.exists(), __doc__
    old = json.loads(page.read_text())
    assert not breaking(old, now), f"raise the version of tunekit/{name}"
    assert old == now, __doc__


def test_pages_of_no_schema_are_gone():
    assert {p.stem for p in PAGES.glob("*.json")} == set(TABLE)


STATUS = json_schema("status")


def bent(path: str, change: Any) -> dict[str, Any]:
    found = json.loads(json.dumps(STATUS))
    at = found["$defs"]
    *way, last = path.split(".")
    for step in way:
        at = at[step]
    change(at, last)
    return found


@pytest.mark.parametrize(
    ("path", "change", "told"),
    [
        ("Status.properties.fresh", lambda at, k: at.pop(k), ".fresh: gone"),
        ("Status.properties.fresh", lambda at, k: at.update({k: {"type": "string"}}), ".fresh: integer → string"),
        ("Status.required", lambda at, k: at[k].remove("drift"), ".drift: may be missing now"),
        ("Target.properties.label", lambda at, k: at.pop(k), ".targets[].label: gone"),
        ("Target.properties.key.anyOf", lambda at, k: at[k].append({"type": "integer"}), "may be something else"),
        ("Target.properties.state.enum", lambda at, k: at[k].append("lost"), ".state: new values"),
    ],
)
def test_what_breaks_a_reader_is_found(path, change, told):
    assert any(told in line for line in breaking(STATUS, bent(path, change)))


def test_what_breaks_no_reader():
    more = bent("Status.properties.more", lambda at, k: at.update({k: {"type": "integer"}}))
    assert breaking(STATUS, more) == []
    less = bent("Target.properties.key.anyOf", lambda at, k: at[k].pop())
    assert breaking(STATUS, less) == []
    version = json.loads(json.dumps(STATUS).replace("tunekit/status/1", "tunekit/status/2"))
    version["$defs"]["Status"]["properties"].pop("fresh")
    assert breaking(STATUS, version) == []


def test_events_may_come_but_not_go():
    old = json_schema("build")
    fewer = json.loads(json.dumps(old))
    del fewer["discriminator"]["mapping"]["waiting"]
    fewer["anyOf"] = [x for x in fewer["anyOf"] if not x["$ref"].endswith("/Waiting")]
    assert breaking(old, fewer) == [": no waiting any more"]
    assert breaking(fewer, old) == []
    fewer = json.loads(json.dumps(old))
    del fewer["$defs"]["Begin"]["properties"]["key"]
    assert breaking(old, fewer) == ["(begin).key: gone"]


def test_every_schema_is_on_its_page():
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert not [name for name in TABLE if f"schemas/{name}.json" not in text]
