"""Pairs of answers, and answers with verdicts, as views over token parts: which rows, cut where.

A pair is a row of two items of one dataset, `chosen` and `rejected` (`tunekit.steps.tokens`), joined by its number.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from tunekit.engine.heldout import Side
from tunekit.engine.rows import NAMED, Rows, Tokens, labels_in, rows_of, strided
from tunekit.errors import ActionError
from tunekit.protocol import Events

# keep_start cuts the end of an answer, keep_end the beginning of its prompt.
Overlong = Literal["error", "drop", "keep_start", "keep_end"]
_HINT = 'overlong = "keep_start", "keep_end" or "drop" says what is done with them; or raise sequence_len'


class Answers(NamedTuple):
    """`spans[a]`: (chunk, start, stop) of every row's answer `a`, int64 [n, 3] each; a pair has two, chosen first.
    `rows`: their numbers in the dataset, [n]. `ledger`: what became of every row."""

    spans: list[np.ndarray]
    rows: np.ndarray
    ledger: dict[str, Any]

    def __len__(self) -> int:
        return len(self.rows)


def pairs_of(
    tokens: Tokens,
    item: int,
    sequence_len: int,
    overlong: Overlong,
    *,
    limit: int | None,
    weight: float,
    name: str,
    side: Side | None = None,
) -> Answers:
    """The pairs of a dataset whose `chosen` are item `item` and whose `rejected` are the next one, after limit, weight
    and length policy, in the order of the rows.

    A row is left out where one of its answers has no token to learn (`unlabelled`) or where both have the same tokens
    (`equal`). `overlong` holds for both where it holds for one. `side`: the rows of one side of `val` only.
    Raises ActionError: `row-too-long`, `no-labels`, `bad-tokens`.
    """
    _check(tokens, item, ("chosen", "rejected"))
    chosen, rejected = rows_of(tokens, item), rows_of(tokens, item + 1)
    numbers, here, there = np.intersect1d(chosen.numbers, rejected.numbers, assume_unique=True, return_indices=True)
    lost = np.setxor1d(chosen.numbers, rejected.numbers)
    found = _Found(tokens, [chosen.take(here), rejected.take(there)], numbers, name)
    return found.view(sequence_len, overlong, limit, weight, lost, side)


def answers_of(
    tokens: Tokens,
    item: int,
    sequence_len: int,
    overlong: Overlong,
    *,
    limit: int | None,
    weight: float,
    name: str,
    reads: Literal["verdict", "steps"] = "verdict",
    side: Side | None = None,
) -> Answers:
    """The answers of a dataset of verdicts, likewise; `tokens.verdicts` tells what is said of one."""
    _check(tokens, item, (reads,))
    rows = rows_of(tokens, item)
    found = _Found(tokens, [rows], rows.numbers, name)
    return found.view(sequence_len, overlong, limit, weight, np.zeros(0, np.int64), side)


def _check(tokens: Tokens, item: int, wanted: tuple[str, ...]) -> None:
    if tuple(tokens.reads[item : item + len(wanted)]) != wanted:
        raise ActionError(f"items {tokens.reads} of the tokens, not {wanted} at {item}", slug="bad-tokens")


class _Found(NamedTuple):
    """Rows that have all their answers."""

    tokens: Tokens
    answers: list[Rows]
    numbers: np.ndarray
    name: str

    def take(self, which: np.ndarray) -> _Found:
        return self._replace(answers=[a.take(which) for a in self.answers], numbers=self.numbers[which])

    def view(
        self,
        sequence_len: int,
        overlong: Overlong,
        limit: int | None,
        weight: float,
        lost: np.ndarray,
        side: Side | None = None,
    ) -> Answers:
        rows = len(self.numbers)
        picked = strided(rows if limit is None else min(rows, limit), weight)
        distinct = len(np.unique(picked))
        ledger: dict[str, Any] = {"rows": rows, "not_selected": rows - distinct}
        if side:
            picked = picked[side.of(self.tokens, [answer.take(picked) for answer in self.answers])]
            ledger[side.other] = distinct - len(np.unique(picked))
            distinct = len(np.unique(picked))
        chosen = self.take(picked)
        if len(picked) > distinct:
            ledger["repeated"] = len(picked) - distinct
        if len(lost):  # known before: one of the answers has no labelled token at all
            ledger |= {"incomplete": len(lost), "incomplete_rows": lost[:NAMED].tolist()}
        kept = chosen.cut(sequence_len, overlong, ledger)
        if not len(kept):
            raise ActionError(
                f"{self.name} has no row with something to learn: {ledger}",
                slug="no-labels",
                hint="look at the ledger for what was left out",
            )
        return kept

    def cut(self, length: int, overlong: Overlong, ledger: dict[str, Any]) -> Answers:
        """After the length policy; adds to the ledger."""
        sizes = np.stack([a.stops - a.starts for a in self.answers])
        long: np.ndarray = np.max(sizes, axis=0) > length
        keep = np.ones(len(long), np.bool_)
        if long.any():
            ledger |= self._long(long, sizes, length, overlong)
            keep &= ~long | (overlong != "drop")
        spans = [np.stack([a.chunks, *_ends(a, length, overlong)], axis=1) for a in self.answers]
        counts = [labels_in(self.tokens, s) for s in spans]
        reasons = {"unlabelled": keep & (np.min(counts, axis=0) == 0)}
        if len(spans) == 2:
            reasons["equal"] = keep & ~reasons["unlabelled"] & self._same(spans)
        for reason, mine in reasons.items():
            if mine.any():
                ledger |= {reason: int(mine.sum()), f"{reason}_rows": self.numbers[mine][:NAMED].tolist()}
            keep &= ~mine
        spans = [s[keep] for s in spans]
        tokens = sum(int((s[:, 2] - s[:, 1]).sum()) for s in spans)
        labelled = sum(int(c[keep].sum()) for c in counts)
        ledger |= {"kept": int(keep.sum()), "tokens": tokens, "labelled_tokens": labelled}
        return Answers(spans, self.numbers[keep], ledger)

    def _long(self, long: np.ndarray, sizes: np.ndarray, length: int, overlong: Overlong) -> dict[str, Any]:
        if overlong == "error":
            raise ActionError(
                f"{int(long.sum())} of {len(long)} rows of {self.name} are longer than sequence_len {length}: the "
                f"first is row {int(self.numbers[long][0])}, the longest has {int(sizes.max())} tokens",
                slug="row-too-long",
                hint=_HINT,
            )
        done = "dropped" if overlong == "drop" else "truncated"
        return {done: int(long.sum()), "long_rows": self.numbers[long][:NAMED].tolist()}

    def _same(self, spans: list[np.ndarray]) -> np.ndarray:
        """Whether the two answers of a row are the same tokens: no preference can be learnt of them."""
        left, right = spans
        same = left[:, 2] - left[:, 1] == right[:, 2] - right[:, 1]
        for i in np.flatnonzero(same).tolist():
            a, b = (self.tokens.chunks[s[0]].read(s[1], s[2])[0] for s in (left[i].tolist(), right[i].tolist()))
            same[i] = bool(np.array_equal(a, b))
        return same


def _ends(rows: Rows, length: int, overlong: Overlong) -> tuple[np.ndarray, np.ndarray]:
    if overlong == "keep_start":
        return rows.starts, np.minimum(rows.stops, rows.starts + length)
    if overlong == "keep_end":
        return np.maximum(rows.starts, rows.stops - length), rows.stops
    return rows.starts, rows.stops


_TOLD = {
    "truncated": "rows were cut to sequence_len",
    "dropped": "rows longer than sequence_len were dropped",
    "incomplete": "rows without a labelled token in one of their answers are left out",
    "unlabelled": "rows without a token to learn within sequence_len are left out",
    "equal": "rows whose two answers are the same tokens are left out",
}


def warn_of_answers(name: str, found: Answers, events: Events) -> None:
    """A warning for each reason for which rows of a dataset were cut or left out."""
    for reason, words in _TOLD.items():
        count = found.ledger.get(reason)
        if count:
            rows = found.ledger["long_rows" if reason in ("truncated", "dropped") else f"{reason}_rows"]
            events.warning(reason, f"{name}: {count} {words}", rows=rows)
