"""Builds that go wrong, are held up, run at once, or are asked for something special."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest
from outside import MAP, TRAINED, processes, wait_until

from tunekit.parts import Made
from tunekit.protocol import EVENT_TYPES
from tunekit.store import artifacts, records
from tunekit.store.store import Store

OWN_EVENTS = {"plan", "begin", "end", "failed", "waiting", "summary"}


def entry(project, label: str):
    return records.lookup(Store(project.store), project.plan()[label].key)


def test_events_are_the_protocol_and_records_are_whole(built):
    built.write("m.py", "import math\n" + MAP)
    done = built.build()
    assert done.ran == ["dataset:b"]  # the same rows: c is cut off
    for event in done.events:
        assert event["schema"] == "tunekit/build/1" and event["type"] in OWN_EVENTS | set(EVENT_TYPES)
    begin = done.one("begin")
    assert (begin["action"], begin["reasons"]) == ("dataset:b", ["m.py edited"])
    record = entry(built, "dataset:b")
    assert record["preimage"]["code"].keys() == {"m.py"} and record["kind"] == "dataset"
    assert record["inputs"]["from"][0]["label"] == "dataset:a"
    assert record["effective"]["ledger"]["kept"] == 3
    assert str(built.root) not in json.dumps(record), "a record names no folder of the project"
    assert not list((built.store / "staging").iterdir())
    assert not list((built.store / "tmp").iterdir())


def test_a_failing_map_keeps_what_is_needed_to_see_why(built):
    built.write("m.py", 'def f(row):\n    print("looking at", row)\n    raise KeyError("y")\n')
    done = built.build()
    assert done.code == 1 and done.ran == []
    failed = done.one("failed")
    assert failed["slug"] == "map-failed" and "KeyError" in failed["message"] and "a.jsonl" not in failed["log"]
    assert "looking at" in failed["log"] and "Traceback" in failed["log"]
    (staging,) = (built.store / "staging").iterdir()
    assert "looking at" in (staging / "log.txt").read_text()
    assert done.one("summary")["failed"] == ["dataset:b"]
    plain = built.run("build")
    assert plain.code == 1 and "error[map-failed]: dataset:b: m.py:f raised KeyError" in plain.err
    built.write("m.py", MAP)
    assert built.build().ran == [], "undone: nothing to do"


@pytest.mark.parametrize(
    ("code", "slug"),
    [pytest.param("def f(row): return 3\n", "map-result", marks=pytest.mark.long),
     pytest.param("def f(row): return None\n", "empty-dataset", marks=pytest.mark.long),
     ("import nothing_like_it\ndef f(row): return row\n", "code-import-failed"),
     pytest.param("import os\ndef f(row): os._exit(3)\n", "worker-died", marks=pytest.mark.long),
     ("import os\ndef f(row): os.kill(os.getpid(), 11)\n", "worker-died")],
)  # fmt: skip
def test_ways_to_fail(built, code, slug):
    built.write("m.py", code)
    done = built.build()
    assert (done.code, done.one("failed")["slug"]) == (1, slug)
    assert not held_now(built.store)


def test_a_package_that_is_not_installed_guards_nothing(built):
    done = built.build("--set", 'dataset:b.packages=["nmupy"]')
    assert (done.code, done.one("failed")["slug"]) == (1, "package-missing") and "nmupy" in done.err + done.out


def held_now(store) -> bool:
    """Whether anybody has any lease."""
    with open(store / "leases") as file:
        whole = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        return struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, whole))[0] != fcntl.F_UNLCK


def test_keep_going(built):
    text = (built.root / "tunekit.toml").read_text()
    built.manifest(
        text + '[dataset.d]\nfrom = ["dataset:a"]\nlimit = 1\n[dataset.e]\nfrom = ["dataset:d"]\nshuffle = true\n'
    )
    built.write("m.py", "def f(row): raise ValueError\n")
    done = built.build("-k")
    assert done.code == 1
    assert sorted(done.ran) == ["dataset:d", "dataset:e"]
    summary = done.one("summary")
    assert sorted(summary["failed"]) == ["dataset:b", "dataset:c"]
    assert summary["fresh"] == 2, "what failed or could not run is not fresh"
    assert built.build("dataset:e").code == 0
    assert built.build("-j-1").code == 2, "no room for any action: it would build nothing and call that done"
    stopped = built.build("-j1")
    assert stopped.code == 1 and stopped.ran == []


def test_overrides_are_of_one_call(built):
    state = (built.root / ".tunekit" / "state" / "index.json").read_bytes()
    done = built.build("--set", "dataset:c.limit=1")
    assert done.ran == ["dataset:c"]
    assert (built.root / ".tunekit" / "state" / "index.json").read_bytes() == state
    assert built.plan()["dataset:c"].state == "fresh"
    assert built.build("--set", "dataset:c.limit=1").ran == [], "its result is kept by its key"
    assert built.build().code == 0


def test_dry_run_runs_nothing(built):
    built.write("m.py", MAP + "# edited\n")
    before = sorted(built.store.rglob("*"))
    assert built.run("build", "--dry-run").code == 0
    assert sorted(built.store.rglob("*")) == before


def test_code_runs_only_when_it_is_trusted(project, tmp_path):
    """Exit 6 before any code ran, by content: an edit asks again, another folder's yes does not count."""
    marker = tmp_path / "ran"
    project.trust = False
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", f"open({str(marker)!r}, 'a').write('x')\nimport helper\ndef f(row): return row\n")
    project.write("helper.py", "")
    project.manifest(
        '[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\n[dataset.z]\nsource = "path:a.jsonl"\nlimit = 1\n'
    )
    done = project.build()
    assert done.code == 6 and "helper.py, m.py" in done.err and "tunekit trust" in done.err
    assert not marker.exists() and not list((project.store / "ac").iterdir()), "nothing at all ran"
    for verb in ("plan", "status"):
        project.run(verb)
    assert not marker.exists(), "looking at a project runs no code of it"
    assert project.build("dataset:z").code == 0, "what needs no code needs no trust"
    from tunekit.build import trust
    from tunekit.hashing import sha256_file

    os.environ["TUNEKIT_CONFIG"], kept = str(project.config), os.environ["TUNEKIT_CONFIG"]
    try:
        trust.trust_digests([sha256_file(project.root / name) for name in ("m.py", "helper.py")])
    finally:
        os.environ["TUNEKIT_CONFIG"] = kept
    assert project.build().code == 0 and marker.exists()
    project.write("helper.py", "x = 1\n")
    assert project.build().code == 6
    assert project.build("--trust").code == 0
    project.write("helper.py", "x = 2\n")
    project.trust = True  # TUNEKIT_TRUST=1
    assert project.build().code == 0


HOLD = """
import os, time
def f(row):
    with open({log!r}, "a") as log:
        log.write(f"{{row['x']}}\\n")
    while not os.path.exists({go!r}):
        time.sleep(0.01)
    import late
    return {{"x": late.n}}
"""


def held(project, tmp_path, extra: str = "") -> tuple[Path, Path]:
    """A project whose map waits for a file `go`; it logs every row it sees."""
    log, go = tmp_path / "log", tmp_path / "go"
    project.rows("a.jsonl", [{"x": 1}, {"x": 2}])
    project.write("m.py", HOLD.format(log=str(log), go=str(go)))
    project.write("late.py", "n = 1\n")
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\n' + extra)
    return log, go


def rows(project, name: str) -> list[dict]:
    from tunekit.data.rowset import open_dataset

    return list(open_dataset(project.root / ".tunekit" / "out" / "dataset" / name).iter_rows())


def test_edits_while_it_runs_do_not_leak_and_two_builds_run_nothing_twice(project, make_project, tmp_path):
    log, go = held(project, tmp_path)
    twin = make_project("twin")
    shutil.copytree(project.root, twin.root, dirs_exist_ok=True)
    first = project.start("build", "--json")
    assert wait_until(log.exists)
    second, third = project.start("build", "--json"), twin.start("build", "--json")
    project.write("late.py", "n = 2\n")
    project.rows("a.jsonl", [{"x": 7}, {"x": 8}])
    waiting = json.loads(third.stdout.readline()) and json.loads(third.stdout.readline())
    assert waiting["type"] == "waiting"
    go.write_text("")
    said = [run.communicate() for run in (first, second, third)]
    assert [run.returncode for run in (first, second, third)] == [0, 0, 0], said
    # the snapshot was of the start: 1, 2 and n = 1; the second build of the edited project ran what it saw
    assert rows(twin, "a") == [{"x": 1}, {"x": 1}]
    seen = log.read_text().split()
    assert seen.count("1") == seen.count("2") == 1 or sorted(seen) == ["1", "1", "2", "2"]
    summaries = [json.loads(out.splitlines()[-1])["executed"] for out, _ in said]
    assert summaries[0] == ["dataset:a#fetch", "dataset:a"] and summaries[2] == []
    assert project.build().code == 0
    assert rows(project, "a") == [{"x": 2}, {"x": 2}]


def test_interrupt(project, tmp_path):
    """Ctrl-C: within seconds, exit 130, no process left, what to do next; the next build completes."""
    import signal

    log, go = held(project, tmp_path)
    run = project.start("build", "--json")
    assert wait_until(log.exists)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=5)
    assert run.returncode == 130 and "continues" in err and "Traceback" not in err
    assert wait_until(lambda: not processes(str(project.store)), 2)
    assert not held_now(project.store) and not list((project.store / "tmp").iterdir())
    go.write_text("")
    assert project.build().ran == ["dataset:a"]


def test_independent_actions_run_side_by_side(project, tmp_path):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    code = """
import os, time
def f(row, me, other):
    open(me, "w").close()
    until = time.time() + 10
    while not os.path.exists(other):                       # ends only if the other one runs at the same time
        assert time.time() < until
        time.sleep(0.01)
    return row
"""
    project.write("m.py", code)
    project.rows("a.jsonl", [{"x": 1}])
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    project.manifest(
        f'[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\nargs = {{ me = "{one}", other = "{two}" }}\n'
        f'[dataset.b]\nsource = "path:a.jsonl"\nmap = "m.py:f"\nargs = {{ me = "{two}", other = "{one}" }}\n'
    )
    assert project.build().code == 0


def test_attempts_of_an_action_that_is_not_reproducible(project):
    """The first success counts; --force adds an attempt; a lost result that comes out differently is said."""
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", 'import os\ndef f(row): return {"x": os.urandom(8).hex()}\n')
    project.manifest(
        '[dataset.a]\nsource = "path:a.jsonl"\nmap = "m.py:f"\n[dataset.b]\nfrom = ["dataset:a"]\nlimit = 5\n'
    )
    assert project.build().code == 0
    first = rows(project, "a") if (project.root / ".tunekit/out/dataset/a").exists() else rows(project, "b")
    store, key = Store(project.store), project.plan()["dataset:a"].key
    done = project.build("--force", "dataset:a")
    assert (done.code, done.ran) == (0, ["dataset:a"])
    attempts = records.attempts(store, key)
    assert len(attempts) == 2 and attempts[0]["outputs"] != attempts[1]["outputs"]
    assert records.lookup(store, key)["outputs"] == attempts[0]["outputs"] and rows(project, "b") == first
    for found in artifacts.read_tree(store, attempts[0]["outputs"]["main"]):
        store.object(found.digest).unlink()
    done = project.build("dataset:a", "dataset:b")
    assert done.code == 0, done.err
    assert [e["slug"] for e in done.events if e["type"] == "warning"] == ["other-bytes"]
    assert done.ran == ["dataset:a", "dataset:b"] and rows(project, "a") == rows(project, "b") != first
    assert project.build("dataset:a", "dataset:b").ran == []


def test_parts_are_reused(project):
    """One of two datasets changes: only its tokens are made again."""
    project.rows("a.jsonl", [{"text": f"line {i} of the first"} for i in range(30)])
    project.rows("b.jsonl", [{"text": f"line {i} of the second"} for i in range(30)])
    data = '{ dataset = "dataset:a", train_on = "all" }, { dataset = "dataset:b", train_on = "all" }'
    second = '[dataset.b]\nsource = "path:b.jsonl"\nformat = "completion"\n'
    project.manifest(second + TRAINED.replace("DATA", data))
    done = project.build("run:x#tokens")
    assert done.code == 0, done.err + done.out
    assert made_parts(done) == {"dataset:a": 1, "dataset:b": 1, "run:x#tokens": 2}
    before = {path: path.stat().st_ctime_ns for path in (project.store / "objects").glob("*/*")}
    project.rows("b.jsonl", [{"text": f"line {i} of the second"} for i in range(31)])
    done = project.build("run:x#tokens")
    touched = [path for path, then in before.items() if path.stat().st_ctime_ns != then]
    assert not touched, "an object whose ctime changed is hashed again by every project that has it"
    assert done.ran == ["dataset:b#fetch", "dataset:b", "run:x#tokens"]
    assert made_parts(done) == {"dataset:b": 1, "run:x#tokens": 1}
    record = entry(project, "run:x#tokens")
    assert record["parts"] == {"total": 2, "made": 1, "rows_made": 1, "rows_copied": 30}
    listed = records.parts_list(Store(project.store), record)
    assert len(set(Made.read(listed))) == 2


def made_parts(done) -> dict[str, int]:
    return dict(Counter(e["action"] for e in done.events if e["type"] == "part" and e["made"]))


def test_a_worker_that_dies_keeps_its_parts(project):
    """The map kills its process in the last chunk: the next build makes that one alone."""
    project.rows("a.jsonl", [{"id": i} for i in range(9000)])
    project.write(
        "data.py",
        """
        import os
        def f(row):
            if row["id"] == 8999 and not os.path.exists(os.environ["TUNEKIT_STORE"] + "/alive"):
                os.kill(os.getpid(), 9)
            return row
    """,
    )
    project.manifest("""
        [dataset.a]
        source = "path:a.jsonl"
        map = "data.py:f"
    """)
    done = project.build("dataset:a")
    (failed,) = [e for e in done.events if e["type"] == "failed"]
    assert done.code == 1 and "killed by signal 9" in failed["message"]
    before = made_parts(done)["dataset:a"]
    assert before >= 2
    (project.store / "alive").touch()
    done = project.build("dataset:a")
    assert done.code == 0 and made_parts(done) == {"dataset:a": 1}
    assert entry(project, "dataset:a")["parts"]["total"] == before + 1


GATED = {
    "acme/__init__.py": 'from tunekit.kinds import Kind\nCOUNT = Kind("count", "acme", "Count", 1)\n',
    "acme/spec.py": """
from typing import Annotated
from tunekit.derive import action_of
from tunekit.spec import Spec, operational, semantic

class Count(Spec, frozen=True, kw_only=True):
    "Rows of a dataset."
    data: Annotated[str, semantic("Dataset.")]
    after: Annotated[str, semantic("Another count.")] = ""
    gates: Annotated[dict[str, str], operational("Bounds.")] = {}

def derive(label, spec, scope):
    inputs = {"data": [scope.dataset(spec.data, "data")]}
    if spec.after:
        from tunekit.derive import Edge
        inputs["after"] = [Edge(spec.after)]
    scope.add(action_of(label, "count", spec, drop=("data", "after"), inputs=inputs, gates=dict(spec.gates)))
""",
    "acme/run.py": """
import fcntl
import json
from pathlib import Path

def run(request, events):
    rows = json.loads((Path(request.one("data").path) / "dataset.json").read_text())["rows"]
    out = Path(request.out) / "main"
    out.mkdir()
    (out / "count.json").write_text(str(rows))
    events.effective(summary={"rows": rows})
    return {"main": "main"}
""",
    "acme-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n",
    "acme-1.0.dist-info/entry_points.txt": "[tunekit.kinds]\ncount = acme:COUNT\n",
}


def test_gates(project, tmp_path):
    """A failed gate is exit 5, keeps the result and blocks what would use it; another bound runs nothing again."""
    for path, text in GATED.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    env = {"PYTHONPATH": str(tmp_path)}

    def build(bound: str, *args: str):
        project.manifest(
            '[dataset.a]\nsource = "path:a.jsonl"\n'
            f'[count.n]\ndata = "dataset:a"\ngates = {{ rows = "{bound}" }}\n'
            '[count.m]\ndata = "dataset:a"\nafter = "count:n"\n'
        )
        run = project.start("build", "--json", *args, **env)
        out, err = run.communicate()
        events = [json.loads(line) for line in out.splitlines()]
        return run.returncode, events[-1]["executed"], [e for e in events if e["type"] == "gate"], err

    project.rows("a.jsonl", [{"x": 1}, {"x": 2}])
    code, ran, gates, err = build("> 5")
    assert (code, ran) == (5, ["dataset:a#fetch", "dataset:a", "count:n"]), err
    assert [(g["name"], g["passed"], g["measured"], g["wanted"]) for g in gates] == [("rows", False, 2, "> 5")]
    code, ran, _, _ = build("> 5", "-k")
    assert (code, ran) == (5, []), "still failed, still nothing lost"
    code, ran, gates, _ = build(">= 2")
    assert (code, ran) == (0, ["count:m"]) and gates[0]["passed"]
    assert build(">= 2")[:2] == (0, [])
    assert build("nonsense")[0] == 5


def test_two_stores_give_the_same_digests(built, make_project):
    other = make_project("other", store="other")
    shutil.copytree(built.root, other.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".tunekit"))
    assert other.build().code == 0
    assert other.outputs() == built.outputs()
    assert sys.version_info >= (3, 11)


def test_a_row_that_cannot_be_tokenized_is_named_with_its_file(project):
    """The dataset's record knows the file; no artifact and no key does."""
    project.rows("d/p.jsonl", [{"input_ids": [1, 2]}] * 2)
    project.rows("d/q.jsonl", [{"input_ids": [1]}, {"input_ids": [10**6]}])
    project.rows("a.jsonl", [{"text": "one line"}])
    own = '[dataset.d]\nsource = "path:d"\nformat = "tokens"\n'
    project.manifest(own + TRAINED.replace("DATA", '"dataset:d"'))
    done = project.build("run:x#tokens")
    (failed,) = [e for e in done.events if e["type"] == "failed"]
    assert failed["slug"] == "token-out-of-range", done.err
    assert failed["message"].startswith("run:x#tokens: dataset:d: row 3 (q.jsonl, its row 1): "), failed["message"]
