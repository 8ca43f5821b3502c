"""What is said of a full disk, and of one that is not. Real small disks: build/test_disk_full.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunekit import diskspace
from tunekit.errors import ActionError, StoreError, UsageError

FULL = "/dev/full"  # only ever opened: a library that is given its name may delete it
needs_full = pytest.mark.skipif(not Path(FULL).is_char_device(), reason="there is no /dev/full")


@needs_full
def test_what_an_error_came_from_counts():
    with pytest.raises(OSError) as caught, open(FULL, "w", buffering=1) as f:
        f.write("x\n")
    assert diskspace.ran_out(caught.value)
    try:
        raise ActionError("it could not be saved") from caught.value
    except ActionError as e:
        assert diskspace.ran_out(e)


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


@needs_full
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
