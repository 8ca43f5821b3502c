"""An adapter as PEFT wants it, and cards of what was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunekit.errors import StoreError
from tunekit.report.export import export
from tunekit.store import artifacts, records
from tunekit.store.store import Store


class _Planner:
    """As much of a planner as provenance asks for: no nodes, so records are found in the history."""

    def __init__(self, root: Path, store: Store) -> None:
        self.store = store
        self.nodes: dict[str, Any] = {}
        self.inputs = type("Inputs", (), {"root": root})()


def seal(store: Store, scratch: Path, files: dict[str, str]) -> str:
    scratch.mkdir()
    for name, text in files.items():
        (scratch / name).write_text(text)
    return artifacts.seal(store, scratch)


@pytest.fixture
def adapter(tmp_path: Path) -> tuple[_Planner, dict[str, Any]]:
    store = Store(tmp_path / "store").ensure()
    base = seal(store, tmp_path / "b", {"config.json": "{}", "tokenizer.json": "[]", "model.safetensors": "w"})
    config = {"peft_type": "LORA", "base_model_name_or_path": "model:m", "revision": "abc", "r": 4}
    main = seal(store, tmp_path / "a", {"adapter_config.json": json.dumps(config), "adapter_model.safetensors": "a"})
    record = {
        "key": "sha256:" + "1" * 64,
        "attempt": "20260101T000000-00000000",
        "label": "run:sft",
        "kind": "run.sft",
        "preimage": {},
        "inputs": {"base": [{"label": "model:m", "output": "main", "digest": base}]},
        "source": "",
        "outputs": {"main": main},
        "spec": {"learning_rate": 1e-4, "adapter": {"r": 4}},
        "effective": {"summary": {"loss": 1.5}},
        "warnings": [],
        "gates": [{"name": "loss", "passed": True, "measured": 1.5, "wanted": "< 3"}],
        "environment": {"tunekit": "0", "python": "3", "machine": "m", "packages": {"torch": "2"}, "commit": "c0ffee"},
        "started": 0.0,
        "seconds": 12.0,
        "log": "",
        "metrics": "",
    }
    records.add(store, record)
    return _Planner(tmp_path, store), record


def test_with_its_base(adapter: tuple[Any, dict[str, Any]], tmp_path: Path):
    planner, record = adapter
    out = tmp_path / "new" / "out"
    files = export(planner, record, record["outputs"]["main"], out, with_base=True)
    assert {"base/config.json", "base/model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config == {"peft_type": "LORA", "r": 4, "base_model_name_or_path": str(out / "base"), "revision": None}
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n") and 'from_pretrained("DIR/base")' in card
    for text in (
        "- `learning_rate`: 0.0001",
        "- loss: 1.5",
        "(wanted < 3)",
        "commit `c0ffee`",
        "## Licence\n\nUnknown.",
    ):
        assert text in card


def test_without_its_base_the_name_stays(adapter: tuple[Any, dict[str, Any]], tmp_path: Path):
    planner, record = adapter
    export(planner, record, record["outputs"]["main"], tmp_path / "out", with_base=False)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "model:m" and not (tmp_path / "out" / "base").exists()


def test_a_base_that_is_gone_leaves_nothing_behind(adapter: tuple[Any, dict[str, Any]], tmp_path: Path):
    planner, record = adapter
    base = record["inputs"]["base"][0]["digest"]
    planner.store.object(artifacts.read_tree(planner.store, base)[0].digest).unlink()
    with pytest.raises(StoreError, match="model:m"):
        export(planner, record, record["outputs"]["main"], tmp_path / "out", with_base=True)
    assert not [p for p in tmp_path.iterdir() if "out" in p.name]
