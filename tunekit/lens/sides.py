"""The two sides of a comparison as atoms: what both have as a whole is one atom, of the rest every row is."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import xxhash

from tunekit.data.rowset import Dataset, iter_table
from tunekit.data.tokenset import TokenSet
from tunekit.hashing import hex_of
from tunekit.lens.align import KEY, Keys, Side
from tunekit.lens.rows import Places
from tunekit.lens.tokens import Batch


class Shared(NamedTuple):
    """Chunks (or parts of tokens) of two sides by digest, how often both have each; how many each side has."""

    counts: Counter[str]
    before: int
    after: int

    @classmethod
    def of(cls, old: list[str], new: list[str]) -> Shared:
        return cls(Counter(old) & Counter(new), len(old), len(new))

    @property
    def kept(self) -> int:
        return self.counts.total()


class Atoms:
    """Collects a side."""

    def __init__(self, shared: Shared) -> None:
        self._left = Counter(shared.counts)
        self._keys: list[bytes] = []
        self._first: list[Places] = []
        self._rows: list[Places] = []

    def whole(self, digest: str, rows: int) -> bool:
        """Take a chunk as one atom, if the other side has it too."""
        if not self._left[digest]:
            return False
        self._left[digest] -= 1
        self._keys.append(bytes.fromhex(hex_of(digest))[:KEY])
        self._first.append(np.array([-1]))
        self._rows.append(np.array([rows]))
        return True

    def single(self, keys: bytes, numbers: Places) -> None:
        """Take rows one by one; `keys`: KEY bytes of each."""
        self._keys.append(keys)
        self._first.append(numbers)
        self._rows.append(np.ones(len(numbers), np.int64))

    def side(self) -> Side:
        keys: Keys = np.frombuffer(b"".join(self._keys), np.uint8).reshape(-1, KEY)
        nothing = np.zeros(0, np.int64)
        return Side(keys, np.concatenate([nothing, *self._first]), np.concatenate([nothing, *self._rows]))


def row_side(dataset: Dataset, shared: Shared) -> Side:
    """The rows of a dataset; of shared chunks none is read."""
    atoms = Atoms(shared)
    first = 0
    for digest, table in dataset.chunks():
        if not atoms.whole(digest, len(table)):
            keys = b"".join(_key(json.dumps(row, sort_keys=True, default=str).encode()) for row in iter_table(table))
            atoms.single(keys, np.arange(first, first + len(table)))
        first += len(table)
    return atoms.side()


class TokenSide(NamedTuple):
    """`ids[i]`: a digest of the ids alone of the row `numbers[i]`; of rows in parts that only this side has."""

    side: Side
    numbers: Places
    ids: Keys

    def ids_of(self, number: int) -> bytes:
        return self.ids[np.searchsorted(self.numbers, number)].tobytes()


def token_side(tokens: TokenSet, shared: Shared) -> TokenSide:
    """The rows of a dataset's tokens: equal ones have the same ids and the same labels."""
    atoms = Atoms(shared)
    numbers, ids = [np.zeros(0, np.int64)], []
    for part, table in tokens.tables():
        if atoms.whole(part.digest, part.rows):
            continue
        for batch in table.to_batches():
            made = Batch(batch, part.first_row)
            pairs = list(_token_keys(made))
            atoms.single(b"".join(both for both, _ in pairs), made.numbers)
            numbers.append(made.numbers)
            ids += [alone for _, alone in pairs]
    keys = np.frombuffer(b"".join(ids), np.uint8).reshape(-1, KEY)
    return TokenSide(atoms.side(), np.concatenate(numbers), keys)


def _token_keys(batch: Batch) -> Iterator[tuple[bytes, bytes]]:
    """Of each row a digest of ids and labels, and one of the ids."""
    ids, labels, offsets = batch.ids, batch.labels, batch.offsets.tolist()
    for start, stop in itertools.pairwise(offsets):
        alone = _key(ids[start:stop].tobytes())
        yield _key(alone + labels[start:stop].tobytes()), alone


def _key(data: bytes) -> bytes:
    return xxhash.xxh3_128_digest(data)
