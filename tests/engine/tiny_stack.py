"""A model, tokens and requests small enough that a training run takes a second."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tunekit.data.encoder import Encoded
from tunekit.data.tokenset import TokenPart, Tokens, TokenSet, place_part, table_of, write_part, write_tokens
from tunekit.hashing import sha256_file
from tunekit.protocol import Events, Input, Request

torch.set_num_threads(1)
PAD, EOS, START = "<|pad|>", "<|im_end|>", "<|im_start|>"
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


class Recorder(Events):
    """Events that stay in memory."""

    def __init__(self) -> None:
        super().__init__("run:test", -1)
        self.seen: list[dict[str, Any]] = []

    def emit(self, type: str, **data: Any) -> None:
        self.seen.append(json.loads(json.dumps({"type": type, **data})))

    def of(self, type: str) -> list[dict[str, Any]]:
        return [e for e in self.seen if e["type"] == type]

    @property
    def settings(self) -> dict[str, Any]:
        return {k: v for e in self.of("effective") for k, v in e["settings"].items()}

    @property
    def metrics(self) -> list[tuple[int, dict[str, float]]]:
        return [(e["step"], e["figures"]) for e in self.of("metric")]


class Interrupted(Recorder):
    """A person's interrupt when a step is reported."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def progress(self, done: float, total: float, unit: str = "step", **figures: float) -> None:
        super().progress(done, total, unit, **figures)
        if done == self.step:
            raise KeyboardInterrupt


def write_tokenizer(directory: Path) -> Path:
    """A byte-level tokenizer: 256 bytes and three special tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = [PAD, EOS, START]
    vocabulary = {token: i for i, token in enumerate(specials + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD, "eos_token": EOS}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def make_tokens(directory: Path, *items: list[list[tuple[list[int], list[bool]]]]) -> str:
    """A token artifact; an item is a list of parts, a part a list of rows (ids, labelled)."""
    return encoded_tokens(directory, [("loss", [[Encoded(*row) for row in rows] for rows in item]) for item in items])


def encoded_tokens(directory: Path, items: list[tuple[str, list[list[Encoded]]]]) -> str:
    """A token artifact; an item is what is read of its rows and a list of parts. As the room of tokens, it leaves rows
    without a label out."""
    (directory / "parts").mkdir(parents=True)
    sets = []
    for reads, item in items:
        parts, first = [], 0
        for rows in item:
            numbers = [i for i, row in enumerate(rows) if reads == "loss" or any(row.labelled)]
            kept = [rows[i] for i in numbers]
            file = directory / "new.arrow"
            write_part(file, table_of(kept, any(row.verdicts for row in rows)), np.array(numbers, np.int64))
            digest = sha256_file(file)
            place_part(directory, digest, file)
            file.unlink()
            parts.append(TokenPart(digest, first, len(kept), sum(len(row.input_ids) for row in kept)))
            first += len(rows)
        flat = [row for rows in item for row in rows]
        total, labelled = sum(len(row.input_ids) for row in flat), sum(sum(row.labelled) for row in flat)
        sets.append(TokenSet(directory, "completion", "all", len(flat), total, labelled, parts, {}, reads))
    write_tokens(directory, Tokens(sets, 0, 1, 259))
    return str(directory)


def random_rows(count: int, seed: int = 0, low: int = 6, high: int = 20) -> list[tuple[list[int], list[bool]]]:
    """Rows of different lengths with a prompt (no labels) of about a third."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(low, high + 1, (), generator=generator))
        ids = torch.randint(3, 60, (length,), generator=generator).tolist()
        rows.append((ids, [i >= length // 3 for i in range(length)]))
    return rows


def request(root: Path, kind: str, spec: dict[str, Any], seed: int = 42, **inputs: str) -> Request:
    """A request whose inputs are directories by role; staging is kept between calls with the same root."""
    staging, out = root / "staging", root / "out"
    staging.mkdir(parents=True, exist_ok=True)
    out.mkdir(exist_ok=True)
    return Request(
        action="run:test",
        key="sha256:" + "0" * 64,
        kind=kind,
        spec=spec,
        inputs={role: [Input(path, "sha256:" + "1" * 64, "model", "model:m")] for role, path in inputs.items()},
        code={},
        code_root="",
        staging=str(staging),
        out=str(out),
        store=str(root),
        resources={"cpus": 1, "gpus": [], "memory": 0},
        seed=seed,
        provenance={"base_label": "model:tiny"},
    )


def tree(directory: str | Path) -> dict[str, bytes]:
    root = Path(directory)
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
