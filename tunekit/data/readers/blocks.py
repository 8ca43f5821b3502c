"""What a reader gives: blocks of rows in the order of the file, in bounded memory.

A reader of text gives `Lines`: rows that can be counted and hashed without being parsed. The others give `Rows`.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tunekit.data.columns import Row
from tunekit.errors import ActionError

BLOCK = 8 << 20  # bytes of a block, about; a longer row has a block of its own
STEP = 1 << 20  # bytes read at a time
LONGEST = 2**31 - 1  # bytes of a row: what a string of Arrow holds

Positions: TypeAlias = NDArray[np.int64]


class Lines(NamedTuple):
    """Raw rows. Row `i` is `data[starts[i]:ends[i]]`: UTF-8 without its line end. Between rows may lie other bytes.

    The parsed row depends on these bytes and on `reader` alone, not on the file or the place in it.
    """

    name: str  # what errors call the file
    first: int  # the file's number (from 0) of row 0
    data: bytes
    starts: Positions  # [n]
    ends: Positions  # [n]
    reader: str  # how a row is parsed: jsonl, json, lines or paragraphs
    line: int  # the file's line (from 1) at data[0]

    @property
    def n(self) -> int:
        return len(self.starts)

    def part(self, start: int, stop: int) -> Lines:
        """Rows start:stop."""
        starts, ends = self.starts[start:stop], self.ends[start:stop]
        return self._replace(first=self.first + start, starts=starts, ends=ends)

    def raw(self, index: int) -> bytes:
        """The bytes of a row, not parsed."""
        return self.data[self.starts[index] : self.ends[index]]

    def where(self, index: int) -> str:
        """`d.jsonl:7`: the line that an editor shows; of JSON the item too, from 0."""
        line = self.line + self.data.count(b"\n", 0, int(self.starts[index]))
        return f"{self.name}:{line}" + (f", item {self.first + index}" if self.reader == "json" else "")


class Rows(NamedTuple):
    """Rows that are parsed."""

    name: str
    first: int
    rows: list[Row]

    @property
    def n(self) -> int:
        return len(self.rows)

    def part(self, start: int, stop: int) -> Rows:
        """Rows start:stop."""
        return Rows(self.name, self.first + start, self.rows[start:stop])


Block: TypeAlias = Lines | Rows


def too_long(where: str) -> ActionError:
    return ActionError(f"{where}: a row of more than 2 GiB", slug="row-too-long", hint="cut it into several rows")
