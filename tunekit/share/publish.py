"""`tunekit publish`: one result as one commit of a repository on a Hugging Face hub, and the proof that it is there.

What the repository has already is not sent again. Weights that are not of this result are removed with the same
commit: a loader would take them for part of it. Everything else in the repository stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tunekit.errors import SourceError, StoreError, UsageError
from tunekit.hashing import PREFIX, sha256_bytes, sha256_file
from tunekit.sources.hub import Hub, Listed, Repository
from tunekit.sources.locator import parse_locator

Files = dict[str, Path | bytes]  # name in the repository → an object of the store, or what it says
_WEIGHTS = (".safetensors", ".safetensors.index.json")


class Change(NamedTuple):
    """One file of the repository."""

    path: str
    size: int
    what: Literal["add", "replace", "same", "delete"]


class Plan(NamedTuple):
    """`parent`: the commit that the changes are of; empty where the repository is not there yet."""

    repository: str
    parent: str
    changes: list[Change]

    @property
    def moving(self) -> list[Change]:
        return [change for change in self.changes if change.what != "same"]


class Place:
    """A repository to publish to."""

    def __init__(self, text: str) -> None:
        try:
            locator = parse_locator(text)
        except SourceError as e:
            raise UsageError(e.message, slug=e.slug, hint=e.hint) from e
        if locator.scheme != "hf" or locator.fragment or locator.revision or locator.name.count("/") != 1:
            hint = "hf:org/name, a repository of a model; its main branch is written to"
            raise UsageError(f"`{text}` is no place to publish to", slug="not-a-repository", hint=hint)
        self.name = locator.name
        self._hub = _Writer(Repository.of(locator), text, False, lambda done, total, unit: None)

    def plan(self, files: Files) -> Plan:
        """What publishing would change. SourceError of the hub."""
        there, parent = self._listing()
        changes = []
        for path, origin in sorted(files.items()):
            known = there.pop(path, None)
            what: Literal["add", "replace", "same"] = "add"
            if known is not None:
                what = "same" if _same(known, origin) else "replace"
            changes.append(Change(path, _size(origin), what))
        changes += [Change(path, f.size, "delete") for path, f in sorted(there.items()) if path.endswith(_WEIGHTS)]
        return Plan(self.name, parent, changes)

    def publish(self, plan: Plan, files: Files, message: str, *, public: bool) -> str:
        """Do it; the commit's URL. The files of the new commit are held against ours.

        UsageError `no-token`; SourceError of the hub; StoreError `publish-not-verified`.
        """
        need_token()
        if not plan.parent:
            self._hub.create(public=public)
        elif not plan.moving:
            return self._hub.url(plan.parent)
        commit = self._hub.commit_all(plan, files, message)
        there = {f.path: f for f in self._hub.listing(commit)}
        wrong = [path for path, origin in files.items() if path not in there or not _same(there[path], origin)]
        if wrong:
            hint = f"look at {self._hub.url(commit)}, then publish again"
            raise StoreError(f"what the hub has is not what was sent: {', '.join(wrong)}", slug="publish-not-verified",
                             hint=hint)  # fmt: skip
        return self._hub.url(commit)

    def _listing(self) -> tuple[dict[str, Listed], str]:
        try:
            parent = self._hub.commit("")
        except SourceError as e:
            if e.slug == "repository-not-found":
                return {}, ""
            raise
        return {f.path: f for f in self._hub.listing(parent)}, parent


class _Writer(Hub):
    """A hub that is written to."""

    def create(self, *, public: bool) -> None:
        name = self.repository.name
        self._ask(lambda: self._api.create_repo(name, repo_type="model", private=not public, exist_ok=True))

    def commit_all(self, plan: Plan, files: Files, message: str) -> str:
        """One commit with all changes, on top of the one that they were planned for."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        def send() -> str:
            moving: list[Any] = []  # anew each time: the library marks what it has sent
            for path, _, what in plan.moving:
                if what == "delete":
                    moving.append(CommitOperationDelete(path_in_repo=path))
                    continue
                origin = files[path]
                data = origin if isinstance(origin, bytes) else str(origin)
                moving.append(CommitOperationAdd(path_in_repo=path, path_or_fileobj=data))
            info = self._api.create_commit(
                self.repository.name, moving, commit_message=message, parent_commit=plan.parent or None
            )
            return str(info.oid)

        return self._ask(send)

    def url(self, commit: str) -> str:
        return f"{self._api.endpoint}/{self.repository.name}/commit/{commit}"


def need_token() -> None:
    """UsageError `no-token` if the user has none: the hub's own message for it is that there is no such repository."""
    from huggingface_hub import get_token

    if not get_token():
        hint = "`hf auth login`, or HF_TOKEN; it needs the right to write"
        raise UsageError("publishing needs a token of the hub", slug="no-token", hint=hint)


def _size(origin: Path | bytes) -> int:
    return len(origin) if isinstance(origin, bytes) else origin.stat().st_size


def _same(there: Listed, origin: Path | bytes) -> bool:
    """Whether a file of the repository has our bytes, by the digest that the hub gives for it."""
    if there.size != _size(origin):
        return False
    if there.sha256:
        return there.sha256 == (sha256_bytes(origin) if isinstance(origin, bytes) else _digest_of(origin))
    h = hashlib.sha1(b"blob %d\0" % there.size, usedforsecurity=False)
    _feed(h.update, origin)
    return h.hexdigest() == there.git_name


def _digest_of(path: Path) -> str:
    """An object of the store is named by its digest."""
    name = path.name
    return PREFIX + name if len(name) == 64 else sha256_file(path)


def _feed(update: Callable[[bytes], object], origin: Path | bytes) -> None:
    if isinstance(origin, bytes):
        update(origin)
        return
    with origin.open("rb") as file:
        while block := file.read(1 << 20):
            update(block)
