"""Which files below a source are its data, in what order, and how each is read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from tunekit.data.readers.streams import bare, codec_of
from tunekit.errors import ActionError, nearest

Warn = Callable[[str, str], None]  # (slug, message)

TEXTS = ("text", "lines", "paragraphs")
TABLES = ("parquet", "arrow")
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".rst": "text",
}
# What `datasets` writes beside the data: facts about it, no rows.
_ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<total>\d{5})(?P<rest>.*)")


def data_files(
    root: Path, reader: str, split: str, warn: Warn, known: dict[str, str] | None = None
) -> list[tuple[str, Path, str]]:
    """`(relative name, path, reader)` of the files to read below `root` (or `root` itself), sorted by name. `known`:
    name → path of files that are not below a folder.

    `auto` takes the one kind of data that is there and warns about files that it leaves out; `split` keeps the files
    whose name or folder says it. Warns of shards that are missing. Raises ActionError (`no-data-files`, `mixed-files`,
    `unknown-split`).
    """
    alone = known is None and root.is_file()
    names = sorted(known) if known is not None else [root.name] if alone else _names_below(root)
    if split:
        names = _of_split(names, split)
    if reader not in TEXTS and reader != "json":
        names = [n for n in names if PurePosixPath(n).name not in _ABOUT] or names
    kinds = {name: _reader_of(name) if reader == "auto" else reader for name in names}
    found = sorted({k for k in kinds.values() if k})
    if len(found) > 1 and "text" in found:
        found.remove("text")  # a README beside the data is not data
    if len(found) != 1:
        raise _which_files(names, found)
    left_out = [name for name in names if kinds[name] != found[0]]
    if left_out:
        warn("files-left-out", f"not {found[0]}, left out: {', '.join(left_out[:10])} ({len(left_out)} files)")
    base = root.parent if alone else root
    data = [name for name in names if kinds[name] == found[0]]
    if not alone:
        _look_for_shards(data, warn)
    return [(name, Path(known[name]) if known is not None else base / name, found[0]) for name in data]


def _names_below(root: Path) -> list[str]:
    paths = (p.relative_to(root) for p in root.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts))


def _reader_of(name: str) -> str:
    reader = _SUFFIXES.get(PurePosixPath(bare(name)).suffix.lower(), "")
    return "" if reader in TABLES and codec_of(name) else reader  # tables are compressed inside


def _of_split(names: list[str], split: str) -> list[str]:
    """Files named `<split>.*`, `<split>-*`, `<split>_*` or in a folder of that name; else those with the word in it."""
    word = re.compile(rf"(?:^|[-._ /]){re.escape(split)}(?:[-._ /]|$)")

    def begins(name: str) -> bool:
        *folders, last = name.split("/")
        return split in folders or last.startswith((f"{split}.", f"{split}-", f"{split}_"))

    kept = [n for n in names if begins(n)] or [n for n in names if word.search(n)]
    if not kept:
        words = sorted({w for n in names for w in re.split(r"[-._ /]", n) if w.isalpha()})
        close = nearest(split, words)
        raise ActionError(
            f"no file of the split `{split}` among: {', '.join(names[:10])}",
            slug="unknown-split",
            hint=(close + " " if close.startswith("did") else "")
            + f"files are `{split}.*`, `{split}-*`, `*_{split}.*` or in a folder `{split}`; "
            "rows are cut with `[:500]`",
        )
    return kept


def _look_for_shards(names: list[str], warn: Warn) -> None:
    """`train-00000-of-00003`: the name says how many there are."""
    there: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for name in names:
        if found := _SHARD.fullmatch(name):
            there[found["stem"], found["total"], found["rest"]].add(int(found["number"]))
    for (stem, total, rest), numbers in sorted(there.items()):
        if missing := sorted(set(range(int(total))) - numbers):
            name = f"{stem}-{missing[0]:05}-of-{total}{rest}"
            warn("missing-shards", f"{name} is not there ({len(missing)} of {int(total)} shards are missing)")


def _which_files(names: list[str], found: list[str]) -> ActionError:
    if found:
        return ActionError(
            f"the source mixes {', '.join(found)} files",
            slug="mixed-files",
            hint="name one file or folder in the source, or set `reader`",
        )
    return ActionError(
        f"no data among: {', '.join(names[:10]) or 'no files'}",
        slug="no-data-files",
        hint=f"set `reader` to {', '.join(sorted(set(_SUFFIXES.values())))}, lines or paragraphs",
    )
