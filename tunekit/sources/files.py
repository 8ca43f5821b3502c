"""Which files a `path:` source names: a file, a folder or a glob. Nothing is read.

Files are named relative to what was named (see `select`). In folders and globs, names that start with a dot are
left out unless the glob says the dot: editors and systems drop such files, and they must not restale anything.
A symlink counts as what it points to, which must be in the project too. Of a path outside the project it must be in
the folder that is named.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tunekit.errors import SourceError, nearest
from tunekit.inside import is_outside
from tunekit.lockfile import bad_path
from tunekit.sources.locator import parse_locator
from tunekit.sources.select import is_glob, matches, may_hold_matches, split_glob

Wanted = Callable[[str, bool], bool]  # (name below what was named, is it a folder)


def files_of_path(source: str, root: str | os.PathLike[str]) -> list[tuple[str, Path]]:
    """`(name in the artifact, absolute path)` of the files behind `source` (`path:…`), sorted; none of them read.

    SourceError: `source-syntax`, `path-outside-project`, `path-inside-project`, `missing-file`, `not-a-file`.
    """
    try:
        return sorted(_files(source, Path(root)))
    except OSError as e:  # no permission, a name that is too long
        raise SourceError(f"`{source}` cannot be read: {e.strerror}", slug="missing-file") from e


def _files(source: str, root: Path) -> Iterator[tuple[str, Path]]:
    root = Path(os.path.realpath(root))
    start, pattern, root = _beyond(source, root) if is_outside(source) else _within(source, root)
    real = _inside(start, root, source)
    if not real.exists():
        raise _missing(source, start, root)
    if real.is_dir():
        wanted = _of_glob(pattern) if pattern else _not_hidden
        found = list(_walk(real, "", root, source, wanted))
    else:
        found = [] if pattern else [(start.name, real)]
    if not found:
        raise _no_match(source, real, pattern)
    for file_name, file in found:
        yield _checked(file_name, source), _regular(file, source)


def _relative(source: str) -> str:
    """The path in `source`, without `./` and a closing `/`; refuses absolute paths and `..`."""
    name = parse_locator(source).name
    parts = [p for p in name.split("/") if p not in ("", ".")]
    if name.startswith("/") or ".." in parts:
        raise _outside(source)
    return "/".join(parts)


def _within(source: str, root: Path) -> tuple[Path, str, Path]:
    """Where to start, the pattern below it, and the folder that nothing may lead out of."""
    name = _relative(source)
    base, pattern = split_glob(name) if is_glob(name) and not (root / name).exists() else (name, "")
    return root / base, pattern, root


def _beyond(source: str, project: Path) -> tuple[Path, str, Path]:
    """The same of a path outside the project: nothing may lead out of the folder that is named."""
    name = parse_locator(source).name.rstrip("/") or "/"
    base, pattern = split_glob(name) if is_glob(name) and not (project / name).exists() else (name, "")
    start = project / (base or "/")
    real = Path(os.path.realpath(start))
    if real == project or project in real.parents:
        hint = f"write `path:{real.relative_to(project).as_posix()}`, without `pin`"
        raise SourceError(f"`{source}` names files of the project", slug="path-inside-project", hint=hint)
    return start, pattern, real if pattern or real.is_dir() else real.parent


def _inside(path: Path, root: Path, source: str) -> Path:
    """Where `path` really is; SourceError `path-outside-project` if a link leads out."""
    real = Path(os.path.realpath(path))
    if real != root and root not in real.parents:
        raise _outside(source, f": `{path.relative_to(root)}` is a link that leads out")
    return real


def _not_hidden(name: str, is_folder: bool) -> bool:
    return not name.rpartition("/")[2].startswith(".")


def _of_glob(pattern: str) -> Wanted:
    def wanted(name: str, is_folder: bool) -> bool:
        return may_hold_matches(name, pattern) if is_folder else matches(name, pattern)

    return wanted


def _walk(
    folder: Path, prefix: str, root: Path, source: str, wanted: Wanted, above: tuple[Path, ...] = ()
) -> Iterator[tuple[str, Path]]:
    """Wanted files under `folder` (a real path); nothing else is looked into. `above` catches links that loop."""
    if folder in above:
        raise SourceError(f"`{source}`: `{prefix.rstrip('/')}` is a link to a folder above it", slug="not-a-file")
    with os.scandir(folder) as entries:
        items = sorted(entries, key=lambda e: e.name)
    for item in items:
        name = prefix + item.name
        is_folder = item.is_dir()
        if not wanted(name, is_folder):
            continue
        real = folder / item.name
        if item.is_symlink():
            real = _inside(real, root, source)
        if is_folder:
            yield from _walk(real, name + "/", root, source, wanted, (*above, folder))
        else:
            yield name, real


def _checked(name: str, source: str) -> str:
    if reason := bad_path(name):
        raise SourceError(f"`{source}`: file name {name!r} {reason}", slug="not-a-file", hint="rename the file")
    return name


def _regular(file: Path, source: str) -> Path:
    try:
        mode = file.stat().st_mode
    except OSError as e:
        raise SourceError(f"`{source}`: `{file.name}` cannot be read: {e.strerror}", slug="missing-file") from e
    if not stat.S_ISREG(mode):
        raise SourceError(f"`{source}`: `{file.name}` is not a regular file", slug="not-a-file")
    return file


def _missing(source: str, start: Path, root: Path) -> SourceError:
    """Names the first part that is not there, and the nearest names beside it."""
    gone = start
    while not gone.parent.exists():
        gone = gone.parent
    beside = [e.name for e in gone.parent.iterdir()] if gone.parent.is_dir() else []
    where = "" if is_outside(source) else gone.parent.relative_to(root).as_posix()
    place = f"`{gone.parent}`" if is_outside(source) else "the project" if where == "." else f"`{where}`"
    message = f"`{source}`: there is no `{gone.name}` in {place}"
    return SourceError(message, slug="missing-file", hint=nearest(gone.name, beside))


def _no_match(source: str, base: Path, pattern: str) -> SourceError:
    if not pattern:
        hint = "a folder's files whose names start with a dot are left out"
        return SourceError(f"`{source}`: that folder holds no file", slug="missing-file", hint=hint)
    beside = [e.name for e in base.iterdir()] if base.is_dir() else []
    return SourceError(f"`{source}`: no file matches", slug="missing-file", hint=nearest(pattern, beside))


def _outside(source: str, why: str = "") -> SourceError:
    hint = "copy the files into the project; a pinned path outside of it is not supported yet"
    return SourceError(f"`{source}` leaves the project{why}", slug="path-outside-project", hint=hint)
