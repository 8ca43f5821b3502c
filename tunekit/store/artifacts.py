"""Artifacts: immutable trees of files, named by their digest. Objects first, then the tree that names them."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tunekit.errors import StoreError
from tunekit.foreign import json_of
from tunekit.hashing import PREFIX, sha256_bytes, sha256_file, tree_digest, tree_digest_of
from tunekit.store.disk import fsync_dir, read_file, write_new
from tunekit.store.store import Store

_NONE: Mapping[tuple[int, ...], str] = {}


class Entry(NamedTuple):
    """One file of an artifact. `path` is relative, with `/`."""

    path: str
    size: int
    executable: bool
    digest: str


def signature(info: os.stat_result) -> tuple[int, ...]:
    """Which file this is, and when its bytes were last written."""
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def seal(store: Store, directory: Path, hashed: Mapping[tuple[int, ...], str] = _NONE) -> str:
    """Publish a directory: every file becomes an object (moved out of `directory`), then the tree. Its digest.
    `hashed`: digests of files by their signature, where somebody hashed them as they were written.

    Idempotent: what is there already is kept. A link to one of the store's objects is that object: an artifact takes
    a file from another one that way. Raises StoreError for other links and special files.
    """
    entries = []
    folders: set[Path] = set()
    for path in sorted(_files(store, directory)):
        if path.is_symlink():
            entries.append(Entry(str(path.relative_to(directory)), path.stat().st_size, False, PREFIX + _target(path)))
            continue
        entries.append(_seal_file(store, path, str(path.relative_to(directory)), folders, hashed))
    for folder in folders:
        fsync_dir(folder)
    return write_tree(store, entries)


def _files(store: Store, directory: Path) -> list[Path]:
    found = []
    for folder, names, files in os.walk(directory):
        for name in names + files:
            path = Path(folder) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and _is_object(store, path)):
                found.append(path)
            elif not stat.S_ISDIR(mode):
                raise StoreError(f"{path.relative_to(directory)} is not a plain file: artifacts hold no links")
    return found


def _target(link: Path) -> str:
    """The last name in what a link says."""
    return os.path.basename(os.readlink(link))


def _is_object(store: Store, link: Path) -> bool:
    """Whether a link leads to the object that it names."""
    try:
        return os.path.samestat(link.stat(), os.stat(store.place("objects", PREFIX + _target(link))))
    except (ValueError, FileNotFoundError):
        return False


def _seal_file(store: Store, path: Path, name: str, folders: set[Path], hashed: Mapping[tuple[int, ...], str]) -> Entry:
    info = path.stat()
    digest = hashed.get(signature(info)) or _object_named(store, path, info) or sha256_file(path)
    entry = Entry(name, info.st_size, bool(info.st_mode & 0o100), digest)
    add_object(store, path, digest, info.st_size, folders)
    return entry


def _object_named(store: Store, path: Path, info: os.stat_result) -> str:
    """The digest of a file that is a link to the object of its name (`<64 hex>.arrow`): a chunk that an artifact took
    from another one is not read again."""
    digest = PREFIX + path.stem
    try:
        if info.st_nlink > 1 and os.path.samestat(info, store.object(digest).stat()):
            return digest
    except (ValueError, FileNotFoundError):
        pass
    return ""


def add_object(store: Store, path: Path, digest: str, size: int, folders: set[Path]) -> None:
    """Make a file's bytes an object; `folders` collects the directories that still need an fsync."""
    target = store.object(digest)
    try:
        if target.stat().st_size == size:
            return
        quarantine(store, target)  # a torn or edited object of that name: ours is the right one
    except FileNotFoundError:
        pass
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o444)
        os.fsync(fd)
    finally:
        os.close(fd)
    if not target.parent.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        fsync_dir(target.parent.parent)
    try:
        os.link(path, target)
    except FileExistsError:  # another process was first
        return
    folders.add(target.parent)


def add_bytes(store: Store, data: bytes) -> str:
    """One small file as an object (a log, a metrics history). Its digest."""
    digest = sha256_bytes(data)
    target = store.place("objects", digest)
    try:
        with open(target, "rb") as file:
            if file.read() == data:
                return digest
        quarantine(store, Path(target))
    except FileNotFoundError:
        pass
    write_new(target, data, store.tmp)
    return digest


def write_tree(store: Store, entries: list[Entry]) -> str:
    digest = tree_digest(list(entries))
    target = store.tree(digest)
    if not target.exists():
        body = json.dumps([list(e) for e in sorted(entries)], separators=(",", ":"), ensure_ascii=False)
        write_new(target, body.encode(), store.tmp)
    return digest


def read_tree(store: Store, digest: str) -> list[Entry] | None:
    """The files of an artifact, or None if the tree is not there or is not what its name says."""
    try:
        body = read_file(store.place("trees", digest))
        entries = [Entry(*e) for e in json_of(body)]
        ok = tree_digest_of(body) == digest or tree_digest(list(entries)) == digest
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError):
        ok = False
    if not ok:
        quarantine(store, store.tree(digest))
        return None
    return entries


def whole(store: Store, digest: str) -> dict[str, Path] | None:
    """Where the files of an artifact are (path → object), or None if one of them is not there."""
    entries = read_tree(store, digest)
    if entries is None:
        return None
    files = {e.path: store.object(e.digest) for e in entries}
    try:
        return files if all(files[e.path].stat().st_size == e.size for e in entries) else None
    except FileNotFoundError:
        return None


def view(store: Store, digest: str) -> Path:
    """The artifact as a directory of relative links into `objects/`. One that was edited is made anew."""
    target = store.view(digest)
    entries = read_tree(store, digest)
    if entries is None:
        raise StoreError(
            f"artifact {digest} is not in the store", slug="missing-artifact", hint="`tunekit build` again"
        )
    wanted = {e.path: _link_to(store, e) for e in entries}
    if target.is_dir():
        if _links_in(target) == wanted:
            return target
        quarantine(store, target)
    spare = store.tmp / f"view-{os.getpid()}-{os.urandom(6).hex()}"
    try:
        spare.mkdir()
        for path, text in wanted.items():
            link = spare / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(text)
        os.rename(spare, target)
    except OSError:
        import shutil

        shutil.rmtree(spare, ignore_errors=True)
        if not target.is_dir():  # another process made the same view first
            raise
    return target


def _link_to(store: Store, entry: Entry) -> str:
    """From views/<hex>/<path> up to the store's root, then down to the object."""
    h = store.object(entry.digest)
    return "../" * (2 + entry.path.count("/")) + f"objects/{h.parent.name}/{h.name}"


def _links_in(view: Path) -> dict[str, str]:
    """Every file of a view: path → what its link says; empty for what is no link."""
    found = {}
    for folder, names, files in os.walk(view):
        for name in names + files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                found[os.path.relpath(path, view)] = os.readlink(path)
            elif name in files:
                found[os.path.relpath(path, view)] = ""
    return found


def quarantine(store: Store, path: Path) -> None:
    """Move a bad file out of the way; it is kept for whoever wants to look at it."""
    folder = store.root / "quarantine"
    folder.mkdir(exist_ok=True)
    try:
        os.rename(path, folder / f"{path.name}-{os.urandom(4).hex()}")
    except FileNotFoundError:
        return


def copy_out(store: Store, digest: str, target: Path) -> None:
    """Real, writable files in a new directory."""
    import shutil

    for e in read_tree(store, digest) or []:
        path = target / e.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(store.object(e.digest), path)
        if sha256_file(path) != e.digest:
            quarantine(store, store.object(e.digest))
            message = f"{e.path} had rotted in the store, and is in {store.root / 'quarantine'} now"
            raise StoreError(message, slug="corrupt", hint="`tunekit build` makes it again; and look at the disk")
        if e.executable:
            path.chmod(0o755)
