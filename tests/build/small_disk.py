"""Run in a mount namespace of its own (`unshare -rm`): builds on a file system that is too small.

`python small_disk.py FOLDER worker|writers|tensors`, or `… FOLDER pages|entries ROOM…`: mounts a tmpfs on FOLDER/disk
and prints what happened as JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOML = """
[project]
name = "p"
[dataset.a]
source = "make:m.py:rows"
args = { n = %d }
[dataset.b]
from = ["dataset:a"]
map = "m.py:same"
"""
CODE = """
import random
def rows(n, seed):
    draw = random.Random(seed)
    for i in range(n):
        print("row", i)
        yield {"text": draw.randbytes(500).hex()}
def same(row):
    return row
"""
PAGE = 4096


def call(*words: str, folder: Path) -> dict[str, Any]:
    from tunekit.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*words, "-C", str(folder)])
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def limit(disk: Path, *, pages: int = 4000, entries: int = 4000) -> None:
    subprocess.run(["mount", "-o", f"remount,size={pages * PAGE},nr_inodes={entries}", disk], check=True)


def project(folder: Path, rows: int) -> Path:
    folder.mkdir()
    (folder / "tunekit.toml").write_text(TOML % rows)
    (folder / "m.py").write_text(CODE)
    return folder


def worker(root: Path, disk: Path) -> dict[str, Any]:
    """The store's disk fills while an action runs; then no action starts; then there is room."""
    os.environ["TUNEKIT_STORE"] = str(disk / "store")
    where = project(root / "project", 2000)
    os.environ["TUNEKIT_MIN_FREE"] = "0"
    limit(disk, pages=300)
    said = {"full": call("build", "--json", "dataset:a", folder=where)}
    os.environ["TUNEKIT_MIN_FREE"] = "500MB"
    said["refused"] = call("build", "--json", "dataset:a", folder=where)
    os.environ["TUNEKIT_MIN_FREE"] = "0"
    limit(disk)
    said["again"] = call("build", "--json", "dataset:a", folder=where)
    return said


def libraries(disk: Path, writers: dict[str, Callable[[Path], None]]) -> dict[str, tuple[bool, str]]:
    """What each writer raises on a disk of one page, and whether it is understood."""
    from tunekit import diskspace

    limit(disk, pages=2)
    said = {}
    for name, write in writers.items():
        try:
            write(disk / name)
        except Exception as e:
            said[name] = (diskspace.ran_out(e), repr(e))
        (disk / name).unlink(missing_ok=True)
    return said


def _python(path: Path) -> None:
    path.write_text("x" * 100_000)


def _copy(path: Path) -> None:
    shutil.copyfile("/proc/self/exe", path)


def _arrow(path: Path) -> None:
    import pyarrow as pa

    table = pa.table({"a": list(range(100_000))})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"a": list(range(100_000))}), path)


def _numpy(path: Path) -> None:
    import numpy

    numpy.zeros(100_000).tofile(path)


def _tokenizers(path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"word{i}": i for i in range(9999)}, unk_token="word0")).save(str(path))


def _torch(path: Path) -> None:
    import torch

    torch.save(torch.zeros(1_000_000), path)


def _torch_stream(path: Path) -> None:
    import torch

    torch.save(torch.zeros(1_000_000), path, _use_new_zipfile_serialization=False)


def _safetensors(path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1_000_000)}, path)


WRITERS = {f.__name__[1:]: f for f in (_python, _copy, _arrow, _parquet, _numpy, _tokenizers)}
TENSORS = {f.__name__[1:]: f for f in (_torch, _torch_stream, _safetensors)}


def sweep(disk: Path, kind: str, rooms: list[int]) -> list[dict[str, Any]]:
    """Project and store on a disk with so many pages (or file entries) left: a write of the build fails."""
    os.environ["TUNEKIT_MIN_FREE"] = "0"
    os.environ["TUNEKIT_STORE"] = str(disk / "store")
    said = []
    for room in rooms:
        where = project(disk / "p", 40)
        s = os.statvfs(disk)
        used = s.f_blocks - s.f_bfree if kind == "pages" else s.f_files - s.f_ffree
        limit(disk, **{kind: used + room})
        first = call("build", "--json", folder=where)
        limit(disk)
        second = call("build", "--json", folder=where)
        path = call("path", "dataset:b", folder=where)["out"].strip().rpartition("/")[2]
        workers = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "tunekit.worker"], capture_output=True)
        made = ("staging/*", "tmp/*", "leases/*", "quarantine/*")
        left = [str(p) for pattern in made for p in (disk / "store").glob(pattern)]
        left += [str(p) for p in where.rglob(".*.*")] + workers.stdout.decode().split()
        verified = call("verify", folder=where)
        said.append({"room": room, "first": first, "second": second, "path": path, "left": left, "verify": verified})
        subprocess.run(["rm", "-rf", where, disk / "store"], check=True)
    return said


if __name__ == "__main__":
    root, what, *rooms = sys.argv[1:]
    disk = Path(root) / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    match what:
        case "worker":
            done: Any = worker(Path(root), disk)
        case "writers":
            done = libraries(disk, WRITERS)
        case "tensors":
            done = libraries(disk, TENSORS)
        case _:
            done = sweep(disk, what, [*map(int, rooms)])
    print(json.dumps(done))
