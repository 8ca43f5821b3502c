"""A stranger's project full of traps: every verb but an allowed build reads it, runs none of its code, unpickles
nothing and follows no link out of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tunekit.cli.main import VERBS

# Verb → words. A verb that is not here must be put here, with what it may do to a folder that nobody trusts.
CALLS = {
    "build": ["--dry-run"],
    "plan": ["--json"],
    "status": [],
    "why": ["dataset:a"],
    "graph": [],
    "query": ["run:x"],
    "show": ["dataset:plain"],
    "log": ["dataset:plain"],
    "path": ["dataset:plain"],
    "inspect": ["dataset:plain"],
    "diff": ["dataset:plain"],
    "report": ["dataset:plain", "-o", "report.html"],
    "generate": ["model:m", "--prompt", "hi"],
    "export": ["dataset:plain", "--to", "exported"],
    "lock": [],
    "promote": ["dataset:plain"],
    "push": [],
    "pull": [],
    "bundle": ["-o", "bundled.tar"],
    "publish": ["dataset:plain", "hf:o/n"],
    "init": ["."],
    "add": ["dataset", "more", "path:plain.jsonl"],
    "trust": ["--list"],
    "clean": [],
    "gc": [],
    "verify": [],
    "doctor": [],
    "schema": [],
    "docs": [],
    "env": [],
}
SECRET = "the user's own, and nobody else's"
MODULES = (
    "json", "msgspec", "xxhash", "tomllib", "tomlkit", "rich", "pyarrow", "tokenizers", "jinja2", "unearth",
    "sitecustomize", "usercustomize", "conftest", "torch", "huggingface_hub", "ast", "re",
)  # fmt: skip


def springs(trapped: Path, what: str) -> str:
    return f"open({str(trapped)!r}, 'a').write({what!r} + chr(10))\n"


@pytest.fixture(scope="module")
def trap(module_project):
    """A project whose plain dataset is built, and everything else a trap. `trapped` is made by one that springs."""
    project = module_project
    trapped = project.root.parent / "trapped"
    project.trust = False
    project.rows("plain.jsonl", [{"text": "hi"}])
    project.write("m.py", springs(trapped, "m") + "import helper\nfor helper.x in (): pass\ndef f(row): return row\n")
    project.write("helper.py", springs(trapped, "helper"))
    project.write("methods/mine.py", springs(trapped, "method") + METHOD)
    for name in MODULES:
        project.write(f"{name}.py", springs(trapped, name))
    model = project.root / "model"
    model.mkdir()
    (model / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'echo pickle >> " + str(trapped).encode() + b"'\ntR.")
    save_file({"x": np.zeros(1, np.float32)}, model / "model.safetensors")  # without it the pickle alone is refused
    (model / "config.json").write_text('{"model_type": "llama", "auto_map": {"AutoConfig": "m.C"}}')
    (model / "m.py").write_text(springs(trapped, "remote code"))
    project.manifest("""
        [project]
        name = "trap"
        default = ["dataset:plain"]
        [dataset.plain]
        source = "path:plain.jsonl"
        format = "completion"
        [dataset.a]
        source = "path:plain.jsonl"
        map = "m.py:f"
        [dataset.made]
        source = "make:m.py:f"
        [model.m]
        source = "path:model"
        [run.x]
        method = "methods/mine.py"
        model = "model:m"
        data = ["dataset:plain"]
    """)
    git(project.root, trapped)
    done = project.build("dataset:plain")
    assert done.code == 0, done.err  # what needs no code of the project needs no trust
    assert not trapped.exists(), trapped.read_text()
    return project, trapped


METHOD = """
from tunekit.methods.sft.run import run
from tunekit.methods.sft.spec import Sft

class Mine(Sft, frozen=True):
    pass
"""


def git(root: Path, trapped: Path) -> None:
    """A repository as an archive may bring it: with programs in its configuration."""
    run = lambda *words: subprocess.run(["git", *words], cwd=root, check=True, capture_output=True)  # noqa: E731
    run("init", "-q")
    run("-c", "user.name=n", "-c", "user.email=e", "commit", "-q", "--allow-empty", "-m", "x")
    (root / ".gitattributes").write_text("*.jsonl filter=evil\n")
    run("add", "plain.jsonl")
    spring = f"echo git >> {trapped}; cat"
    for name in ("core.fsmonitor", "filter.evil.clean", "filter.evil.smudge", "core.sshCommand", "diff.external"):
        run("config", name, spring)
    hooks = root / ".git" / "hooks"
    for name in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\necho hook >> {trapped}\n")
        (hooks / name).chmod(0o755)
    os.utime(root / "plain.jsonl", (0, 0))  # git would look at it again, through the filter


def call(project, *words: str):
    """The command line as it is called: in the folder itself, with what that puts on the path."""
    env = project.environment(PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    env["PYTHONPATH"] = ":".join(p for p in env["PYTHONPATH"].split(":") if p != str(project.root))
    script = "import runpy, sys; sys.argv[0] = 'tunekit'; runpy.run_module('tunekit', run_name='__main__')"
    command = [sys.executable, "-P", "-c", script, *words]
    return subprocess.run(command, cwd=project.root, env=env, capture_output=True, text=True)


def test_every_verb_is_tried():
    assert CALLS.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", sorted(CALLS))
def test_no_verb_runs_anything(trap, verb):
    project, trapped = trap
    done = call(project, verb, *CALLS[verb])
    assert not trapped.exists(), (verb, trapped.read_text())
    assert done.returncode in (0, 1, 2, 3) and "error[bug]" not in done.stderr, done.stderr


def test_a_build_of_its_code_is_refused(trap):
    project, trapped = trap
    done = call(project, "build", "dataset:a")
    assert done.returncode == 6 and "m.py" in done.stderr and not trapped.exists()


@pytest.mark.torch
def test_a_model_of_a_stranger_is_refused_by_its_worker(trap):
    """Code that comes with a model, and a pickle that nothing safer stands beside."""
    project, trapped = trap
    done = call(project, "build", "model:m")
    assert done.returncode == 1 and "remote-code" in done.stderr and not trapped.exists()
    (project.root / "model" / "model.safetensors").unlink()
    done = call(project, "build", "model:m")
    assert done.returncode in (1, 2) and "pickle-weights" in done.stderr and not trapped.exists()
    save_file({"x": np.zeros(1, np.float32)}, project.root / "model" / "model.safetensors")


def test_called_as_a_module_it_imports_nothing_of_the_folder_either(trap):
    project, trapped = trap
    for name in ("sitecustomize", "usercustomize", "conftest"):  # the interpreter's own business, before us
        (project.root / f"{name}.py").unlink()
    env = project.environment(PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
    late = ("msgspec", "xxhash", "tomlkit", "rich", "pyarrow", "tokenizers", "unearth")
    assert all((project.root / f"{name}.py").exists() for name in late)
    done = subprocess.run(
        [sys.executable, "-m", "tunekit", "status"], cwd=project.root, env=env, capture_output=True, text=True
    )
    early = {"json", "ast", "re", "tomllib"}  # runpy itself may import these while the folder is on the path
    sprung = set(trapped.read_text().split()) if trapped.exists() else set()
    assert sprung <= early and done.returncode in (0, 4), (sprung, done.stderr)


LINKS = {
    "data": ("leak.jsonl", '[dataset.a]\nsource = "path:leak.jsonl"\n'),
    "folder": ("leak", '[dataset.a]\nsource = "path:leak/*"\n'),
    "code": ("leak.py", '[dataset.a]\nsource = "path:plain.jsonl"\nmap = "leak.py:f"\n'),
    "imported code": ("helper.py", '[dataset.a]\nsource = "path:plain.jsonl"\nmap = "m.py:f"\n'),
    "file of code": ("words.txt", '[dataset.a]\nsource = "path:plain.jsonl"\nmap = "m.py:f"\nfiles = ["words.txt"]\n'),
    "method": ("mine.py", '[run.x]\nmethod = "mine.py"\nmodel = "model:m"\ndata = ["dataset:a"]\n'),
    "recipe": ("recipes/mine.toml", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "target": ("targets/mine.toml", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "template": ("t.jinja", '[tokenizer.t]\ndata = ["dataset:a"]\nchat_template = "t.jinja"\n'
                            '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "lock": ("tunekit.lock", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "manifest": ("tunekit.toml", ""),
    "state": (".tunekit/state", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "ours": (".tunekit", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "history": (".tunekit/history.jsonl", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "out": (".tunekit/out", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
    "out of a kind": (".tunekit/out/dataset", '[dataset.a]\nsource = "path:plain.jsonl"\n'),
}  # fmt: skip


@pytest.mark.parametrize("what", LINKS)
def test_no_link_leads_out(project, tmp_path, what):
    """Nothing outside is read, written or said; the error has a name."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(f'x = "{SECRET}"\n')
    name, toml = LINKS[what]
    project.rows("plain.jsonl", [{"x": 1}])
    project.write("m.py", "import helper\ndef f(row): return row\n")
    project.manifest(toml)
    link = project.root / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    folder = what in ("folder", "state", "ours", "out", "out of a kind")
    link.symlink_to(outside if folder else outside / "secret")
    before = sorted(outside.rglob("*")), (outside / "secret").read_bytes()
    for words in (["status"], ["plan"], ["lock"], ["build", "--trust"]):
        done = project.run(*words)
        if (what, words) != ("imported code", ["lock"]):  # which looks at no code
            assert "path-outside-project" in done.err and done.code in (1, 2, 3), (words, done.err)
        assert SECRET not in done.out + done.err
    assert (sorted(outside.rglob("*")), (outside / "secret").read_bytes()) == before


@pytest.mark.parametrize("name", ["a.jsonl", "m.py", "targets/x.toml", "tunekit.lock", "recipes/x.toml", "mine.py"])
def test_a_pipe_is_not_waited_for(project, name):
    """A named pipe in an archive: reading it would hang for ever."""
    project.rows("a.jsonl", [{"x": 1}])
    project.write("m.py", "def f(row): return row\n")
    project.manifest("""
        [dataset.a]
        source = "path:a.jsonl"
        map = "m.py:f"
        [run.x]
        method = "mine.py"
        model = "model:m"
        data = ["dataset:a"]
    """)
    path = project.root / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tunekit", "status"],
        cwd=project.root, env=project.environment(), capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode in (2, 3) and ("regular file" in done.stderr or "missing-file" in done.stderr), done.stderr


def test_control_characters_do_not_reach_the_terminal(project):
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n"\\u001b]0;owned\\u0007" = 1\n')
    done = project.run("status")
    assert done.code == 2 and "\x1b" not in done.err and "\\x1b" in done.err


def test_hard_links_are_files_like_others(project):
    """One is the project's own file whoever else has it; an edit through the other name is noticed."""
    project.rows("a.jsonl", [{"x": 1}])
    other = project.root.parent / "other.jsonl"
    os.link(project.root / "a.jsonl", other)
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n')
    assert project.build().code == 0
    with other.open("r+") as file:
        file.write('{"x": 2}')
    assert project.build().ran == ["dataset:a#fetch", "dataset:a"]
    for path in (project.store / "objects").rglob("*"):
        assert not path.is_file() or not os.path.samefile(path, other), "the store has bytes of its own"
    shutil.rmtree(project.root)
