"""How many chunks of its rows an action has yet to do. It is known before it runs, once the rows are in the store."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.foreign import json_of
from tunekit.forms import AUTO
from tunekit.kinds import kind_of
from tunekit.parts import chunk_name, part_key
from tunekit.plan.planner import Node, Planner
from tunekit.store import artifacts
from tunekit.store.shelf import StoreShelf


class Chunks(NamedTuple):
    """Different chunks under their settings; `changed`: those that the store has no part of."""

    total: int
    changed: int


def chunks_of(planner: Planner, node: Node) -> Chunks | None:
    """None for an action that does not run, is not made of listed chunks, or whose rows are not there yet. Reads the
    index of each dataset, and no row."""
    if not node.run or not node.bases or "items" not in node.action.spec:
        return None
    import msgspec  # 30 ms, which a plan of nothing does not pay

    kind = kind_of(node.action.kind)
    (role,) = kind.parts
    items = msgspec.convert(node.action.spec, kind.spec_type()).items
    keys: set[str] = set()
    for base, item, digest in zip(node.bases, items, planner.input_digests(node.action)[role], strict=True):
        files = artifacts.whole(planner.store, digest)
        if files is None:
            return None
        index = json_of(files["dataset.json"].read_bytes())
        form = index["shape"] if item.format == AUTO else item.format
        keys.update(part_key(base, chunk_name(chunk["digest"], form)) for chunk in index["chunks"])
    shelf = StoreShelf(planner.store)
    return Chunks(len(keys), sum(shelf.find(key) is None for key in keys))
