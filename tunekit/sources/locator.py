"""`scheme:locator[@revision][#fragment]`: what a source string says, before anything is looked up."""

from __future__ import annotations

import re
from typing import NamedTuple

from tunekit.errors import SourceError, nearest
from tunekit.lockfile import bad_path

WORKING = ("path", "pypi")
LATER = ("hf", "git", "https", "http", "npm", "s3", "gs", "gcs", "az", "abfs", "ftp", "sftp", "hdfs", "memory")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")  # as the packaging specifications have it
_NOW = "this version reads " + " and ".join(f"`{s}:`" for s in WORKING)


class Locator(NamedTuple):
    """`path:`: `name` is everything after the colon (file names may hold `@` and `#`), the rest is empty.
    `pypi:`: `name` is the distribution, `revision` a version or "", `fragment` a path in the archive or ""."""

    scheme: str
    name: str
    revision: str = ""
    fragment: str = ""


def parse_locator(source: str) -> Locator:
    """The parts of `source`.

    SourceError: `source-syntax`, `source-not-yet` (a scheme of a later version), `source-no-pin` (`make:`),
    `unknown-scheme`.
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
    if scheme == "make":
        hint = "name its output by the label of the target that makes it"
        raise SourceError(f"`{source}`: `make:` is an action, not a source with a pin", slug="source-no-pin", hint=hint)
    if scheme in LATER or rest.startswith("//"):
        hint = f"{_NOW}; put the files into the project and use `path:`"
        raise SourceError(f"`{source}`: `{scheme}:` sources do not work yet", slug="source-not-yet", hint=hint)
    hint = nearest(scheme, [*WORKING, *LATER]) if len(scheme) > 1 else _NOW
    raise SourceError(f"`{source}`: unknown scheme `{scheme}:`", slug="unknown-scheme", hint=hint)


def is_later(source: str) -> bool:
    """Whether `source` has a scheme that only a later version reads: legal to declare and to plan, not to lock."""
    try:
        parse_locator(source)
    except SourceError as e:
        return e.slug == "source-not-yet"
    return False


def _pypi(source: str, rest: str) -> Locator:
    package, hash_sign, fragment = rest.partition("#")
    name, at, revision = package.partition("@")
    example = "`pypi:name@1.0#folder/in/the/archive`; `@version` and `#path` may be left out"
    if not _PACKAGE.match(name):
        raise _syntax(source, f"{name!r} is not the name of a package", example)
    if at and not revision.strip():
        raise _syntax(source, "there is no version after `@`", example)
    fragment = fragment.rstrip("/")
    if hash_sign and (reason := bad_path(fragment)):
        raise _syntax(source, f"the path {fragment!r} {reason}", example)
    return Locator("pypi", name, revision.strip(), fragment)


def _syntax(source: str, why: str, hint: str) -> SourceError:
    return SourceError(f"`{source}` is not a source: {why}", slug="source-syntax", hint=hint)
