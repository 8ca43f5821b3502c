"""`scheme:locator[@revision][#fragment]`: what a source string says, before anything is looked up."""

from __future__ import annotations

import re
from typing import NamedTuple

from tunekit.errors import SourceError, nearest
from tunekit.lockfile import bad_path
from tunekit.sources.urls import FS_EXAMPLE, fs_parts, git_parts, web_parts

WORKING = ("path", "pypi", "npm", "hf", "git", "https", "http")
# Of the schemes that fsspec has drivers for, those that people use; others are looked up in fsspec's own list.
FILE_SYSTEMS = (
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "ssh", "sftp", "ftp", "smb", "hdfs", "webhdfs", "oci",
    "oss", "webdav", "memory",
)  # fmt: skip
# Drivers that wrap another one, run code, reach what another scheme is for, or read this machine's files.
_NOT_PLACES = (
    "file", "local", "dir", "zip", "tar", "libarchive", "reference", "cached", "blockcache", "filecache", "simplecache",
    "asynclocal", "data", "generic", "dask", "asyncwrapper", "async_wrapper", "git", "github", "hf", "jupyter", "jlab",
)  # fmt: skip
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")  # as the packaging specifications have it
_PART = r"\w(?:[\w.-]{0,94}\w)?"  # as huggingface_hub's `validate_repo_id` has it
_REPOSITORY = re.compile(
    rf"(?:(?:datasets|tokenizers)/)?(?!(?:datasets|tokenizers|models|spaces)/){_PART}/{_PART}\Z", re.ASCII
)
_PREFIX = {"dataset": "datasets/", "tokenizer": "tokenizers/"}  # kind of the target → what it uses a repository as
_NOW = "this version reads " + ", ".join(f"`{s}:`" for s in WORKING) + " and what fsspec has a driver for (`s3://…`)"

_PYPI_EXAMPLE = "`pypi:name@1.0#folder/in/the/archive`; `@version` and `#path` may be left out"
_NPM = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-zA-Z0-9~-][a-zA-Z0-9._~-]{0,213}\Z")
_NPM_EXAMPLE = "`npm:@scope/name@1.0.0#folder/in/it`; `@version` (or a tag) and `#path` may be left out"
_HUB_EXAMPLE = "`hf:org/name@main#folder/*.parquet`; `@revision` and `#path` may be left out"


class Locator(NamedTuple):
    """`path:`: `name` is everything after the colon (file names may hold `@` and `#`), the rest is empty.
    `pypi:`: `name` is the distribution, `revision` a version or "", `fragment` a path in the archive or "".
    `npm:`: as `pypi:`, `name` with its `@scope/`; `revision` may be a tag.
    `hf:`: `name` is `org/name` (a model), `datasets/org/name` or `tokenizers/org/name`, `revision` a branch, tag or
    commit or "", `fragment` a path in the repository or "".
    `git:`: `name` is the URL, the rest as for `hf:`. `https:`, `http:`: `name` is the URL, `fragment` a path in the
    archive or "". A scheme of fsspec: `name` is the URL, `fragment` a path or glob below it or ""."""

    scheme: str
    name: str
    revision: str = ""
    fragment: str = ""


def parse_locator(source: str) -> Locator:
    """The parts of `source`.

    SourceError: `source-syntax`, `source-no-pin` (`make:`), `unknown-scheme`, `credentials-in-source`,
    `insecure-source`.
    """
    scheme, colon, rest = source.partition(":")
    if not colon or not _SCHEME.match(scheme):
        raise _syntax(source, "it has no scheme", "for instance `path:data/train.jsonl` or `pypi:name@1.0#file.txt`")
    if scheme == "path":
        if not rest or "\0" in rest:
            raise _syntax(source, "it names no file", "`path:` and a file, folder or glob of the project")
        return Locator("path", rest)
    if scheme == "pypi":
        return _pypi(source, rest)
    if scheme == "hf":
        return _hf(source, rest)
    if scheme == "git":
        return Locator("git", *git_parts(source, rest))
    if scheme in ("https", "http"):
        url, fragment = web_parts(source)
        return Locator(scheme, url, "", fragment)
    if scheme == "npm":
        return _npm(source, rest)
    if scheme == "make":
        hint = "name its output by the label of the target that makes it"
        raise SourceError(f"`{source}`: `make:` is an action, not a source with a pin", slug="source-no-pin", hint=hint)
    if scheme in FILE_SYSTEMS or (rest.startswith("//") and _has_driver(scheme)):
        if not rest.startswith("//"):
            raise _syntax(source, f"`{scheme}:` is followed by `//`", FS_EXAMPLE)
        url, fragment = fs_parts(source)
        return Locator(scheme, url, "", fragment)
    hint = nearest(scheme, [*WORKING, *FILE_SYSTEMS]) if len(scheme) > 1 else _NOW
    if scheme == "dataset":
        hint = f'rows of another dataset: `from = ["{source}"]` instead of `source`'
    raise SourceError(f"`{source}`: unknown scheme `{scheme}:`", slug="unknown-scheme", hint=hint)


def _has_driver(scheme: str) -> bool:
    """Whether fsspec knows a driver that reaches files elsewhere, installed or not."""
    if scheme in _NOT_PLACES:
        return False
    from fsspec.registry import known_implementations, registry

    return scheme in known_implementations or scheme in registry


def used_as(source: str, kind: str) -> str:
    """`source`, saying what a target of `kind` uses it as: `hf:org/name` is a dataset's or a tokenizer's by the table
    it stands in, and the string that the lock is looked up by must tell them apart."""
    prefix = _PREFIX.get(kind, "")
    name = source.removeprefix("hf:")
    if name == source or not prefix or name.startswith(tuple(_PREFIX.values())):
        return source
    return f"hf:{prefix}{name}"


def as_locked(source: str, known: list[str]) -> str:
    """The only one of the lock's sources that `source`, as written in TOML, can mean; else `source` itself."""
    found = {used_as(source, kind) for kind in ("", *_PREFIX)} & set(known)
    return found.pop() if len(found) == 1 else source


def _hf(source: str, rest: str) -> Locator:
    name, revision, fragment = _three(source, rest, _HUB_EXAMPLE)
    if not _REPOSITORY.match(name) or "--" in name or ".." in name or name.endswith(".git"):
        raise _syntax(source, f"{name!r} is not `org/name`", _HUB_EXAMPLE)
    if ".." in revision or any(c.isspace() or ord(c) < 32 for c in revision):
        raise _syntax(source, f"{revision!r} is not a branch, tag or commit", _HUB_EXAMPLE)
    return Locator("hf", name, revision, fragment)


def _pypi(source: str, rest: str) -> Locator:
    name, revision, fragment = _three(source, rest, _PYPI_EXAMPLE)
    if not _PACKAGE.match(name):
        raise _syntax(source, f"{name!r} is not the name of a package", _PYPI_EXAMPLE)
    return Locator("pypi", name, revision, fragment)


def _npm(source: str, rest: str) -> Locator:
    scope, slash, tail = rest.partition("/") if rest.startswith("@") else ("", "", rest)
    name, revision, fragment = _three(source, tail, _NPM_EXAMPLE)
    if not _NPM.match(scope + slash + name) or any(c.isspace() for c in revision):
        raise _syntax(source, f"{scope + slash + name!r} is not the name of a package", _NPM_EXAMPLE)
    return Locator("npm", scope + slash + name, revision, fragment)


def _three(source: str, rest: str, example: str) -> tuple[str, str, str]:
    """Name, revision and path of `name[@revision][#path]`. A `/` at the path's end says nothing."""
    named, hash_sign, fragment = rest.partition("#")
    name, at, revision = named.partition("@")
    if at and not revision.strip():
        raise _syntax(source, "there is no version after `@`", example)
    fragment = fragment.rstrip("/")
    if hash_sign and (reason := bad_path(fragment)):
        raise _syntax(source, f"the path {fragment!r} {reason}", example)
    return name, revision.strip(), fragment


def _syntax(source: str, why: str, hint: str) -> SourceError:
    return SourceError(f"`{source}` is not a source: {why}", slug="source-syntax", hint=hint)
