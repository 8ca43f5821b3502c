"""The action cache: what is known of every execution of a key. Attempts are immutable; the first success wins."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from tunekit.foreign import json_of
from tunekit.hashing import hex_of
from tunekit.store.disk import new_file, replace
from tunekit.store.store import Store

SCHEMA = "tunekit/record/1"


def new_attempt() -> str:
    """A name for an attempt that sorts by time."""
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)) + f"-{nanos:09d}-{os.urandom(4).hex()}"


def add(store: Store, record: dict[str, Any], parts: str = "") -> dict[str, Any]:
    """Publish an attempt: the last write of an action. Returns the key's selected record, which is another one
    where this key had a success already (then this attempt is kept beside it).

    It is named, then flushed: that one fsync makes its bytes and both of its names durable on the journalling file
    systems of Linux. A record that a power cut tears in between is none to its readers, and staging is still there.

    `parts`: the list of its parts (`tunekit.parts.Made`), which lies beside it. It is a hint for the next execution,
    so it is not fsynced.
    """
    folder = store.place("ac", record["key"])
    path = f"{folder}/{record['attempt']}.json"
    body = json.dumps({"schema": SCHEMA, **record}, sort_keys=True, ensure_ascii=False, allow_nan=False)
    spare = f"{folder}/.{record['attempt']}"  # in a folder of its own: half the price of one in the store's `tmp`
    try:
        if parts:
            replace(parts_list(store, record), parts.encode())
        with new_file(spare, body.encode()) as fd:
            os.rename(spare, path)
            try:
                os.link(path, folder + "/selected")
            except FileExistsError:
                record = lookup(store, record["key"]) or record
            except OSError:  # no room for a second name: else it would count without having been announced
                os.unlink(path)
                raise
            os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(spare)
        raise
    return record


def lookup(store: Store, key: str) -> dict[str, Any] | None:
    """The selected record of a key, or None. A crash between the two links of `add` is mended here."""
    folder = store.place("ac", key)
    found = _read(folder + "/selected")
    if found is not None:
        return found
    for path in _attempts(folder):
        found = _read(path)
        if found is not None:
            with contextlib.suppress(OSError):  # a store that is read-only is read as it is
                select(store, found)
            return found
    return None


def any_of(store: Store, key: str) -> bool:
    """Whether a key has any attempt."""
    return os.path.isdir(store.place("ac", key))


def select(store: Store, record: dict[str, Any]) -> None:
    """Make an attempt the key's result: in place of an unreadable record, or of one whose objects are lost."""
    folder = store.actions(record["key"])
    spare = folder / f".{record['attempt']}-{os.urandom(4).hex()}"
    os.link(folder / f"{record['attempt']}.json", spare)
    os.replace(spare, folder / "selected")
    spare.unlink(missing_ok=True)  # rename(2) leaves it where both names are one file already


def attempts(store: Store, key: str) -> list[dict[str, Any]]:
    """All attempts of a key, oldest first."""
    return [r for p in _attempts(store.place("ac", key)) if (r := _read(p)) is not None]


def _attempts(folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in sorted(os.listdir(folder)) if name.endswith(".json")]
    except FileNotFoundError:
        return []


_FIELDS = {"attempt": str, "label": str, "preimage": dict, "outputs": dict, "effective": dict}


def _read(path: str) -> dict[str, Any] | None:
    """A record, or None if it is not there or not one that `add` could have written."""
    try:
        with open(path, "rb") as file:
            record: dict[str, Any] = json_of(file.read())
        whole = (
            record["schema"] == SCHEMA
            and hex_of(record["key"]) == path.split("/")[-2]
            and all(isinstance(record[name], type_) for name, type_ in _FIELDS.items())
            and all(hex_of(digest) for digest in record["outputs"].values())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


def parts_list(store: Store, record: dict[str, Any]) -> str:
    """The file that lists a record's parts, in order (`tunekit.parts.Made`). It need not be there."""
    return f"{store.place('ac', record['key'])}/{record['attempt']}.parts"


def add_part(store: Store, part: str, output: str) -> None:
    """Publish a part that was made because none was there: the entry of a lost one gives way. All or nothing; not
    fsynced: one that a power cut tears is none, and costs its part."""
    replace(store.place("parts", part), json.dumps({"output": output}).encode())


def part_output(store: Store, part: str) -> str | None:
    """The artifact of a part key, if it was ever made."""
    try:
        found = json_of(store.part(part).read_bytes())["output"]
        hex_of(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(found)
