"""A record as it travels: nothing of this machine in it on the way out, nothing unchecked on the way in."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.hashing import canonical, hex_of
from tunekit.plan.preimage import action_key
from tunekit.share.remote_place import ATTEMPT
from tunekit.store.records import SCHEMA

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|CREDENTIAL|PRIVATE_KEY", re.IGNORECASE)
_SHORTEST = 8  # of a value that is looked for as a secret
# An absolute path: two steps or more, not behind a word, a dot or another slash (so no URL).
_PATH = re.compile(r"(?<![\w.~/])(?:/[^\s/'\"`<>|:;,()\[\]{}]+){2,}/?")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "key": str, "attempt": str, "label": str, "kind": str, "preimage": dict, "inputs": dict, "source": str,
    "outputs": dict, "spec": dict, "effective": dict, "warnings": list, "gates": list, "parts": dict,
    "environment": dict, "started": (int, float), "seconds": (int, float), "log": str, "metrics": str,
}  # fmt: skip


class Unfit(NamedTuple):
    """Why a record cannot leave this machine."""

    why: str


class Machine(NamedTuple):
    """What must not leave: folders of this machine, and values of its environment that look secret."""

    folders: list[str]
    secrets: list[str]

    @classmethod
    def here(cls, *folders: Path) -> Machine:
        names = {str(Path.home()), sys.prefix, tempfile.gettempdir(), *(str(f) for f in folders)}
        both = {n.rstrip("/") for name in names for n in (name, os.path.realpath(name))} - {""}
        secrets = {v for k, v in os.environ.items() if _SECRET.search(k) and len(v) >= _SHORTEST and "/" not in v[:1]}
        return cls(sorted(both, key=len, reverse=True), sorted(secrets, key=len, reverse=True))

    def named_in(self, text: str) -> str:
        """What of this machine a text names; empty if nothing."""
        if any(secret in text for secret in self.secrets):
            return "a secret of this environment"
        return next((f"the folder {f}" for f in self.folders if re.search(re.escape(f) + r"(?![\w-])", text)), "")

    def scrubbed(self, text: str) -> str:
        """The text without secrets, and with `…/name` for every absolute path."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = _PATH.sub(lambda m: "…/" + m[0].rstrip("/").rpartition("/")[2], text)
        for folder in self.folders:
            text = re.sub(re.escape(folder) + r"(?![\w-])", "…", text)
        return text


def outgoing(record: dict[str, Any], machine: Machine) -> bytes | Unfit:
    """The bytes of an entry. The log stays here: it may hold anything."""
    kept = {name: record[name] for name in _FIELDS if name in record}
    named = machine.named_in(canonical([kept["preimage"], kept["label"]]).decode())
    if named:
        return Unfit(f"its settings name {named}")
    for name in ("spec", "effective", "warnings", "gates", "environment", "source"):
        kept[name] = _walk(kept[name], machine.scrubbed)
    kept["log"] = ""
    return json.dumps({"schema": SCHEMA, **kept}, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _walk(value: Any, text: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(k): _walk(v, text) for k, v in value.items()}
    return [_walk(v, text) for v in value] if isinstance(value, list) else value


def incoming(data: bytes, key: str) -> dict[str, Any] | None:
    """The record of an entry, or None if it is not one of this key that we could have written: the key is that of its
    preimage, and every name in it that becomes a file's is harmless."""
    try:
        body = json.loads(data)
        whole = (
            body.pop("schema") == SCHEMA
            and all(isinstance(body[name], type_) for name, type_ in _FIELDS.items())
            and body["key"] == key == action_key(body["preimage"])
            and bool(ATTEMPT.match(body["attempt"]))
            and "main" in body["outputs"]
            and all(hex_of(digest) for digest in body["outputs"].values())
            and (not body["metrics"] or bool(hex_of(body["metrics"])))
            and isinstance(body["environment"].get("packages"), dict)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return {**{name: body[name] for name in _FIELDS}, "log": ""} if whole else None
