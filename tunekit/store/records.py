"""The action cache: what is known of every execution of a key. Attempts are immutable; the first success wins."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from typing import Any

from tunekit.foreign import json_of
from tunekit.hashing import hex_of, tree_digest
from tunekit.store.disk import filled, new_file, read_file, replace
from tunekit.store.store import Store

SCHEMA = "tunekit/record/1"
_encode = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode
_SHORT = 4096  # characters of a list of parts that a record holds itself


def new_attempt() -> str:
    """A name for an attempt that sorts by time."""
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)) + f"-{nanos:09d}-{os.urandom(4).hex()}"


def add(store: Store, record: dict[str, Any], parts: str = "", blank: str = "") -> dict[str, Any]:
    """Publish an attempt: the last write of an action. Returns the key's selected record, which is another one
    where this key had a success already (then this attempt is kept beside it).

    It is named, then flushed: that one fsync makes its bytes and both of its names durable on the journalling file
    systems of Linux. A record that a power cut tears in between is none to its readers, and staging is still there.

    `parts`: the list of its parts (`tunekit.parts.Made`), a hint for the next execution. A short one is in the record,
    a long one lies beside it, so that who asks for the record need not read it; it is not fsynced. `blank`: an empty
    file of the store's file system that may become the record's, if it is there: making one is dear.
    """
    if parts and len(parts) <= _SHORT:
        record = {**record, "made": parts}
    body = _encode({"schema": SCHEMA, **record}).encode()
    if len(parts) > _SHORT:
        replace(_long_list(store, record), parts.encode())
    try:
        return _publish(store, record, blank, filled(blank, body))
    except FileNotFoundError:  # no such file, or no folder yet
        spare = f"{_attempt(store, record)}.{os.getpid()}"  # in its own folder: half the price of one in `tmp`
        return _publish(store, record, spare, new_file(spare, body))


def _publish(
    store: Store, record: dict[str, Any], spare: str, written: contextlib.AbstractContextManager[int]
) -> dict[str, Any]:
    """Name a record that is written under a spare name, and flush it. What its key's record is now."""
    try:
        with written as fd:
            try:
                os.link(spare, store.place("ac", record["key"]))
                first = True
            except FileExistsError:
                first = False
            try:
                os.rename(spare, _attempt(store, record))
            except OSError:  # no room for a second name: else it would count without having been announced
                if first:
                    os.unlink(store.place("ac", record["key"]))
                raise
            os.fsync(fd)
    except FileNotFoundError:
        raise  # nothing was named, and what lies there may be somebody's
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(spare)
        raise
    return record if first else lookup(store, record["key"]) or record


def lookup(store: Store, key: str) -> dict[str, Any] | None:
    """The selected record of a key, or None. One that cannot be read gives way to the key's oldest that can."""
    selected = store.place("ac", key)
    found = _read(selected)
    if found is None and os.path.exists(selected):
        found = next((r for p in _attempts(store, key) if (r := _read(p)) is not None), None)
        if found is not None:
            with contextlib.suppress(OSError):  # a store that is read-only is read as it is
                select(store, found)
    return found


def any_of(store: Store, key: str) -> bool:
    """Whether a key has any attempt."""
    return os.path.exists(store.place("ac", key))


def select(store: Store, record: dict[str, Any]) -> None:
    """Make an attempt the key's result: in place of an unreadable record, or of one whose objects are lost."""
    path = _attempt(store, record)
    spare = f"{path}.{os.urandom(4).hex()}"
    os.link(path, spare)
    os.replace(spare, store.place("ac", record["key"]))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(spare)  # rename(2) leaves it where both names are one file already


def attempts(store: Store, key: str) -> list[dict[str, Any]]:
    """All attempts of a key, oldest first."""
    found = {r["attempt"]: r for p in _attempts(store, key) if (r := _read(p)) is not None}
    selected = _read(store.place("ac", key))  # a build that was killed as it published may have named it only so
    if selected is not None:
        found.setdefault(selected["attempt"], selected)
    return [found[name] for name in sorted(found)]


def _attempt(store: Store, record: dict[str, Any]) -> str:
    return f"{store.place('ac', record['key'])}.{record['attempt']}.json"


def _attempts(store: Store, key: str) -> list[str]:
    folder, _, name = store.place("ac", key).rpartition("/")
    try:
        names = sorted(n for n in os.listdir(folder) if n.startswith(name + ".") and n.endswith(".json"))
    except FileNotFoundError:
        return []
    return [f"{folder}/{n}" for n in names]


_FIELDS = {"attempt": str, "label": str, "preimage": dict, "outputs": dict, "effective": dict}


def _read(path: str) -> dict[str, Any] | None:
    """A record, or None if it is not there or not one that `add` could have written."""
    try:
        record: dict[str, Any] = json_of(read_file(path))
        whole = (
            record["schema"] == SCHEMA
            and hex_of(record["key"]) == os.path.basename(path).partition(".")[0]
            and all(isinstance(record[name], type_) for name, type_ in _FIELDS.items())
            and all(hex_of(digest) for digest in record["outputs"].values())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


def parts_list(store: Store, record: dict[str, Any]) -> str:
    """The list of a record's parts, in order, as `tunekit.parts.listed` takes it; empty where there is none."""
    path = _long_list(store, record)
    return record.get("made") or (path if os.path.isfile(path) else "")


def _long_list(store: Store, record: dict[str, Any]) -> str:
    return f"{store.place('ac', record['key'])}.{record['attempt']}.parts"


def add_part(store: Store, part: str, output: str) -> None:
    """Publish a part that was made because none was there: the entry of a lost one gives way. It is a second name of
    the artifact's tree, whose bytes say themselves which artifact it is: no new file. Not fsynced: one that a power cut
    takes costs its part. Of an artifact that is not there, nothing is written."""
    path, tree = store.place("parts", part), store.place("trees", output)
    try:
        try:
            os.link(tree, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.link(tree, path)
    except FileNotFoundError:
        return
    except FileExistsError:
        spare = f"{path}.{os.getpid()}"
        os.link(tree, spare)
        os.replace(spare, path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(spare)  # rename(2) leaves it where both names are one file already
    except OSError as e:
        if e.errno != errno.EMLINK:
            raise
        with open(tree, "rb") as file:  # of very many parts: a file can have 65,000 names
            replace(path, file.read())


def part_output(store: Store, part: str) -> str | None:
    """The artifact of a part key, if it was ever made."""
    try:
        with open(store.place("parts", part), "rb") as file:
            return tree_digest([tuple(entry) for entry in json_of(file.read())])
    except (OSError, ValueError, TypeError, LookupError):
        return None
