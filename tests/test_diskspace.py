"""Every library's own way to say that the disk is full is understood, and nothing else is."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from tunekit import diskspace
from tunekit.errors import ActionError, StoreError, UsageError

FULL = "/dev/full"  # every write to it is ENOSPC
pytestmark = pytest.mark.skipif(not os.path.exists(FULL), reason="there is no /dev/full")


def python() -> None:
    with open(FULL, "w", buffering=1) as f, contextlib.suppress(ValueError):
        f.write("x\n")


def copyfile() -> None:
    shutil.copyfile(__file__, FULL)


def arrow() -> None:
    import pyarrow as pa

    table = pa.table({"a": list(range(10))})
    with pa.OSFile(FULL, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def parquet() -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({"a": [1]}), FULL)


def tokenizers() -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE()).save(FULL)


@pytest.mark.parametrize("write", [python, copyfile, arrow, parquet, tokenizers], ids=lambda f: f.__name__)
def test_what_libraries_raise(write):
    with pytest.raises(Exception) as caught:  # noqa: PT011  (each has its own class)
        write()
    assert diskspace.ran_out(caught.value), repr(caught.value)
    try:
        raise ActionError("it could not be saved") from caught.value
    except ActionError as e:
        assert diskspace.ran_out(e), "what it came from counts"


@pytest.mark.torch
def test_what_torch_and_safetensors_raise(tmp_path):
    """torch.save's zip writer and safetensors raise from C++ and Rust, with words of their own."""
    import torch
    from safetensors.torch import save_file

    (tmp_path / "full").symlink_to(FULL)
    with pytest.raises(RuntimeError) as caught:
        torch.save(torch.zeros(100_000), tmp_path / "full")
    assert diskspace.ran_out(caught.value), caught.value
    with pytest.raises(RuntimeError) as caught:
        torch.save(torch.zeros(100_000), tmp_path / "full", _use_new_zipfile_serialization=False)
    assert diskspace.ran_out(caught.value), caught.value
    with contextlib.suppress(Exception):
        save_file({"a": torch.zeros(4)}, FULL)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "No such file"), ValueError("disk"), PermissionError(13, "Permission denied"),
     OSError("no disk"), MemoryError()],
    ids=repr,
)  # fmt: skip
def test_what_is_no_full_disk(error):
    assert not diskspace.ran_out(error)


def test_errors_that_refer_to_each_other():
    a, b = ValueError("a"), ValueError("b")
    a.__context__, b.__context__ = b, a
    assert not diskspace.ran_out(a)


def test_the_place_with_the_least_room_is_named(monkeypatch, tmp_path):
    rooms = {str(tmp_path / "a"): (5, 1), str(tmp_path / "b"): (9, 0), str(tmp_path / "c"): (1, 1)}
    real = diskspace.room

    def room(place):
        free, entries = rooms.get(str(place), (10**15, 1))
        return real(place)._replace(mount=str(place), free=free, entries=entries)

    monkeypatch.setattr(diskspace, "room", room)
    said = diskspace.full(OSError(28, "No space left on device"), [tmp_path / "a", tmp_path / "c"])
    assert isinstance(said, StoreError) and said.slug == "disk-full" and said.exit_code == 1
    assert f"{tmp_path}/c (0.001 KB free of" in said.message and "No space left" in said.message
    assert "tunekit gc" in said.hint
    copied = OSError(28, "No space left on device", "from", None, str(tmp_path / "b"))
    assert f"{tmp_path}/b (0.009 KB, no file entry (inode) free" in diskspace.full(copied, [tmp_path / "c"]).message


def test_room_of_what_is_not_there_yet(tmp_path):
    here, there = diskspace.room(tmp_path), diskspace.room(tmp_path / "x" / "y")
    assert here.mount == there.mount and Path(here.mount).is_mount() and here.total == there.total > 0


@pytest.mark.parametrize(("bound", "enough"), [("0", True), ("1KB", True), ("999999TB", False), ("1.5 MB", True)])
def test_the_bound(monkeypatch, tmp_path, bound, enough):
    monkeypatch.setenv("TUNEKIT_MIN_FREE", bound)
    if enough:
        diskspace.need(tmp_path)
        return
    with pytest.raises(StoreError, match=f"starts with {bound} free") as caught:
        diskspace.need(tmp_path)
    assert caught.value.slug == "disk-full"


def test_a_bound_that_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNEKIT_MIN_FREE", "plenty")
    with pytest.raises(UsageError) as caught:
        diskspace.need(tmp_path)
    assert caught.value.slug == "bad-size"


def test_output_on_a_full_disk(project):
    """`tunekit graph > file`: also the interpreter's last flush."""
    import subprocess
    import sys

    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n')
    project.write("a.jsonl", "{}\n")
    words = [sys.executable, "-m", "tunekit", "graph"]
    with open(FULL, "w") as full:
        done = subprocess.run(
            words, cwd=project.root, env=project.environment(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1 and done.stderr.startswith("error[disk-full]"), done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
