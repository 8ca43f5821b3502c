"""Bytes that a stranger may have written: read and parsed within bounds, whatever they hold.

A project is a folder that somebody sent. Looking at it must end soon, in little memory, with an answer or a named
error: so files have a size, TOML a depth, numbers 64 bits, and a parser that gives up gives up in one way.
"""

from __future__ import annotations

import json
import os
import stat
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a no-op parses neither TOML nor Python
    import ast
    import re

MB = 1 << 20
TOML_BYTES = 4 * MB
LOCK_BYTES = 32 * MB
CODE_BYTES = 1 * MB
STATE_BYTES = 512 * MB
DEPTH = 64  # of tables and arrays


class Unfit(ValueError):
    """A file that is not read, or not parsed; the message goes after its name ("is 5 MB: …")."""


def read_plain(path: str | os.PathLike[str], limit: int) -> bytes:
    """A regular file's bytes. Unfit if it is larger, or no regular file (a pipe would be waited for); OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        info = os.fstat(fd)
        if stat.S_ISDIR(info.st_mode):
            raise IsADirectoryError(21, "Is a directory")
        if not stat.S_ISREG(info.st_mode):
            raise Unfit("is not a regular file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise Unfit(f"is larger than {limit // MB} MB")
    return data


def inside(root: str | os.PathLike[str], path: str | os.PathLike[str]) -> bool:
    """Whether a path, its links followed, is below `root`. Loops and names that no file has lead nowhere: True."""
    try:
        return f"{os.path.realpath(path)}/".startswith(f"{os.path.realpath(root)}/")
    except (OSError, ValueError):
        return True


def toml_of(data: bytes) -> dict[str, Any]:
    """A TOML document. Unfit for what is too deep or out of range; TOMLDecodeError and UnicodeDecodeError as ever."""
    import tomllib

    text = data.decode()
    if found := _long_key().search(text):
        raise Unfit(f"has a key of more than {DEPTH} parts (line {text.count(chr(10), 0, found.start()) + 1})")
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise Unfit("is nested too deeply") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as e:  # of int(), which has a limit of its own
        raise Unfit(f"has a number that is too long: {e}") from None
    _bounded(values)
    return values


@cache
def _long_key() -> re.Pattern[str]:
    """A key of too many parts: tomllib takes the square of their number, minutes for 100,000."""
    import re

    part = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+"""
    return re.compile(rf"(?<![\w.\"'-]){part}(?:\.[ \t]*+{part}){{{DEPTH}}}[=.\]]")


def _bounded(values: dict[str, Any]) -> None:
    level: list[Any] = [values]
    for _ in range(DEPTH + 1):
        inner: list[Any] = []
        for item in level:
            for value in item.values() if isinstance(item, dict) else item:
                if isinstance(value, (dict, list)):
                    inner.append(value)
                elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                    raise Unfit("has an integer of more than 64 bits")
        level = inner
        if not level:
            return
    raise Unfit("is nested too deeply")


def json_of(data: bytes | str) -> Any:
    """A JSON value; ValueError for whatever it is not, nesting that no parser takes included."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def python_of(source: bytes, name: str) -> ast.Module:
    """Python source, parsed and not run. SyntaxError for whatever cannot be: one that is too large included."""
    import ast

    if len(source) > CODE_BYTES:
        raise SyntaxError(f"it is larger than {CODE_BYTES // MB} MB", (name, 1, 0, ""))
    try:
        return ast.parse(source, name)
    except (RecursionError, MemoryError):  # CPython's parser says it in both ways
        raise SyntaxError("it is nested too deeply", (name, 1, 0, "")) from None
    except ValueError as e:  # NUL bytes, before Python 3.12
        raise SyntaxError(str(e), (name, 1, 0, "")) from None
