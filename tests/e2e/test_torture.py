"""The catalogue of what happens to build systems (docs/reliability.md), where no other test has it: builds at once, a
collection in between, locks that do not lock, rot, clocks, disks that are read-only, long and odd names.

Short forms here; `-m long` injects some hundred faults each and prints how many.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tunekit.hashing import sha256_bytes
from tunekit.store import artifacts, records
from tunekit.store.store import Store

MAP = """
import time
def f(row, n, wait=0.0, note=""):
    if note:
        with open(note, "a") as file:
            file.write(f"{n}\\n")
    time.sleep(wait)
    return {"x": row["x"] * n}
"""


def wide(project, count: int, note: Path | str = "", wait: float = 0.0, first: int = 1) -> None:
    """A source and `count` maps of it, each with a child of its own; the note gets a line whenever one runs."""
    project.rows("a.jsonl", [{"x": i} for i in range(3)])
    project.write("m.py", MAP)
    text = '[dataset.a]\nsource = "path:a.jsonl"\n'
    for i in range(first, first + count):
        args = f'{{ n = {i}, wait = {wait}, note = "{note}" }}'
        text += f'[dataset.b{i}]\nfrom = ["dataset:a"]\nmap = "m.py:f"\nargs = {args}\n'
        text += f'[dataset.c{i}]\nfrom = ["dataset:b{i}"]\nlimit = 2\n'
    project.manifest(text)


def sound(store: Store) -> int:
    """Every object is what its name says, and every record's artifacts are whole; how many records."""
    for path in (store.root / "objects").glob("??/*"):
        assert sha256_bytes(path.read_bytes()) == "sha256:" + path.name
    count = 0
    for key in {path.name.partition(".")[0] for path in (store.root / "ac").glob("*/*")}:
        record = records.lookup(store, "sha256:" + key)
        if record:
            count += 1
            assert all(artifacts.whole(store, tree) for tree in record["outputs"].values())
    return count


def finished(runs: list[subprocess.Popen[str]], seconds: float = 120) -> None:
    for run in runs:
        out, err = run.communicate(timeout=seconds)
        assert run.returncode == 0, out[-2000:] + err[-2000:]


def many_builds(make_project, tmp_path, builds: int, targets: int, **env: str) -> list[str]:
    """Builds at once of overlapping targets of projects that share a store; what ran, as the maps noted it."""
    note = tmp_path / "note"
    projects = []
    for i in range(builds):
        project = make_project(f"p{i}")
        wide(project, targets, note, wait=0.02, first=1 + i % 2)  # every other one has one target of its own
        projects.append(project)
    finished([p.start("build", "--json", **env) for p in projects])
    for project in projects:
        assert project.build().ran == []
    assert len({json.dumps(p.outputs(), sort_keys=True) for p in projects}) <= 2
    return note.read_text().split()


def test_builds_at_once_run_nothing_twice(make_project, tmp_path):
    ran = many_builds(make_project, tmp_path, builds=4, targets=3)
    assert sorted(ran) == sorted([str(i) for i in (1, 2, 3, 4)] * 3), "three rows each, once"
    assert sound(Store(tmp_path / "store")) == 10


@pytest.mark.long
def test_eight_builds_at_once(make_project, tmp_path):
    ran = many_builds(make_project, tmp_path, builds=8, targets=12)
    assert sorted(ran) == sorted([str(i) for i in range(1, 14)] * 3)
    print(f"\n8 builds, {len(ran) // 3} maps, each ran once; {sound(Store(tmp_path / 'store'))} records sound")


NO_LOCK = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
static int granted(int fd, int cmd, void *arg) {
  if (cmd == F_OFD_SETLK) return 0;
  if (cmd == F_OFD_GETLK) { ((struct flock *)arg)->l_type = F_UNLCK; return 0; }
  return syscall(SYS_fcntl, fd, cmd, arg);
}
int fcntl64(int fd, int cmd, ...) { va_list v; va_start(v, cmd); void *a = va_arg(v, void *); va_end(v); return granted(fd, cmd, a); }
int fcntl(int fd, int cmd, ...) { va_list v; va_start(v, cmd); void *a = va_arg(v, void *); va_end(v); return granted(fd, cmd, a); }
"""  # noqa: E501


@pytest.fixture(scope="session")
def no_lock(tmp_path_factory) -> str:
    """A library under which every lock is granted, as Lustre's and some network disks' are."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler")
    place = tmp_path_factory.mktemp("nolock")
    (place / "f.c").write_text(NO_LOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", place / "f.so", place / "f.c"], check=True)
    return str(place / "f.so")


def test_a_lock_that_does_not_lock_is_an_error_before_anything_runs(project, no_lock):
    wide(project, 2)
    run = project.start("build", "--json", LD_PRELOAD=no_lock)
    out, err = run.communicate()
    assert run.returncode == 1 and "no-locks" in out + err, (out, err)
    assert '"type": "start"' not in out and sound(Store(project.store)) == 0
    assert project.build().code == 0


def collect_while_building(project, rounds: int, rng: random.Random) -> int:
    """Builds over and over, with results that come and go, while another process frees all that it may."""
    store = Store(project.store)
    collections = 0
    for turn in range(rounds):
        wide(project, 4, wait=0.005, first=1 + rng.randrange(6))
        if rng.random() < 0.5:
            project.forget()
        run = project.start("build", "--json")
        while run.poll() is None:
            done = project.run("gc", "--yes", "--grace", "0s")
            assert done.code == 0, done.err
            collections += 1
            time.sleep(rng.random() * 0.05)
        out, err = run.communicate()
        failed = [line for line in out.splitlines() if '"failed", "action"' in line]
        assert run.returncode == 0, (turn, failed, err[-1500:])
        for label in project.outputs():
            if not label.endswith("#fetch"):
                assert artifacts.whole(store, project.outputs(label)[label]["main"]), label
    sound(store)
    return collections


def test_a_collection_takes_nothing_from_a_build(project):
    assert collect_while_building(project, 2, random.Random(1)) > 3


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_many_collections_take_nothing_from_builds(project, seed):
    collections = collect_while_building(project, 20, random.Random(seed))
    print(f"\n20 builds, {collections} collections beside them, nothing lost")


def rot(path: Path, at: int) -> None:
    """A flipped bit, and a file that looks as it was: size, mode and mtime."""
    s = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << (at % 8)
    path.write_bytes(data)
    path.chmod(s.st_mode & 0o777)
    os.utime(path, ns=(s.st_atime_ns, s.st_mtime_ns))


def rot_and_read(project, clean, label: str, at: int) -> None:
    """An object of an upstream result rots, and nobody remembers what it looked like; its reader notices."""
    tree = project.outputs(label)[label]["main"]
    entries = [e for e in artifacts.read_tree(Store(project.store), tree) if e.path.endswith(".arrow")]
    victim = Store(project.store).object(entries[0].digest)
    rot(victim, at)
    project.forget()
    wide(project, 1, wait=0.0, first=50)  # never built: it reads what rotted
    text = (project.root / "tunekit.toml").read_text().replace("limit = 2", f"limit = {1 + at % 2}")
    project.manifest(text)
    project.rows("a.jsonl", [{"x": i} for i in range(3)])
    done = project.build()
    failed = [e for e in done.events if e["type"] == "failed"]
    assert done.code == 1 and failed[0]["slug"] == "corrupt-input", (at, done.out[-1500:], done.err)
    assert not victim.exists() and list((project.store / "quarantine").iterdir())
    done = project.build()
    assert done.code == 0 and victim.exists(), done.err
    assert project.outputs(label) == clean
    sound(Store(project.store))


def test_rot_that_no_stat_shows_is_found_by_its_reader(project):
    wide(project, 1)
    assert project.build("dataset:a").code == 0
    clean = project.outputs("dataset:a")
    rot_and_read(project, clean, "dataset:a", 333)


@pytest.mark.long
def test_rot_anywhere(project, make_project):
    wide(project, 1)
    assert project.build("dataset:a").code == 0
    clean = project.outputs("dataset:a")
    size = max(p.stat().st_size for p in (project.store / "objects").rglob("*") if p.is_file())
    places = range(0, size, max(size // 40, 1))
    for number, at in enumerate(places):
        copy = make_project(f"copy{number}", f"store{number}")
        shutil.copytree(project.root, copy.root, symlinks=True, dirs_exist_ok=True)
        shutil.copytree(project.store, copy.store, symlinks=True)
        rot_and_read(copy, clean, "dataset:a", at)
        shutil.rmtree(copy.store)
    print(f"\n{len(places)} flipped bits, {len(places)} found")


@pytest.mark.parametrize("ns", [0, 4_000_000_000 * 10**9], ids=["1970", "2096"])
def test_times_of_the_store_mean_nothing(project, ns):
    """A store that was copied, or whose server's clock is wrong: nothing runs again, and gc is not fooled."""
    wide(project, 2)
    assert project.build().code == 0
    for folder, _, files in os.walk(project.store):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                os.utime(os.path.join(folder, name), ns=(ns, ns), follow_symlinks=False)
    for path in project.root.rglob("*"):
        if path.is_file() and ".tunekit" not in path.parts:
            os.utime(path, ns=(ns, ns))
    before = project.outputs()
    assert project.build().ran == [] and project.build().ran == []
    done = project.run("gc", "--yes")
    assert done.code == 0 and project.outputs() == before and project.build().ran == []
    sound(Store(project.store))


SKEWED = """
import sys, time
real = time.time, time.time_ns
state = {"n": 0}
def jump():                                   # forth and back, hours at a time
    state["n"] += 1
    return %d * 3600 * (state["n"] %% 3 - 1)
time.time = lambda: real[0]() + jump()
time.time_ns = lambda: real[1]() + jump() * 10**9
from tunekit.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.parametrize("hours", [1, 20_000])
def test_a_clock_that_jumps(project, make_project, hours):
    """While a build runs, forth and back: the same results, and an end."""
    for one in (project, other := make_project("other", "other-store")):
        wide(one, 2)
    assert other.build().code == 0
    for _ in range(2):
        command = [sys.executable, "-c", SKEWED % hours, "build", "--json"]
        done = subprocess.run(
            command, cwd=project.root, env=project.environment(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
    assert project.outputs() == other.outputs() and project.build().ran == []


NAMES = [
    "ü",
    "u\u0308",
    "a b",
    "名前",
    "-rf",
    "$(touch x)",
    "a'b",
    'a"b',
    "x" * 249,
    "é" * 120,
    "\u202egpj",
    "a;b",
    "%s",
    "#1",
    "@",
]


def test_names_of_files_go_through_unharmed(project, make_project):
    """Names are bytes: normalised nowhere, quoted nowhere, up to 255 of them, also deep in folders."""
    from tunekit.data.rowset import open_dataset

    for i, name in enumerate(NAMES):
        project.rows(f"data/{name}.jsonl", [{"x": i}])
    deep = "/".join(["d" * 200] * 4)
    project.rows(f"data/{deep}/z.jsonl", [{"x": 99}])
    project.manifest('[dataset.a]\nsource = "path:data"\n')
    done = project.build()
    assert done.code == 0, done.err
    rows = sorted(r["x"] for r in open_dataset(project.root / ".tunekit/out/dataset/a").iter_rows())
    assert rows == [*range(len(NAMES)), 99]
    assert not list(project.root.glob("x"))
    done = project.run("status")
    assert done.code == 0 and project.build().ran == []
    other = make_project("other", "other-store")
    shutil.copytree(project.root / "data", other.root / "data")
    other.manifest('[dataset.a]\nsource = "path:data"\n')
    assert other.build().code == 0 and other.outputs() == project.outputs()


def test_names_that_no_artifact_may_have_are_refused(project):
    project.rows("data/a\nb.jsonl", [{"x": 1}])
    project.manifest('[dataset.a]\nsource = "path:data"\n')
    done = project.build()
    assert done.code == 2 and "not-a-file" in done.err and "control character" in done.err


def test_the_same_file_by_several_names(project):
    """Hard links, and links inside the project: the same rows from each, the same artifact, no edit lost."""
    from tunekit.data.rowset import open_dataset

    project.rows("a.jsonl", [{"x": 1}])
    os.link(project.root / "a.jsonl", project.root / "hard.jsonl")
    (project.root / "soft.jsonl").symlink_to("a.jsonl")
    project.manifest("".join(f'[dataset.{n}]\nsource = "path:{n}.jsonl"\n' for n in ("a", "hard", "soft")))
    assert project.build().code == 0
    trees = {label: o["main"] for label, o in project.outputs().items() if "#" not in label}
    assert len(set(trees.values())) == 1
    with (project.root / "hard.jsonl").open("w") as file:
        file.write('{"x": 2}\n')
    done = project.build()
    assert {"dataset:a", "dataset:hard", "dataset:soft"} & set(done.ran)
    for name in ("a", "hard", "soft"):
        assert list(open_dataset(project.root / f".tunekit/out/dataset/{name}").iter_rows()) == [{"x": 2}]


READ_ONLY = """
import json, os, subprocess, sys
root, store = sys.argv[1:3]
def call(*words):
    done = subprocess.run([sys.executable, "-m", "tunekit", *words], cwd=root, capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]
subprocess.run(["mount", "--bind", store, store], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", store], check=True)
said = {"no-op": call("build", "--frozen"), "status": call("status"), "path": call("path", "dataset:a")}
said["show"] = call("show", "dataset:a")
with open(root + "/m.py", "a") as file:
    file.write("# edited")
said["stale"] = call("build", "--json")
subprocess.run(["mount", "--bind", root, root], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
said["both"] = call("status")
print(json.dumps(said))
"""


def test_a_store_that_is_read_only(project):
    """What is there is served; what is not is one clear error."""
    probe = subprocess.run(["unshare", "-rm", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip("needs a user namespace with mounts")
    wide(project, 1)
    assert project.build().code == 0
    env = project.environment(PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    done = subprocess.run(["unshare", "-rm", sys.executable, "-c", READ_ONLY, project.root, project.store], env=env,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert all(said[name][0] == 0 for name in ("no-op", "status", "path", "show")), said
    code, out, err = said["stale"]
    assert code == 1 and "Traceback" not in err and "error[bug]" not in err, (code, err)
    assert "read-only" in (out + err).lower() and str(project.store) in out + err, out + err
    assert said["both"][0] in (0, 4) and "error" not in said["both"][2], said["both"]
    done = project.build()
    assert done.code == 0 and done.ran, "with a store that can be written it goes on"


def test_few_descriptors(project):
    """EMFILE is an error with a name, and not the end of anything."""
    import resource

    wide(project, 3)
    command = [sys.executable, "-m", "tunekit", "build", "--json"]
    low = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))  # noqa: E731
    done = subprocess.run(
        command, cwd=project.root, env=project.environment(), capture_output=True, text=True, preexec_fn=low
    )
    assert done.returncode in (0, 1) and "error[bug]" not in done.stderr, done.stderr
    done = project.build()
    assert done.code == 0, done.err
    sound(Store(project.store))
