"""The two sides of a run's data: what is trained on, and the share that is held out (`val`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import xxhash

_WHOLE = 1 << 64


class Spans(Protocol):
    """Of every row: the chunk that it is in, and where its tokens start and stop there."""

    @property
    def chunks(self) -> np.ndarray: ...
    @property
    def starts(self) -> np.ndarray: ...
    @property
    def stops(self) -> np.ndarray: ...


class Chunks(Protocol):
    """What reads tokens: `chunks[n].read(start, stop)` begins with their ids."""

    chunks: list[Any]


class Side(NamedTuple):
    """One of the two. A row's tokens alone decide which it is on: a row that is added moves no other, equal rows are on
    the same side, and seeds change nothing."""

    share: float
    evaluated: bool

    def of(self, tokens: Chunks, answers: Sequence[Spans]) -> np.ndarray:
        """Which rows are on this side. `answers`: the parts of a row (one text, or chosen and rejected), aligned."""
        bound = int(self.share * _WHOLE)
        out = np.zeros(len(answers[0].starts), np.bool_)
        parts = [list(zip(a.chunks.tolist(), a.starts.tolist(), a.stops.tolist(), strict=True)) for a in answers]
        for i, spans in enumerate(zip(*parts, strict=True)):
            digest = xxhash.xxh3_64()
            for chunk, start, stop in spans:
                ids = tokens.chunks[chunk].read(start, stop)[0]
                digest.update(len(ids).to_bytes(8, "little") + ids.astype("<i8").tobytes())
            out[i] = (digest.intdigest() < bound) == self.evaluated
        return out

    @property
    def other(self) -> str:
        """What a ledger calls the rows of the other side."""
        return "trained_on" if self.evaluated else "held_out"
