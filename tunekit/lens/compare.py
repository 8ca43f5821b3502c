"""Two results of a dataset compared: which rows came, went or changed, and the same of their tokens."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from tunekit.data.columns import Row
from tunekit.data.rowset import Dataset, open_dataset
from tunekit.lens.align import Alignment, align
from tunekit.lens.fields import CHARACTERS, Cutter
from tunekit.lens.look import TOKENS
from tunekit.lens.pairs import Change, changes, leaves, rows_alike, texts_alike
from tunekit.lens.pieces import MASKED, TRAINED, Piece
from tunekit.lens.reader import Reader
from tunekit.lens.rows import rows_of
from tunekit.lens.sides import Shared, TokenSide, row_side, token_side
from tunekit.lens.tokens import Stored
from tunekit.lens.tokens import rows as token_rows
from tunekit.question import Question, Subject

CONTEXT = 6  # tokens around a change

Answer = dict[str, Any]


def compare(question: Question, before: Subject, after: Subject) -> Iterator[Answer]:
    """The rows, then (where both sides have such) the tokens. Raises ActionError of the openers."""
    old, new = open_dataset(before.dataset), open_dataset(after.dataset)
    yield {"type": "subject", "label": after.label, "form": new.shape, "rows": new.rows}
    yield from _rows(question, old, new)
    if before.tokens and after.tokens:
        yield from _tokens(question, Reader(before, old), Reader(after, new))


def _rows(question: Question, old: Dataset, new: Dataset) -> Iterator[Answer]:
    shared = Shared.of([c.digest for c in old.chunk_list], [c.digest for c in new.chunk_list])
    found = align(row_side(old, shared), row_side(new, shared))

    def read(dataset: Dataset, numbers: list[int]) -> dict[int, Row]:
        return dict(rows_of(dataset, np.array(sorted(numbers), np.int64)))

    all_changes = changes(found.gaps, lambda n: read(old, n), lambda n: read(new, n), rows_alike)
    yield {**_counts("rows", shared, found, all_changes), "before": old.rows, "after": new.rows}
    shown = all_changes[: question.limit]
    gone = read(old, [c.before for c in shown if c.before is not None])
    come = read(new, [c.after for c in shown if c.after is not None])
    for change in shown:
        cutter = Cutter(None if question.full else CHARACTERS)
        answer: Answer = {
            "type": "change",
            "of": "rows",
            "what": change.what,
            "before": change.before,
            "after": change.after,
        }
        if change.before is not None and change.after is not None:
            answer["leaves"] = _leaves(gone[change.before], come[change.after], cutter)
        else:
            row = gone[change.before] if change.before is not None else come[change.after or 0]
            answer["fields"] = cutter.plain(row)
        yield answer | {"cut": cutter.cut}


def _counts(of: str, shared: Shared, found: Alignment, all_changes: list[Change]) -> Answer:
    what = [change.what for change in all_changes]
    counts = {name: what.count(name) for name in ("added", "removed", "edited")}
    pieces = {"before": shared.before, "after": shared.after, "kept": shared.kept}
    return {"type": "compared", "of": of, "same": found.same, "moved": found.moved, **counts, "pieces": pieces}


def _leaves(old: Row, new: Row, cutter: Cutter) -> list[list[Any]]:
    """`[path, old, new]` of every leaf that differs; null where a side has none. Of long texts that differ in the
    middle, what is around the difference."""
    left, right = leaves(old), leaves(new)
    out = []
    for name in dict.fromkeys([*left, *right]):
        a, b = left.get(name), right.get(name)
        if type(a) is type(b) and a == b:
            continue
        if isinstance(a, str) and isinstance(b, str):
            a, b = cutter.difference(a, b)
        out.append([name, cutter.plain(a), cutter.plain(b)])
    return out


def _tokens(question: Question, old: Reader, new: Reader) -> Iterator[Answer]:
    before, after = old.tokens, new.tokens
    assert before is not None and after is not None
    shared = Shared.of([p.digest for p in before.parts], [p.digest for p in after.parts])
    left, right = token_side(before, shared), token_side(after, shared)
    found = align(left.side, right.side)

    def read(reader: Reader, numbers: list[int]) -> dict[int, Stored]:
        assert reader.tokens is not None
        return token_rows(reader.tokens, np.array(sorted(numbers), np.int64))

    all_changes = changes(
        found.gaps, lambda n: read(old, n), lambda n: read(new, n), lambda a, b: texts_alike(a[0], b[0])
    )
    yield {
        **_counts("tokens", shared, found, all_changes),
        "before": before.row_count,
        "after": after.row_count,
        "masks_only": sum(_same_ids(left, right, change) for change in all_changes),
        "totals": [[before.tokens, before.labelled], [after.tokens, after.labelled]],
    }
    shown = all_changes[: question.limit]
    gone = read(old, [c.before for c in shown if c.before is not None])
    come = read(new, [c.after for c in shown if c.after is not None])
    for change in shown:
        a = _pieces(old, gone.get(change.before) if change.before is not None else None)
        b = _pieces(new, come.get(change.after) if change.after is not None else None)
        most = None if question.full else TOKENS
        yield {
            "type": "change",
            "of": "tokens",
            "what": change.what,
            **change._asdict(),
            "runs": runs(a[:most], b[:most]),
            "cut": most is not None and max(len(a), len(b)) > most,
        }


def _same_ids(old: TokenSide, new: TokenSide, change: Change) -> bool:
    if change.before is None or change.after is None:
        return False
    return old.ids_of(change.before) == new.ids_of(change.after)


def _pieces(reader: Reader, stored: Stored | None) -> list[Piece]:
    ids, labelled = stored or ([], [])
    return reader.decoder.pieces(ids, [TRAINED if on else MASKED for on in labelled])


def runs(old: list[Piece], new: list[Piece]) -> list[list[Any]]:
    """`["same" | "removed" | "added", pieces]` in order, or `["skipped", count]`: of what is the same only what is
    near a change is kept."""
    left, right = [(p.text, tuple(p.ids), p.flag) for p in old], [(p.text, tuple(p.ids), p.flag) for p in new]
    out: list[list[Any]] = []
    codes = SequenceMatcher(None, left, right, autojunk=False).get_opcodes()
    for place, (tag, a, b, c, d) in enumerate(codes):
        if tag == "equal":
            out += _near(old[a:b], first=place == 0, last=place == len(codes) - 1)
            continue
        if a < b:
            out.append(["removed", old[a:b]])
        if c < d:
            out.append(["added", new[c:d]])
    return out


def _near(same: list[Piece], *, first: bool, last: bool) -> list[list[Any]]:
    head, tail = (0 if first else CONTEXT), (0 if last else CONTEXT)
    skipped = len(same) - head - tail
    if skipped <= 0:
        return [["same", same]]
    parts: list[list[Any]] = [["same", same[:head]], ["skipped", skipped], ["same", same[len(same) - tail :]]]
    return [part for part in parts if part[1]]
