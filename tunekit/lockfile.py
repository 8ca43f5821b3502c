"""`tunekit.lock`: what the world could change, pinned.

One sorted block per source string as written (revision, the archive it came in, every used file and the
digest of the artifact they make), the environment, promoted results and recipe digests. There is no global
hash, each file stands on its own line, and the text is a function of the content: two branches that add
different sources merge without a conflict, and writing what was read gives the same bytes.

Every refusal is a LockError that names file, line and the way out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from tunekit.errors import LockError, nearest
from tunekit.foreign import LOCK_BYTES, Unfit, inside, read_plain, toml_of
from tunekit.hashing import hex_of, tree_digest
from tunekit.label import parse_label

VERSION = 1
_HEADER = "# Written by tunekit. Commit it; `tunekit lock` brings it up to date.\n"
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")
_RELOCK = "run `tunekit lock` to write this block again"
_MAX_SIZE = 2**63


class FileEntry(NamedTuple):
    """One used file: its name in the artifact, bytes, `sha256:…`."""

    path: str
    size: int
    sha256: str


class Archive(NamedTuple):
    """The file that an index serves and that the used files are read from."""

    name: str
    size: int
    sha256: str


class SourceBlock(NamedTuple):
    """One pinned source. `tree` is the digest of the artifact that `files` (sorted by path) make."""

    source: str
    revision: str
    archive: Archive | None
    tree: str
    files: tuple[FileEntry, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a request to a worker."""
        return {
            "source": self.source,
            "revision": self.revision,
            "archive": self.archive._asdict() if self.archive else None,
            "tree": self.tree,
            "files": [f._asdict() for f in self.files],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> SourceBlock:
        """The inverse of `to_json`; KeyError or TypeError for anything else."""
        archive = Archive(**body["archive"]) if body["archive"] else None
        files = tuple(FileEntry(**f) for f in body["files"])
        return cls(body["source"], body["revision"], archive, body["tree"], files)


class Environment(NamedTuple):
    """One profile: the Python version and public versions (no `+local`) by distribution name."""

    python: str
    packages: dict[str, str]


class ResultBlock(NamedTuple):
    """A promoted attempt: the result of `key`, whatever else the store holds."""

    label: str
    key: str
    attempt: str | int
    outputs: dict[str, str]  # role → artifact digest


class Lock(NamedTuple):
    """The whole file. Its dicts and list are the caller's to change; the order in them does not matter."""

    sources: dict[str, SourceBlock]
    environments: dict[str, Environment]
    results: list[ResultBlock]
    recipes: dict[str, str]


def empty_lock() -> Lock:
    return Lock({}, {}, [], {})


def block_of(source: str, revision: str, archive: Archive | None, files: list[FileEntry]) -> SourceBlock:
    """A block whose files are sorted and whose tree is computed."""
    ordered = tuple(sorted(files))
    return SourceBlock(source, revision, archive, _tree(ordered), ordered)


def _tree(files: tuple[FileEntry, ...]) -> str:
    return tree_digest([(f.path, f.size, False, f.sha256) for f in files])


def bad_path(path: str) -> str:
    """Why `path` cannot be the name of a file inside an artifact; "" if it can."""
    if not path or path.startswith("/"):
        return "is not a relative path"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty, `.` or `..` part"
    if "\\" in path or any(ord(c) < 32 or ord(c) == 127 for c in path):
        return "holds a backslash or a control character"
    try:
        too_long = any(len(part.encode()) > 255 for part in path.split("/"))
    except UnicodeEncodeError:
        return "is not valid UTF-8"
    return "has a part longer than 255 bytes" if too_long else ""


# -- reading -----------------------------------------------------------------------------------------------


def load_lock(path: str | os.PathLike[str]) -> Lock:
    """The lock at `path`; an empty one if there is no file. LockError if it is not one we could have written."""
    try:
        data = read_plain(path, LOCK_BYTES)
    except FileNotFoundError:
        return empty_lock()
    except Unfit as e:
        hint = "delete it and run `tunekit lock`"
        raise LockError(f"{Path(path).name} {e}", slug="lock-not-toml", hint=hint) from None
    if not inside(Path(path).parent, path):
        message, hint = f"{Path(path).name} is a link that leaves the project", "copy it into the project"
        raise LockError(message, slug="path-outside-project", hint=hint)
    return _Reader(data, Path(path).name).lock()


class _Reader:
    """Turns one lock's bytes into blocks. `at` = (header line of the table, which one of them, what to look for)."""

    def __init__(self, data: bytes, file: str) -> None:
        self.file = file
        self.lines = data.decode("utf-8", "replace").splitlines()
        try:
            self.body = toml_of(data)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, Unfit) as e:
            raise self._not_toml(e) from None

    def _not_toml(self, e: Exception) -> LockError:
        for number, line in enumerate(self.lines, 1):
            if line.startswith("<<<<<<< "):
                hint = "keep one side of it, then run `tunekit lock`"
                return self._error("lock-conflict", "an unresolved merge conflict", number, hint)
        found = re.search(r"at line (\d+)", str(e))
        hint = "restore it from version control, or delete it and run `tunekit lock`"
        return self._error("lock-not-toml", f"not TOML: {e}", int(found[1]) if found else 1, hint)

    def _error(self, slug: str, message: str, line: int, hint: str) -> LockError:
        return LockError(f"{self.file}:{line}: {message}", slug=slug, hint=hint, file=self.file, line=line)

    def fail(self, slug: str, message: str, at: tuple[str, int, str], hint: str = _RELOCK) -> LockError:
        return self._error(slug, message, self._line(*at), hint)

    def _line(self, header: str, nth: int, needle: str) -> int:
        """The line of `needle` in the nth table called `header` ("": anywhere), else the table's own."""
        start = 0
        if header:
            heads = [i for i, line in enumerate(self.lines) if line.replace(" ", "") == header]
            if nth >= len(heads):
                return 1
            start = heads[nth]
        for i in range(start, len(self.lines)):
            if header and i > start and self.lines[i].startswith("["):
                break
            if needle and needle in self.lines[i]:
                return i + 1
        return start + 1

    def lock(self) -> Lock:
        version = self.body.get("version")
        if version != VERSION or type(version) is not int:
            hint = "a newer tunekit wrote it: upgrade, or delete the file and run `tunekit lock`"
            raise self.fail("lock-version", f"lock version {version!r}, expected {VERSION}", ("", 0, "version"), hint)
        kinds = {"version": int, "environment": dict, "recipes": dict, "result": list, "source": list}
        self.check(self.body, kinds, {"version"}, ("", 0, ""), "lock")
        recipes = self.body.get("recipes", {})
        for name, digest in recipes.items():
            self.digest(digest, ("[recipes]", 0, name), f"recipe `{name}`")
        environments = {name: self.environment(name, e) for name, e in self.body.get("environment", {}).items()}
        results: list[ResultBlock] = []
        for i, table in enumerate(self.body.get("result", [])):
            results.append(self.result(i, table, results))
        sources: dict[str, SourceBlock] = {}
        for i, table in enumerate(self.body.get("source", [])):
            block = self.source(i, table)
            if block.source in sources:
                at = ("[[source]]", i, "source =")
                raise self.fail("lock-duplicate", f"source `{block.source}` has two blocks", at)
            sources[block.source] = block
        return Lock(sources, environments, results, recipes)

    def check(
        self, table: Any, kinds: dict[str, Any], required: set[str], at: tuple[str, int, str], what: str
    ) -> dict[str, Any]:
        """`table`, if it is a table with exactly the keys of `kinds` (at least `required`), typed as they say."""
        if type(table) is not dict:
            raise self.fail("lock-wrong-type", f"{what} is not a table", at)
        header, nth, fallback = at
        for key, value in table.items():
            here = (header, nth, fallback or key)
            if key not in kinds:
                raise self.fail("lock-unknown-key", f"unknown key `{key}` in {what}", here, nearest(key, list(kinds)))
            wanted = kinds[key] if isinstance(kinds[key], tuple) else (kinds[key],)
            if type(value) not in wanted:
                names = " or ".join(t.__name__ for t in wanted)
                raise self.fail("lock-wrong-type", f"`{key}` of {what} is not of type {names}", here)
        for key in sorted(required - set(table)):
            raise self.fail("lock-missing-key", f"{what} has no `{key}`", at)
        return table

    def digest(self, value: Any, at: tuple[str, int, str], what: str) -> str:
        try:
            hex_of(value)
        except (ValueError, AttributeError):
            raise self.fail("lock-bad-digest", f"{what}: {value!r} is not `sha256:` and 64 hex digits", at) from None
        return str(value)

    def sized(self, table: dict[str, Any], at: tuple[str, int, str], what: str) -> None:
        self.digest(table["sha256"], at, what)
        if not 0 <= table["size"] < _MAX_SIZE:
            raise self.fail("lock-wrong-type", f"{what}: size {table['size']} is out of range", at)

    def source(self, nth: int, table: Any) -> SourceBlock:
        head = ("[[source]]", nth, "")
        kinds = {"source": str, "revision": str, "archive": dict, "tree": str, "files": list}
        self.check(table, kinds, {"source", "tree", "files"}, head, "[[source]]")
        name = table["source"]
        what = f"source `{name}`"
        files = tuple(sorted(self.file_entry(nth, f, what) for f in table["files"]))
        if not files or len({f.path for f in files}) != len(files):
            problem = "names a file twice" if files else "has no files"
            raise self.fail("lock-duplicate" if files else "lock-missing-key", f"{what} {problem}", head)
        tree = self.digest(table["tree"], ("[[source]]", nth, "tree ="), f"tree of {what}")
        if tree != _tree(files):
            message = f"{what}: `tree` is not the digest of `files`, so one of them was edited"
            raise self.fail("lock-tampered", message, ("[[source]]", nth, "tree ="))
        return SourceBlock(name, table.get("revision", ""), self.archive(nth, table, what), tree, files)

    def archive(self, nth: int, table: dict[str, Any], what: str) -> Archive | None:
        if "archive" not in table:
            return None
        at = ("[[source]]", nth, "archive")
        kinds = {"name": str, "size": int, "sha256": str}
        body = self.check(table["archive"], kinds, set(kinds), at, f"archive of {what}")
        self.sized(body, at, f"archive of {what}")
        if bad_path(body["name"]) or "/" in body["name"]:
            raise self.fail("lock-bad-path", f"archive of {what}: {body['name']!r} is not a file name", at)
        return Archive(**body)

    def file_entry(self, nth: int, table: Any, what: str) -> FileEntry:
        named = isinstance(table, dict) and isinstance(table.get("path"), str)
        path = table["path"] if named else ""
        at = ("[[source]]", nth, _text(path) if named and not bad_path(path) else (path or "files"))
        kinds = {"path": str, "size": int, "sha256": str}
        self.check(table, kinds, set(kinds), at, f"file {path!r} of {what}")
        if reason := bad_path(path):
            raise self.fail("lock-bad-path", f"file {path!r} of {what} {reason}", at)
        self.sized(table, at, f"file {path!r} of {what}")
        return FileEntry(**table)

    def environment(self, name: str, table: Any) -> Environment:
        at = (f"[environment.{name}]", 0, "")
        what = f"environment `{name}`"
        self.check(table, {"python": str, "packages": dict}, {"python", "packages"}, at, what)
        for package, version in table["packages"].items():
            here = (f"[environment.{name}.packages]", 0, package)
            if type(version) is not str:
                raise self.fail("lock-wrong-type", f"version of `{package}` in {what} is not of type str", here)
            if "+" in version:
                message = f"`{package} {version}` in {what} has a local version; the lock holds public ones"
                raise self.fail("lock-local-version", message, here)
        return Environment(table["python"], table["packages"])

    def result(self, nth: int, table: Any, before: list[ResultBlock]) -> ResultBlock:
        at = ("[[result]]", nth, "")
        kinds = {"label": str, "key": str, "attempt": (str, int), "outputs": dict}
        body = self.check(table, kinds, set(kinds), at, "[[result]]")
        hint = "`tunekit promote` writes this block again; without it the store's first success counts"
        if parse_label(body["label"]) is None:
            raise self.fail("lock-bad-label", f"{body['label']!r} is not a label", ("[[result]]", nth, "label"), hint)
        self.digest(body["key"], ("[[result]]", nth, "key"), f"key of `{body['label']}`")
        for role, digest in body["outputs"].items():
            self.digest(digest, ("[[result]]", nth, "outputs"), f"output `{role}` of `{body['label']}`")
        found = ResultBlock(**body)
        for other in before:
            same = (other.attempt, other.outputs) == (found.attempt, found.outputs)
            if other.key == found.key and (other.label == found.label or not same):
                message = f"`{found.label}` and `{other.label}` give one key two results"
                raise self.fail("lock-duplicate", message, ("[[result]]", nth, "key"), hint)
        return found


# -- writing -----------------------------------------------------------------------------------------------


def dump_lock(lock: Lock) -> str:
    """The file's text: sorted, and the same for equal locks."""
    out = [_HEADER, f"version = {VERSION}\n"]
    for name, environment in sorted(lock.environments.items()):
        out.append(f"\n[environment.{_key(name)}]\npython = {_text(environment.python)}\n")
        out.append(f"\n[environment.{_key(name)}.packages]\n" + _pairs(environment.packages))
    if lock.recipes:
        out.append("\n[recipes]\n" + _pairs(lock.recipes))
    for result in sorted(lock.results, key=lambda r: (r.label, r.key, str(r.attempt))):
        attempt = result.attempt if isinstance(result.attempt, int) else _text(result.attempt)
        out.append(f"\n[[result]]\nlabel = {_text(result.label)}\nkey = {_text(result.key)}\nattempt = {attempt}\n")
        outputs = ", ".join(f"{_key(role)} = {_text(digest)}" for role, digest in sorted(result.outputs.items()))
        out.append(f"outputs = {{ {outputs} }}\n" if outputs else "outputs = {}\n")
    out.extend(_source_text(lock.sources[name]) for name in sorted(lock.sources))
    return "".join(out)


def _source_text(block: SourceBlock) -> str:
    out = [f"\n[[source]]\nsource = {_text(block.source)}\n"]
    if block.revision:
        out.append(f"revision = {_text(block.revision)}\n")
    if block.archive:
        name, size, sha256 = block.archive
        out.append(f"archive = {{ name = {_text(name)}, size = {size}, sha256 = {_text(sha256)} }}\n")
    out.append(f"tree = {_text(block.tree)}\nfiles = [\n")
    out.extend(
        f"    {{ path = {_text(f.path)}, size = {f.size}, sha256 = {_text(f.sha256)} }},\n" for f in sorted(block.files)
    )
    out.append("]\n")
    return "".join(out)


def _pairs(table: dict[str, str]) -> str:
    return "".join(f"{_key(k)} = {_text(v)}\n" for k, v in sorted(table.items()))


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL, which TOML wants escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.match(name) else _text(name)


def save_lock(lock: Lock, path: str | os.PathLike[str]) -> bool:
    """Write the lock atomically (temporary file, fsync, rename); False, and no write, if the bytes are equal."""
    target = Path(path)
    data = dump_lock(lock).encode()
    with contextlib.suppress(FileNotFoundError):
        if target.read_bytes() == data:
            return False
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True
