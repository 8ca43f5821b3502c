"""Whether a source names files of the project (version control pins those, the lock all others), or other ones of this
machine: a stranger's project must say so where a reader of its TOML sees it."""

from __future__ import annotations


def is_outside(source: str) -> bool:
    """Whether it leaves the project for another place on this machine, by what it says: this needs `pin = true`."""
    scheme, _, name = source.partition(":")
    if scheme == "git":
        return name.startswith("file:")
    return scheme == "path" and (name.startswith("/") or ".." in name.split("/"))


def in_project(source: str) -> bool:
    return source.startswith("path:") and not is_outside(source)


def pin_faults(source: str, pin: bool) -> list[tuple[str, str, str]]:
    """For the checks of a spec that has both: `pin` where it would say nothing."""
    if not pin or is_outside(source):
        return []
    why = "files of the project are pinned by version control" if in_project(source) else "other sources always are"
    return [("pin", f"`pin` is for files of this machine outside the project; {why}", "leave out `pin`")]
