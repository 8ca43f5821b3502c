"""A training run of tunekit against the same TRL script, side by side, in turns: time and memory.

    python benchmarks/train.py [--pairs 7] [--steps 10] [--ways full,lora,packed]

Both train the same new Llama (11 M parameters, float32) on the same rows of made-up tokens whose prompt carries no
label, in the same order, from the same first weights, by AdamW without clipping; the losses of every step must be
equal within 1e-4. Each run is a process of its own with one thread. A step's time is that between two calls of
`on_step_end`, of the steps behind the first three: no loading, imports or saving. The interval is the middle half
of the pairs' ratios. `packed`: the same rows by tunekit's packing, time per token that carries a label, beside
TRL's padded batches; its steps have other rows, so its losses are not compared (tests/methods/sft does that).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
LLAMA = {
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
LORA = {"r": 16, "alpha": 32.0, "target_modules": "all-linear"}
ROWS, BATCH, MICRO, SKIPPED, SEED = 512, 8, 4, 3, 42


def make(root: Path) -> None:
    """A model, its tokenizer and token parts; TRL reads the same rows as JSON."""
    import numpy as np
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from tunekit.data.encoder import Encoded
    from tunekit.data.tokenset import TokenPart, Tokens, TokenSet, place_part, table_of, write_part, write_tokens
    from tunekit.hashing import sha256_file

    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **LLAMA)).save_pretrained(root / "base")
    vocabulary = {f"t{i}": i for i in range(LLAMA["vocab_size"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="t0"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="t0", eos_token="t1")
    fast.save_pretrained(root / "base")
    random = np.random.default_rng(0)
    rows = []
    for length in random.integers(32, 257, ROWS).tolist():
        ids = random.integers(2, LLAMA["vocab_size"], length).tolist()
        rows.append((ids, [i >= length // 4 for i in range(length)]))
    (root / "rows.json").write_text(json.dumps(rows))
    parts = root / "tokens"
    (parts / "parts").mkdir(parents=True)
    write_part(root / "part.arrow", table_of([Encoded(*row) for row in rows]), np.arange(ROWS))
    digest = sha256_file(root / "part.arrow")
    place_part(parts, digest, root / "part.arrow")
    total, labelled = sum(len(i) for i, _ in rows), sum(sum(flags) for _, flags in rows)
    part = TokenPart(digest, 0, ROWS, total)
    item = TokenSet(parts, "completion", "all", ROWS, total, labelled, [part], {})
    write_tokens(parts, Tokens([item], 0, 1, LLAMA["vocab_size"]))


class Clock:
    """CPU and wall seconds at the end of every step."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.ends.append((time.process_time(), time.perf_counter()))


def trl(root: Path, way: str, steps: int, clock: Clock) -> dict[str, Any]:
    """A script as one writes it."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Ticking(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    model: Any = AutoModelForCausalLM.from_pretrained(root / "base", dtype=torch.float32)
    if way == "lora":
        torch.manual_seed(SEED)
        settings = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
        model = get_peft_model(model, settings)
    rows = [
        {"input_ids": ids, "completion_mask": [int(f) for f in flags]}
        for ids, flags in json.loads((root / "rows.json").read_text())
    ]
    args = SFTConfig(
        output_dir=str(root / "trl"),
        per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=BATCH // MICRO,
        max_steps=steps,
        learning_rate=1e-3,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        seed=SEED,
        data_seed=SEED,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        max_length=None,
        completion_only_loss=True,
    )
    trainer = SFTTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(root / "base"),
        callbacks=[Ticking()],
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    labels = sum(sum(flags) for _, flags in json.loads((root / "rows.json").read_text())) / ROWS * BATCH
    return {"losses": losses, "labels": labels}


def ours(root: Path, way: str, steps: int, clock: Clock) -> dict[str, Any]:
    """The room of `method = "sft"`, as a worker runs it."""
    from tunekit.methods.sft.run import run
    from tunekit.protocol import Events, Input, Request

    losses: list[float] = []
    labels: list[float] = []

    class Watching(Events):
        def emit(self, type: str, **data: Any) -> None:
            if type == "metric" and "loss" in data["figures"]:
                losses.append(data["figures"]["loss"])
                labels.append(data["figures"]["supervised_tokens"])

        def progress(self, done: float, total: float, unit: str = "step", **figures: float) -> None:
            clock.tick()

    spec: dict[str, Any] = {
        "model": "model:m",
        "data": ["dataset:d"],
        "batch_size": BATCH,
        "micro_batch_size": MICRO,
        "max_steps": steps,
        "learning_rate": 1e-3,
        "lr_scheduler": "constant",
        "max_grad_norm": 0.0,
        "seed": SEED,
        "checkpoint_steps": 10**6,
        **({"adapter": {"method": "lora", **LORA}} if way == "lora" else {}),
        # as many tokens a step, about, in one row without padding
        **({"packing": True, "sequence_len": 1024, "batch_size": 1, "micro_batch_size": 1} if way == "packed" else {}),
    }
    (root / "staging").mkdir()
    (root / "out").mkdir()
    inputs = {"base": root / "base", "tokens": root / "tokens"}
    request = Request(
        action="run:bench",
        key="sha256:" + "0" * 64,
        kind="run.sft",
        spec=spec,
        inputs={role: [Input(str(path), "sha256:" + "1" * 64, role, "model:m")] for role, path in inputs.items()},
        code={},
        code_root="",
        staging=str(root / "staging"),
        out=str(root / "out"),
        store=str(root),
        resources={"cpus": 1, "gpus": [], "memory": 0},
        seed=SEED,
        provenance={"base_label": "model:m"},
    )
    run(request, Watching("run:bench", -1))
    return {"losses": losses, "labels": statistics.mean(labels)}


def child(who: str, way: str, root: Path, steps: int) -> None:
    import torch

    torch.set_num_threads(1)
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=root) as place:
        here = Path(place)
        for name in ("base", "tokens", "rows.json"):
            os.symlink(root / name, here / name)
        found = (trl if who == "trl" else ours)(here, way, steps, clock)
    first, last = clock.ends[SKIPPED - 1], clock.ends[steps - 1]
    cpu, wall = ((b - a) / (steps - SKIPPED) for a, b in zip(first, last, strict=True))
    peak = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM:"))
    print(json.dumps({**found, "cpu": cpu, "wall": wall, "peak": int(peak.split()[1]) / 1024}))


def compare(way: str, root: Path, pairs: int, steps: int) -> None:
    found: dict[str, list[dict[str, Any]]] = {"trl": [], "tunekit": []}
    for n in range(pairs):
        for who in ("trl", "tunekit") if n % 2 else ("tunekit", "trl"):  # neither is always the one that comes first
            command = [
                sys.executable,
                __file__,
                "--child",
                who,
                "--way",
                way,
                "--root",
                str(root),
                "--steps",
                str(steps),
            ]
            out = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if out.returncode:
                raise SystemExit(out.stderr[-3000:])
            found[who].append(json.loads(out.stdout.splitlines()[-1]))
    if way != "packed":
        for theirs, mine in zip(found["trl"], found["tunekit"], strict=True):
            worst = max(abs(a - b) for a, b in zip(theirs["losses"], mine["losses"], strict=True))
            assert worst < 1e-4, f"{way}: the losses differ by {worst}"
    share = {who: runs[0]["labels"] / found["trl"][0]["labels"] for who, runs in found.items()}
    each = {who: {f: [run[f] / (1 if f == "peak" else share[who]) for run in runs] for f in ("cpu", "wall", "peak")}
            for who, runs in found.items()}  # fmt: skip
    for figure, unit in (("cpu", "ms"), ("wall", "ms"), ("peak", "MB")):
        scale = 1 if figure == "peak" else 1000
        theirs, mine = (statistics.median(each[who][figure]) * scale for who in ("trl", "tunekit"))
        ratios = sorted(b / a for a, b in zip(each["trl"][figure], each["tunekit"][figure], strict=True))
        low, middle, high = statistics.quantiles(ratios, n=4) if pairs > 1 else (ratios * 3)
        print(f"| {way} | {figure} | {theirs:.0f} {unit} | {mine:.0f} {unit} | {middle:.3f} | {low:.3f} … {high:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--ways", default="full,lora,packed")
    parser.add_argument("--child", choices=("trl", "tunekit"))
    parser.add_argument("--way")
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.way, args.root, args.steps)
        return
    with tempfile.TemporaryDirectory() as place:
        make(Path(place))
        print(f"load {os.getloadavg()[0]:.1f} at the start, {args.pairs} pairs in turns, {args.steps} steps")
        print("| | a step | TRL | tunekit | ratio | middle half |\n|---|---|---|---|---|---|")
        for way in args.ways.split(","):
            compare(way, Path(place), args.pairs, args.steps)


if __name__ == "__main__":
    main()
