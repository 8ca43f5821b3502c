"""`--frozen` trusts the lock and touches no network: an audit hook in every process of the build refuses, and tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

TOML = """\
[project]
name = "f"

[dataset.c]
source = "pypi:corpus@1.0#corpus/rows.jsonl"
map = "m.py:f"
"""
# Read by Python itself when it starts, also in workers: it looks for the module on PYTHONPATH.
WALL = """\
import os, sys

def wall(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname") or (
        event in ("socket.connect", "socket.sendto") and isinstance(args[1], tuple)
    ):
        with open(os.environ["WALL"], "a") as file:
            file.write(f"{event} {args[1:]} of {sys.argv}\\n")
        raise OSError("the network is walled off")

sys.addaudithook(wall)
"""


@pytest.fixture
def place(index, hub, tmp_path):
    """A project, and `run(*words, wall=True)`: the command line behind a wall."""
    index.files["corpus-1.0-py3-none-any.whl"] = index.wheel({"corpus/rows.jsonl": '{"text": "a"}\n'})
    hub.add("datasets/org/gsm").commit({"rows.jsonl": json.dumps({"text": "row"}) + "\n"}, "v1")
    root = tmp_path / "project"
    root.mkdir()
    (root / "tunekit.toml").write_text(TOML)
    (root / "m.py").write_text("def f(row):\n    return {'text': row['text'].upper()}\n")
    (tmp_path / "wall").mkdir()
    (tmp_path / "wall" / "sitecustomize.py").write_text(WALL)
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR")}
    env = kept | {"HOME": str(tmp_path), "PIP_INDEX_URL": index.base + "/simple", "PIP_CONFIG_FILE": os.devnull}
    env |= {"HF_ENDPOINT": hub.base, "HF_HOME": str(tmp_path / "hf"), "WALL": str(tmp_path / "told")}
    env |= {"TUNEKIT_STORE": str(tmp_path / "store"), "TUNEKIT_CONFIG": str(tmp_path / "config"), "TUNEKIT_TRUST": "1"}

    class Place:
        def run(self, *words: str, wall: bool = True, code: int = 0, **more: str) -> str:
            path = [str(tmp_path / "wall")] if wall else []
            path += filter(None, [env.get("PYTHONPATH")])
            command = [sys.executable, "-m", "tunekit", *words]
            more |= {"PYTHONPATH": os.pathsep.join(path)}
            done = subprocess.run(command, cwd=root, env=env | more, capture_output=True, text=True)
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr

        @property
        def told(self) -> str:
            return (tmp_path / "told").read_text() if (tmp_path / "told").exists() else ""

    found = Place()
    found.root = root
    return found


def test_the_wall_stands(place):
    """Without `--frozen` the same build runs into it."""
    assert "error[" in place.run("build", code=1)
    assert "socket." in place.told


def test_a_frozen_build_of_what_is_locked_here(place, index):
    place.run("lock", wall=False)
    asked = list(index.requests)
    lock = (place.root / "tunekit.lock").read_bytes()
    assert "built: 2 run" in place.run("build", "--frozen")
    assert "nothing to do" in place.run("build", "--frozen")
    for words in (["lock", "--check"], ["build", "--locked"], ["status", "--check"], ["verify"], ["plan", "--json"]):
        place.run(*words)
    assert place.told == "" and index.requests == asked
    assert (place.root / "tunekit.lock").read_bytes() == lock


def test_the_lock_is_taken_as_it_is(place):
    """What `lock --check` would refuse is no matter: pins that nothing names, another environment."""
    place.run("lock", wall=False)
    file = place.root / "tunekit.lock"
    file.write_text(file.read_text().replace("msgspec = ", 'zz-none = "1"\nmsgspec = "0.0.1" # '))
    (place.root / "tunekit.toml").write_text(TOML + '\n[dataset.d]\nfrom = ["dataset:c"]\n')
    place.run("build", "--frozen")
    assert place.told == ""


def test_what_is_not_pinned_or_not_here_is_an_error_with_a_name(place):
    assert "error[unlocked]" in place.run("build", "--frozen", code=3)
    (place.root / "tunekit.toml").write_text(
        TOML.replace("pypi:corpus@1.0#corpus/rows.jsonl", "hf:org/gsm@v1#rows.jsonl")
    )
    place.run("lock", wall=False)
    out = place.run("build", "--frozen", code=1, HF_HOME=str(place.root / "another"))
    assert "error[offline" in out or "error[not-cached" in out, out
    assert place.told == ""
