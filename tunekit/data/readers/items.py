"""A JSON file `[{…}, {…}]` cut into its items without being parsed, in bounded memory.

Brackets outside of strings are counted. Each item is parsed strictly by itself later (`parse`), and between two items
there must be one comma: so a file that is cut in wrong places is a file that is not JSON, and an error says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tunekit.data.readers.blocks import BLOCK, LONGEST, STEP, Lines, Positions, too_long
from tunekit.data.readers.streams import Stream, Torn
from tunekit.errors import ActionError

_SPACE = b" \t\r\n"
_LIST = "a JSON file of rows is [{…}, {…}]"
_OBJECT = 'one object a line? then set reader = "jsonl"; a list under a key? then save the list alone'


def split_items(name: str, stream: Stream) -> Iterator[Lines]:
    """Blocks of items. Raises ActionError (`bad-line`, `row-too-long`), Torn."""
    brackets, pending = _Brackets(), _Pending(name)
    try:
        while piece := stream.read(STEP):
            pending.add(piece, *brackets.items(np.frombuffer(piece, np.uint8)))
            if pending.held >= BLOCK and pending.ends:
                yield pending.cut()
    except Torn:
        yield pending.cut()
        raise
    yield pending.cut()
    pending.finish(brackets.depth)


class _Brackets:
    """How deeply the text is nested, over the pieces seen so far."""

    def __init__(self) -> None:
        self.depth = 0
        self._in_string = False
        self._escaping = False  # the last piece ended in a backslash that escapes

    def items(self, text: NDArray[np.uint8]) -> tuple[Positions, Positions]:
        """Where items of the outer list start, and where they end, in this piece."""
        quotes = self._quotes(text)
        folded = text | 0x20  # [ and { differ in one bit, ] and } too
        at = np.flatnonzero((folded == ord("{")) | (folded == ord("}")))
        at = at[(np.searchsorted(quotes, at) + self._in_string) % 2 == 0]
        opens = folded[at] == ord("{")
        depths = self.depth + np.cumsum(np.where(opens, 1, -1))
        self.depth = int(depths[-1]) if len(depths) else self.depth
        self._in_string ^= len(quotes) % 2 == 1
        return at[opens & (depths == 2)], at[~opens & (depths == 1)] + 1

    def _quotes(self, text: NDArray[np.uint8]) -> Positions:
        """Positions of the quotes that are not escaped: that follow an even number of backslashes."""
        quotes = np.flatnonzero(text == ord('"'))
        slashes = np.flatnonzero(text == ord("\\"))
        if self._escaping:
            slashes = np.append(-1, slashes)
        if not len(slashes):
            return quotes
        run = np.append(0, np.flatnonzero(np.diff(slashes) != 1) + 1)  # where runs of backslashes begin
        within = np.arange(len(slashes)) - np.repeat(run, np.diff(np.append(run, len(slashes))))
        escaped = np.zeros(len(text) + 1, bool)
        escaped[slashes[within % 2 == 0] + 1] = True
        self._escaping = bool(escaped[-1])
        return quotes[~escaped[quotes]]


class _Pending:
    """Text that is not given out yet, and the items in it."""

    def __init__(self, name: str) -> None:
        self.ends: list[int] = []
        self.held = 0
        self._starts: list[int] = []
        self._pieces: list[bytes] = []
        self._name = name
        self._row = 0
        self._line = 1
        self._before = b"["  # what must stand before the next item

    def add(self, piece: bytes, starts: Positions, ends: Positions) -> None:
        self._starts += (starts + self.held).tolist()
        self.ends += (ends + self.held).tolist()
        self._pieces.append(piece)
        self.held += len(piece)
        if not self._starts:  # nothing but the next sign may be there: find out before it is a gigabyte
            found = b"".join(self._pieces)
            if found.translate(None, _SPACE) not in (b"", self._before, self._closing()):
                raise self._fault(0, found, self._row)
        if self.held > LONGEST and not self.ends:
            raise too_long(f"{self._name}, item {self._row}")

    def cut(self) -> Lines:
        """All whole items as a block; the rest is kept."""
        data = b"".join(self._pieces)
        n, last = len(self.ends), 0
        for i, (start, end) in enumerate(zip(self._starts[:n], self.ends, strict=True)):
            if data[last:start].strip(_SPACE) != self._before:
                raise self._fault(last, data[last:], self._row + i)
            self._before, last = b",", end
        starts, ends = (np.array(at, np.int64) for at in (self._starts[:n], self.ends))
        block = Lines(self._name, self._row, data, starts, ends, "json", self._line)
        self._pieces, self.held = [data[last:]], len(data) - last
        self._starts, self.ends = [start - last for start in self._starts[n:]], []
        self._row += n
        self._line += data.count(b"\n", 0, last)
        return block

    def finish(self, depth: int) -> None:
        """Looks at what follows the last item."""
        rest = b"".join(self._pieces)
        if not self._starts and rest.translate(None, _SPACE) == self._closing():
            return
        if self._starts or depth > 0:
            raise Torn(f"the text ends inside {f'item {self._row}' if self._starts else 'the list'}")
        raise self._fault(0, rest, self._row)

    def _closing(self) -> bytes:
        """What is left where no item follows."""
        return b"[]" if self._before == b"[" else b"]"

    def _fault(self, at: int, found: bytes, row: int) -> ActionError:
        line = self._line + b"".join(self._pieces)[:at].count(b"\n")
        text = found.lstrip(_SPACE)[:40].rstrip(_SPACE)
        shown = f"`{text.decode(errors='replace')}`" if text else "nothing"
        place = f"behind item {row - 1}" if row else "at its start"
        message = f"{self._name}:{line}: not a list of objects: {shown} {place}"
        return ActionError(message, slug="bad-line", hint=_OBJECT if text[:1] == b"{" else _LIST)
