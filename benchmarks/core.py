"""The core's speed, beside the floor of a correct checker and whichever peers are installed.

    python benchmarks/core.py [--sizes 10 100 1000 10000] [--runs 7] [--peers 1000]

Commands are interleaved (tunekit, floor, tunekit, floor …); medians are quoted, with CPU seconds and ratios, since
machines are shared. Large sizes are prebuilt; at 100 that is checked to equal a real build. Peers are taken from
$DVC and $SNAKEMAKE or the PATH; without them no ratio to them is claimed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import graphs
import peers
import prebuilt
from timing import TUNEKIT, Figure, Project, median, peak

from tunekit.hashing import sha256_file
from tunekit.store.store import Store

FLOOR = [sys.executable, str(Path(__file__).with_name("floor.py")), "check", "."]


def interleaved(project: Project, command: list[str], runs: int, edit: str) -> tuple[Figure, Figure]:
    """tunekit and the floor in turn. `edit`: one source is changed, `once` before all of it or before `each` run."""
    os.chdir(project.root)
    ours, floors = [], []
    for i in range(runs):
        if edit == "each" or (edit == "once" and not i):
            project.edit()
        ours.append(project.once(command)[0])
        floors.append(project.once(FLOOR)[0])
    return median(ours), median(floors)


def executed(text: str) -> list[str]:
    return json.loads(text.splitlines()[-1])["executed"]


def first_build(base: Path, n: int) -> str:
    """A real first build, then a rebuild after one edit; both are checked to run exactly what they must."""
    project = Project(base / "first", n)
    os.chdir(project.root)
    full, text = project.once([*TUNEKIT, "build", "--json"])
    sources, depth = len(graphs.chains(n)), min(n, graphs.DEPTH)
    assert len(executed(text)) == n + sources, f"{len(executed(text))} of {n} + {sources} ran"
    project.edit()
    one, text = project.once([*TUNEKIT, "build", "--json"])
    ran = executed(text)
    assert len(ran) == depth + 1 and sum(x.endswith("#fetch") for x in ran) == 1, ran
    again = Project(base / "again", n)
    os.chdir(again.root)
    each = again.controller() / (n + sources)
    cells = [str(n), f"{n} + {sources}", f"{full.wall:.1f} s", f"{full.cpu:.1f} s", f"{1000 * each:.1f} ms"]
    return "| " + " | ".join([*cells, f"{depth} + 1", f"{1000 * one.wall:.0f} ms"]) + " |"


def same_as_real(base: Path) -> str:
    """Prebuilding 100 stages gives the artifacts that `tunekit build` gives."""
    real, made = Project(base / "real", 100), Project(base / "made", 100)
    os.chdir(real.root)
    real.once([*TUNEKIT, "build"])
    _, text = real.once([*TUNEKIT, "plan", "--json"])
    want = {a["label"]: a["outputs"]["main"] for a in json.loads(text)["actions"]}
    got = prebuilt.prebuild(made.root, Store(made.store).ensure())
    assert got == want, "prebuilt and real results differ"
    return f"prebuilt = really built at 100 stages: {len(got)} artifacts equal"


def hashing(base: Path) -> str:
    """GB a CPU second, one file after the other and two at once."""
    paths = [base / "big-0", base / "big-1"]
    block = os.urandom(1 << 20)
    for path in paths:
        with open(path, "wb") as f:
            for _ in range(1024):
                f.write(block)
        sha256_file(path)
    gigabytes = len(paths) * 2**30 / 1e9
    start = time.process_time()
    for path in paths:
        sha256_file(path)
    alone = gigabytes / (time.process_time() - start)
    start, begun = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as pool:
        list(pool.map(sha256_file, paths))
    both = gigabytes / (time.process_time() - start)
    wall = gigabytes / (time.perf_counter() - begun)
    for path in paths:
        path.unlink()
    return (
        f"sha256 of a 1 GiB file: {alone:.2f} GB a CPU second; two at once: {both:.2f} GB a CPU second,"
        f" {wall:.2f} GB a second together"
    )


def version(project: Project, runs: int) -> str:
    os.chdir(project.root)
    bare, ours = [], []
    for _ in range(runs):
        bare.append(project.once([sys.executable, "-c", "pass"])[0])
        ours.append(project.once([*TUNEKIT, "--version"])[0])
    return f"--version: {1000 * (median(ours).wall - median(bare).wall):.0f} ms over a bare interpreter"


CASES = (
    ("no-op build", "build", ""),
    ("status", "status", ""),
    ("plan, one source changed", "plan", "once"),
    ("build, one source changed: 10 stages run", "build", "each"),
)


def prebuilt_rows(base: Path, n: int, runs: int) -> None:
    """What a project of n stages costs when it is built, and when one source has changed."""
    project = Project(base, n)
    os.environ["TUNEKIT_STORE"] = str(project.store)
    prebuilt.prebuild(project.root, Store(project.store).ensure())
    time.sleep(2.1)  # until what was just written is trusted
    os.chdir(project.root)
    project.once([*FLOOR[:2], "init", "."])
    project.once([*TUNEKIT, "build"])
    for what, verb, edit in CASES:
        command = [*TUNEKIT, verb]
        ours, floor = interleaved(project, command, runs, edit)
        figures = [f"{1000 * x:.0f} ms" for x in (ours.wall, ours.cpu, floor.wall)]
        cells = [str(n), what, *figures, f"{ours.wall / floor.wall:.1f}", f"{peak(project, command)} MB"]
        print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sizes", type=int, nargs="*", default=[10, 100, 1000, 10000])
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--peers", type=int, nargs="*", default=[], help="sizes at which DVC and Snakemake run beside it")
    args = p.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tunekit-bench-"))
    os.environ["TUNEKIT_CONFIG"] = str(base / "config")
    try:
        print(f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}\n")
        print("| stages | what | wall | CPU | floor beside it | ratio | memory |\n|---|---|---|---|---|---|---|")
        for n in args.sizes:
            prebuilt_rows(base, n, args.runs)
        head = (
            "stages | first build runs | wall | CPU, all of it | its controller's CPU an action | one edit runs | wall"
        )
        print(f"\n| {head} |\n|{'---|' * 7}")
        for n in [n for n in args.sizes if n <= 1000]:
            print(first_build(base, n), flush=True)
        print("\n" + "\n".join([same_as_real(base), version(Project(base, 11), args.runs), hashing(base)]), flush=True)
        for n in args.peers:
            print(peers.table(base, n, args.runs), flush=True)
    finally:
        os.chdir("/")
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
