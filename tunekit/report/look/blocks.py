"""Answers of tunekit.lens as blocks of a report, which the terminal and the page draw each in its way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from tunekit.hashing import short
from tunekit.report.figures import size
from tunekit.report.ledger import rows_of
from tunekit.report.look.rowtext import row_lines
from tunekit.report.look.visible import lined
from tunekit.report.look.words import count, histogram, looked, plural, spread

_PIECE = {"rows": "chunk", "tokens": "part"}


class Head(NamedTuple):
    """What is known of a dataset outside its artifacts. `reader`: the label that reads it, or empty. `remarks`: how
    current this is. `ledgers`: what became of rows, by label. `bound`: the setting that says how long a sequence may
    be, and what becomes of a longer one. `before`: the digest of what it is compared with."""

    title: str
    digest: str
    reader: str = ""
    remarks: list[str] = []
    ledgers: dict[str, Any] = {}
    bound: str = ""
    before: str = ""


class Title(NamedTuple):
    """`top`: of a dataset, else of a part of what is said of it."""

    text: str
    about: str = ""
    top: bool = False


class Grid(NamedTuple):
    """Lines of cells; `head`: names of the columns, if they need any."""

    lines: list[tuple[str, ...]]
    head: tuple[str, ...] = ()


class Body(NamedTuple):
    """Text of a row. `what`: `same`, `removed` or `added`."""

    text: str
    what: str = "same"


class Tokens(NamedTuple):
    """`[what, pieces]` in order, or `["skipped", how many tokens]`; a piece is [text, ids, flag, special]."""

    runs: list[list[Any]]


class Note(NamedTuple):
    """Our own words."""

    text: str


class Folded(NamedTuple):
    """Text that a page has room for; a terminal says `instead`."""

    title: str
    text: str
    instead: str = ""


class Legend(NamedTuple):
    """How tokens are drawn, in front of the first ones."""

    pieces: list[list[Any]] = [
        ["trained", [], "trained", False],
        ["masked", [], "masked", False],
        ["special token", [], "masked", True],
        ["across an edge: masked", [], "straddling", False],
        ["␣ ⇥ ↵ white space", [], "masked", False],
    ]


Block = Title | Grid | Body | Tokens | Note | Folded | Legend


def blocks(answer: dict[str, Any], head: Head, rows: int) -> Iterator[Block]:
    """What is shown of one answer. `rows`: of the dataset."""
    kind = answer["type"]
    if kind == "subject":
        yield Title(head.title, top=True)
        more = f" in {plural(answer['chunks'], 'chunk')} ({size(answer['bytes'])})" if "chunks" in answer else ""
        more += "" if answer.get("whole", True) else ": the first ones, a sample"
        digests = " → ".join(short(digest) for digest in dict.fromkeys((head.before, head.digest)) if digest)
        facts = [("form", answer["form"]), ("rows", count(answer["rows"]) + more), ("artifact", digests)]
        yield Grid([*facts, *(("note", remark) for remark in head.remarks)])
    elif kind == "columns":
        yield Title("columns", looked(answer["looked"], rows))
        yield Grid([_column(column) for column in answer["columns"]], ("column", "type", "values or lengths", ""))
        for label, counts in head.ledgers.items():
            yield from _ledger(label, counts)
    elif kind in ("tokens", "prompts"):
        partly = kind == "prompts" or answer["looked"] < answer["rows"]
        yield Title(kind, looked(answer["looked"], answer.get("rows", rows)) if partly else "")
        yield Grid(_figures(answer, head.bound))
    elif kind == "ledger":
        yield from _ledger(f"{head.reader}#{answer['of']}", answer["counts"])
    elif kind == "template":
        lines = plural(answer["text"].count("\n") + 1, "line")
        yield Folded("chat template: rows are shown as it prints them", answer["text"], f"{lines}; --html has them")
    elif kind == "sample":
        yield from _sample(answer)
    elif kind == "searched":
        stopped = "; stopped at --limit" if answer["stopped"] else ""
        yield Title(f"{plural(answer['found'], 'row')} found", f"{plural(answer['rows'], 'row')} searched{stopped}")
    elif kind == "compared":
        yield Title(answer["of"], f"{count(answer['before'])} → {count(answer['after'])} rows")
        yield from map(Note, _compared(answer))
    else:
        yield from _change(answer)


def _column(column: dict[str, Any]) -> tuple[str, ...]:
    lengths = None if column["values"] else column["spread"]  # of a few words their counts say more
    parts = [spread(lengths, column["unit"] if column["unit"] != "value" else "")]
    parts.append(", ".join(f"{name or '(empty)'} {count(n)}" for name, n in column["values"]))
    parts.append(f"{count(column['nulls'])} null" if column["nulls"] else "")
    parts.append(f"{count(column['not_finite'])} not finite" if column["not_finite"] else "")
    return column["path"], column["type"], "; ".join(part for part in parts if part), histogram(lengths)


def _ledger(label: str, counts: dict[str, Any]) -> Iterator[Block]:
    """All that is not nothing."""
    yield Title(f"ledger of {label}")
    yield Grid([*rows_of(counts)])


def _figures(answer: dict[str, Any], bound: str) -> list[tuple[str, ...]]:
    """Tokens (or prompts) in figures."""
    out: list[tuple[str, ...]] = []
    if "labelled" in answer:
        share = answer["labelled"] / answer["tokens"] if answer["tokens"] else 0.0
        out.append(("rows", count(answer["rows"]), ""))
        out.append(
            ("tokens", f"{count(answer['tokens'])}, of them {count(answer['labelled'])} trained ({share:.1%})", "")
        )
    for name, found in answer["spreads"].items():
        if found:
            out.append((name, spread(found, "" if name == "share" else "tokens"), histogram(found)))
    if answer.get("longest_row") is not None:
        out.append(("longest", f"row {answer['longest_row']}", ""))
    if bound:
        out.append(("too long", f"{plural(answer['over'], 'row')} ({bound})", ""))
    return out


def _sample(answer: dict[str, Any]) -> Iterator[Block]:
    about = []
    if "pieces" in answer and (answer["tokens"] or not answer["left_out"]):
        about.append(f"{plural(answer['tokens'], 'token')}, {count(answer['trained'])} trained")
    if answer.get("left_out"):
        about.append(f"left out: {answer['left_out']}")
    if answer.get("pieces"):
        yield Legend()
    yield Title(f"row {answer['row']}", "; ".join([*about, *answer.get("notes", [])]))
    fields = "\n".join(row_lines(answer["fields"]))
    if answer.get("pieces"):
        before, behind = answer["skipped"]
        runs = [["skipped", before], ["same", answer["pieces"]], ["skipped", behind]]
        yield Tokens([run for run in runs if run[1]])
        yield Folded("the row itself", fields)
    else:
        yield Body(fields)
    yield from _cut(answer)


def _cut(answer: dict[str, Any]) -> Iterator[Block]:
    if answer["cut"]:
        yield Note("cut; --full shows all of it")


def _compared(answer: dict[str, Any]) -> Iterator[str]:
    changed = ", ".join(f"{count(answer[name])} {name}" for name in ("added", "removed", "edited"))
    if answer.get("masks_only"):
        changed += f" ({count(answer['masks_only'])} of them in what is trained only)"
    moved = f", {count(answer['moved'])} of them moved" if answer["moved"] else ""
    yield f"{changed}; {count(answer['same'])} the same{moved}"
    kept, after = answer["pieces"]
    yield f"{count(kept)} of {plural(after, _PIECE[answer['of']])} unchanged"
    if "totals" in answer:
        (old, old_trained), (new, new_trained) = answer["totals"]
        yield f"tokens {count(old)} → {count(new)}, trained {count(old_trained)} → {count(new_trained)}"


def _change(answer: dict[str, Any]) -> Iterator[Block]:
    before, after, what = answer["before"], answer["after"], answer["what"]
    if "runs" in answer:
        yield Legend()
    moved = f", now row {after}" if None not in (before, after) and before != after else ""
    yield Title(f"{answer['of']}: {what} row {after if before is None else before}{moved}")
    for path, old, new in answer.get("leaves", []):
        yield Note(path or "row")
        for how, value in (("removed", old), ("added", new)):
            if value is not None:
                yield Body(lined(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)), how)
    if "fields" in answer:
        yield Body("\n".join(row_lines(answer["fields"])), what)
    if "runs" in answer:
        yield Tokens(with_ids(answer["runs"]))
    yield from _cut(answer)


def with_ids(runs: list[list[Any]]) -> list[list[Any]]:
    """Runs of pieces; where other ids stand for the same text, it is their ids that are shown."""
    out = [list(run) for run in runs]
    for run, after in pairwise(out):
        if (run[0], after[0]) == ("removed", "added") and _shown(run[1]) == _shown(after[1]):
            run[1], after[1] = _numbered(run[1]), _numbered(after[1])
    return out


def _shown(pieces: list[Any]) -> list[Any]:
    return [(character, flag) for text, _, flag, _ in pieces for character in text]


def _numbered(pieces: list[Any]) -> list[Any]:
    return [[f"{text}[{' '.join(map(str, ids))}]", ids, flag, special] for text, ids, flag, special in pieces]
