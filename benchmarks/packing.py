"""Packing a million rows: time and fill, beside TRL's packer and (where it and numba are installed) Axolotl's.

    python benchmarks/packing.py [--rows 1000000] [--sequence-len 2048 8192]

Lengths are drawn from histograms of real rows (benchmarks/lengths.py says which) and from a log-normal distribution;
those over sequence_len are cut to it. Every packer runs once, in one process on one core, CPU and wall seconds are
printed; peers are called as their own trainers call them:

TRL       pack_dataset, 1,000 rows at a time, and its _pack_bfd once over all rows; both copy the tokens that they
          pack, which are one byte each here
Axolotl   MultipackBatchSampler's pack_parallel, first fit over the shuffled rows in groups of 100,000, at most 200
          rows a sequence, one process, after numba has compiled it
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tunekit.engine.packing import Packing
from tunekit.engine.shuffle import grouped_by_length, permutation


class Figure(NamedTuple):
    name: str
    cpu: float
    wall: float
    fill: float


def timed(name: str, pack: Callable[[], tuple[int, int]]) -> Figure:
    """`pack` returns tokens and the room that they were given."""
    cpu, wall = time.process_time(), time.perf_counter()
    tokens, room = pack()
    return Figure(name, time.process_time() - cpu, time.perf_counter() - wall, tokens / room)


def distributions(rows: int) -> Iterator[tuple[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    for name, histogram in json.loads(Path(__file__).with_name("lengths.json").read_text()).items():
        counts = np.array(list(histogram.values()))
        yield f"{name} (real)", generator.choice([int(n) for n in histogram], rows, p=counts / counts.sum())
    yield "log-normal, mean 600", np.maximum(generator.lognormal(6, 0.9, rows), 1).astype(np.int64)


def ours(lengths: np.ndarray, capacity: int) -> Iterator[Figure]:
    made: list[Packing] = []

    def first() -> tuple[int, int]:
        made.append(Packing(lengths, capacity))
        return epoch(0)

    def epoch(number: int) -> tuple[int, int]:
        return int(lengths.sum()), sum(1 for _ in made[0].epoch(0, number)) * capacity

    yield timed("tunekit, first epoch", first)
    yield timed("tunekit, every further epoch", lambda: epoch(1))


def trl(lengths: np.ndarray, capacity: int) -> Iterator[Figure]:
    import datasets
    import pyarrow as pa
    from trl import pack_dataset
    from trl.data_utils import _pack_bfd

    datasets.disable_progress_bars()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    column = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.zeros(offsets[-1], np.int8)))
    table = pa.table({"input_ids": column})
    whole = datasets.Dataset(table)
    total = int(lengths.sum())
    yield timed("TRL pack_dataset", lambda: (total, len(pack_dataset(whole, capacity)) * capacity))
    yield timed("TRL _pack_bfd, all rows at once", lambda: (total, len(_pack_bfd(table, capacity)) * capacity))


def axolotl(lengths: np.ndarray, capacity: int) -> Iterator[Figure]:
    from axolotl.utils.samplers.multipack import pack_parallel

    shuffled = lengths[permutation(len(lengths), 0, 0, "axolotl")].astype(np.int32)
    pack_parallel(shuffled[:1000], capacity, 100_000, 200, 1)  # compiles

    def pack() -> tuple[int, int]:
        return int(lengths.sum()), len(pack_parallel(shuffled, capacity, 100_000, 200, 1)) * capacity

    yield timed("Axolotl pack_parallel", pack)


def padded(lengths: np.ndarray, capacity: int) -> Iterator[Figure]:
    """Without packing: 8 rows padded to the longest of them."""

    def pad(order: np.ndarray) -> tuple[int, int]:
        batches = lengths[order[: len(order) // 8 * 8]].reshape(-1, 8)
        return int(batches.sum()), int(batches.max(1).sum()) * 8

    yield timed("padded to the longest of 8", lambda: pad(permutation(len(lengths), 0, 0, "padded")))
    yield timed("the same, group_by_length", lambda: pad(grouped_by_length(lengths, 8, 0, 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--sequence-len", type=int, nargs="+", default=[2048, 8192])
    args = parser.parse_args()
    for name, drawn in distributions(args.rows):
        for capacity in args.sequence_len:
            lengths = np.minimum(drawn, capacity)
            print(f"\n{name}: {args.rows:,} rows, {lengths.mean():.0f} tokens a row, sequence_len {capacity}")
            print(f"  {'':34}{'CPU s':>9}{'wall s':>9}{'full':>10}")
            for packer in (ours, trl, axolotl, padded):
                try:
                    for figure in packer(lengths, capacity):
                        print(f"  {figure.name:34}{figure.cpu:9.2f}{figure.wall:9.2f}{figure.fill:10.2%}", flush=True)
                except ImportError as e:
                    print(f"  {packer.__name__}: not installed ({e.name})")


if __name__ == "__main__":
    main()
