"""Looking at processes and files from outside, and one small project."""

from __future__ import annotations

import os
import time
from pathlib import Path

DECLARED = """
[dataset.a]
source = "path:a.jsonl"
[dataset.b]
from = ["dataset:a"]
map = "m.py:f"
[dataset.c]
from = ["dataset:b"]
limit = 2
"""
# A tokenizer and a model of one dataset, and a run on what is put in for DATA.
TRAINED = """
[dataset.a]
source = "path:a.jsonl"
format = "completion"
[tokenizer.t]
data = ["dataset:a"]
vocab_size = 300
[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"
[run.x]
method = "sft"
model = "model:m"
data = [DATA]
"""
MAP = 'def f(row): return {"x": row["x"] + 1}\n'


def write_declared(project) -> None:
    project.rows("a.jsonl", [{"x": 1}, {"x": 2}, {"x": 3}])
    project.write("m.py", MAP)
    project.manifest(DECLARED)


def snapshot(*folders: Path) -> dict[str, tuple[int, ...]]:
    """Every file, folder and link with what changes when it is written to."""
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            s = path.lstat()
            found[str(path)] = (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
    return found


def processes(word: str) -> list[int]:
    """Live processes with `word` in their command line or environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if word.encode() in seen and state != "Z" and int(pid) != os.getpid():
            found.append(int(pid))
    return found


def victims(project, controller: int) -> dict[str, list[int]]:
    """Processes of a build by what they are."""
    found = {"controller": [controller], "nursery": [], "child": []}
    for pid in processes(str(project.store)):
        try:
            with open(f"/proc/{pid}/stat") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == controller:
            found["nursery"].append(pid)
        elif pid != controller:
            found["child"].append(pid)
    return found


def wait_until(true, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
