"""Which files below a source are its data, in what order, and how each is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunekit.data.readers.streams import bare
from tunekit.errors import ActionError

Warn = Callable[[str, str], None]  # (slug, message)

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".rst": "text",
}


def data_files(root: Path, reader: str, split: str, warn: Warn) -> list[tuple[str, Path, str]]:
    """`(relative name, path, reader)` of the files to read below `root` (or `root` itself), sorted by name.

    `auto` takes the one kind of data that is there and warns about files that it leaves out; `split` keeps
    `<split>.*`, `<split>-*` and what lies in a folder of that name. Raises ActionError (`no-data-files`,
    `mixed-files`, `unknown-split`).
    """
    names = [root.name] if root.is_file() else _names_below(root)
    if split:
        names = _of_split(names, split)
    kinds = {name: _reader_of(name) if reader == "auto" else reader for name in names}
    found = sorted({k for k in kinds.values() if k})
    if len(found) > 1 and "text" in found:
        found.remove("text")  # a README beside the data is not data
    if len(found) != 1:
        raise _which_files(names, found)
    left_out = [name for name in names if kinds[name] != found[0]]
    if left_out:
        warn("files-left-out", f"not {found[0]}, left out: {', '.join(left_out[:10])} ({len(left_out)} files)")
    base = root.parent if root.is_file() else root
    return [(name, base / name, found[0]) for name in names if kinds[name] == found[0]]


def _names_below(root: Path) -> list[str]:
    paths = (p.relative_to(root) for p in root.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in paths if not any(part.startswith(".") for part in p.parts))


def _reader_of(name: str) -> str:
    return _SUFFIXES.get(Path(bare(name)).suffix.lower(), "")


def _of_split(names: list[str], split: str) -> list[str]:
    def belongs(name: str) -> bool:
        *folders, last = name.split("/")
        return split in folders or last.startswith((f"{split}.", f"{split}-", f"{split}_"))

    kept = [name for name in names if belongs(name)]
    if not kept:
        raise ActionError(
            f"no file of the split `{split}` among: {', '.join(names[:10])}",
            slug="unknown-split",
            hint=f"files are `{split}.*`, `{split}-*` or in a folder `{split}`; rows are cut with `[:500]`",
        )
    return kept


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
        hint="set `reader` to jsonl, json, csv, parquet or text",
    )
