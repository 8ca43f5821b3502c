"""Two results of a dataset compared: which rows came, went or changed, and what that made of their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from tunekit.data.columns import Row
from tunekit.data.rowset import Dataset, open_dataset
from tunekit.lens.align import Alignment, align
from tunekit.lens.fields import CHARACTERS, Cutter, leaves
from tunekit.lens.look import TOKENS, Answer
from tunekit.lens.pieces import MASKED, TRAINED, Piece
from tunekit.lens.reader import Reader
from tunekit.lens.rows import Places, rows_of
from tunekit.lens.sides import row_side, token_keys
from tunekit.lens.tokens import Stored
from tunekit.lens.tokens import rows as token_rows
from tunekit.question import Question, Subject

CONTEXT = 6  # tokens around a change


def compare(question: Question, before: Subject, after: Subject) -> Iterator[Answer]:
    """The rows, then (where both sides have such) the tokens. Raises ActionError of the openers."""
    old, new = open_dataset(before.dataset), open_dataset(after.dataset)
    yield {"type": "subject", "label": after.label, "form": new.shape, "rows": new.rows}
    shared = _shared([c.digest for c in old.chunk_list], [c.digest for c in new.chunk_list])
    found = align(row_side(old, shared), row_side(new, shared))
    pieces = [shared.total(), len(new.chunk_list)]
    yield {**_counts("rows", found.changes), "before": old.rows, "after": new.rows, "same": len(found.kept),
           "moved": found.moved, "pieces": pieces}  # fmt: skip
    yield from _row_changes(question, old, new, found.changes[: question.limit])
    if before.tokens and after.tokens:
        alike = before.recipe == after.recipe  # then the same rows have the same tokens
        yield from _tokens(question, Reader(before, old), Reader(after, new), found, alike=alike)


def _shared(old: list[str], new: list[str]) -> Counter[str]:
    """How often both have each digest."""
    return Counter(old) & Counter(new)


def _counts(of: str, changes: Places) -> Answer:
    gone, come = changes[:, 0] >= 0, changes[:, 1] >= 0
    counts = {"added": ~gone, "removed": ~come, "edited": gone & come}
    return {"type": "compared", "of": of, **{name: int(which.sum()) for name, which in counts.items()}}


def _head(of: str, before: int, after: int) -> Answer:
    what = "added" if before < 0 else "removed" if after < 0 else "edited"
    numbers = {"before": before if before >= 0 else None, "after": after if after >= 0 else None}
    return {"type": "change", "of": of, "what": what, **numbers}


def _numbers(changes: Places, side: int) -> Places:
    """The rows of a side that changes name, rising."""
    numbers = changes[:, side]
    return np.sort(numbers[numbers >= 0])


def _row_changes(question: Question, old: Dataset, new: Dataset, changes: Places) -> Iterator[Answer]:
    gone, come = dict(rows_of(old, _numbers(changes, 0))), dict(rows_of(new, _numbers(changes, 1)))
    for before, after in changes.tolist():
        cutter = Cutter(None if question.full else CHARACTERS)
        answer = _head("rows", before, after)
        if before >= 0 and after >= 0:
            answer["leaves"] = _leaves(gone[before], come[after], cutter)
        else:
            answer["fields"] = cutter.plain(gone[before] if before >= 0 else come[after])
        yield answer | {"cut": cutter.cut}


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


def _tokens(question: Question, old: Reader, new: Reader, rows: Alignment, *, alike: bool) -> Iterator[Answer]:
    """Of every row and what it became; of rows that changed alone, where the recipes are `alike`."""
    before, after = old.tokens, new.tokens
    assert before is not None and after is not None
    pairs = rows.changes if alike else _in_order(np.concatenate([rows.kept, rows.changes]))
    left, right = (token_keys(t, _numbers(pairs, s) if alike else None) for s, t in enumerate((before, after)))
    at = np.stack([left.at(pairs[:, 0]), right.at(pairs[:, 1])], 1)
    both = (at >= 0).all(1)
    same, same_ids = (_equal(a, b, at) & both for a, b in ((left.both, right.both), (left.ids, right.ids)))
    changed = (at >= 0).any(1) & ~same
    changes = np.where(at >= 0, pairs, -1)[changed]
    counts = _counts("tokens", changes)
    parts = _shared([p.digest for p in before.parts], [p.digest for p in after.parts])
    yield {
        **counts,
        "before": before.row_count,
        "after": after.row_count,
        "same": before.row_count - counts["edited"] - counts["removed"],
        "moved": 0,
        "pieces": [parts.total(), len(after.parts)],
        "masks_only": int(same_ids[changed].sum()),
        "totals": [[before.tokens, before.labelled], [after.tokens, after.labelled]],
    }
    yield from _token_changes(question, old, new, changes[: question.limit])


def _in_order(pairs: Places) -> Places:
    """By the new number, or the old one where there is none."""
    return pairs[np.argsort(np.where(pairs[:, 1] >= 0, pairs[:, 1], pairs[:, 0]), kind="stable")]


def _equal(left: Any, right: Any, at: Places) -> Any:
    """Whether keys at these places are equal; anything where a place is -1."""
    if not len(left) or not len(right):
        return np.zeros(len(at), bool)
    return (left[at[:, 0]] == right[at[:, 1]]).all(1)


def _token_changes(question: Question, old: Reader, new: Reader, changes: Places) -> Iterator[Answer]:
    assert old.tokens is not None and new.tokens is not None
    gone, come = token_rows(old.tokens, _numbers(changes, 0)), token_rows(new.tokens, _numbers(changes, 1))
    for before, after in changes.tolist():
        made, cut = runs(
            _pieces(old, gone.get(before)), _pieces(new, come.get(after)), None if question.full else TOKENS
        )
        yield _head("tokens", before, after) | {"runs": made, "cut": cut}


def _pieces(reader: Reader, stored: Stored | None) -> list[Piece]:
    ids, labelled = stored or ([], [])
    return reader.decoder.pieces(ids, [TRAINED if on else MASKED for on in labelled])


def runs(old: list[Piece], new: list[Piece], most: int | None = None) -> tuple[list[list[Any]], bool]:
    """`["same" | "removed" | "added", pieces]` in order, or `["skipped", tokens]`: of what is the same only what is
    near a change is kept. Of a change at most `most` pieces, and whether that was not all."""
    left, right = ([(p.text, tuple(p.ids), p.flag) for p in side] for side in (old, new))
    start = _alike(left, right)
    end = _alike(left[start:][::-1], right[start:][::-1])
    a, b = (slice(start, len(side) - end) for side in (old, new))
    cut = most is not None and max(len(old[a]), len(new[b])) > most
    before, behind = old[a][:most], new[b][:most]
    out = _near(old[:start], first=True)
    for tag, i, j, k, m in SequenceMatcher(None, left[a][:most], right[b][:most], autojunk=False).get_opcodes():
        out += _near(before[i:j]) if tag == "equal" else [["removed", before[i:j]], ["added", behind[k:m]]]
    out += [] if cut else _near(old[len(old) - end :], last=True)
    return [run for run in out if run[1]], cut


def _alike(left: list[Any], right: list[Any]) -> int:
    """How many of them are the same from the start on."""
    most = min(len(left), len(right))
    return next((i for i in range(most) if left[i] != right[i]), most)


def _near(same: list[Piece], *, first: bool = False, last: bool = False) -> list[list[Any]]:
    """Pieces around a change, which is at both ends, or at one of them."""
    head, tail = (0 if first else CONTEXT), (0 if last else CONTEXT)
    skipped = same[head : len(same) - tail]
    if not skipped:
        return [["same", same]]
    count = sum(len(piece.ids) for piece in skipped)
    return [["same", same[:head]], ["skipped", count], ["same", same[len(same) - tail :]]]
