"""What draws answers: one head for each dataset, then its answers in order."""

from __future__ import annotations

from typing import Any

from tunekit.report.look.blocks import Block, Head, blocks


class View:
    """Hands every answer's blocks to `draw`."""

    def __init__(self) -> None:
        self.head = Head("", "")
        self.rows = 0  # of the dataset at hand

    def begin(self, head: Head) -> None:
        self.head = head

    def take(self, answer: dict[str, Any]) -> None:
        if answer["type"] == "subject":
            self.rows = answer["rows"]
        for block in blocks(answer, self.head, self.rows):
            self.draw(block)

    def draw(self, block: Block) -> None:
        raise NotImplementedError


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
