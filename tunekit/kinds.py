"""The one registry: which kinds of targets, methods of runs and implicit steps there are, and where they live.

A room is a package with `spec.py` (struct, `derive`, maybe `policy`; torch-free) and `run.py` (the worker's
side: `run(request, events) -> dict[role, directory]`). Adding a method: its room and one line here.
Third parties add to it by the entry points `tunekit.kinds` and `tunekit.methods`, whose objects are `Kind`s; a
project has methods in files of its own, which stand on the kind of a method that is registered.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from tunekit.errors import UsageError


class Kind(NamedTuple):
    """One room. `version` enters keys: raise it when the same spec would give other bytes. `preload`: which
    imports a worker shares with its siblings (`light`: pyarrow; `torch`: the training stack). `parts`: the input
    roles that are worked on chunk by chunk, each cached on its own; where there is a `spec["items"]`, it is parallel
    to them, and a part is what becomes of a chunk that their index lists. `whole`: fields that say which rows there are
    and in what order, not what becomes of one: changing them makes no part again. `spreads`: it uses the cores
    that are free when it starts, at least one. `outputs`: what may stand after `@` in its label. `in_place`: nothing
    runs, its result is read where it lies and is in no store. `file`: the project's file whose `run` it is.
    `tolerance`: by how much a figure of its summary may differ where bits are not promised, as on CUDA
    (`tunekit.build.agreement`). `proves`: input roles of which it may read little: it proves what it reads itself
    (`Shelf.prove`)."""

    name: str
    room: str
    struct: str
    version: int
    preload: str = "light"
    parts: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    spreads: bool = False
    outputs: tuple[str, ...] = ()
    in_place: bool = False
    file: str = ""
    tolerance: float = 0.0
    proves: tuple[str, ...] = ()

    def spec(self) -> Any:
        """The room's spec module."""
        return importlib.import_module(self.room + ".spec")

    def spec_type(self) -> Any:
        return getattr(self.spec(), self.struct)


_S, _M = "tunekit.steps.", "tunekit.methods."
_ROWS_READ = ("reader", "encoding", "split", "shuffle", "limit", "seed")  # a dataset's fields that name its rows

TARGETS = {
    k.name: k
    for k in (
        Kind("dataset", _S + "dataset", "Dataset", 4, parts=("source", "from"), whole=_ROWS_READ),
        Kind("tokenizer", _S + "tokenizer", "Tokenizer", 1),
        Kind("model", _S + "model", "Model", 1, "torch"),
        Kind("adapter", _S + "adapter", "Adapter", 1),
        Kind("merge", _S + "merge", "Merge", 1, "torch"),
        Kind("eval", _S + "eval", "Eval", 1, "torch", tolerance=0.02),
    )
}
METHODS = {
    k.name: k
    for k in (
        Kind("run.sft", _M + "sft", "Sft", 2, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.pretrain", _M + "pretrain", "Pretrain", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.distill", _M + "distill", "Distill", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.dpo", _M + "dpo", "Dpo", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.ipo", _M + "ipo", "Ipo", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.kto", _M + "kto", "Kto", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.orpo", _M + "orpo", "Orpo", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.simpo", _M + "simpo", "Simpo", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.reward", _M + "reward", "RewardModel", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.prm", _M + "prm", "Prm", 1, "torch", outputs=("last", "best"), tolerance=0.02),
        Kind("run.grpo", _M + "grpo", "Grpo", 1, "torch", outputs=("last",), tolerance=0.1),
    )
}
STEPS = {
    k.name: k
    for k in (
        Kind("fetch", _S + "fetch", "Fetch", 1),
        Kind("dequantize", _S + "dequantize", "Dequantize", 1, "torch"),
        Kind("files", _S + "files", "Files", 1, in_place=True),
        Kind("tokens", _S + "tokens", "Tokens", 3, parts=("data",), spreads=True, proves=("data",)),
        Kind("reference", _S + "reference", "Reference", 1, "torch"),
        Kind("rewards", _S + "rewards", "RewardCheck", 1),
    )
}
# What a project's method stands on that is made of `Run` alone: the rows of its datasets, and a policy.
ROWS = Kind("run.rows", "tunekit.methods", "Run", 1, "torch", outputs=("last", "best"), tolerance=0.02)
_loaded = False


def load_entry_points() -> None:
    """Add installed third-party kinds and methods. Called once by whatever parses a manifest or runs an action."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    from importlib.metadata import entry_points

    for group in ("tunekit.kinds", "tunekit.methods"):
        for point in entry_points(group=group):
            try:
                found = point.load()
            except Exception as e:
                what = f"{type(e).__name__}: {e}"
                raise UsageError(f"{group} `{point.value}` cannot be loaded: {what}", slug="bad-entry-point") from e
            if not isinstance(found, Kind):
                raise UsageError(f"{group} `{point.value}` is not a tunekit.kinds.Kind", slug="bad-entry-point")
            table = METHODS if found.name.startswith("run.") else TARGETS
            table.setdefault(found.name, found)


def kind_of(name: str) -> Kind:
    """The room of an action's kind; KeyError if there is none. `run.sft:mine.py` is that of a project's file."""
    room, _, file = name.partition(":")
    if file:
        return of_file(kind_of(room), file)
    for table in (METHODS, STEPS, TARGETS):
        if name in table:
            return table[name]
    if name == ROWS.name:
        return ROWS
    load_entry_points()
    return METHODS.get(name) or TARGETS[name]


def of_file(base: Kind, file: str) -> Kind:
    """The kind of a method in a project's file: of its base in everything but the code that runs, so that a new
    version of the base counts for it too."""
    return base._replace(name=f"{base.name}:{file}", file=file)


def target_kinds() -> list[str]:
    return [*TARGETS, "run"]
