"""Reading TOML with positions: tomllib for the values, a line scan for where a key stands."""

from __future__ import annotations

import math
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from tunekit import foreign
from tunekit.errors import Problem

_HEADER = re.compile(r"\s*\[\[?\s*(?P<path>[^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*(?P<key>(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_POSITION = re.compile(r"\(at line (\d+), column \d+\)")


class Document(NamedTuple):
    """One TOML file: its values, and its text for positions. `name` is relative to the project."""

    name: str
    values: dict[str, Any]
    text: str

    def line(self, path: tuple[str, ...]) -> int:
        """Line of a table or key, or of the nearest enclosing one; 0 if it is not there."""
        return _locate(self.text, path)


def read(path: Path, name: str, problems: list[Problem]) -> Document | None:
    """Parse a file; syntax errors and non-finite numbers become problems."""
    try:
        data = foreign.read_plain(path, foreign.TOML_BYTES)
        text = data.decode()
    except FileNotFoundError:
        problems.append(Problem("missing-file", f"{name} does not exist", name))
        return None
    except OSError as e:
        problems.append(Problem("missing-file", f"{name} cannot be read: {e.strerror}", name))
        return None
    except UnicodeDecodeError as e:
        problems.append(Problem("bad-toml", f"{name} is not UTF-8 (byte {e.start})", name))
        return None
    except foreign.Unfit as e:
        problems.append(Problem("bad-toml", f"{name} {e}", name))
        return None
    try:
        values = foreign.toml_of(data)
    except tomllib.TOMLDecodeError as e:
        found = _POSITION.search(str(e))
        line = int(found[1]) if found else 0
        message = _POSITION.sub("", str(e)).strip()
        slug = "duplicate-target" if message.startswith("Cannot declare") else "bad-toml"
        problems.append(Problem(slug, f"not valid TOML: {message}", name, line))
        return None
    except foreign.Unfit as e:
        problems.append(Problem("bad-toml", f"{name} {e}", name))
        return None
    document = Document(name, values, text)
    for where in non_finite(values):
        problems.append(
            Problem(
                "non-finite",
                "inf and nan are not settings",
                name,
                document.line(where),
                ".".join(where[:-1]),
                where[-1],
            )
        )
    return document


def read_inside(root: Path, path: Path, problems: list[Problem]) -> Document | None:
    """The same for a file that was found: one that is a link out of the project is not followed."""
    name = str(path.relative_to(root))
    if not foreign.inside(root, path):
        problems.append(Problem("path-outside-project", f"{name} is a link that leaves the project", name))
        return None
    return read(path, name, problems)


def non_finite(value: Any, where: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where an inf or nan stands."""
    if isinstance(value, float):
        return [] if math.isfinite(value) else [where]
    if isinstance(value, dict):
        return [w for k, v in value.items() for w in non_finite(v, (*where, k))]
    if isinstance(value, list):
        return [w for v in value for w in non_finite(v, where)]
    return []


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(p.strip().strip("\"'") for p in re.findall(r"\"[^\"]*\"|'[^']*'|[^.\s]+", dotted))


def _locate(text: str, path: tuple[str, ...]) -> int:
    first, below = _index(text)
    if path in below:
        return below[path]  # `[run.x]` is where a table `run` begins, `adapter.r = 3` where `adapter` does
    return next((first[path[:n]] for n in range(len(path), 0, -1) if path[:n] in first), 0)


@lru_cache(maxsize=8)  # a file with a thousand mistakes is looked through once
def _index(text: str) -> tuple[dict[tuple[str, ...], int], dict[tuple[str, ...], int]]:
    """The first line of every table and key as written, and of what is above them in name."""
    first: dict[tuple[str, ...], int] = {}
    below: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header:
            table = _parts(header["path"])
            found: tuple[str, ...] = table
        else:
            key = _KEY.match(line)
            if not key:
                continue
            found = table + _parts(key["key"])
        first.setdefault(found, number)
        for n in range(1, len(found) + 1):
            below.setdefault(found[:n], number)
    return first, below
