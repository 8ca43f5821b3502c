"""Selective log-softmax, side by side: the Triton kernel, plain torch, and what TRL and Liger ship.

    python benchmarks/kernels.py                       # with a CUDA device: time and peak memory
    python benchmarks/kernels.py --rows 8192 --vocab 128256 --dtype float16

With a CUDA device every version runs once per round, in a new random order, so a drift of the clock falls on
all alike. Printed: the median time; the median, smallest and largest of the per-round ratios to the torch
reference; the peak memory beyond the inputs; the largest difference from the reference. Without a CUDA device
no time is printed, as Triton's interpreter is no speed figure: only the peak memory of a process on the CPU.
"""

import argparse
import gc
import importlib
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kernels"))

from tunekit_kernels import is_available
from tunekit_kernels.reference import selective_log_softmax_reference

TEMPERATURE = 0.9
CHUNK = 128  # rows at a time in the chunked reference
KERNEL = "tunekit kernel"
PASSES = ("forward", "forward+backward")


class Inputs(NamedTuple):
    base: torch.Tensor  # (rows + 1, vocab): Liger's function drops the last row itself
    logits: torch.Tensor  # (rows, vocab), the other rows of base, requires grad
    tokens: torch.Tensor  # (rows,) int64


Version = Callable[[Inputs], torch.Tensor]


def reference(inputs: Inputs) -> torch.Tensor:
    return selective_log_softmax_reference(inputs.logits, inputs.tokens, TEMPERATURE)


def chunked(inputs: Inputs) -> torch.Tensor:
    pairs = zip(inputs.logits.split(CHUNK), inputs.tokens.split(CHUNK), strict=True)
    return torch.cat([selective_log_softmax_reference(x, i, TEMPERATURE) for x, i in pairs])


def load_fused(module: str) -> Version:
    function = importlib.import_module(module).selective_log_softmax
    return lambda inputs: function(inputs.logits, inputs.tokens, TEMPERATURE)


def load_liger() -> Version:
    from liger_kernel.ops.grpo_loss import fused_selective_log_softmax

    return lambda inputs: fused_selective_log_softmax(inputs.base[None], inputs.tokens[None], TEMPERATURE)[0]


VERSIONS: dict[str, Callable[[], Version]] = {
    "torch reference": lambda: reference,
    f"torch reference, {CHUNK} rows at a time": lambda: chunked,
    KERNEL: lambda: load_fused("tunekit_kernels.selective_log_softmax"),
    "TRL": lambda: load_fused("trl.trainer.utils"),
    "Liger": load_liger,
}
FORWARD_ONLY = {"Liger"}  # its function runs under no_grad; its gradient lives inside its whole GRPO loss


def make_inputs(rows: int, vocab: int, dtype: torch.dtype, device: str) -> Inputs:
    torch.manual_seed(0)
    base = torch.empty(rows + 1, vocab, dtype=dtype, device=device).normal_(std=4)
    logits = base[:-1].detach().requires_grad_()
    return Inputs(base, logits, torch.randint(vocab, (rows,), device=device))


def run_once(version: Version, inputs: Inputs, backward: bool) -> torch.Tensor:
    """One pass; returns logp ``(rows,)``. The gradient is dropped at once."""
    if not backward:
        with torch.no_grad():
            return version(inputs)
    logp = version(inputs)
    torch.autograd.grad(logp.sum(), inputs.logits)
    return logp.detach()


def cuda_milliseconds(version: Version, inputs: Inputs, backward: bool) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run_once(version, inputs, backward)
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def on_cuda(rows: int, vocab: int, dtype: torch.dtype, rounds: int) -> None:
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {rounds} interleaved rounds")
    inputs = make_inputs(rows, vocab, dtype, "cuda")
    expected = run_once(chunked, inputs, backward=False)
    for name in PASSES:
        backward, ready, notes = name != "forward", dict[str, Version](), dict[str, str]()
        for label, load in VERSIONS.items():
            if backward and label in FORWARD_ONLY:
                notes[label] = "forward only"
                continue
            try:  # also compiles it, and loads its modules, before anything is timed
                version = load()
                gc.collect()
                before = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
                error = (run_once(version, inputs, backward).float() - expected).abs().max().item()
                peak = (torch.cuda.max_memory_allocated() - before) / 2**20
            except (ImportError, RuntimeError) as problem:  # not installed, or too little memory
                notes[label] = f"did not run: {problem}".splitlines()[0]
                continue
            ready[label], notes[label] = version, f"{peak:9.0f} MiB  {error:.1e}"
        times: dict[str, list[float]] = {label: [] for label in ready}
        for _ in range(rounds):
            for label in random.sample(list(ready), len(ready)):
                times[label].append(cuda_milliseconds(ready[label], inputs, backward))
        print(f"\n{name}: median ms, ratio to the first that ran (smallest - largest), peak, difference")
        for label, note in notes.items():
            if label not in ready:
                print(f"  {label:36} {note}")
                continue
            first = next(iter(times.values()))
            ratios = [mine / base for mine, base in zip(times[label], first, strict=True)]
            spread = f"{statistics.median(ratios):6.3f} ({min(ratios):.3f} - {max(ratios):.3f})"
            print(f"  {label:36} {statistics.median(times[label]):9.3f} ms  {spread}  {note}")


def peak_of_this_process(label: str, rows: int, vocab: int, dtype: torch.dtype, backward: bool) -> None:
    """Print the peak resident memory (MiB) of one pass beyond the memory held before it. Linux only."""
    version = VERSIONS[label]()
    run_once(version, make_inputs(2, 64, dtype, "cpu"), backward)  # loads code and starts threads
    inputs = make_inputs(rows, vocab, dtype, "cpu")
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak, VmHWM, back to what is resident now
    before = resident_peak()
    logp = run_once(version, inputs, backward)
    print(f"{resident_peak() - before:9.1f} MiB", end="  ")
    print(f"{(logp.float() - run_once(chunked, inputs, backward=False)).abs().max().item():.1e}")


def resident_peak() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def on_cpu(why: str, arguments: list[str], rows: int, vocab: int, dtype: torch.dtype) -> None:
    print(f"No time can be measured here: {why}; Triton's interpreter is no speed figure.")
    size = rows * vocab / 2**20
    print(f"CPU memory instead. The logits are {size * dtype.itemsize:.0f} MiB ({size * 4:.0f} as float32).")
    # A fixed threshold makes glibc give every large block back at once: what is resident is what is in use.
    env = {**os.environ, "TRITON_INTERPRET": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    for name in PASSES:
        print(f"\n{name}: peak memory beyond the inputs, largest difference from the reference")
        for label in VERSIONS:
            if label in FORWARD_ONLY:
                print(f"  {label:36} not run: it needs a GPU")
                continue
            command = [sys.executable, __file__, *arguments, "--peak-of", label, "--pass", name]
            done = subprocess.run(command, env=env, capture_output=True, text=True)
            result = done.stdout.rstrip() + ("  (interpreted)" if label == KERNEL else "")
            if done.returncode != 0:
                result = "did not run: " + done.stderr.strip().rpartition("\n")[2]
            print(f"  {label:36} {result}")


def main() -> None:
    available, why = is_available("cuda")
    compiled = available and why.startswith("compiled")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096 if compiled else 512)
    parser.add_argument("--vocab", type=int, default=151936 if compiled else 32768)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--rounds", type=int, default=30, help="timed runs of each version (CUDA)")
    parser.add_argument("--peak-of", choices=list(VERSIONS), help=argparse.SUPPRESS)
    parser.add_argument("--pass", dest="which", choices=PASSES, default="forward", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows, vocab, dtype = arguments.rows, arguments.vocab, getattr(torch, arguments.dtype)
    if arguments.peak_of is not None:
        peak_of_this_process(arguments.peak_of, rows, vocab, dtype, arguments.which != "forward")
        return
    print(f"selective log-softmax: {rows} rows, vocabulary {vocab}, {dtype}, temperature {TEMPERATURE}")
    if compiled:
        on_cuda(rows, vocab, dtype, arguments.rounds)
    else:
        on_cpu(why, sys.argv[1:], rows, vocab, dtype)


if __name__ == "__main__":
    main()
