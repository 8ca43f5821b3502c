"""The registry, and kinds that another package brings."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tunekit import kinds

ACME = {
    "acme/__init__.py": """
        from tunekit.kinds import Kind
        COUNT = Kind("count", "acme", "Count", 1)
    """,
    "acme/spec.py": """
        from typing import Annotated
        from tunekit.derive import action_of
        from tunekit.spec import Spec, semantic

        class Count(Spec, frozen=True, kw_only=True):
            "How many rows a dataset has."
            data: Annotated[str, semantic("Dataset.")]
            times: Annotated[int, semantic("Multiply by.")] = 1

        def derive(label, spec, scope):
            edge = scope.dataset(spec.data, "data")
            scope.add(action_of(label, "count", spec, drop=("data",), inputs={"data": [edge]}))
    """,
    "acme/run.py": """
        import json
        from pathlib import Path

        def run(request, events):
            index = json.loads((Path(request.one("data").path) / "dataset.json").read_text())
            out = Path(request.out) / "main"
            out.mkdir()
            (out / "count.json").write_text(str(index["rows"] * request.spec.get("times", 1)))
            return {"main": "main"}
    """,
    "acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
    "acme-1.0.dist-info/entry_points.txt": "[tunekit.kinds]\ncount = acme:COUNT\n",
}


def install(site, files: dict[str, str]) -> None:
    from textwrap import dedent

    for path, text in files.items():
        file = Path(site) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))


def test_a_kind_of_another_package_works_end_to_end(project, tmp_path):
    install(tmp_path / "site-packages", ACME)
    project.rows("a.jsonl", [{"x": 1}, {"x": 2}])
    project.manifest("""
        [dataset.a]
        source = "path:a.jsonl"
        [count.n]
        data = "dataset:a"
        times = 10
    """)
    env = {"PYTHONPATH": str(tmp_path / "site-packages"), "PYTHONDONTWRITEBYTECODE": "1"}
    out, err = project.start("build", "--json", **env).communicate()
    done = json.loads(out.splitlines()[-1])
    assert done["executed"] == ["dataset:a#fetch", "dataset:a", "count:n"], err
    assert (project.root / ".tunekit/out/count/n/count.json").read_text() == "20"
    # its next version: the kind's number enters the key, although no file of the project changed
    newer = {"acme/__init__.py": ACME["acme/__init__.py"].replace('"Count", 1', '"Count", 2')}
    install(tmp_path / "site-packages", newer)
    (tmp_path / "site-packages" / "acme-1.0.dist-info").rename(tmp_path / "site-packages" / "acme-1.1.dist-info")
    out, err = project.start("build", "--json", **env).communicate()
    assert json.loads(out.splitlines()[-1])["executed"] == ["count:n"], err


METHOD = {
    "acme_sft/__init__.py": """
        from tunekit.kinds import Kind
        ACME = Kind("run.acme", "acme_sft", "Acme", 3, "torch", outputs=("last",))
    """,
    "acme_sft/spec.py": """
        from typing import Annotated, Literal
        from tunekit.methods.sft.spec import Sft, derive, policy
        from tunekit.spec import semantic

        class Acme(Sft, frozen=True, kw_only=True):
            "A method of another package."
            method: Annotated[Literal["acme"], semantic("This method.")] = "acme"
            sharpness: Annotated[int, semantic("How sharp.")] = 1
    """,
    "acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
    "acme-1.0.dist-info/entry_points.txt": "[tunekit.kinds]\nmethod = acme_sft:ACME\n",
}
RUNS = """
    [dataset.a]
    source = "path:a.jsonl"
    format = "chat"
    [model.m]
    source = "path:a.jsonl"
    [run.x]
    method = "acme"
    model = "model:m"
    data = ["dataset:a"]
    sharpness = 2
    [run.y]
    method = "mine.py"
    model = "run:x@last"
    data = ["dataset:a"]
    bluntness = 3
"""
MINE = """
    from typing import Annotated
    from acme_sft.spec import Acme
    from tunekit.spec import semantic
    class Mine(Acme):
        bluntness: Annotated[int, semantic("How blunt.")] = 1
    def run(request, events): ...
"""


def test_a_method_of_another_package_and_one_on_top_of_it(project, tmp_path):
    """By the same entry point as kinds: its name says that it is a method."""
    install(tmp_path / "site-packages", METHOD)
    project.rows("a.jsonl", [{"x": 1}])
    project.manifest(RUNS)
    project.write("mine.py", MINE)
    path = os.pathsep.join([str(tmp_path / "site-packages"), str(Path(kinds.__file__).parents[1])])
    env = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    out, err = project.start("plan", "--json", "run:y", **env).communicate()
    assert out, err
    actions = {a["label"]: a["kind"] for a in json.loads(out)["actions"]}
    assert actions["run:x"] == "run.acme" and actions["run:y"] == "run.acme:mine.py"
    project.write("mine.py", MINE.replace("bluntness:", "dullness:"))
    process = project.start("plan", **env)
    assert "unknown key `bluntness`" in process.communicate()[1] and process.returncode == 2


def test_without_that_package_its_kind_is_unknown(project):
    project.manifest('[count.n]\ndata = "dataset:a"\n')
    done = project.run("build")
    assert done.code == 2 and "error[unknown-kind]" in done.err


@pytest.mark.parametrize("module", ["raise RuntimeError('boom')", "COUNT = 3", ""])
def test_a_broken_package_is_named(module, tmp_path, monkeypatch):
    install(tmp_path, {**ACME, "acme/__init__.py": module})
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(kinds, "_loaded", False)
    for name in [n for n in sys.modules if n.partition(".")[0] == "acme"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(kinds.UsageError, match="acme:COUNT") as failed:
        kinds.load_entry_points()
    assert failed.value.slug == "bad-entry-point"
    sys.modules.pop("acme", None)


def test_names_and_versions():
    for table in (kinds.TARGETS, kinds.METHODS, kinds.STEPS):
        for name, kind in table.items():
            assert kind.name == name and kind.version >= 1 and kind.preload in ("light", "torch")
            assert kinds.kind_of(name) is kind
    with pytest.raises(KeyError):
        kinds.kind_of("no-such-kind")
    assert set(kinds.target_kinds()) >= {"dataset", "tokenizer", "model", "adapter", "run", "merge", "eval"}
