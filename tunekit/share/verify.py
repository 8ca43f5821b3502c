"""Hashing the store again: a bad object or tree is put into quarantine, so that the next build makes it anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tunekit.hashing import hex_of, sha256_file
from tunekit.store import artifacts
from tunekit.store.store import Store


class Verdict(NamedTuple):
    """`bad`: names (`objects/<hex>`, `trees/<hex>`) that were not what they are called; moved to quarantine."""

    objects: int
    trees: int
    size: int
    bad: list[str]


def verify(store: Store, say: Callable[[int, int], None] = lambda done, total: None) -> Verdict:
    """Read every object and tree. `say(done, total)` is called after each object."""
    bad: list[str] = []
    size = 0
    objects = sorted((store.root / "objects").glob("*/*"))
    for done, path in enumerate(objects, 1):
        try:
            count, digest = path.stat().st_size, sha256_file(path)
        except FileNotFoundError:
            continue
        size += count
        if hex_of(digest) != path.name:
            artifacts.quarantine(store, path)
            bad.append(f"objects/{path.name}")
        say(done, len(objects))
    trees = sorted((store.root / "trees").glob("*/*"))
    for path in trees:
        if artifacts.read_tree(store, "sha256:" + path.name) is None:  # which moves it away itself
            bad.append(f"trees/{path.name}")
    return Verdict(len(objects), len(trees), size, bad)
