"""What `tunekit inspect` asks of the process that reads artifacts (`tunekit.lens`), and what that answers.

The question is JSON (msgspec) on its standard input, the answers are JSON objects, one a line, on its standard output:

    {"type": "subject", "label", "form", "rows", "chunks", "bytes"}       one a subject; what follows is of it
    {"type": "subject", "label", "form", "rows", "whole"}                 of a stream: `whole`: these are all rows
    {"type": "columns", "looked", "columns": [{"path", "type", "count", "nulls", "unit", "spread", "values"}]}
    {"type": "tokens", "looked", "rows", "tokens", "labelled", "spreads": {"length", "trained", "share"},
                       "over": rows longer than `Subject.longest`}
    {"type": "ledger", "of", "counts"}
    {"type": "template", "text"}
    {"type": "sample", "row", "fields", "pieces", "tokens", "trained", "skipped", "left_out", "notes", "cut"}
    {"type": "searched", "rows", "found", "stopped"}
    {"type": "compared", "of", "before", "after", "same", "added", "removed", "edited", "moved", …}
    {"type": "change", "of", "what", "before", "after", …}
    {"type": "error", "slug", "message", "hint"}      the last line when something is wrong
    {"type": "end"}                                   the last line when all is well

A spread is {"count", "min", "max", "mean", "median", "edges", "counts", "log"}; a piece is
[text, ids, flag, special] (tunekit.lens.pieces).
"""

from __future__ import annotations

from typing import Any, NamedTuple

FIRST_ROWS = 1000  # that are looked at of a dataset whose tokens are made while a run trains
FIRST_BYTES = 4 << 20  # of them as JSON


class Subject(NamedTuple):
    """One dataset to look at, maybe as a run or an eval reads it. Folders are views of the store.

    `tokens` and `item`: its tokens, if the reader has such. `tokenizer`: folder of any artifact with one.
    `settings`: how the rows became tokens; `recipe`: a digest of these and all else that tokens of a row depend on.
    `longest`: tokens that a sequence of the reader may have; 0: no bound. `streamed`: the reader makes tokens of rows
    as it goes, so the first ones are looked at; `reading`: they lie in files of the project, and how they are read
    (tunekit.protocol.Input), with `files`: name → path.
    """

    label: str
    dataset: str
    tokens: str = ""
    item: int = 0
    tokenizer: str = ""
    settings: dict[str, Any] = {}
    longest: int = 0
    recipe: str = ""
    streamed: bool = False
    reading: dict[str, Any] = {}


class Question(NamedTuple):
    """`before`: what the subjects are compared with, in the same order; empty: they are looked at.
    `rows`: these and no statistics; `grep`: rows with this text and no statistics. `limit`: rows or changes to show
    of each subject. `every`: statistics over all rows. `full`: long rows are not cut."""

    subjects: list[Subject]
    before: list[Subject] = []
    rows: list[int] = []
    grep: str = ""
    ignore_case: bool = False
    limit: int = 5
    every: bool = False
    full: bool = False
