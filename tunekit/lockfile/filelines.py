"""The lines of used files in a lock as tunekit writes it, taken out with one expression: TOML's parser needs 20 µs for
each, and a dataset may have ten thousand. Whether the text was such a lock is for the caller to check: it is, if
writing what was read gives the same text."""

from __future__ import annotations

import json
import re

from tunekit.lockfile.blocks import MAX_SIZE, FileEntry, bad_path

_LIST = re.compile(r"^files = \[\n((?:    \{ path = .*\n)+)\]\n", re.MULTILINE)
_LINE = re.compile(
    r'^    \{ path = ("(?:[^"\\\n]|\\.)*"), size = (\d{1,19}), sha256 = "(sha256:[0-9a-f]{64})" \},$', re.MULTILINE
)
# Names that need no closer look: parts that do not begin with a dot, short in all.
_PLAIN = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9_=.-]*(?:/[A-Za-z0-9_=-][A-Za-z0-9_=.-]*)*\Z")


def without_files(text: str) -> tuple[str, list[tuple[FileEntry, ...]]]:
    """The text with empty lists of files, and what stood in each. ValueError: a name or size that no artifact has."""
    taken: list[tuple[FileEntry, ...]] = []

    def take(found: re.Match[str]) -> str:
        files = tuple(FileEntry(_name(name), int(size), sha256) for name, size, sha256 in _LINE.findall(found[1]))
        if any(f.size >= MAX_SIZE for f in files):
            raise ValueError("too large")
        taken.append(files)
        return "files = []\n"

    return _LIST.sub(take, text), taken


def _name(quoted: str) -> str:
    name = quoted[1:-1]
    if len(name) > 255 or not _PLAIN.match(name):
        name = str(json.loads(quoted))
        if bad_path(name):
            raise ValueError(name)
    return name
