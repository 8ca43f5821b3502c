"""Requests for rooms run in this process, and what they said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tunekit import usercode
from tunekit.data.rowset import write_dataset
from tunekit.parts import Made, Shelf, part_key
from tunekit.protocol import Events, Input, Request
from tunekit.store import records
from tunekit.store.shelf import StoreShelf
from tunekit.store.store import Store


class Said:
    """The events of one action, read back from the file they were written to."""

    def __init__(self, root: Path, shelf: Shelf | None) -> None:
        self.file = root / "events.jsonl"
        self._fd = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.pen = Events("dataset:x", self._fd, shelf)

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
    previous: Path  # the list of its parts, as a record has it

    def parts(self, made: bool = True) -> list[dict[str, Any]]:
        return [e for e in self.said.of("part") if e["made"] == made]


@pytest.fixture
def room(tmp_path: Path):
    """`room(run, spec, inputs)` runs a room and returns its artifact and events. With `bases` it works in parts, which
    a store keeps; `previous`: what ran before."""
    open_said: list[Said] = []
    store = Store(tmp_path / "store").ensure()

    def go(
        run: Callable[[Request, Events], dict[str, str]],
        spec: dict[str, Any],
        inputs: dict[str, list[Input]] | None = None,
        bases: list[str] | None = None,
        previous: Ran | None = None,
        cpus: int = 1,
    ) -> Ran:
        root = tmp_path / f"action-{len(open_said)}"
        for name in ("out", "staging"):
            (root / name).mkdir(parents=True)
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
            store=str(store.root),
            resources={"cpus": cpus, "gpus": [], "memory": 0},
            seed=0,
            provenance={},
            bases=bases or [],
            previous=str(previous.previous) if previous else "",
        )
        said = Said(root, StoreShelf(store))
        open_said.append(said)
        try:
            assert run(request, said.pen)["main"] == "main"
        finally:
            parts = []
            for e in said.of("part"):  # as the controller does
                base = request.bases[e["item"]]
                parts.append(Made(base, e["chunk"], e["output"]))
                if e["made"]:
                    records.add_part(store, part_key(base, e["chunk"]), e["output"])
            (root / "parts.jsonl").write_text(Made.write(parts))
        return Ran(root / "out" / "main", said, root / "parts.jsonl")

    (tmp_path / "code").mkdir()
    yield go
    for said in open_said:
        said.close()


@pytest.fixture
def code(tmp_path: Path, room: Any) -> Callable[[str], None]:
    """Write the project's `data.py`: each is another snapshot."""

    def write(text: str) -> None:
        usercode._LOADED.clear()
        (tmp_path / "code" / "data.py").write_text(text)

    return write


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


@pytest.fixture(scope="session")
def byte_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A directory with a tiny model over bytes, whose weights are random."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp("base")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(["<pad>", "<eos>", *letters])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<pad>", "<eos>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "<eos>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(named))
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, pad_token_id=0, eos_token_id=1, bos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    return str(directory)
