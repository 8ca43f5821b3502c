"""Which files a source means: one file, everything under a folder, or a glob.

A name in the artifact is relative to what was named: a file keeps its last part, a file of a folder its path in
the folder, a match of a glob its path below the part that has no wildcard (`a/b/*.txt`: below `a/b`).
Wildcards are the shell's (`*`, `?`, `[…]`, none crosses a `/` or takes a leading dot), `**` is any depth.
"""

from __future__ import annotations

from fnmatch import fnmatchcase


def is_glob(path: str) -> bool:
    return any(c in path for c in "*?[")


def split_glob(path: str) -> tuple[str, str]:
    """`a/b/*.txt` → (`a/b`, `*.txt`): the folder without wildcards ("" for none), and the pattern below it."""
    parts = path.split("/")
    fixed = next(i for i, part in enumerate(parts) if is_glob(part))
    return "/".join(parts[:fixed]), "/".join(parts[fixed:])


def matches(path: str, pattern: str) -> bool:
    """Whether the glob names `path`; both relative, with `/`."""
    return _reach(path.split("/"), pattern.split("/"))[-1]


def may_hold_matches(folder: str, pattern: str) -> bool:
    """Whether something below `folder` could match: what a walk must look into."""
    parts = pattern.split("/")
    reach = _reach(folder.split("/"), parts)
    return any(reach[:-1]) or (parts[-1] == "**" and reach[-1])


def _reach(parts: list[str], pattern: list[str]) -> list[bool]:
    """`[j]`: whether the first j parts of the pattern can match all of `parts`."""
    reach = [True] + [False] * len(pattern)
    for j, p in enumerate(pattern):
        reach[j + 1] = reach[j] and p == "**"
    for part in parts:
        row = [False] * (len(pattern) + 1)
        for j, p in enumerate(pattern):
            if p == "**":
                row[j + 1] = row[j] or (reach[j + 1] and not part.startswith("."))
            else:
                row[j + 1] = reach[j] and _match_part(part, p)
        reach = row
    return reach


def _match_part(part: str, pattern: str) -> bool:
    hidden = part.startswith(".") and not pattern.startswith(".")
    return not hidden and fnmatchcase(part, pattern)


def name_in_artifact(path: str, fragment: str) -> str:
    """What `path` (in an archive) is called in the artifact of `fragment`, "" if it is not part of it."""
    if not fragment:
        return path
    if is_glob(fragment):
        base, pattern = split_glob(fragment)
        below = path[len(base) + 1 :] if base else path
        return below if (not base or path.startswith(base + "/")) and matches(below, pattern) else ""
    if path == fragment:
        return path.rpartition("/")[2]
    return path[len(fragment) + 1 :] if path.startswith(fragment + "/") else ""
