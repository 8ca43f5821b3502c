"""Answers of tunekit.lens in words: one line each, for the terminal and for the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tunekit.report.settings import flat

_BARS = "▁▂▃▄▅▆▇█"
_NAMED = 10  # row numbers of a ledger that are written out


def count(value: float) -> str:
    """`12,345`, `0.448`."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"


def plural(number: int, word: str) -> str:
    return f"{count(number)} {word}{'s' * (number != 1)}"


def bars(counts: Sequence[int]) -> str:
    """A histogram on one line; an empty bin is a space, a bin with anything in it is seen."""
    most = max(counts, default=0)
    return "".join(" " if not n else _BARS[(n * len(_BARS) - 1) // most] for n in counts)


def spread(found: dict[str, Any] | None, unit: str = "") -> str:
    """`1 … 3 items, median 2`."""
    if found is None:
        return ""
    tail = f" {unit}" if unit else ""
    if found["min"] == found["max"]:
        return f"{count(found['min'])}{tail}"
    return f"{count(found['min'])} … {count(found['max'])}{tail}, median {count(found['median'])}"


def histogram(found: dict[str, Any] | None) -> str:
    """The bars of a spread, if it has any."""
    if found is None or len(found["counts"]) < 2:
        return ""
    return "▕" + bars(found["counts"]) + "▏" + (" log" if found["log"] else "")


def column_words(column: dict[str, Any]) -> str:
    """All that is said of a column but its name and type."""
    unit = column["unit"] if column["unit"] != "value" else ""
    lengths = None if column["values"] else column["spread"]  # of a few words their counts say more
    parts = [spread(lengths, unit), histogram(lengths)]
    parts.append(", ".join(f"{name or '(empty)'} {count(n)}" for name, n in column["values"]))
    parts.append(f"{count(column['nulls'])} null" if column["nulls"] else "")
    parts.append(f"{count(column['not_finite'])} not finite" if column["not_finite"] else "")
    return "  ".join(part for part in parts if part)


def looked(number: int, total: int) -> str:
    """How much statistics are made of."""
    if number == total:
        return f"all {plural(total, 'row')}"
    return f"{count(number)} of {count(total)} rows, evenly spread; --all: every row"


def ledger_rows(counts: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of all that is not nothing."""
    return [(name, _ledger_value(value)) for name, value in flat(counts) if value not in (0, [], {}, None, "")]


def _ledger_value(value: Any) -> str:
    if isinstance(value, list):
        shown = [json.dumps(item, ensure_ascii=False) for item in value[:_NAMED]]
        return ", ".join(shown) + (", …" if len(value) > _NAMED else "")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return count(value)
    return str(value)


def token_title(answer: dict[str, Any]) -> str:
    if answer["looked"] == answer["rows"]:
        return ""
    return f"trained and share: {count(answer['looked'])} of {count(answer['rows'])} rows, evenly spread"


def token_rows(answer: dict[str, Any], bound: str, *, drawn: bool = True) -> list[tuple[str, str]]:
    """The figures of tokens (or of prompts) line by line; `drawn`: with their histograms."""
    spreads = answer["spreads"]
    out = []
    if "labelled" in answer:
        share = answer["labelled"] / answer["tokens"] if answer["tokens"] else 0.0
        out.append(("rows", plural(answer["rows"], "row")))
        trained = f"{count(answer['labelled'])} trained ({share:.1%})"
        out.append(("tokens", f"{count(answer['tokens'])}, of them {trained}"))
    for name in ("length", "trained", "share"):
        if spreads.get(name):
            unit = "" if name == "share" else "tokens"
            bars_ = histogram(spreads[name]) if drawn else ""
            out.append((name, f"{spread(spreads[name], unit)}  {bars_}".rstrip()))
    if answer.get("longest_row") is not None:
        out.append(("longest", f"row {answer['longest_row']}"))
    if bound:
        out.append(("too long", f"{plural(answer['over'], 'row')} ({bound})"))
    return out


def sample_words(answer: dict[str, Any]) -> str:
    """What stands beside a row's number."""
    parts = []
    if "pieces" in answer and (answer["tokens"] or not answer["left_out"]):
        parts.append(f"{plural(answer['tokens'], 'token')}, {count(answer['trained'])} trained")
    if answer.get("left_out"):
        parts.append(f"left out: {answer['left_out']}")
    parts += answer.get("notes", [])
    return "  ".join(parts)


def compared_words(answer: dict[str, Any]) -> str:
    """`3 added, 0 removed, 10 edited; 990 the same`."""
    changed = ", ".join(f"{count(answer[name])} {name}" for name in ("added", "removed", "edited"))
    if answer.get("masks_only"):
        changed += f" ({count(answer['masks_only'])} of them in what is trained only)"
    moved = f", {count(answer['moved'])} moved" if answer["moved"] else ""
    return f"{changed}{moved}; {count(answer['same'])} the same"


def pieces_words(answer: dict[str, Any], what: str) -> str:
    """`12 of 14 chunks are the same`."""
    kept, after = answer["pieces"]["kept"], answer["pieces"]["after"]
    return f"{count(kept)} of {plural(after, what)} unchanged"


def totals_words(answer: dict[str, Any]) -> list[str]:
    """Of tokens: how many there were, and are."""
    if "totals" not in answer:
        return []
    (old, old_trained), (new, new_trained) = answer["totals"]
    return [f"tokens {count(old)} → {count(new)}, trained {count(old_trained)} → {count(new_trained)}"]


def with_ids(runs: list[list[Any]]) -> list[list[Any]]:
    """Runs of pieces; where other ids stand for the same text, it is their ids that are shown."""
    out = [list(run) for run in runs]
    for run, after in pairwise(out):
        if (run[0], after[0]) == ("removed", "added") and _shown(run[1]) == _shown(after[1]):
            run[1], after[1] = _with_ids(run[1]), _with_ids(after[1])
    return out


def _shown(pieces: list[Any]) -> list[Any]:
    return ["".join(piece[0] for piece in pieces), [piece[2] for piece in pieces]]


def _with_ids(pieces: list[Any]) -> list[Any]:
    return [[f"{text}[{' '.join(map(str, ids))}]", ids, flag, special] for text, ids, flag, special in pieces]


def change_words(answer: dict[str, Any]) -> str:
    """`edited row 17, now row 18`."""
    before, after = answer["before"], answer["after"]
    if before is None or after is None:
        return f"{answer['what']} row {after if before is None else before}"
    return f"{answer['what']} row {before}" + (f", now row {after}" if before != after else "")
