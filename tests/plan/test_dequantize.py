"""A model whose source is a GGUF file: one more action, whose key has what decides its bytes."""

from __future__ import annotations

import json

import pytest

TOML = """\
[model.m]
source = "path:weights/m.{end}"
dtype = "bfloat16"
"""


@pytest.fixture
def project_of(project):
    def write(toml: str) -> dict[str, dict]:
        project.manifest(toml)
        done = project.run("plan", "model:m", "--json")
        assert done.code == 0, done.err
        return {node["label"]: node for node in json.loads(done.out)["actions"]}

    for name in ("m.gguf", "M.GGUF", "m.safetensors"):
        (project.root / "weights").mkdir(exist_ok=True)
        (project.root / "weights" / name).write_bytes(b"GGUF")
    return write


@pytest.mark.parametrize("end", ["gguf", "safetensors", "*f"])
def test_the_name_of_the_source_decides(project_of, end):
    wanted = ["model:m#fetch", "model:m#dequantize", "model:m"] if end == "gguf" else ["model:m#fetch", "model:m"]
    assert list(project_of(TOML.format(end=end))) == wanted


def preimage(project, label: str) -> dict:
    from tunekit.manifest.project import load
    from tunekit.manifest.scope import build_graph

    problems: list = []
    graph, _ = build_graph(load(project.root, [], problems), problems)
    assert not problems
    action = graph.actions[label]
    return {"fields": action.fields, "packages": action.packages, "inputs": action.inputs}


def test_what_is_in_its_key(project_of, project):
    project_of(TOML.format(end="gguf"))
    found = preimage(project, "model:m#dequantize")
    assert found["fields"] == {"dtype": "bfloat16"} and found["packages"] == ["gguf"]
    assert [edge.action for edge in found["inputs"]["source"]] == ["model:m#fetch"]
    assert [edge.action for edge in preimage(project, "model:m")["inputs"]["source"]] == ["model:m#dequantize"]


def test_another_tokenizer_leaves_the_files_own_alone(project_of, project):
    more = '\ntokenizer = "tokenizer:t"\n\n[tokenizer.t]\nsource = "path:weights/m.safetensors"\n'
    project_of(TOML.format(end="gguf") + more)
    assert preimage(project, "model:m#dequantize")["fields"] == {"dtype": "bfloat16", "tokenizer": False}
