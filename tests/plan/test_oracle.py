"""Incremental builds against an oracle that knows nothing of tunekit: random edits of small random graphs.

The oracle computes rows in plain Python. An action must run exactly when its settings, code and the *rows* it
reads were never seen together before; so an edit that changes no rows stops there (early cutoff), and going back
to an earlier state runs nothing.
"""

from __future__ import annotations

import copy
import json
import random
import shutil

import pyarrow.ipc
import pytest

from tunekit.hashing import hex_of

CODE = {
    "add": 'def f(row, k=0): return {"x": row["x"] + k}\n',
    "constant": 'def f(row, k=0): return {"x": k}\n',
    "odd": 'def f(row, k=0): return row if (row["x"] + k) % 2 else [row, row]\n',
}


def apply(name: str, rows: list[int], k: int) -> list[int]:
    if name == "add":
        return [x + k for x in rows]
    if name == "constant":
        return [k for _ in rows]
    return [x for row in rows for x in ([row] if (row + k) % 2 else [row, row])]


class World:
    """What the project says: sources (name → rows) and nodes (name → where from, code, argument)."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.sources = {f"s{i}": [rng.randrange(9) for _ in range(3)] for i in range(2)}
        self.nodes: dict[str, dict] = {}
        self.notes = {name: 0 for name in CODE}
        self.count = 0
        for _ in range(rng.randint(4, 6)):
            self.add_node()

    def add_node(self) -> None:
        self.count += 1
        names = list(self.nodes)
        above = self.rng.sample(names, min(len(names), self.rng.randint(0, 2)))
        node = {"source": "" if above else self.rng.choice(list(self.sources)), "from": above}
        node |= {"code": self.rng.choice(list(CODE)), "k": self.rng.randrange(3)}
        self.nodes[f"n{self.count}"] = node

    def edit(self) -> str:
        rng, name = self.rng, self.rng.choice(list(self.nodes))
        match rng.randrange(7):
            case 0 | 1:
                source = rng.choice(list(self.sources))
                self.sources[source][rng.randrange(3)] = rng.randrange(9)
                return f"rows of {source}"
            case 2:
                self.nodes[name]["k"] = rng.randrange(3)
                return f"argument of {name}"
            case 3:
                code = rng.choice(list(CODE))
                self.notes[code] += 1
                return f"a comment in {code}.py"
            case 4:
                self.add_node()
                return "a new node"
            case 5:
                used = {above for node in self.nodes.values() for above in node["from"]}
                if name not in used and len(self.nodes) > 2:
                    del self.nodes[name]
                    return f"{name} is gone"
                return "nothing"
            case _:
                renamed = {name: f"r{name}"}
                self.nodes = {renamed.get(n, n): node for n, node in self.nodes.items()}
                for node in self.nodes.values():
                    node["from"] = [renamed.get(n, n) for n in node["from"]]
                return f"{name} renamed"

    def write(self, project) -> None:
        text = []
        for name, node in self.nodes.items():
            text.append(f'[dataset.{name}]\nmap = "{node["code"]}.py:f"\nargs = {{ k = {node["k"]} }}')
            where = (
                f'source = "path:{node["source"]}.jsonl"'
                if node["source"]
                else f"from = {json.dumps([f'dataset:{n}' for n in node['from']])}"
            )
            text.append(where)
        project.manifest("\n".join(text))
        for name, code in CODE.items():
            project.write(f"{name}.py", code + f"# {self.notes[name]}\n")
        for name, rows in self.sources.items():
            project.rows(f"{name}.jsonl", [{"x": x} for x in rows])

    def rows(self) -> dict[str, list[int]]:
        out: dict[str, list[int]] = {}
        for name, node in self.nodes.items():  # parents come first
            above = self.sources[node["source"]] if node["source"] else [x for n in node["from"] for x in out[n]]
            out[name] = apply(node["code"], above, node["k"])
        return out

    def keys(self) -> dict[str, str]:
        """Label → everything that may change its result, as text."""
        rows, out = self.rows(), {}
        for name, node in self.nodes.items():
            if node["source"]:
                out[f"dataset:{name}#fetch"] = f"{node['source']} {self.sources[node['source']]}"
            above = (
                [(node["source"], self.sources[node["source"]])] if node["source"] else [rows[n] for n in node["from"]]
            )
            out[f"dataset:{name}"] = f"{node['code']} {self.notes[node['code']]} {node['k']} {above}"
        return out


def rows_of(project, outputs) -> dict[str, list[int]]:
    out = {}
    for label, found in outputs.items():
        view = project.store / "views" / hex_of(found["main"])
        if "#" in label:
            continue
        if not view.is_dir():  # never read by anybody: a view is made for who asks
            done = project.run("path", label)
            assert done.code == 0, done.err
        index = json.loads((view / "dataset.json").read_text())
        tables = [
            pyarrow.ipc.open_file((view / "chunks" / f"{hex_of(c['digest'])}.arrow").read_bytes())
            for c in index["chunks"]
        ]
        out[label.partition(":")[2]] = [row["x"] for t in tables for row in t.read_all().to_pylist()]
    return out


def play(make_project, seed: int, edits: int) -> None:
    world = World(random.Random(seed))
    project = make_project(f"p{seed}", f"store{seed}")
    seen: set[str] = set()
    first: dict = {}
    for turn in range(edits + 1):
        what = "start" if not turn else world.edit()
        world.write(project)
        keys = world.keys()
        done = project.build(*[label for label in keys if "#" not in label])
        assert done.code == 0, done.err
        ran = [keys[label] for label in done.ran]
        new = {k for label, k in keys.items() if k not in seen and "#" not in label}
        read = {k for label, k in keys.items() if "#" in label and keys[label.partition("#")[0]] in new}
        assert sorted(ran) == sorted(new | (read - seen)), f"seed {seed}, turn {turn}, {what}"
        seen |= set(ran)
        first = first or copy.deepcopy(world.__dict__)
    assert rows_of(project, project.outputs()) == {
        n: r for n, r in world.rows().items() if f"dataset:{n}" in project.outputs()
    }
    clean = make_project(f"p{seed}", f"clean{seed}")
    outputs = project.outputs()
    shutil.rmtree(clean.root / ".tunekit")
    assert clean.build().code == 0
    assert clean.outputs() == outputs, f"seed {seed}: an incremental build is not a clean one"
    # back to where it began, on the first store: nothing to run
    shutil.rmtree(clean.root / ".tunekit")
    world.__dict__.update(first)
    world.write(project)
    assert project.build().ran == [], f"seed {seed}: going back ran something"


@pytest.mark.parametrize("seed", [11])
def test_edits_run_what_they_must(make_project, seed):
    play(make_project, seed, edits=6)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_edits(make_project, seed):
    play(make_project, seed, edits=12)


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files count as old at once: younger ones are read again anyway, which hides what was forgotten."""
    monkeypatch.setattr("tunekit.plan.state._RACY", 0)


def test_early_cutoff_by_hand(make_project):
    """A comment in the map: the map runs again, what reads it does not, and the plan says so beforehand."""
    project = make_project()
    project.rows("a.jsonl", [{"x": 1}, {"x": 2}])
    project.write("m.py", CODE["constant"])
    project.manifest("""
        [dataset.a]
        source = "path:a.jsonl"
        map = "m.py:f"
        [dataset.b]
        from = ["dataset:a"]
        [dataset.c]
        from = ["dataset:b"]
        limit = 9
    """)
    assert project.build().ran == ["dataset:a#fetch", "dataset:a", "dataset:b", "dataset:c"]
    project.write("m.py", CODE["constant"] + "# a note\n")
    nodes = project.plan()
    assert [n.state for n in nodes.values()] == ["fresh", "stale", "stale", "stale"]
    assert [str(r) for r in nodes["dataset:a"].reasons] == ["m.py edited"]
    assert [str(r) for r in nodes["dataset:b"].reasons] == ["stale or cut off, depends on dataset:a"]
    done = project.build()
    assert done.ran == ["dataset:a"]
    assert {e["action"]: e["how"] for e in done.events if e["type"] == "end"} == {
        "dataset:a": "built", "dataset:b": "cut off", "dataset:c": "cut off",
    }  # fmt: skip
    project.rows("a.jsonl", [{"x": 5}, {"x": 6}])  # other rows, the same result
    assert project.build().ran == ["dataset:a#fetch", "dataset:a"]
    project.rows("a.jsonl", [{"x": 5}])  # fewer rows: now it goes on
    assert project.build().ran == ["dataset:a#fetch", "dataset:a", "dataset:b", "dataset:c"]
