from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest

from tunekit.errors import SourceError
from tunekit.protocol import Events, Request
from tunekit.sources.registry import resolve
from tunekit.steps.fetch.run import run


def request_of(spec: dict, out: Path) -> Request:
    return Request(
        action="dataset:x#fetch",
        key="",
        kind="fetch",
        spec=spec,
        inputs={},
        code={},
        code_root="",
        staging="",
        out=str(out),
        store="",
        resources={},
        seed=0,
        provenance={},
    )


def fetch(spec: dict, out: Path) -> tuple[dict[str, str], list[dict]]:
    """Run the step with its request sent through JSON, as the worker gets it."""
    out.mkdir()
    log = out.parent / f"{out.name}.jsonl"
    with log.open("wb") as f:
        events = Events("dataset:x#fetch", f.fileno())
        roles = run(Request.from_json(request_of(spec, out).to_json()), events)
        events.flush()
    return roles, [json.loads(line) for line in log.read_text().splitlines()]


def test_path_source(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n" * 10)
    block = resolve("path:rows.jsonl", root=tmp_path, cache=tmp_path / "cache")
    spec = {"source": block.source, "block": block.to_json(), "root": str(tmp_path)}
    spec |= {"cache": str(tmp_path / "cache"), "offline": False}
    roles, events = fetch(spec, tmp_path / "out")
    assert roles == {"main": "main"}
    assert (tmp_path / "out" / "main" / "rows.jsonl").read_text() == "{}\n" * 10
    assert [e["type"] for e in events] == ["progress", "effective"]
    assert (events[0]["done"], events[0]["total"], events[0]["unit"]) == (30, 30, "bytes")
    (tmp_path / "rows.jsonl").write_text("edited")
    with pytest.raises(SourceError) as caught:
        fetch(spec, tmp_path / "out2")
    assert caught.value.slug == "source-changed"


def test_package_source(tmp_path, monkeypatch):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "demo-1.0-py3-none-any.whl", "w") as z:
        z.writestr("data/a.txt", "alpha")
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    block = resolve("pypi:demo@1.0#data", root=tmp_path, cache=tmp_path / "cache")
    spec = {"source": block.source, "block": block.to_json(), "root": str(tmp_path)}
    roles, events = fetch(spec | {"cache": str(tmp_path / "fresh"), "offline": False}, tmp_path / "out")
    assert roles == {"main": "main"}
    assert (tmp_path / "out" / "main" / "a.txt").read_text() == "alpha"
    assert events[-1]["settings"] == {"source": block.source, "revision": "1.0", "files": 1}
    (wheels / "demo-1.0-py3-none-any.whl").unlink()
    with pytest.raises(SourceError) as caught:
        fetch(spec | {"cache": str(tmp_path / "empty"), "offline": True}, tmp_path / "out2")
    assert caught.value.slug == "offline"
