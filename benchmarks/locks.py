"""What the lock costs a command that has nothing to do: `lock --check`, `build --frozen` and `build --locked` beside a
plain no-op build, at sizes of the graph and of the lock.

    python benchmarks/locks.py [--sizes 100 1000] [--files 10 1000 10000] [--runs 7]

`files` is how many files the lock pins, a hundred a source. Commands are interleaved; medians are quoted.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import prebuilt
from timing import TUNEKIT, Project, median

from tunekit.hashing import sha256_bytes
from tunekit.lockfile import FileEntry, block_of, load_lock, save_lock
from tunekit.store.store import Store

COMMANDS = (["build"], ["lock", "--check"], ["build", "--frozen"], ["build", "--locked"])
A_SOURCE = 100


def pinned(project: Project, files: int) -> None:
    """Datasets that nobody builds, from pinned sources, and their blocks in the lock."""
    path = project.root / "tunekit.lock"
    lock = load_lock(path)
    with (project.root / "tunekit.toml").open("a") as toml:
        for start in range(0, files, A_SOURCE):
            source = f"hf:datasets/org/d{start}"
            entries = [
                FileEntry(f"data/part-{i:05d}.parquet", 1000 + i, sha256_bytes(b"%d" % i))
                for i in range(start, min(start + A_SOURCE, files))
            ]
            lock.sources[source] = block_of(source, f"{start:040x}", None, entries)
            toml.write(f'\n[dataset.pinned-{start}]\nsource = "hf:org/d{start}"\n')
    save_lock(lock, path)


def rows(base: Path, n: int, files: int, runs: int) -> None:
    project = Project(base, n)
    os.environ["TUNEKIT_STORE"] = str(project.store)
    toml = project.root / "tunekit.toml"
    built = prebuilt.prebuild(project.root, Store(project.store).ensure())
    os.chdir(project.root)
    ends = [label for label in built if "#" not in label]
    toml.write_text(toml.read_text().replace("[project]", f"[project]\ndefault = {ends!r}".replace("'", '"'), 1))
    project.once([*TUNEKIT, "lock", "--offline"])
    pinned(project, files)
    time.sleep(2.1)  # until what was just written is trusted
    project.once([*TUNEKIT, "build"])
    figures = [[] for _ in COMMANDS]
    for _ in range(runs):
        for found, words in zip(figures, COMMANDS, strict=True):
            found.append(project.once([*TUNEKIT, *words])[0])
    walls = [1000 * median(found).wall for found in figures]
    cells = [f"{n}", f"{files}", *(f"{wall:.0f} ms" for wall in walls), f"{max(walls[1:3]) - walls[0]:+.0f} ms"]
    print("| " + " | ".join(cells) + " |", flush=True)
    os.chdir("/")
    shutil.rmtree(project.root)
    shutil.rmtree(project.store)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", type=int, nargs="*", default=[100, 1000])
    p.add_argument("--files", type=int, nargs="*", default=[10, 1000, 10000])
    p.add_argument("--runs", type=int, default=7)
    args = p.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tunekit-bench-"))
    os.environ["TUNEKIT_CONFIG"] = str(base / "config")
    try:
        print(f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}\n")
        print("| stages | files | " + " | ".join(f"`{' '.join(c)}`" for c in COMMANDS) + " | over the no-op |")
        print("|---" * 7 + "|")
        for n in args.sizes:
            for files in args.files:
                rows(base, n, files, args.runs)
    finally:
        os.chdir("/")
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
