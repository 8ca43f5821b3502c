"""One peer of benchmarks/data.py, in a process of its own: `tokenizing.py PEER ROWS TOKENIZER NUM_PROC`.

Prints `{"tokens", "labelled", "wall", "cpu"}`: the seconds from rows that lie in a Dataset (Arrow on disk) to tokens
that do; imports, reading the JSON and loading the tokenizer are not in it. CPU has all children.

trl        SFTTrainer._prepare_dataset with assistant_only_loss, as its trainer calls it
datasets   Dataset.map, batched, with return_assistant_tokens_mask and labels made of it: the same masks
bare       tokenizers.encode_batch_fast, 1,000 texts at a time, on all cores; nothing is kept or written
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH = 1000


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    begun, wall = cpu(), time.perf_counter()
    done = work()
    return done, {"wall": time.perf_counter() - wall, "cpu": cpu() - begun}


def counted(made: Any) -> dict[str, int]:
    """Tokens and labels of a Dataset; not timed."""
    import pyarrow.compute as pc

    tokens = labelled = 0
    for batch in made.with_format("arrow").iter(BATCH):
        labels = pc.list_flatten(batch["labels"])
        tokens += len(labels)
        labelled += pc.sum(pc.not_equal(labels, -100)).as_py() or 0
    return {"tokens": tokens, "labelled": labelled}


def trl(rows: Any, root: str, procs: int) -> dict[str, float]:
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(root)
    config = SFTConfig(
        assistant_only_loss=True, dataset_num_proc=procs, max_length=None, output_dir=tempfile.mkdtemp(),
        report_to=[], use_cpu=True, bf16=False, shuffle_dataset=False,
    )  # fmt: skip
    trainer = SFTTrainer.__new__(SFTTrainer)  # no model: preparing rows uses these three attributes
    trainer.chat_template, trainer._tokenizer, trainer.completion_only_loss = None, tokenizer, False
    made, used = timed(lambda: trainer._prepare_dataset(rows, tokenizer, config, False, None, "train"))
    return {**counted(made), **used}


def mapped(rows: Any, root: str, procs: int) -> dict[str, float]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(root)

    def work(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made = tokenizer.apply_chat_template(
            batch["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        pairs = zip(made["input_ids"], made["assistant_masks"], strict=True)
        labels = [[i if on else -100 for i, on in zip(ids, mask, strict=True)] for ids, mask in pairs]
        return {"input_ids": made["input_ids"], "labels": labels}

    made, used = timed(
        lambda: rows.map(work, batched=True, num_proc=procs if procs > 1 else None, remove_columns=rows.column_names)
    )
    return {**counted(made), **used}


def bare(rows: Any, root: str, procs: int) -> dict[str, float]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(root) / "tokenizer.json"))
    texts = list(rows["text"])

    def work() -> int:
        batches = (texts[i : i + BATCH] for i in range(0, len(texts), BATCH))
        return sum(len(e) for batch in batches for e in tokenizer.encode_batch_fast(batch, add_special_tokens=False))

    tokens, used = timed(work)
    return {"tokens": tokens, "labelled": tokens, **used}


def main() -> None:
    peer, file, root, procs = sys.argv[1:]
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": cache, "HF_DATASETS_CACHE": cache}
        import datasets

        datasets.disable_progress_bars()
        rows = datasets.Dataset.from_json(file)
        print(json.dumps({"trl": trl, "datasets": mapped, "bare": bare}[peer](rows, root, int(procs))))


if __name__ == "__main__":
    main()
