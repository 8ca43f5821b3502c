"""Digests of what is compared: rows, and their tokens."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import xxhash

from tunekit.data.rowset import Dataset, iter_table
from tunekit.data.tokenset import TokenSet
from tunekit.hashing import hex_of
from tunekit.lens.align import KEY, Keys, Side
from tunekit.lens.rows import Places
from tunekit.lens.tokens import batches

# exact, and the same whatever order a row's fields come in
_ENCODER = msgspec.msgpack.Encoder(enc_hook=str, order="deterministic")


def row_side(dataset: Dataset, shared: Counter[str]) -> Side:
    """The rows of a dataset; a chunk that both sides have is taken as a whole, as often as both have it."""
    left = Counter(shared)
    keys = bytearray()
    starts, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    first = 0
    for digest, table in dataset.chunks():
        whole = left[digest] > 0
        left[digest] -= whole
        if whole:
            keys += bytes.fromhex(hex_of(digest))[:KEY]
        else:
            for row in iter_table(table):
                keys += _key(_ENCODER.encode(bare(row)))
        starts.append(np.array([first]) if whole else np.arange(first, first + len(table)))
        rows.append(np.array([len(table)]) if whole else np.ones(len(table), np.int64))
        first += len(table)
    return Side(_keys(keys), np.concatenate(starts), np.concatenate(rows))


def bare(value: Any) -> Any:
    """A row without fields that are null: a column that other rows brought along changes no row."""
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items() if item is not None}
    return [bare(item) for item in value] if isinstance(value, list) else value


class TokenKeys(NamedTuple):
    """Of rows with tokens, by rising number: a digest of ids and labels, and one of the ids alone."""

    numbers: Places
    both: Keys
    ids: Keys

    def at(self, rows: Places) -> Places:
        """Where rows of these numbers are; -1 for one without tokens."""
        if not len(self.numbers):
            return np.full(len(rows), -1)
        at = np.minimum(np.searchsorted(self.numbers, rows), len(self.numbers) - 1)
        return np.where(self.numbers[at] == rows, at, -1)


def token_keys(tokens: TokenSet, numbers: Places | None) -> TokenKeys:
    """Of these rows (rising; None: of all); parts without one of them are not read."""
    found = [np.zeros(0, np.int64)]
    both, ids = bytearray(), bytearray()
    for batch in batches(tokens, numbers):
        found.append(batch.numbers)
        flat, labels = batch.ids, batch.labels
        for start, stop in itertools.pairwise(batch.offsets.tolist()):
            alone = _key(flat[start:stop].tobytes())
            ids += alone
            both += _key(alone + labels[start:stop].tobytes())
    return TokenKeys(np.concatenate(found), _keys(both), _keys(ids))


def _keys(digests: bytearray) -> Keys:
    return np.frombuffer(digests, np.uint8).reshape(-1, KEY)


def _key(data: bytes) -> bytes:
    return xxhash.xxh3_128_digest(data)
