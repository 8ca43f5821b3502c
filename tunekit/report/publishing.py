"""What of a result is published: its files, and a model card that says nothing of what is private."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunekit.errors import StoreError, UsageError
from tunekit.plan.planner import Planner
from tunekit.report.card import card
from tunekit.report.export import ADAPTER_CONFIG
from tunekit.share.bundle_words import in_own_words
from tunekit.share.private import because, private_labels
from tunekit.share.publish import Files
from tunekit.share.remote_record import Machine
from tunekit.store import artifacts

_KINDS = ("model", "merge", "tokenizer")


def files_to_publish(planner: Planner, label: str, record: dict[str, Any], digest: str, repository: str) -> Files:
    """Name → bytes or object. UsageError `private`, `not-publishable`; StoreError `missing-artifact`."""
    hidden = private_labels(planner.graph, [label])
    if label in hidden:
        hint = "`private = false` in its own table says that it may leave"
        raise UsageError(f"not published: {label} {because(label, hidden[label])}", slug="private", hint=hint)
    if record["kind"] not in _KINDS and not record["kind"].startswith("run."):
        hint = "models, runs, merges and tokenizers are; `tunekit bundle` carries everything"
        raise UsageError(f"not published: {label} is no model", slug="not-publishable", hint=hint)
    found = artifacts.whole(planner.store, digest)
    if found is None:
        message = f"the artifact of {label} ({digest}) is not in the store"
        raise StoreError(message, slug="missing-artifact", hint=f"tunekit build {label}")
    record = in_own_words(planner, planner.nodes[label], record)
    machine = Machine.here(planner.inputs.root, planner.store.root)
    text = card(
        planner, record, digest, adapter=ADAPTER_CONFIG in found, with_base=False, place=repository, hidden=set(hidden)
    )
    files: Files = {**found, "README.md": machine.scrubbed(text).encode()}
    for name in [n for n in found if n.endswith(".json")]:
        _check_names(found[name], name, machine)
    return files


def _check_names(path: Path, name: str, machine: Machine) -> None:
    """UsageError `names-this-machine`: our artifacts hold no path, but a base that was read may have brought one."""
    try:
        text = json.dumps(json.loads(path.read_bytes()), ensure_ascii=False)
    except ValueError:
        return
    if where := machine.named_in(text):
        message, hint = f"not published: {name} names {where}", "`tunekit export` writes it for yourself"
        raise UsageError(message, slug="names-this-machine", hint=hint)
