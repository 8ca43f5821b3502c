"""Reading a lock: strict, and every refusal names the line."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from tunekit.errors import LockError, nearest
from tunekit.foreign import LOCK_BYTES, Unfit, inside, read_plain, toml_of
from tunekit.hashing import hex_of
from tunekit.label import parse_label
from tunekit.lockfile.blocks import (
    MAX_SIZE,
    VERSION,
    Archive,
    Environment,
    FileEntry,
    Lock,
    RecipeBlock,
    ResultBlock,
    SourceBlock,
    bad_path,
    empty_lock,
    recipe_of,
    tree_of,
)
from tunekit.lockfile.filelines import without_files
from tunekit.lockfile.writing import dump_lock, key_of, text_of

_RELOCK = "run `tunekit lock` to write this block again"


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
    return read_lock(data, Path(path).name)


def read_lock(data: bytes, name: str) -> Lock:
    """A lock's bytes; `name` is what errors call it."""
    return _as_written(data, name) or _Reader(data, name).lock()


def _as_written(data: bytes, name: str) -> Lock | None:
    """A lock that is to the byte what tunekit writes, read without TOML's parser for its files. None: it is not."""
    try:
        text, files = without_files(data.decode())
        lock = _Reader(text.encode(), name, files).lock()
        return lock if dump_lock(lock).encode() == data else None
    except (LockError, ValueError, IndexError):
        return None


class _Reader:
    """Turns one lock's bytes into blocks. `at` = (header line of the table, which one of them, what to look for)."""

    def __init__(self, data: bytes, file: str, files: list[tuple[FileEntry, ...]] | None = None) -> None:
        """`files`: those of each source, where they have been taken out of `data`."""
        self.file = file
        self.taken = files
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
        recipes = {name: self.recipe(name, table) for name, table in self.body.get("recipes", {}).items()}
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
        if not 0 <= table["size"] < MAX_SIZE:
            raise self.fail("lock-wrong-type", f"{what}: size {table['size']} is out of range", at)

    def source(self, nth: int, table: Any) -> SourceBlock:
        head = ("[[source]]", nth, "")
        kinds = {"source": str, "revision": str, "archive": dict, "tree": str, "check": str, "files": list}
        self.check(table, kinds, {"source", "tree", "files"}, head, "[[source]]")
        name = table["source"]
        what = f"source `{name}`"
        files = tuple(sorted(self.file_entry(nth, f, what) for f in table["files"]))
        if self.taken is not None:
            files = self.taken[nth]
        if not files or len({f.path for f in files}) != len(files):
            problem = "names a file twice" if files else "has no files"
            raise self.fail("lock-duplicate" if files else "lock-missing-key", f"{what} {problem}", head)
        tree = self.digest(table["tree"], ("[[source]]", nth, "tree ="), f"tree of {what}")
        if tree != tree_of(files):
            message = f"{what}: `tree` is not the digest of `files`, so one of them was edited"
            raise self.fail("lock-tampered", message, ("[[source]]", nth, "tree ="))
        block = SourceBlock(name, table.get("revision", ""), self.archive(nth, table, what), tree, files)
        if table.get("check", block.check) != block.check:
            message = f"{what}: `check` does not fit its source, revision, archive and tree, so one of them was edited"
            raise self.fail("lock-tampered", message, ("[[source]]", nth, "check ="))
        return block

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
        at = ("[[source]]", nth, text_of(path) if named and not bad_path(path) else (path or "files"))
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

    def recipe(self, name: str, table: Any) -> RecipeBlock:
        at = (f"[recipes.{key_of(name)}]", 0, "")
        what = f"recipe `{name}`"
        self.check(table, {"digest": str, "settings": dict}, {"digest", "settings"}, at, what)
        found = RecipeBlock(self.digest(table["digest"], (at[0], 0, "digest ="), what), table["settings"])
        try:
            whole = recipe_of(found.settings) == found
        except (TypeError, ValueError) as e:
            raise self.fail("lock-wrong-type", f"{what}: {e}", at) from None
        if not whole:
            message = f"{what}: `digest` is not that of its settings, so one of them was edited"
            raise self.fail("lock-tampered", message, (at[0], 0, "digest ="))
        return found

    def result(self, nth: int, table: Any, before: list[ResultBlock]) -> ResultBlock:
        at = ("[[result]]", nth, "")
        required = {"label": str, "key": str, "attempt": (str, int), "outputs": dict}
        kinds = {**required, "metrics": dict, "determinism": str}
        body = self.check(table, kinds, set(required), at, "[[result]]")
        hint = "`tunekit promote` writes this block again; without it the store's first success counts"
        if parse_label(body["label"]) is None:
            raise self.fail("lock-bad-label", f"{body['label']!r} is not a label", ("[[result]]", nth, "label"), hint)
        self.digest(body["key"], ("[[result]]", nth, "key"), f"key of `{body['label']}`")
        for role, digest in body["outputs"].items():
            self.digest(digest, ("[[result]]", nth, "outputs"), f"output `{role}` of `{body['label']}`")
        for name, figure in body.get("metrics", {}).items():
            if type(figure) not in (int, float) or figure != figure or abs(figure) == float("inf"):
                here = ("[[result]]", nth, "metrics")
                raise self.fail("lock-wrong-type", f"metric `{name}` of `{body['label']}` is no finite number", here)
        found = ResultBlock(**body)
        for other in before:
            same = (other.attempt, other.outputs) == (found.attempt, found.outputs)
            if other.key == found.key and (other.label == found.label or not same):
                message = f"`{found.label}` and `{other.label}` give one key two results"
                raise self.fail("lock-duplicate", message, ("[[result]]", nth, "key"), hint)
        return found
