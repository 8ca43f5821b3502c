"""What verbs that use the remote share: which one it is, whether it is trusted, and the planner that asks it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.errors import TrustError, UsageError
from tunekit.hashing import sha256_bytes
from tunekit.manifest.remote import ENVIRONMENT, Chosen, chosen_remote
from tunekit.plan.planner import Planner

if TYPE_CHECKING:
    from tunekit.share.remote_place import Place

NAME = "[remote] url"


def trust_name(chosen: Chosen) -> dict[str, str]:
    """What `tunekit trust` says yes to: results of a place that a project named count for all projects of a store."""
    return {f"{NAME} = {chosen.url}": sha256_bytes(b"tunekit/remote/1\0" + chosen.url.encode())}


def declared_remote(root: Path) -> dict[str, str]:
    """The same of the project's own table; empty without one."""
    chosen = chosen_remote(root)
    return trust_name(chosen) if chosen and chosen.declared else {}


def attach(planner: Planner, *, required: bool = False, trusted: bool = False, verb: str = "") -> Chosen | None:
    """Let the planner ask the project's remote, if it has one that may be read. `required`: its failures are errors.
    `verb`: one that is about the remote, and so needs one. UsageError `no-remote`, TrustError."""
    root = planner.inputs.root
    chosen = chosen_remote(root)
    if chosen is None:
        if verb or required:
            raise no_remote()
        return None
    if not (chosen.read or verb):
        return None
    if chosen.declared and not trusted and not _trusted(root, chosen, strict=bool(verb) or required):
        return None
    from tunekit.plan.elsewhere import Elsewhere
    from tunekit.share.remote import Remote, open_place

    remote = Remote(open_place(chosen.url, root if chosen.declared else Path.cwd()), warn, required=required)
    planner.elsewhere = Elsewhere(planner, remote)
    return chosen


def target_place(root: Path) -> Place:
    """Where `push` writes. UsageError `no-remote`, `remote-write-off`, `remote-read-only`."""
    from tunekit.share.remote import open_place
    from tunekit.share.remote_place import read_only

    chosen = chosen_remote(root)
    if chosen is None:
        raise no_remote()
    if not chosen.write:
        hint = "set `write = true` in [remote] of tunekit.toml"
        raise UsageError(f"this project does not write to {chosen.url}", slug="remote-write-off", hint=hint)
    if chosen.declared:
        _trusted(root, chosen, strict=True)
    place = open_place(chosen.url, root if chosen.declared else Path.cwd())
    if not place.writable:
        raise read_only(place.url)
    return place


def no_remote() -> UsageError:
    hint = f'[remote]\nurl = "…" in tunekit.toml, or {ENVIRONMENT}=…'
    return UsageError("this project has no remote", slug="no-remote", hint=hint)


def _trusted(root: Path, chosen: Chosen, *, strict: bool) -> bool:
    from tunekit.build import trust

    if not trust.untrusted(root, trust_name(chosen)):
        return True
    message = f"the remote {chosen.url} of this project is not one that you have trusted"
    hint = f"its results would count for all your projects; if that is right: tunekit trust   (or {ENVIRONMENT}=…)"
    if strict:
        raise TrustError(message, hint=hint)
    warn("not-trusted", f"{message}: it is not used ({hint})")
    return False


def warn(slug: str, message: str) -> None:
    print(f"warning[{slug}]: {message}", file=sys.stderr)
