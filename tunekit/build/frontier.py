"""What may start: work that has all it needs, in the plan's order. The cost is that of what ends, not of what waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container


class Frontier:
    """`order`: the labels to run, every one after those that it needs; needs outside it are there already."""

    def __init__(self, order: list[str], needs: Callable[[str], list[str]]) -> None:
        self._order = order
        self._place = {label: i for i, label in enumerate(order)}
        self._unmet: dict[str, int] = {}  # of every label that has neither started nor been dropped
        self._users: dict[str, list[str]] = {}
        for label in order:
            wanted = needs(label)
            self._unmet[label] = sum(need in self._place for need in wanted)
            for need in wanted:
                self._users.setdefault(need, []).append(label)
        self._ready = [i for i, label in enumerate(order) if not self._unmet[label]]  # a heap

    def __bool__(self) -> bool:
        return bool(self._unmet)

    @property
    def ready(self) -> int:
        """How many may start (some of them may have been given up)."""
        return len(self._ready)

    def waits(self, labels: Container[str]) -> bool:
        """Whether one of the labels could start but was put back."""
        return any((label := self._order[i]) in labels and label in self._unmet for i in self._ready)

    def pop(self) -> str | None:
        """The first label that may start; None if there is none now."""
        while self._ready:
            label = self._order[heapq.heappop(self._ready)]
            if label in self._unmet:
                return label
        return None

    def put_back(self, labels: list[str]) -> None:
        """Not started: `pop` gives them again."""
        for label in labels:
            heapq.heappush(self._ready, self._place[label])

    def started(self, label: str) -> None:
        self._unmet.pop(label, None)

    def ended(self, label: str) -> None:
        """A label has its result: who waits for nothing else may start."""
        for user in self._users.pop(label, []):
            if user in self._unmet:
                self._unmet[user] -= 1
                if not self._unmet[user]:
                    heapq.heappush(self._ready, self._place[user])

    def drop(self, failed: str) -> list[str]:
        """Give up all that needs a failed label, directly or not. What was given up, in the plan's order."""
        out, stack = [], [*self._users.get(failed, [])]
        while stack:
            label = stack.pop()
            if self._unmet.pop(label, None) is not None:
                out.append(label)
                stack += self._users.get(label, [])
        return sorted(out, key=self._place.__getitem__)

    def clear(self) -> None:
        """Start nothing more."""
        self._unmet.clear()
        self._ready.clear()
