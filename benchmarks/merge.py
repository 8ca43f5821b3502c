"""An adapter into its base: ours against PEFT's merge_and_unload, side by side, in turns.

    python benchmarks/merge.py [--pairs 5] [--layers 16] [--hidden 1024] [--dtype float32] [--dora]

The base is a Llama with random weights (default: 1.1 GB in float32, vocabulary 32,000, embeddings apart), the adapter
a LoRA of rank 16 on all linear layers. Each run is a process of its own. Seconds count from the call to the written
files, without imports and without flushing to the disk. Memory is the peak resident set, less that of a process that
has imported the same and done nothing; `anonymous` leaves out pages of mapped files, which the kernel may drop.

- `peft`: from_pretrained in the stored dtype, PeftModel, merge_and_unload, save_pretrained.
- `ours`: tunekit's merge alone: every value is looked at, too.
- `ours + receipt`: the same and the proof that it is right, which every merge of tunekit has: a second merge in
  float32, compared tensor by tensor, and two or three forward passes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
WAYS = ("imports", "peft", "ours", "ours + receipt")


def make(root: Path, args: argparse.Namespace) -> None:
    """Base and adapter, tensor by tensor."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig

    from tunekit.engine import weights
    from tunekit.steps.merge.skeleton import empty_model

    config = AutoConfig.for_model(
        "llama",
        hidden_size=args.hidden,
        intermediate_size=args.hidden * 11 // 4,
        num_hidden_layers=args.layers,
        num_attention_heads=16,
        num_key_value_heads=4,
        vocab_size=32000,
        dtype=args.dtype,
    )
    base = root / "base"
    base.mkdir(parents=True)
    config.save_pretrained(base)
    model = empty_model(config)
    dtype = getattr(torch, args.dtype)
    slots = [weights.Slot(name, "", dtype, tuple(p.shape)) for name, p in model.named_parameters()]
    weights.write(base, slots, lambda slot: torch.randn(slot.shape) * (0.02 if len(slot.shape) > 1 else 1.0))
    settings = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear", use_dora=args.dora)
    adapted = get_peft_model(model, settings, low_cpu_mem_usage=True)
    state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    (root / "adapter").mkdir()
    tensors = {
        name: torch.rand(p.shape) + 0.5 if "magnitude" in name else torch.randn(p.shape) * 0.02
        for name, p in state.items()
    }
    save_file(tensors, root / "adapter" / "adapter_model.safetensors", {"format": "pt"})
    adapted.peft_config["default"].save_pretrained(root / "adapter")


def peft(base: str, adapter: str, out: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)


def ours(base: str, adapter: str, out: Path, with_receipt: bool) -> None:
    import torch

    from tunekit.engine import weights
    from tunekit.protocol import Events
    from tunekit.steps.merge.lora import plan
    from tunekit.steps.merge.receipt import receipt

    with torch.no_grad():
        merge = plan(base, adapter, None, False)
        weights.write(out, merge.slots(), merge.tensor)
        if with_receipt:
            dtypes = sorted({str(s.dtype).removeprefix("torch.") for s in weights.slots_of(out).values()})
            receipt(
                plan(base, adapter, torch.float32, False), str(out), dtypes, Events("merge:x", os.open(os.devnull, 1))
            )


def child(way: str, root: Path) -> None:
    """One run; prints its figures."""
    import peft as _peft  # noqa: F401
    import torch
    import transformers
    import transformers.conversion_mapping

    from tunekit.steps.merge.run import _give_memory_back
    from tunekit.steps.merge.skeleton import empty_model

    empty_model(transformers.AutoConfig.from_pretrained(root / "base"))  # imports what is imported when it is used
    if way.startswith("ours"):
        _give_memory_back()

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    anonymous, done = [0], threading.Event()
    watcher = threading.Thread(target=_watch, args=(anonymous, done))
    watcher.start()
    start, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory(dir=root) as place:
        if way == "peft":
            peft(str(root / "base"), str(root / "adapter"), Path(place))
        elif way != "imports":
            ours(str(root / "base"), str(root / "adapter"), Path(place), way == "ours + receipt")
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    done.set()
    watcher.join()
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": _status("VmHWM"), "anonymous": anonymous[0]}))


def _watch(peak: list[int], done: threading.Event) -> None:
    peak[0] = _status("RssAnon")
    while not done.wait(0.005):
        peak[0] = max(peak[0], _status("RssAnon"))


def _status(field: str) -> int:
    """Of this process, in MB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--dora", action="store_true")
    parser.add_argument("--child", choices=WAYS)
    parser.add_argument("--root", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.root)
        return
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make(root, args)
        size = (root / "base" / "model.safetensors").stat().st_size
        print(f"{size / 1e6:.0f} MB {args.dtype}, load {os.getloadavg()[0]:.1f} at the start, {args.pairs} in turns")
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(args.pairs):
            for way in WAYS:
                command = [sys.executable, __file__, "--child", way, "--root", str(root)]
                out = subprocess.run(command, check=True, capture_output=True, text=True)
                found[way].append(json.loads(out.stdout.splitlines()[-1]))
        _print(found)


def _print(found: dict[str, list[dict[str, float]]]) -> None:
    middle = {way: {name: statistics.median(r[name] for r in runs) for name in runs[0]} for way, runs in found.items()}
    nothing = middle["imports"]
    over = {way: max(1, m["peak"] - nothing["peak"]) for way, m in middle.items()}
    print("| | wall | from … to | CPU | peak over the interpreter | less than peft | anonymous |")
    print("|---|---|---|---|---|---|---|")
    for way in WAYS[1:]:
        m, walls = middle[way], [run["wall"] for run in found[way]]
        print(
            f"| {way} | {m['wall']:.2f} s | {min(walls):.2f} … {max(walls):.2f} | {m['cpu']:.2f} s "
            f"| {over[way]:.0f} MB "
            f"| {over['peft'] / over[way]:.1f} times | {m['anonymous'] - nothing['anonymous']:.0f} MB |"
        )


if __name__ == "__main__":
    main()
