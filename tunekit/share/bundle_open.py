"""`tunekit bundle --open`: a stranger's archive into a new folder and the store (docs/bundle.md).

Nothing of it is run or trusted. Every file is held against its sha256 before anything is named after it; objects come
first, then the artifacts, then the records, then the folder. What the store has already stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tunekit import diskspace
from tunekit.build import history, links
from tunekit.errors import SourceError, StoreError, TunekitError, UsageError
from tunekit.hashing import PREFIX, digest_of, hex_of
from tunekit.label import parse_label
from tunekit.lockfile import bad_path, load_lock
from tunekit.manifest.find import MANIFEST
from tunekit.plan.project import LOCK
from tunekit.share.bundle_archive import FIRST, SCHEMA, suffix_of
from tunekit.share.bundle_store import Listed, error, flipped, publish
from tunekit.sources.archive import MAX_MEMBERS, Member, members_of
from tunekit.store import artifacts
from tunekit.store.disk import fsync_dir
from tunekit.store.store import Store

_RATIO = 200  # bytes that one byte of an archive may unpack to: text gives 5, zeros give 1,000 and more
_SLACK = 64 << 20
_SMALL = 64 << 20  # bytes of a file that is read into memory: the head, a record, the list of an artifact
_BLOCK = 1 << 20
_PLACE = re.compile(
    r"(objects|trees)/[0-9a-f]{64}\Z|records/[0-9a-f]{64}/[0-9A-Za-z][0-9A-Za-z-]{0,63}\.(json|parts)\Z"
)


class Opened(NamedTuple):
    """What `open_bundle` did. `results`: records that the store did not have; `kept`: labels whose result the store
    has already, with other bytes."""

    folder: Path
    labels: list[str]
    files: int
    objects: int
    artifacts: int
    results: int
    kept: list[str]


class Head(msgspec.Struct, forbid_unknown_fields=True):
    """`bundle.json`."""

    schema: str
    tunekit: str
    labels: list[str]
    results: dict[str, Any]
    members: list[tuple[str, int, str]]
    digest: str


def open_bundle(file: Path, target: Path, store: Store, *, results: bool = True) -> Opened:
    """Unpack `file` into `target`, a folder that is not there or empty. `results=False`: of the store's part only
    what the lock pins, which nobody has to be believed for.

    UsageError `not-empty`, `archive-unsupported`, `missing-file`. StoreError: `bundle-corrupt` (bytes are not what
    their digest says, or cut off), `bundle-unsafe`, `not-a-bundle`, `bundle-version`, `disk-full`.
    """
    suffix_of(file.name)
    if not file.is_file():
        raise UsageError(f"there is no {file}", slug="missing-file")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is not an empty folder", slug="not-empty", hint="name a new one")
    target.parent.mkdir(parents=True, exist_ok=True)
    spare = target.with_name(f".{target.name}.{os.getpid()}")
    spare.mkdir()
    try:
        reader = _Reader(file, store, spare)
        head = reader.read()
        opened = _opened(reader, head, spare, target, results=results)
        if target.is_dir():
            target.rmdir()
        os.rename(spare, target)
        fsync_dir(target.parent)
    except BaseException:
        shutil.rmtree(spare, ignore_errors=True)
        raise
    links.register(target, store)  # from here on gc knows whose results these are
    return opened


def _opened(reader: _Reader, head: Head, folder: Path, target: Path, *, results: bool) -> Opened:
    store, listed = reader.store, reader.listed
    pinned = None if results else _pinned(folder)
    added = publish(store, listed, pinned)
    for label, record in added.records:
        history.append(folder, label, record, "bundle")
    return Opened(target, head.labels, reader.files, reader.objects, added.artifacts, added.new, added.kept)


def _pinned(folder: Path) -> set[str]:
    """Hex of the artifacts that the bundle's lock names."""
    try:
        return {hex_of(block.tree) for block in load_lock(folder / LOCK).sources.values()}
    except TunekitError as e:
        raise error("bundle-unsafe", f"its lock cannot be read: {e.message}") from e


class _Reader:
    """One pass through the archive: project files into `folder`, objects into the store, the rest into memory."""

    def __init__(self, file: Path, store: Store, folder: Path) -> None:
        self.file, self.store, self.folder = file, store, folder
        self.listed = Listed({}, {}, {})
        self.objects = self.files = 0
        self._folders: set[Path] = set()

    def read(self) -> Head:
        limit = self.file.stat().st_size * _RATIO + _SLACK
        try:
            members = members_of(self.file, self.file.name, limit=limit)
            first = next(members, None)
            if first is None or first.path != FIRST or first.is_link:
                raise error("not-a-bundle", f"{self.file} is not a bundle: it does not begin with {FIRST}")
            head = self._head(_small(first))
            self._room(head)
            left = {path: (size, sha256) for path, size, sha256 in head.members}
            for member in members:
                self._take(member, left)
        except SourceError as e:
            slug = "bundle-corrupt" if e.slug == "archive-corrupt" else "bundle-unsafe"
            raise error(slug, e.message) from e
        if left:
            raise error("bundle-corrupt", f"the bundle is cut off: {len(left)} files are missing, {min(left)} first")
        for folder in self._folders:
            fsync_dir(folder)
        if not (self.folder / MANIFEST).is_file():
            raise error("not-a-bundle", f"it holds no {MANIFEST}")
        return head

    def _head(self, data: bytes) -> Head:
        try:
            body = msgspec.json.decode(data)
            if body["schema"] != SCHEMA:
                raise error("bundle-version", f"a bundle of version {body['schema']!r}; this tunekit reads {SCHEMA}")
            head = msgspec.convert(body, Head)
            if body.pop("digest") != digest_of(body, SCHEMA):
                raise flipped(FIRST)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as e:
            raise error("bundle-corrupt", f"{FIRST}: {e}") from e
        names = [path for path, _, _ in head.members]
        if len(set(names)) != len(names) or len(names) >= MAX_MEMBERS:
            raise error("bundle-unsafe", "it lists a file twice, or too many")
        for path, size, sha256 in head.members:
            if why := _bad_member(path, size, sha256):
                raise error("bundle-unsafe", f"{path!r} {why}")
        if any(parse_label(label) is None for label in head.labels):
            raise error("bundle-unsafe", "it is of something that is no label")
        folders = {path[:i] for path in names for i, c in enumerate(path) if c == "/"}
        if both := folders.intersection(names):
            raise error("bundle-unsafe", f"{min(both)!r} is a file and a folder")
        return head

    def _room(self, head: Head) -> None:
        diskspace.need(self.store.root)
        for place, part in ((self.store.root, "objects/"), (self.folder, "project/")):
            wanted = sum(size for path, size, _ in head.members if path.startswith(part))
            found = diskspace.room(place)
            if wanted > found.free:
                message = f"the bundle holds {wanted:,} bytes; there is too little room at {found}"
                raise StoreError(message, slug="disk-full", hint="tunekit gc --yes, or another TUNEKIT_STORE")

    def _take(self, member: Member, left: dict[str, tuple[int, str]]) -> None:
        if member.path not in left or member.is_link:
            raise error("bundle-unsafe", f"it holds {member.path!r}, which it does not list as a file")
        size, sha256 = left.pop(member.path)
        if member.size != size:
            raise error("bundle-corrupt", f"{member.path} has {member.size} bytes, not {size}")
        kind, _, rest = member.path.partition("/")
        if kind == "objects":
            self._object(member, sha256)
        elif kind == "project":
            self._project_file(member, rest, sha256)
        else:
            data = _small(member)
            if PREFIX + hashlib.sha256(data).hexdigest() != sha256:
                raise flipped(member.path)
            part = self.listed.trees if kind == "trees" else self.listed.records
            (self.listed.parts if rest.endswith(".parts") else part)[rest.removesuffix(".parts")] = data

    def _object(self, member: Member, sha256: str) -> None:
        self.objects += 1
        spare = self.store.tmp / f"{os.getpid()}-{os.urandom(6).hex()}"
        try:
            _copy(member, spare, sha256)
            artifacts.add_object(self.store, spare, sha256, member.size, self._folders)
        finally:
            spare.unlink(missing_ok=True)

    def _project_file(self, member: Member, name: str, sha256: str) -> None:
        self.files += 1
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _copy(member, path, sha256)


def _bad_member(path: str, size: int, sha256: str) -> str:
    """Why a listed file is not one that `tunekit bundle` writes; "" if it may be."""
    try:
        hex_of(sha256)
    except ValueError:
        return "has no digest"
    if size < 0:
        return "has a size below nothing"
    if path.startswith("project/"):
        name = path.removeprefix("project/")
        hidden = any(part.startswith(".") for part in name.split("/"))
        return bad_path(name) or ("is a hidden file" if hidden else "")
    if not _PLACE.match(path):
        return "is no place of a bundle"
    if path.startswith("objects/") and path.removeprefix("objects/") != hex_of(sha256):
        return "is not named by its digest"
    return "is too large to be one" if not path.startswith("objects/") and size > _SMALL else ""


def _small(member: Member) -> bytes:
    if member.size > _SMALL:
        raise error("bundle-unsafe", f"{member.path} has {member.size:,} bytes")
    with member.open() as stream:
        return stream.read(member.size)


def _copy(member: Member, path: Path, sha256: str) -> None:
    """A new file of the member's bytes. StoreError `bundle-corrupt` if they are others; then nothing is left of it."""
    found = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with member.open() as stream, open(os.open(path, flags, 0o644), "wb") as out:
        while block := stream.read(_BLOCK):
            found.update(block)
            out.write(block)
    if PREFIX + found.hexdigest() != sha256:
        path.unlink()
        raise flipped(member.path)
