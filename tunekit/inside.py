"""Whether a `path:` source names files of the project: version control pins those, the lock all others."""

from __future__ import annotations


def is_outside(source: str) -> bool:
    """Whether a `path:` leaves the project, by what it says: such a one needs `pin = true` and is locked."""
    scheme, _, name = source.partition(":")
    return scheme == "path" and (name.startswith("/") or ".." in name.split("/"))


def in_project(source: str) -> bool:
    return source.startswith("path:") and not is_outside(source)


def pin_faults(source: str, pin: bool) -> list[tuple[str, str, str]]:
    """For the checks of a spec that has both: `pin` where it would say nothing."""
    if not pin or is_outside(source):
        return []
    why = "files of the project are pinned by version control" if in_project(source) else "other sources always are"
    return [("pin", f"`pin` is for a `path:` outside the project; {why}", "leave out `pin`")]
