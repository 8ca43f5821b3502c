"""Which artifacts are whole in the store. Signatures of what was hashed before are trusted; anything else is looked at.

Names are relative to the store's `objects/`, whose length they save in a state of some ten thousand of them.
"""

from __future__ import annotations

import os
from pathlib import Path

from tunekit.hashing import hex_of, sha256_file
from tunekit.plan.state import ABSENT, State, signature
from tunekit.store import artifacts
from tunekit.store.store import Store


class Presence:
    """Answers for one project's state and one store; what it learns goes into the state."""

    def __init__(self, state: State, store: Store) -> None:
        self.state = state
        self.store = store
        self._base = str(store.root / "objects") + "/"
        self._known: dict[str, str] | None = None

    def whole(self) -> set[str]:
        """All artifacts of the state whose objects are as they were: one pass of stats, nothing is mended."""
        stat, base, found = os.stat, self._base, set()
        for tree, names in self.state.trees.items():
            try:
                for name, sig in names.items():
                    s = stat(base + name)
                    if f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}" != sig:
                        break
                else:
                    found.add(tree)
            except OSError:
                continue
        return found

    def present(self, tree: str) -> bool:
        """Whether every object of an artifact is in the store; one that changed is hashed again."""
        names = self.state.trees.get(tree)
        if names is None:
            return self._enter(tree)
        for name, known in names.items():
            now = signature(self._base + name)
            if now != known and not self._again(names, name, now):
                self._forget(tree)
                return False
        return True

    def listed(self, tree: str) -> bool:
        """Whether an artifact that is present can also be read: its list of files is there, and is the right one."""
        name = _list_name(tree)
        known = self.state.views.get(hex_of(tree), {}).get(name)
        if known == signature(self._base + name) or artifacts.read_tree(self.store, tree) is not None:
            return True
        self._forget(tree)
        return False

    def view(self, tree: str) -> Path:
        """The artifact as a directory for people, mended where somebody edited it. Its signature stands in the
        state, so that a no-op notices. StoreError `missing-artifact` if it cannot be made."""
        path, known = self.store.view(tree), self.state.views.get(hex_of(tree))
        if not known or any(signature(self._base + name) != sig for name, sig in known.items()):
            artifacts.view(self.store, tree)
            folders = [str(path), *(os.path.join(at, d) for at, dirs, _ in os.walk(path) for d in dirs)]
            names = [os.path.relpath(folder, self._base) for folder in folders if not os.path.islink(folder)]
            self.state.views[hex_of(tree)] = {n: signature(self._base + n) for n in [*names, _list_name(tree)]}
            self.state.redrawn = True
        return path

    def _enter(self, tree: str) -> bool:
        """An artifact that the state does not have: every object must be there in full size."""
        entries = artifacts.read_tree(self.store, tree)
        if entries is None:
            return False
        names: dict[str, str] = {}
        for e in entries:
            h = hex_of(e.digest)
            name = f"{h[:2]}/{h}"
            now = signature(self._base + name)
            if now == ABSENT or int(now.split(":")[1]) != e.size:
                return False
            names[name] = now
        known = self._signatures()
        for name, now in names.items():
            if known.get(name, now) != now and not self._again(names, name, now):
                return False
        known.update(names)
        self.state.trees[tree] = names
        self.state.dirty = True
        return True

    def _signatures(self) -> dict[str, str]:
        """Object → signature, over all artifacts: two of them may share a file."""
        if self._known is None:
            self._known = {name: sig for names in self.state.trees.values() for name, sig in names.items()}
        return self._known

    def _again(self, names: dict[str, str], name: str, now: str) -> bool:
        """An object's signature changed: are its bytes what its name says? If not, they are put away."""
        self.state.dirty = True
        if now == ABSENT:
            return False
        path = Path(self._base + name)
        if hex_of(sha256_file(path)) != path.name:
            artifacts.quarantine(self.store, path)
            return False
        names[name] = now
        return True

    def _forget(self, tree: str) -> None:
        self.state.trees.pop(tree, None)
        self.state.dirty = True


def _list_name(tree: str) -> str:
    h = hex_of(tree)
    return f"../trees/{h[:2]}/{h}"
