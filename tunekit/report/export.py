"""A result as real, writable files that Transformers and PEFT load as they are."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from tunekit.errors import StoreError
from tunekit.plan.planner import Planner
from tunekit.report.card import card
from tunekit.store import artifacts

ADAPTER_CONFIG = "adapter_config.json"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def export(planner: Planner, record: dict[str, Any], digest: str, target: Path, *, with_base: bool) -> list[str]:
    """Write the artifact (`digest`, of `record`) into `target`, a folder that is not there or empty. Its files.

    All or nothing: it is written beside `target` and renamed. StoreError `missing-artifact` if bytes are gone.
    """
    spare = target.with_name(f".{target.name}.{os.getpid()}")
    spare.mkdir(parents=True)
    try:
        _write(planner, digest, spare, record["label"])
        base = _base(record) if (spare / ADAPTER_CONFIG).is_file() else None
        if base is not None:
            _with_base(planner, spare, target, base, with_base=with_base)
        text = card(planner, record, digest, adapter=base is not None, with_base=with_base)
        (spare / "README.md").write_text(text, encoding="utf-8")
        if target.is_dir():
            target.rmdir()
        os.rename(spare, target)
    except BaseException:
        shutil.rmtree(spare, ignore_errors=True)
        raise
    return sorted(str(p.relative_to(target)) for p in target.rglob("*") if p.is_file())


def _write(planner: Planner, digest: str, target: Path, label: str) -> None:
    entries = artifacts.read_tree(planner.store, digest)
    if entries is None or not all(planner.store.object(e.digest).is_file() for e in entries):
        message = f"the artifact of {label} ({digest}) is not in the store"
        raise StoreError(message, slug="missing-artifact", hint=f"tunekit build {label}")
    artifacts.copy_out(planner.store, digest, target)


def _base(record: dict[str, Any]) -> dict[str, Any] | None:
    """The input that an adapter was trained on."""
    inputs = record["inputs"].get("base")
    return inputs[0] if inputs else None


def _with_base(planner: Planner, spare: Path, target: Path, base: dict[str, Any], *, with_base: bool) -> None:
    """Put the base beside the adapter, point PEFT at it, and give the adapter's folder its tokenizer.

    Without the base the name that the artifact has stays: the label, or the Hub's id and revision.
    """
    if not with_base:
        return
    _write(planner, base["digest"], spare / "base", base["label"])
    for name in _TOKENIZER:
        if (spare / "base" / name).is_file() and not (spare / name).exists():
            shutil.copyfile(spare / "base" / name, spare / name)
    path = spare / ADAPTER_CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {"base_model_name_or_path": str(target / "base"), "revision": None}
    path.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
