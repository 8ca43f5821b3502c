"""The same graph for tunekit and its peers: n stages in chains of ten, every chain with its own source file.

Stage d of a chain appends its own number to what stage d-1 made, so every stage has its own parameter and its
own output bytes, and one changed source file makes exactly one chain (ten stages) stale.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

DEPTH = 10


def chains(n: int) -> list[list[str]]:
    """Stage names, chain by chain."""
    depth = min(DEPTH, n)
    return [[f"c{c:05d}-s{d:02d}" for d in range(depth)] for c in range(n // depth)]


def leaf(c: int, edit: int = 0) -> str:
    """One JSON row; an edit keeps the size."""
    return f'{{"text": "leaf {c:08d} edit {edit:04d} {"x" * 60}"}}\n'


def source(root: Path, c: int) -> Path:
    return root / f"src/c{c:05d}.jsonl"


def write_sources(root: Path, n: int) -> None:
    (root / "src").mkdir(parents=True, exist_ok=True)
    for c in range(len(chains(n))):
        source(root, c).write_text(leaf(c))


def tunekit(root: Path, n: int) -> None:
    """A project whose targets are derived datasets."""
    write_sources(root, n)
    (root / "ops.py").write_text('def stage(row, n):\n    return {"text": f"{row[\'text\']} {n}"}\n')
    out = ['[project]\nname = "bench"\n']
    for c, chain in enumerate(chains(n)):
        for d, name in enumerate(chain):
            start = f'source = "path:src/c{c:05d}.jsonl"' if d == 0 else f'from = ["dataset:{chain[d - 1]}"]'
            out.append(f'[dataset.{name}]\n{start}\nmap = "ops.py:stage"\nargs = {{ n = {d} }}\n')
    (root / "tunekit.toml").write_text("\n".join(out))


_STAGE = (
    "import json, sys\n"
    "row = json.loads(open(sys.argv[1]).readline())\n"
    "print(json.dumps({'text': row['text'] + ' ' + sys.argv[3]}), file=open(sys.argv[2], 'w'))\n"
)


def stages(n: int) -> list[tuple[str, str, str, int]]:
    """(name, input, output, parameter)."""
    out = []
    for c, chain in enumerate(chains(n)):
        for d, name in enumerate(chain):
            before = f"src/c{c:05d}.jsonl" if d == 0 else f"out/{chain[d - 1]}.jsonl"
            out.append((name, before, f"out/{name}.jsonl", d))
    return out


def dvc(root: Path, n: int) -> None:
    write_sources(root, n)
    (root / "out").mkdir(exist_ok=True)
    (root / "stage.py").write_text(_STAGE)
    lines = ["stages:"]
    for name, before, after, d in stages(n):
        command = f"{sys.executable} stage.py {before} {after} {d}"
        lines.append(f"  {name}:\n    cmd: {command}\n    deps: [{before}, stage.py]\n    outs: [{after}]")
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n")


def snakemake(root: Path, n: int) -> None:
    """One wildcard-free rule a stage, as tunekit has one target a stage."""
    write_sources(root, n)
    (root / "stage.py").write_text(_STAGE)
    last = [f'"out/{chain[-1]}.jsonl"' for chain in chains(n)]
    lines = [f"rule all:\n    input: {', '.join(last)}"]
    for name, before, after, d in stages(n):
        rule = name.replace("-", "_")
        shell = f"{sys.executable} stage.py {{input}} {{output}} {d}"
        lines.append(f'rule {rule}:\n    input: "{before}"\n    output: "{after}"\n    shell: "{shell}"')
    (root / "Snakefile").write_text("\n".join(lines) + "\n")


def edit_one(root: Path, c: int, number: int) -> None:
    """A same-size edit of one source."""
    path = source(root, c)
    path.write_text(leaf(c, number))
    os.utime(path)
