"""The action cache: what is known of every execution of a key. Attempts are immutable; the first success wins."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tunekit.store.disk import write_new
from tunekit.store.store import Store

SCHEMA = "tunekit/record/1"


def new_attempt() -> str:
    """A name for an attempt that sorts by time."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + os.urandom(4).hex()


def add(store: Store, record: dict[str, Any]) -> dict[str, Any]:
    """Publish an attempt: the last write of an action. Returns the key's selected record, which is another one
    where this key had a success already (then this attempt is kept beside it)."""
    folder = store.actions(record["key"])
    path = folder / f"{record['attempt']}.json"
    body = json.dumps({"schema": SCHEMA, **record}, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_new(path, body.encode(), store.tmp)
    try:
        os.link(path, folder / "selected")
    except FileExistsError:
        return lookup(store, record["key"]) or record
    return record


def lookup(store: Store, key: str) -> dict[str, Any] | None:
    """The selected record of a key, or None. A crash between the two links of `add` is mended here."""
    folder = store.actions(key)
    found = _read(folder / "selected")
    if found is not None:
        return found
    for path in sorted(folder.glob("*.json")):
        found = _read(path)
        if found is not None:
            (folder / "selected").unlink(missing_ok=True)  # unreadable: replaced by a whole one
            os.link(path, folder / "selected")
            return found
    return None


def attempts(store: Store, key: str) -> list[dict[str, Any]]:
    """All attempts of a key, oldest first."""
    return [r for p in sorted(store.actions(key).glob("*.json")) if (r := _read(p)) is not None]


def _read(path: Any) -> dict[str, Any] | None:
    try:
        record = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("schema") == SCHEMA else None


def add_part(store: Store, part: str, output: str) -> None:
    write_new(store.part(part), json.dumps({"output": output}).encode(), store.tmp)


def part_output(store: Store, part: str) -> str | None:
    """The artifact of a part key, if it was ever made."""
    try:
        found = json.loads(store.part(part).read_bytes())["output"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return found if isinstance(found, str) else None
