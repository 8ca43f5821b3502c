"""Which documents share a sequence: best fit decreasing, from lengths alone.

The longest document first, each into the fullest sequence that still has room for it. Documents of one length are
placed together, and sequences with equal room are one range of numbers, so the work is by distinct lengths and
rooms, not by documents: a million take a fraction of a second.

Which lengths come together is the same in every epoch, and so is the number of sequences; which documents of those
lengths they are, and in what order the sequences come, is decided by seed and epoch.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

import numpy as np

from tunekit.engine.shuffle import permutation


class Packing:
    """Documents of `lengths` (each from 1 to `capacity`) in as few sequences of `capacity` tokens as the rule gives."""

    def __init__(self, lengths: np.ndarray, capacity: int) -> None:
        if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= capacity:
            raise ValueError(f"lengths from {lengths.min()} to {lengths.max()} do not fit 1 to {capacity}")
        # Small integers sort by radix: ten times faster, and every epoch sorts.
        self._room_left = (capacity - lengths).astype(np.uint16 if capacity < 2**16 else np.int64)
        sequences = _sequence_of_slot(lengths, capacity)
        self.tokens = int(lengths.sum())
        self.capacity = capacity
        # Slots are places in the order of decreasing length.
        self._slots = np.argsort(sequences, kind="stable")
        self._bounds = np.concatenate([[0], np.cumsum(np.bincount(sequences))]).astype(np.int64)

    def __len__(self) -> int:
        """Sequences in an epoch."""
        return len(self._bounds) - 1

    @property
    def fill(self) -> float:
        """Share of the sequences' capacity that holds tokens."""
        return self.tokens / max(len(self) * self.capacity, 1)

    def epoch(self, seed: int, epoch: int) -> Iterator[np.ndarray]:
        """The sequences of one epoch in order, each as the numbers of its documents."""
        shuffled = permutation(len(self._slots), seed, epoch, "packing/documents")
        decreasing = shuffled[np.argsort(self._room_left[shuffled], kind="stable")]
        documents, bounds = decreasing[self._slots], self._bounds.tolist()
        for sequence in permutation(len(self), seed, epoch, "packing/sequences").tolist():
            yield documents[bounds[sequence] : bounds[sequence + 1]]


def _sequence_of_slot(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """For every document, longest first, the number of its sequence."""
    counts = np.bincount(lengths) if len(lengths) else np.zeros(0, np.int64)
    placed = _place(np.flatnonzero(counts)[::-1].tolist(), counts[counts > 0][::-1].tolist(), capacity)
    first, many, each = np.array(placed, np.int64).reshape(-1, 3).T
    sizes = many * each
    run = np.repeat(np.arange(len(sizes)), sizes)
    nth = np.arange(len(run)) - (np.cumsum(sizes) - sizes)[run]
    return first[run] + nth // each[run]


def _place(lengths: list[int], counts: list[int], capacity: int) -> list[tuple[int, int, int]]:
    """(first, many, each): sequences first … first+many-1 take `each` documents; in the order of the documents."""
    ranges: dict[int, list[tuple[int, int]]] = {}  # room → (first, many) of the sequences that have it
    rooms: list[int] = []  # its keys, sorted
    made = 0
    placed: list[tuple[int, int, int]] = []

    def add(room: int, first: int, many: int) -> None:
        if room and many:
            if room not in ranges:
                ranges[room] = []
                insort(rooms, room)
            ranges[room].append((first, many))

    for length, left in zip(lengths, counts, strict=True):
        while left:
            at = bisect_left(rooms, length)
            if at < len(rooms):
                room = rooms[at]
                first, many = ranges[room].pop()
                if not ranges[room]:
                    del ranges[room], rooms[at]
            else:  # new sequences, as many as this length needs
                room, first, many = capacity, made, -(-left // (capacity // length))
                made += many
            # After one document a sequence has the least room of all, so it takes what it can before the next does.
            each = room // length
            full = min(many, left // each)
            if full:
                placed.append((first, full, each))
                add(room - each * length, first, full)
            left -= full * each
            first, many = first + full, many - full
            if many and left:
                placed.append((first, 1, left))
                add(room - left * length, first, 1)
                first, many, left = first + 1, many - 1, 0
            add(room, first, many)
    return placed
