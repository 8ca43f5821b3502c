"""A stream over corpora of growing size: memory, tokens a second, and what it costs to go on in the middle.

    python benchmarks/stream.py --chats chats.jsonl --tokenizer FOLDER [--megabytes 10 40 160]

`chats.jsonl`: rows with `messages` (real text); each becomes one document. Every corpus is read in a process of its
own, for one epoch, in files of about 8 MB; the last row reads one file alone, from nine tenths of it on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunekit.data.encoder import Encoder
from tunekit.data.vocabulary import open_vocabulary
from tunekit.engine.corpus import Corpus, Place, file_shards
from tunekit.engine.stream import Stream
from tunekit.protocol import Input

_FILE = 8 << 20


def documents(chats: Path) -> Iterator[str]:
    while True:
        with chats.open() as file:
            for line in file:
                yield "\n".join(str(m["content"]) for m in json.loads(line)["messages"])


def write_corpus(chats: Path, folder: Path, megabytes: int, file_size: int = _FILE) -> None:
    folder.mkdir()
    texts, written, number = documents(chats), 0, 0
    while written < megabytes << 20:
        with (folder / f"{number:05}.jsonl").open("w") as file:
            held = 0
            while held < file_size and written < megabytes << 20:
                row = json.dumps({"text": next(texts)}, ensure_ascii=False) + "\n"
                file.write(row)
                held += len(row)
                written += len(row)
        number += 1


def stream_of(folder: Path, tokenizer: Path, buffer_tokens: int) -> Stream:
    signatures = {}
    for path in folder.iterdir():
        s = path.stat()
        signatures[path.name] = f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"
    reading: dict[str, Any] = {
        "reader": "auto", "encoding": "utf-8", "split": "", "format": "completion", "fields": {},
        "signatures": signatures,
    }  # fmt: skip
    shards, form = file_shards(Input(str(folder), "", "files", "corpus", reading=reading), print)
    vocabulary = open_vocabulary(tokenizer)
    corpus = Corpus("corpus", shards, Encoder(vocabulary, form), 0)
    return Stream(
        [corpus], [1.0], sequence_len=2048, overlong="split", buffer_tokens=buffer_tokens, packing=True, seed=0,
        pad_token_id=0,
    )  # fmt: skip


def measure(folder: Path, tokenizer: Path, buffer_tokens: int, row: int) -> dict[str, float]:
    """One epoch, or (`row`) the first buffer from a row of the first file on."""
    stream = stream_of(folder, tokenizer, buffer_tokens)
    start = stream.beginning
    if row:
        start = start._replace(places=[Place(0, 0, row)])
    wall, cpu = time.perf_counter(), time.process_time()
    longest = held = 0.0
    sequences = 0
    for buffer in stream.buffers(start):
        longest, held = max(longest, time.perf_counter() - wall - held), time.perf_counter() - wall
        sequences += len(buffer.sequences)
        if row or buffer.end.places[0].epoch:
            break
    counts = buffer.end.counts[0]
    return {
        "tokens": counts["tokens_read"],
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "buffer": longest,
        "fill": counts["tokens"] / (sequences * 2048),
        "peak": peak(),
    }


def peak() -> float:
    """Most memory of this process, in MB. (`ru_maxrss` would begin with that of the process that started it.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def bare(folder: Path, tokenizer: Path) -> float:
    """Tokens a second of the tokenizer alone, on texts that are in memory."""
    backend = open_vocabulary(tokenizer).tokenizer
    texts = [json.loads(line)["text"] for line in next(folder.iterdir()).open()]
    begun = time.perf_counter()
    found = sum(len(e.ids) for e in backend.encode_batch_fast(texts, add_special_tokens=False))
    return found / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chats", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[10, 40, 160])
    parser.add_argument("--buffer-tokens", type=int, default=4_000_000)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        folder, row = args.measure
        print(json.dumps(measure(Path(folder), args.tokenizer, args.buffer_tokens, int(row))))
        return
    with tempfile.TemporaryDirectory() as base:
        for megabytes in args.megabytes:
            folder = Path(base) / str(megabytes)
            write_corpus(args.chats, folder, megabytes)
            show(f"{megabytes} MB, an epoch", child(folder, 0))
        print(f"the tokenizer alone: {bare(folder, args.tokenizer):,.0f} tokens/s")
        one = Path(base) / "one"
        write_corpus(args.chats, one, args.megabytes[-1], 1 << 60)
        rows = sum(1 for _ in next(one.iterdir()).open())
        show(f"{args.megabytes[-1]} MB in one file, the first buffer", child(one, 1))
        show(f"{args.megabytes[-1]} MB in one file, a buffer from row {rows * 9 // 10:,}", child(one, rows * 9 // 10))


def child(folder: Path, row: int) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--measure", str(folder), str(row)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def show(what: str, found: dict[str, float]) -> None:
    speed = found["tokens"] / found["wall"]
    print(
        f"{what}: {found['tokens']:,} tokens in {found['wall']:.1f} s ({speed:,.0f} tokens/s, "
        f"CPU {found['cpu']:.1f} s), longest buffer {found['buffer']:.1f} s, {found['fill']:.2%} full, "
        f"peak {found['peak']:.0f} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
