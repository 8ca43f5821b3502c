"""The worker's side of the door: what a room and a project's function may rely on, and what they cannot reach."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tunekit.errors import ActionError
from tunekit.usercode import load_function, split_path

SPY = """
import os, subprocess, sys
import helper

def look(row):
    child = subprocess.Popen(["sleep", "300"])            # left behind on purpose
    try:
        __import__("sec" + "ret")                          # an import that no analysis sees
        found = "yes"
    except ImportError:
        found = "no"
    try:
        open("undeclared.txt")
        read = "yes"
    except OSError:
        read = "no"
    print("hello from the map")
    print("and from stderr", file=sys.stderr)
    with open(os.path.join(os.path.dirname(__file__), "words.txt")) as f:
        words = f.read()
    return {
        "cwd": os.getcwd(), "file": __file__, "helper": helper.__file__, "read": read, "found": found,
        "hashseed": os.environ["PYTHONHASHSEED"], "threads": os.environ["OMP_NUM_THREADS"],
        "hf": os.environ["HF_HOME"], "pid": os.getpid(), "group": os.getpgid(0), "child": child.pid, "words": words,
    }
"""


@pytest.fixture(scope="module")
def spied(module_project):
    """One build of a map that looks around, in a folder full of traps: what it saw, and the record."""
    import pyarrow.ipc

    project = module_project
    project.rows("a.jsonl", [{"x": 1}])
    project.write("spy.py", SPY)
    project.write("helper.py", "")
    project.write("secret.py", "")
    project.write("words.txt", "declared")
    project.write("undeclared.txt", "no")
    for trap in ("pyarrow.py", "json.py", "msgspec.py"):  # what an import of ours would find with the cwd on the path
        project.write(trap, f"open({str(project.root / 'trapped')!r}, 'a').write('x')")
    project.manifest("""
        [dataset.a]
        source = "path:a.jsonl"
        map = "spy.py:look"
        files = ["words.txt"]
    """)
    out, err = project.start("build", "--json", PYTHONSAFEPATH="1").communicate()
    assert "built" in out or '"summary"' in out, err
    (chunk,) = (project.root / ".tunekit/out/dataset/a/chunks").iterdir()
    with pyarrow.ipc.open_file(chunk.read_bytes()) as table:
        (row,) = table.read_all().to_pylist()
    from tunekit.store.records import lookup
    from tunekit.store.store import Store

    store = Store(project.store)
    return project, row, lookup(store, project.plan()["dataset:a"].key), store


def test_code_runs_from_the_snapshot_only(spied):
    project, row, _, _ = spied
    for path in (row["file"], row["helper"]):
        assert path.startswith(str(project.store)) and not path.startswith(str(project.root))
    assert (row["found"], row["read"], row["words"]) == ("no", "no", "declared")


def test_modules_of_the_project_never_shadow_ours(spied):
    """`pyarrow.py` in a stranger's folder would otherwise run in the nursery, before anybody was asked."""
    project, *_ = spied
    assert not (project.root / "trapped").exists()


def test_the_environment_is_fixed(spied):
    project, row, *_ = spied
    assert (row["hashseed"], row["threads"]) == ("0", "1")
    assert row["hf"].startswith(str(project.store)) and row["cwd"].startswith(str(project.store / "staging"))


def test_an_action_leaves_no_process_behind(spied):
    _, row, *_ = spied
    assert row["group"] == row["pid"], "a process group of its own"
    assert not alive(row["pid"])
    assert not alive(row["child"]), "what the map started went with it"


def test_output_goes_to_the_log(spied):
    _, _, record, store = spied
    assert store.object(record["log"]).read_text() == "hello from the map\nand from stderr\n"
    assert record["environment"]["packages"]["pyarrow"] and record["seconds"] > 0
    assert record["preimage"]["code"].keys() == {"spy.py", "helper.py", "words.txt"}


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_dies_with_its_parent():
    """PR_SET_PDEATHSIG: kill -9 of the parent leaves no child, also if it died a moment before."""
    script = """
import os, sys, time
from tunekit.worker import die_with
parent = os.getpid()
pid = os.fork()
if not pid:
    die_with(parent)
    print(os.getpid(), flush=True)
    time.sleep(300)
time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
        until = time.monotonic() + 5
        while alive(child) and time.monotonic() < until:
            time.sleep(0.01)
        assert not alive(child)
    orphan = "from tunekit.worker import die_with; die_with(1 << 22); print('still here')"
    done = subprocess.run([sys.executable, "-c", orphan], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


def test_functions_by_path(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "m.py").write_text("import beside\ndef f(): return beside.n\nn = 3\n")
    (tmp_path / "sub" / "beside.py").write_text("n = 7\n")
    (tmp_path / "bad.py").write_text("1/0\n")
    path = list(sys.path)
    try:
        assert load_function(str(tmp_path), "sub/m.py:f")() == 7
        for text, slug in (
            ("sub/m.py:n", "code-no-function"),
            ("sub/m.py:g", "code-no-function"),
            ("bad.py:f", "code-import-failed"),
        ):
            with pytest.raises(ActionError) as failed:
                load_function(str(tmp_path), text)
            assert failed.value.slug == slug
    finally:
        sys.path[:] = path
        sys.modules.pop("beside", None)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a.py:f", ("a.py", "f")), ("d/a.py:f_1", ("d/a.py", "f_1")), ("a.py", ("", "")), ("a:f", ("", "")),
     ("a.py:", ("", "")), ("a.py:f()", ("", "")), (":f", ("", "")), ("c:a.py:f", ("c:a.py", "f"))],
)  # fmt: skip
def test_code_paths(text, parts):
    assert split_path(text) == parts
