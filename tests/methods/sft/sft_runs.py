"""Runs of `method = "sft"` that share a tiny model and two token artifacts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "engine"))
import tiny_stack as tiny

from tunekit.methods.sft.run import run
from tunekit.protocol import Request
from tunekit.steps.model.run import run as make_model

LORA = {"method": "lora", "r": 4, "alpha": 8, "dropout": 0.1}


class Case:
    """Runs of one session share a model and two token artifacts."""

    def __init__(self, root: Path) -> None:
        tokenizer = tiny.write_tokenizer(root / "tokenizer")
        model = tiny.request(
            root / "model", "model", {"config": tiny.LLAMA, "tokenizer": "tokenizer:t"}, tokenizer=str(tokenizer)
        )
        make_model(model, tiny.Recorder())
        self.model = str(root / "model" / "out" / "main")
        train = [tiny.random_rows(12), tiny.random_rows(9, 1)]
        self.plain = tiny.make_tokens(root / "plain", train)
        self.evaluated = tiny.make_tokens(root / "evaluated", train, [tiny.random_rows(7, 2)])

    def request(self, root: Path, spec: dict[str, Any], **inputs: str) -> Request:
        tokens = self.evaluated if "eval_data" in spec else self.plain
        return tiny.request(root, "run.sft", spec, **({"base": self.model, "tokens": tokens} | inputs))

    def run(self, root: Path, spec: dict[str, Any], **inputs: str) -> tuple[dict[str, Path], tiny.Recorder]:
        events = tiny.Recorder()
        req = self.request(root, spec, **inputs)
        return {role: Path(req.out) / name for role, name in run(req, events).items()}, events
