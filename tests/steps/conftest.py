"""Requests for rooms run in this process, and what they said."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tunekit.data.rowset import open_dataset, write_dataset
from tunekit.hashing import sha256_file
from tunekit.protocol import Events, Input, Request


class Said:
    """The events of one action, read back from the file they were written to, and a store that seals parts."""

    def __init__(self, root: Path) -> None:
        self.file = root / "events.jsonl"
        self.sealed = root / "sealed"
        self.sealed.mkdir()
        self._fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pen = Events("dataset:x", self._fd, self._seal)

    def _seal(self, directory: str) -> str:
        """As the store does: the files move away and become read-only."""
        digest = sha256_file(Path(directory) / "tokens.arrow")
        shutil.move(directory, self.sealed / digest[7:])
        for file in (self.sealed / digest[7:]).iterdir():
            file.chmod(0o444)
        return digest

    def of(self, type: str) -> list[dict[str, Any]]:
        self.pen.flush()
        events = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [e for e in events if e["type"] == type]

    def effective(self) -> dict[str, Any]:
        return {k: v for e in self.of("effective") for k, v in e["settings"].items()}

    def warnings(self) -> list[str]:
        return [e["slug"] for e in self.of("warning")]

    def close(self) -> None:
        os.close(self._fd)


class Ran(NamedTuple):
    main: Path
    said: Said


@pytest.fixture
def room(tmp_path: Path):
    """`room(run, spec, inputs)` runs a room and returns its artifact and events."""
    open_said: list[Said] = []

    def go(
        run: Callable[[Request, Events], dict[str, str]],
        spec: dict[str, Any],
        inputs: dict[str, list[Input]] | None = None,
    ) -> Ran:
        root = tmp_path / f"action-{len(open_said)}"
        for name in ("out", "staging"):
            (root / name).mkdir(parents=True)
        said = Said(root)
        open_said.append(said)
        request = Request(
            action="dataset:x",
            key="sha256:" + "0" * 64,
            kind="dataset",
            spec=spec,
            inputs=inputs or {},
            code={},
            code_root=str(tmp_path / "code"),
            staging=str(root / "staging"),
            out=str(root / "out"),
            store=str(root),
            resources={"cpus": 1, "gpus": [], "memory": 0},
            seed=0,
            provenance={},
        )
        assert run(request, said.pen)["main"] == "main"
        return Ran(root / "out" / "main", said)

    (tmp_path / "code").mkdir()
    yield go
    for said in open_said:
        said.close()


@pytest.fixture
def code(tmp_path: Path, room: Any) -> Callable[[str], None]:
    """Write the project's `data.py`."""
    return lambda text: (tmp_path / "code" / "data.py").write_text(text) and None


def directory(path: Path, label: str = "dataset:in") -> Input:
    return Input(str(path), "sha256:" + "1" * 64, "dataset", label)


@pytest.fixture
def dataset(tmp_path: Path):
    """`dataset(rows, shape, chunk_rows)` writes a dataset and returns it as an input."""
    count = iter(range(1000))

    def make(rows: list[dict[str, Any]], shape: str = "rows", chunk_rows: int | None = None) -> Input:
        number = next(count)
        root = tmp_path / f"dataset-{number}"
        write_dataset(root, rows, shape, chunk_rows)
        return directory(root, f"dataset:d{number}")

    return make


@pytest.fixture
def source(tmp_path: Path):
    """`source({"name": text})` writes a source's files and returns them as an input."""

    def make(files: dict[str, str]) -> Input:
        root = tmp_path / "source"
        for name, text in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return directory(root, "dataset:x#fetch")

    return make


@pytest.fixture
def with_parts():
    """`with_parts(input, {chunk digest: sealed directory})`: the parts a request would list."""

    def make(given: Input, known: dict[str, Path] | None = None) -> Input:
        parts = []
        for chunk in open_dataset(given.path).chunk_list:
            path = (known or {}).get(chunk.digest)
            parts.append(
                {
                    "part": "part-" + chunk.digest[7:15],
                    "input": chunk.digest,
                    "output": "sha256:" + path.name if path else None,
                    "path": str(path) if path else None,
                }
            )
        return given._replace(parts=parts)

    return make


CHAT = [
    {"messages": [{"role": "user", "content": f"what is {i}"}, {"role": "assistant", "content": f"it is {i * i}"}]}
    for i in range(30)
]


@pytest.fixture
def chat_rows() -> list[dict[str, Any]]:
    return CHAT


@pytest.fixture
def chatml(room: Any, dataset: Any) -> Input:
    """A ChatML tokenizer artifact, as an input."""
    from tunekit.steps.tokenizer.run import run

    spec = {"data": ["dataset:d"], "vocab_size": 300, "chat_template": "chatml"}
    made = room(run, spec, {"data": [dataset(CHAT, "chat")]})
    return directory(made.main, "tokenizer:t")
