"""What a push sends, what it never sends, and what is left when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tunekit.share.remote_folder import Folder
from tunekit.share.remote_record import incoming
from tunekit.store import artifacts, records
from tunekit.store.store import Store


def pushed_json(project, *args: str) -> dict:
    done = project.run("push", "--json", *args)
    assert done.code == 0, done.err
    (body,) = done.events
    return body


def entries(remote: Path) -> dict[str, dict]:
    return {body["label"]: body for p in (remote / "ac").iterdir() if (body := json.loads(p.read_bytes()))}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_it_sends_results_once(machines, built):
    first = pushed_json(built)
    assert first["entries"] == ["dataset:a", "dataset:b", "dataset:c"] and first["skipped"] == []
    assert first["objects"] == len(machines.objects())
    before = snapshot(machines.remote)
    again = pushed_json(built)
    assert again["entries"] == [] and again["known"] == first["entries"] and again["objects"] == 0
    assert snapshot(machines.remote) == before


def test_sources_are_sent_when_asked_for_and_then_serve_a_machine_without_them(machines, built):
    assert pushed_json(built, "--sources")["known"] == ["dataset:a#fetch"]
    yours = machines.make("yours")
    for entry in (machines.remote / "ac").iterdir():
        entry.unlink()
    summary = yours.build().one("summary")
    assert summary["fetched"] == ["dataset:a#fetch"] and summary["executed"] == machines.labels[1:]


def test_a_label_brings_what_it_was_made_from_and_no_more(machines, built):
    assert pushed_json(built, "dataset:b")["entries"] == ["dataset:a", "dataset:b"]
    assert set(entries(machines.remote)) == {"dataset:a", "dataset:b"}


def test_what_is_not_built_cannot_be_pushed(machines):
    mine = machines.make("mine")
    done = mine.run("push", "dataset:b")
    assert done.code == 2 and "error[not-built]" in done.err
    body = pushed_json(mine)
    assert body["entries"] == [] and {s["slug"] for s in body["skipped"]} == {"not-here"}


# -- private ---------------------------------------------------------------------------------------


def private(project, **said: str) -> None:
    text = (project.root / "tunekit.toml").read_text()
    for name, value in said.items():
        text = text.replace(f"[dataset.{name}]", f"[dataset.{name}]\nprivate = {value}")
    project.manifest(text)


def test_private_holds_for_what_is_made_from_it(machines, built):
    private(built, a="true")
    done = built.run("push")
    assert done.code == 0 and not list(machines.remote.glob("ac/*")) and not list(machines.remote.glob("cas/*"))
    assert "skipped  dataset:c  (dataset:c is private: it is made from dataset:a)" in done.out
    for label in ("dataset:a", "dataset:c"):
        done = built.run("push", label)
        assert done.code == 2 and "error[private]" in done.err


def test_private_false_stops_it(machines, built):
    private(built, a="true", b="false")
    body = pushed_json(built, "dataset:c", "--sources")
    assert body["entries"] == ["dataset:b", "dataset:c"]
    assert {s["label"] for s in body["skipped"]} == {"dataset:a#fetch", "dataset:a"}
    rows = (built.root / "a.jsonl").read_bytes()
    assert all(p.read_bytes() != rows for p in machines.objects())


def test_private_changes_no_key(built):
    private(built, a="true", b="false")
    assert built.build("--offline").ran == []


# -- what a record says ----------------------------------------------------------------------------


def test_nothing_of_this_machine_leaves(machines, built, monkeypatch):
    """A record with paths, a secret and a log: what arrives has none of them, and its key is untouched."""
    monkeypatch.setenv("MY_API_KEY", "hunter2-hunter2")
    store = Store(built.store)
    node = built.plan("dataset:c")["dataset:c"]
    record = records.lookup(store, node.key)
    record["warnings"] = [
        {"slug": "x", "message": f"read {built.root}/a.jsonl and /mnt/data/z/b.txt with hunter2-hunter2"}
    ]
    record["effective"] = {"cache": f"{Path.home()}/.cache/x", "url": "https://host/a/b", "share": "1/2/3"}
    record["source"] = "path:/srv/corp/rows/*.jsonl"
    record["log"] = artifacts.add_bytes(store, b"secret log")
    real = records.lookup
    monkeypatch.setattr(records, "lookup", lambda s, key: record if key == record["key"] else real(s, key))
    pushed_json(built)
    sent = entries(machines.remote)["dataset:c"]
    text = json.dumps(sent)
    for word in ("hunter2", str(built.root), str(Path.home()) + "/", "/mnt/data", "/srv/corp", str(built.store)):
        assert word not in text
    assert sent["effective"] == {"cache": "…/x", "url": "https://host/a/b", "share": "1/2/3"}
    assert sent["log"] == "" and b"secret log" not in b"".join(p.read_bytes() for p in machines.objects())
    assert sent["preimage"] == record["preimage"]
    assert incoming(json.dumps(sent).encode(), record["key"]) is not None


def test_settings_that_name_this_machine_stay(machines, project):
    mine = machines.make("mine")
    text = (mine.root / "tunekit.toml").read_text()
    mine.write("m.py", "def f(row, file): return row\n")
    mine.manifest(text.replace('map = "m.py:f"', f'map = "m.py:f"\nargs = {{ file = "{mine.root}/other" }}'))
    mine.build("--offline")
    body = pushed_json(mine)
    assert body["entries"] == ["dataset:a", "dataset:c"]
    assert [(s["label"], s["slug"]) for s in body["skipped"]] == [("dataset:b", "names-this-machine")]
    assert str(mine.root) not in "".join(
        p.read_text(errors="replace") for p in machines.remote.rglob("*") if p.is_file()
    )


# -- conflicts, damage, kills ----------------------------------------------------------------------


def test_of_two_results_of_a_key_the_remotes_stays(machines, pushed):
    """The other machine made other bytes of the same key."""
    path = next(p for p in (machines.remote / "ac").iterdir() if json.loads(p.read_bytes())["label"] == "dataset:c")
    theirs = json.loads(path.read_bytes())
    theirs["outputs"] = {"main": "sha256:" + "ab" * 32}
    theirs["attempt"] = "20200101T000000-000000001-deadbeef"
    path.chmod(0o644)
    path.write_text(json.dumps(theirs))
    body = pushed_json(pushed)
    (skipped,) = body["skipped"]
    assert skipped["slug"] == "conflict" and theirs["attempt"] in skipped["why"] and "abababababab" in skipped["why"]
    assert records.lookup(Store(pushed.store), theirs["key"])["attempt"] in skipped["why"]
    assert json.loads(path.read_bytes()) == theirs
    (body,) = pushed.run("pull", "--json").events
    assert list(body["conflicts"]) == ["dataset:c"]


def test_a_damaged_object_of_this_store_does_not_leave(machines, built):
    path = next(p for p in sorted((built.store / "objects").glob("*/*"), key=lambda p: -p.stat().st_size))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    done = built.run("push", "--json")
    (body,) = done.events
    assert done.code == 1 and "corrupt" in {s["slug"] for s in body["skipped"]}
    assert not (machines.remote / "cas" / path.name).exists() and not path.exists()
    assert not {s["label"] for s in body["skipped"]} & set(body["entries"])
    assert built.build("--offline", "dataset:a", "dataset:b", "dataset:c").code == 0
    assert pushed_json(built)["skipped"] == []


def test_a_truncated_object_at_the_remote_is_mended(machines, pushed):
    path = max(machines.objects(), key=lambda p: p.stat().st_size)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:3])
    assert pushed_json(pushed)["objects"] == 1 and path.read_bytes() == whole


def entries_hold(remote: Path) -> None:
    """Whatever happened: an entry has all its objects, and every object is what its name says."""
    from tunekit.hashing import sha256_file
    from tunekit.share.remote_tree import entries_of

    for path in remote.glob("cas/*"):
        assert sha256_file(path) == f"sha256:{path.name}"
    for path in remote.glob("ac/*"):
        record = incoming(path.read_bytes(), f"sha256:{path.name}")
        assert record is not None
        for digest in record["outputs"].values():
            files = entries_of((remote / "cas" / digest[7:]).read_bytes(), digest)
            assert files is not None and all((remote / "cas" / e.digest[7:]).stat().st_size == e.size for e in files)


KILLED = """
import os, signal, sys
from tunekit.share import remote_folder, push
seen = 0
def at(where):
    global seen
    seen += 1
    if seen == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
def before(module, name):
    real = getattr(module, name)
    def called(*args, **more):
        at(name)
        return real(*args, **more)
    setattr(module, name, called)
for name in ("copy_hashed", "flush", "name_file", "flush_names", "write_new"):
    before(remote_folder, name)
from tunekit.cli.main import run
sys.exit(run(["push"]))
"""


def test_a_push_that_is_killed_anywhere_leaves_a_sound_remote(machines, built):
    """SIGKILL in front of its n-th step, for every n, each time going on with what the last one left."""
    step, killed = 1, 0
    while step < 200:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(step)],
            cwd=built.root,
            env=built.environment(),
            capture_output=True,
            text=True,
        )
        entries_hold(machines.remote)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        step = step + 1 if step < 6 else step * 2
    assert killed >= 6 and done.returncode == 0
    assert pushed_json(built)["known"] == ["dataset:a", "dataset:b", "dataset:c"]
    assert machines.make("yours").build().ran == []


def test_two_pushers_at_once(machines, built):
    both = [built.start("push", "--json") for _ in range(2)]
    found = [json.loads(p.communicate(timeout=60)[0]) for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert all(sorted(f["entries"] + f["known"]) == ["dataset:a", "dataset:b", "dataset:c"] for f in found)
    assert all(f["skipped"] == [] for f in found)
    entries_hold(machines.remote)
    assert machines.make("yours").build().ran == []


def test_put_new_gives_a_name_once(tmp_path):
    """Eight writers of one name: one of them wins, and its bytes are there whole."""
    places = [Folder(tmp_path / "remote") for _ in range(8)]
    won: list[int] = []
    gate = threading.Barrier(8)

    def write(i: int) -> None:
        gate.wait()
        if places[i].put_new("ac/x", bytes([i]) * 100_000):
            won.append(i)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(won) == 1 and (tmp_path / "remote/ac/x").read_bytes() == bytes(won) * 100_000


def test_what_a_dead_push_left_goes_after_a_day(tmp_path):
    folder = tmp_path / "remote" / "tmp"
    folder.mkdir(parents=True)
    for name, age in (("old", 100_000), ("young", 10)):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (time.time() - age,) * 2)
    Folder(tmp_path / "remote").open()
    assert [p.name for p in folder.iterdir()] == ["young"]


@pytest.mark.parametrize(
    ("table", "code", "slug"),
    [
        ('url = "https://cache.example/x"', 2, "remote-read-only"),
        ('url = "/x"\nwrite = false', 2, "remote-write-off"),
        ('url = "nope://x/y"', 2, "remote-scheme"),
        ('url = "https://me:secret@host/x"', 2, "bad-value"),
        ('url = ""', 2, "bad-value"),
        ('uri = "/x"', 2, "unknown-key"),
    ],
)
def test_tables_that_cannot_be_pushed_to(project, table, code, slug):
    project.manifest(f"[remote]\n{table}\n[dataset.a]\nsource = 'path:a.jsonl'")
    project.rows("a.jsonl", [{"x": 1}])
    done = project.run("push")
    assert done.code == code and f"error[{slug}]" in done.err and "secret@" not in done.err


def test_without_a_remote_it_says_how_to_name_one(project):
    project.manifest("[dataset.a]\nsource = 'path:a.jsonl'")
    project.rows("a.jsonl", [{"x": 1}])
    for verb in ("push", "pull"):
        done = project.run(verb)
        assert done.code == 2 and "error[no-remote]" in done.err and "TUNEKIT_REMOTE" in done.err
