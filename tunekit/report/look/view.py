"""What draws answers: one head for each dataset, then its answers in order."""

from __future__ import annotations

from typing import Any, NamedTuple


class Head(NamedTuple):
    """What is known of a dataset before its artifacts are read."""

    title: str
    digest: str
    reader: str = ""
    remarks: list[str] = []
    ledgers: dict[str, Any] = {}
    bound: str = ""


class View:
    """Hands every answer to `on_<type>`; a view has one for each type."""

    def __init__(self) -> None:
        self.head = Head("", "")
        self.number = 0
        self.rows = 0  # of the dataset at hand

    def begin(self, head: Head) -> None:
        self.head = head
        self.number += 1

    def take(self, answer: dict[str, Any]) -> None:
        if answer["type"] == "subject":
            self.rows = answer["rows"]
        getattr(self, "on_" + answer["type"])(answer)

    def close(self) -> None:
        """All answers have come."""


class Collected(View):
    """The answers as one JSON value."""

    def __init__(self) -> None:
        super().__init__()
        self.datasets: list[dict[str, Any]] = []

    def begin(self, head: Head) -> None:
        super().begin(head)
        self.datasets.append({**head._asdict(), "samples": [], "changes": []})

    def take(self, answer: dict[str, Any]) -> None:
        found = dict(answer)
        name = found.pop("type")
        here = self.datasets[-1]
        if name in ("sample", "change"):
            here[name + "s"].append(found)
        elif name == "ledger":
            here["ledgers"] = {**here["ledgers"], f"{self.head.reader}#{found['of']}": found["counts"]}
        elif name == "compared":
            here[found["of"] + "_compared"] = found
        else:
            here[name] = found
