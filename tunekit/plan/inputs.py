"""Digests of what comes from outside the graph: sources, code, installed packages."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tunekit.errors import SourceError
from tunekit.hashing import sha256_bytes
from tunekit.inside import in_project
from tunekit.lockfile import Lock
from tunekit.plan.closure import closure
from tunekit.plan.state import ABSENT, State, site_signature


class Inputs:
    """Asks the state first; looks at the world only where a signature changed."""

    def __init__(self, root: Path, state: State, lock: Lock) -> None:
        self.root = root
        self.state = state
        self.lock = lock
        self._versions: dict[str, str] | None = None
        self._code: dict[str, dict[str, str]] = {}
        self._resolved: set[str] = set()  # sources that were looked at since they changed

    def source(self, locator: str) -> str | None:
        """Digest of a source's tree; None if it is not locked. Raises SourceError for a bad `path:`."""
        if not in_project(locator):
            block = self.lock.sources.get(locator)
            return block.tree if block else None
        known = self.state.sources.get(locator)
        if known and known[0] and (locator in self._resolved or self.state.changed.isdisjoint(known[1])):
            return str(known[0])
        from tunekit.sources.path import resolve_path

        tree = resolve_path(locator, self.root, self.digest).tree
        watched = _watched(self.root, locator)
        for name in watched:
            if name not in self.state.watch or name in self.state.changed:
                self.state.look(name)
        self.state.sources[locator] = [tree, watched]
        self._resolved.add(locator)
        self.state.dirty = True
        return tree

    def digest(self, path: str) -> str:
        """Digest of a file by its absolute path: the state's, while the file's signature holds."""
        return self.state.digest(_relative(self.root, path))

    def code(self, file: str) -> dict[str, str]:
        """Path → digest of the file and of the project modules it imports."""
        done = self._code.get(file)
        if done is not None:
            return done
        state = self.state
        known = state.closures.get(file)
        if not known or not state.changed.isdisjoint(known):
            files, absent = closure(self.root, file)
            for path in absent:
                state.look(path)
            state.closures[file] = known = files + absent
            state.dirty = True
        out = {path: self._code_digest(path) for path in known if state.watch.get(path) != ABSENT}
        self._code[file] = out
        return out

    def _code_digest(self, path: str) -> str:
        """Digest of a code file with its line ends as `\\n`, kept by the digest of its bytes."""
        raw, known = self.state.digest(path), self.state.code
        if raw not in known:
            known[raw] = sha256_bytes(unix_lines((self.root / path).read_bytes()))
            self.state.dirty = True
        return known[raw]

    def version(self, package: str) -> str:
        """Public version of an installed distribution (no `+cpu`); `-` if it is not installed."""
        if self._versions is None:
            site = site_signature()
            if self.state.packages.get("site") != site:
                self.state.packages = {"site": site, "versions": {}}
                self.state.dirty = True
            self._versions = self.state.packages["versions"]
        found = self._versions.get(package)
        if found is None:
            found = self._versions[package] = installed(package)
            self.state.dirty = True
        return found


def unix_lines(data: bytes) -> bytes:
    """Code as every system checks it out."""
    return data.replace(b"\r\n", b"\n")


def installed(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package).partition("+")[0]
    except PackageNotFoundError:
        return ABSENT


def expect_sources(root: Path, state: State, locators: Iterable[str]) -> None:
    """Watch the files of `path:` sources that no plan has looked at yet: a cached graph must not outlive them."""
    for locator in locators:
        if in_project(locator) and locator not in state.sources:
            state.sources[locator] = ["", _watched(root, locator)]
            for name in state.sources[locator][1]:
                if name not in state.watch:
                    state.look(name)


def sources_hold(root: Path, state: State) -> bool:
    """Whether the sources whose files have changed are still there; if not, the declaration is wrong now."""
    from tunekit.sources.files import files_of_path

    for locator, (_, watched) in state.sources.items():
        if not state.changed.isdisjoint(watched):
            try:
                files_of_path(locator, root)
            except SourceError:
                return False
    return True


def _watched(root: Path, locator: str) -> list[str]:
    """What a `path:` source is made of: its files, and the folders in which one more would join it."""
    from tunekit.sources.files import files_of_path

    return [_relative(root, str(path)) for _, path in files_of_path(locator, root)] + _folders(root, locator)


def _relative(root: Path, path: str) -> str:
    return path.removeprefix(os.path.realpath(root) + "/")


def _folders(root: Path, locator: str) -> list[str]:
    """Folders in which a new file would join a `path:` source."""
    pattern = locator.removeprefix("path:").strip("/")
    fixed = []
    for part in pattern.split("/"):
        if any(c in part for c in "*?["):
            break
        fixed.append(part)
    start = root.joinpath(*fixed)
    if not start.is_dir():
        return []
    return [os.path.relpath(folder, root) for folder, _, _ in os.walk(start)]
