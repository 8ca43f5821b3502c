"""push and pull against a copy with the same guarantees, for one large file and for many small ones.

    python benchmarks/remote.py [--large 1000] [--small 10000] [--s3]

The copy hashes each file as it copies it, under a temporary name, makes it durable (fsync for one, one syncfs for
many), renames it, and makes the names durable. S3 is measured against `s3fs.put` on moto's server (loopback).
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tunekit.hashing import hex_of
from tunekit.share.push import _Leaving, _Push
from tunekit.share.remote import Remote, open_place
from tunekit.share.remote_folder import copy_hashed
from tunekit.share.remote_tree import tree_blob
from tunekit.store import artifacts
from tunekit.store.arrivals import flush, flush_names
from tunekit.store.store import Store


def make(folder: Path, count: int, size: int) -> tuple[Store, str]:
    """A store with one artifact of so many files."""
    store = Store(folder / "store").ensure()
    work = folder / "work"
    work.mkdir()
    block = os.urandom(min(size, 1 << 20))
    for i in range(count):
        with open(work / f"{i}.bin", "wb") as f:
            f.write(i.to_bytes(8, "big"))
            for _ in range(max(size // len(block), 1)):
                f.write(block)
    return store, artifacts.seal(store, work)


def copy(sources: list[str], target: Path) -> None:
    """What a copy with the same guarantees costs."""
    target.mkdir()
    spares = []
    for source in sources:
        spare = f"{target}/tmp-{len(spares)}"
        digest, _ = copy_hashed(source, spare, 1 << 62)
        spares.append((spare, f"{target}/{hex_of(digest)}"))
    flush([spare for spare, _ in spares], target)
    for spare, name in spares:
        os.rename(spare, name)
    flush_names([str(target)], target)


class _NoPlanner:
    def __init__(self, store: Store) -> None:
        self.store = store


def push(store: Store, tree: str, url: str, root: Path) -> None:
    entries = artifacts.read_tree(store, tree)
    assert entries is not None
    leaving = _Leaving("dataset:x", {}, b"", {tree: entries}, [])
    done = _Push(_NoPlanner(store), open_place(url, root), lambda d, t: None, []).run([leaving])  # type: ignore[arg-type]
    assert done.objects == len({e.digest for e in entries}) + 1 and not done.skipped, done


def pull(tree: str, url: str, root: Path, into: Path) -> None:
    def warn(slug: str, message: str) -> None:
        raise AssertionError(message)

    store = Store(into).ensure()
    faults = Remote(open_place(url, root), warn).fetch(store, [tree], lambda d, t: None)
    assert not faults and artifacts.whole(store, tree) is not None, faults


def timed(what, *args) -> float:
    os.sync()
    start = time.perf_counter()
    what(*args)
    return time.perf_counter() - start


def folder_case(name: str, count: int, size: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as at:
        root = Path(at)
        store, tree = make(root, count, size)
        entries = artifacts.read_tree(store, tree)
        assert entries is not None
        sources = [store.place("objects", e.digest) for e in entries]
        times: dict[str, list[float]] = {"copy": [], "push": [], "copy back": [], "pull": []}
        for i in range(rounds):  # in turn, so that a busy minute counts for all
            times["copy"].append(timed(copy, sources, root / f"copy{i}"))
            shutil.rmtree(root / f"copy{i}")
            times["push"].append(timed(push, store, tree, f"{root}/remote{i}", root))
            remote = [f"{root}/remote{i}/cas/{hex_of(e.digest)}" for e in entries]  # what a pull reads
            times["copy back"].append(timed(copy, remote, root / f"back{i}"))
            shutil.rmtree(root / f"back{i}")
            times["pull"].append(timed(pull, tree, f"{root}/remote{i}", root, root / f"into{i}"))
            shutil.rmtree(root / f"remote{i}")
            shutil.rmtree(root / f"into{i}")
        report(name, {k: times[k] for k in ("copy", "push")}, "copy")
        report(name, {k: times[k] for k in ("copy back", "pull")}, "copy back")


def report(name: str, times: dict[str, list[float]], base: str) -> None:
    middle = {k: statistics.median(v) for k, v in times.items()}
    shown = "  ".join(f"{k} {v:.3f} s" for k, v in middle.items())
    ratios = "  ".join(f"{k}/{base} {v / middle[base]:.2f}" for k, v in middle.items() if k != base)
    print(f"{name:<24} {shown}   {ratios}   load {os.getloadavg()[0]:.1f}", flush=True)


def s3_case(name: str, count: int, size: int, rounds: int) -> None:
    import subprocess
    import sys
    import urllib.request

    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", "5555"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:5555", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        for _ in range(100):
            try:
                urllib.request.urlopen("http://127.0.0.1:5555/moto-api/")
                break
            except OSError:
                time.sleep(0.2)
        import s3fs

        fs = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as at:
            root = Path(at)
            store, tree = make(root, count, size)
            entries = artifacts.read_tree(store, tree)
            assert entries is not None
            assert tree_blob(entries)
            sources = [store.place("objects", e.digest) for e in entries]
            times: dict[str, list[float]] = {"put": [], "push": [], "get": [], "pull": []}
            for i in range(rounds):
                bucket = f"bench-{count}-{i}"
                fs.mkdir(bucket)
                names = [f"{bucket}/put/{Path(s).name}" for s in sources]
                times["put"].append(timed(fs.put, sources, names))
                (root / "got").mkdir()
                times["get"].append(timed(fs.get, names, [str(root / "got" / Path(s).name) for s in sources]))
                shutil.rmtree(root / "got")
                fs.rm(f"{bucket}/put", recursive=True)
                times["push"].append(timed(push, store, tree, f"s3://{bucket}/push", root))
                times["pull"].append(timed(pull, tree, f"s3://{bucket}/push", root, root / f"into{i}"))
                shutil.rmtree(root / f"into{i}")
                fs.rm(bucket, recursive=True)
            report(name, {k: times[k] for k in ("put", "push")}, "put")
            report(name, {k: times[k] for k in ("get", "pull")}, "get")
    finally:
        server.kill()
        server.wait()


def main() -> None:
    p = argparse.ArgumentParser()
    p.add_argument("--large", type=int, default=1000, help="MB of the one large file")
    p.add_argument("--small", type=int, default=10_000, help="how many small files (4 kB)")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--s3", action="store_true")
    args = p.parse_args()
    case = s3_case if args.s3 else folder_case
    kind = "S3, " if args.s3 else "folder, "
    case(f"{kind}1 x {args.large} MB", 1, args.large * 10**6, args.rounds)
    case(f"{kind}{args.small} x 4 kB", args.small, 4096, args.rounds)


if __name__ == "__main__":
    main()
