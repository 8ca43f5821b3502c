"""The `[remote]` table: where results are shared, and what this project does with that place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from tunekit.errors import DeclarationError, Problem
from tunekit.manifest.convert import Place, convert
from tunekit.manifest.find import MANIFEST
from tunekit.manifest.toml import Document, read
from tunekit.spec import Spec, operational

ENVIRONMENT = "TUNEKIT_REMOTE"


class RemoteSettings(Spec, frozen=True, kw_only=True):
    """Where results are shared (docs/remote.md). `TUNEKIT_REMOTE` names another place for one call; empty: none."""

    url: Annotated[
        str, operational("A folder, `s3://bucket/prefix` or any other fsspec URL, or `https://…` (read only).")
    ]
    read: Annotated[bool, operational("Builds take from it what it has.")] = True
    write: Annotated[bool, operational("`tunekit push` may add to it.")] = True

    def checks(self) -> list[tuple[str, str, str]]:
        fault = url_fault(self.url)
        return [("url", *fault)] if fault else []


class Chosen(NamedTuple):
    """The remote of one call. `declared`: the project said it, not the user who calls."""

    url: str
    read: bool
    write: bool
    declared: bool


def url_fault(url: str) -> tuple[str, str] | None:
    """What is wrong with a remote's URL, and the way out."""
    if not url.strip():
        return "the URL of the remote is empty", "a folder, `s3://bucket/prefix`, `https://…`; or remove the table"
    parts = urlsplit(url) if "://" in url else None
    if parts and (parts.username or parts.password):
        hint = "keep them in the environment or in the cloud's own configuration files"
        return "the URL of the remote holds credentials", hint
    if parts and parts.scheme != "file" and not parts.netloc:
        return f"`{url}` names no host or bucket", "for instance s3://bucket/prefix"
    return None


def remote_table(first: Document, problems: list[Problem]) -> RemoteSettings | None:
    """The table of a project's first file, if there is one."""
    table = first.values.get("remote")
    place = Place(first, ("remote",))
    if table is None:
        return None
    if not isinstance(table, dict):
        problems.append(Place(first, ()).problem("wrong-type", "`remote` is a table", "remote", '[remote]\nurl = "…"'))
        return None
    found = convert(table, RemoteSettings, place, problems)
    return found if isinstance(found, RemoteSettings) else None


def said(root: Path) -> bool:
    """Whether there may be a remote at all: a build without one reads no TOML for it."""
    return bool(os.environ.get(ENVIRONMENT)) or b"remote" in (root / MANIFEST).read_bytes()


def chosen_remote(root: Path) -> Chosen | None:
    """What this call shares with: $TUNEKIT_REMOTE, else the project's table, else nothing. The rest of the project is
    not read. Raises DeclarationError for a table or a URL that is wrong."""
    problems: list[Problem] = []
    table = None
    if b"remote" in (root / MANIFEST).read_bytes():
        first = read(root / MANIFEST, MANIFEST, problems)
        table = remote_table(first, problems) if first else None
    given = os.environ.get(ENVIRONMENT)
    if given is not None and given.strip() and (fault := url_fault(given)):
        problems.append(Problem("bad-value", f"{ENVIRONMENT}: {fault[0]}", hint=fault[1]))
    if problems:
        raise DeclarationError(problems)
    read_, write = (table.read, table.write) if table else (True, True)
    if given is not None:
        return Chosen(given.strip(), read_, write, declared=False) if given.strip() else None
    return Chosen(table.url, read_, write, declared=True) if table else None
