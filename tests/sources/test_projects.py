"""Projects with sources of every scheme, through the real command line and real workers, against loopback servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib

import pytest
from git_server import GitServer, Repo

ROWS = "".join(json.dumps({"text": f"row {i}"}) + "\n" for i in range(50))


@pytest.fixture
def place(tmp_path):
    """A project beside a folder `shared`. `run(verb, code)` → stdout and stderr."""
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/rows.jsonl").write_text(ROWS)
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR")}
    env = kept | {"HOME": str(tmp_path / "home"), "TUNEKIT_MIN_FREE": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {"TUNEKIT_STORE": str(tmp_path / "store"), "TUNEKIT_CONFIG": str(tmp_path / "config")}

    class Place:
        def declare(self, source: str, more: str = "") -> None:
            text = f'[project]\nname = "x"\n[dataset.train]\nsource = "{source}"\n{more}'
            (root / "tunekit.toml").write_text(text)

        def run(self, *words: str, code: int = 0, **more: str) -> str:
            command = [sys.executable, "-m", "tunekit", *words]
            done = subprocess.run(command, cwd=root, env=env | more, capture_output=True, text=True)
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr

        def block(self) -> dict:
            (found,) = tomllib.loads((root / "tunekit.lock").read_text())["source"]
            return found

    found = Place()
    found.root, found.store, found.shared = root, tmp_path / "store", tmp_path / "shared"
    return found


def test_a_path_outside(place):
    source = "path:../shared/rows.jsonl"
    place.declare(source)
    told = place.run("plan", code=2)
    assert "error[path-outside-project]" in told and "`pin = true`" in told and "tunekit.toml:4" in told
    place.declare(source, "pin = true\n")
    assert "unlocked" in place.run("plan")
    place.run("lock")
    assert place.block()["source"] == source
    place.run("build", "--locked", "dataset:train")
    assert "row 49" in place.run("inspect", "dataset:train", "--json", "--row", "49")
    (place.shared / "rows.jsonl").write_text(ROWS.replace("row 1", "ROW 1"))
    place.run("lock", "--check")
    assert "nothing to do" in place.run("build", "--locked", "dataset:train"), "the lock pins it, not the file"
    assert "~ " + source in place.run("lock", "--upgrade", source)
    (place.shared / "rows.jsonl").write_text(ROWS)
    assert "error[source-changed]" in place.run("build", "--locked", "dataset:train", code=1)
    place.run("lock", "--upgrade")
    (place.shared / "rows.jsonl").unlink()
    assert "nothing to do" in place.run("build", "--locked", "dataset:train"), "elsewhere, with the store's copy"
    assert "error[missing-file]" in place.run("lock", "--upgrade", code=1)


def test_a_repository_of_this_machine(place, tmp_path):
    repo = Repo(tmp_path / "n.git")
    repo.commit({"data/rows.jsonl": ROWS})
    source = f"git:file://{tmp_path}/n.git#data"
    place.declare(source)
    assert "error[path-outside-project]" in place.run("lock", code=2)
    place.declare(source, "pin = true\n")
    place.run("build", "dataset:train")
    assert "row 3" in place.run("inspect", "dataset:train", "--json", "--row", "3")


def test_pins_that_say_nothing(place):
    (place.root / "rows.jsonl").write_text(ROWS)
    place.declare("path:rows.jsonl", "pin = true\n")
    told = place.run("plan", code=2)
    assert "pinned by version control" in told and "tunekit.toml:5" in told
    place.declare("hf:org/name", "pin = true\n")
    assert "other sources always are" in place.run("plan", code=2)


def test_streaming_does_not_read_outside_in_place(place):
    """Where they lie they may change; what is pinned is fetched into the store first."""
    place.declare("path:../shared/rows.jsonl", "pin = true\n")
    assert "dataset:train#files" not in place.run("graph")


def test_https_with_progress(place, web):
    web.files["/rows.jsonl"] = ROWS.encode() * 20_000
    source = web.base + "/rows.jsonl"
    place.declare(source)
    told = place.run("lock")
    assert f"locking {source}" in told and "MB" in told and "\r" not in told, told
    place.run("build", "--locked", "--offline", "dataset:train#fetch")
    web.files["/rows.jsonl"] = b'{"text": "other"}\n'
    place.run("lock", "--check")
    place.run("lock", "--upgrade")
    assert place.block()["files"][0]["size"] == 18


def test_git_and_the_branch_moves(place, tmp_path):
    server = GitServer(tmp_path / "served")
    (tmp_path / "served").mkdir()
    try:
        repo = Repo(tmp_path / "served/n.git")
        first = repo.commit({"data/rows.jsonl": ROWS})
        place.declare(f"git:{server.base}/n.git@main#data/*.jsonl")
        place.run("lock")
        assert place.block()["revision"] == first
        second = repo.commit({"data/rows.jsonl": '{"text": "other"}\n'}, parent=first)
        place.run("build", "--locked", "dataset:train")
        assert "row 3" in place.run("inspect", "dataset:train", "--json", "--row", "3")
        assert "~ " in place.run("lock", "--upgrade")
        assert place.block()["revision"] == second
    finally:
        server.close()


def test_a_login_in_a_source_is_refused_where_it_stands(place):
    place.declare("https://me:hunter2@host.example/x.jsonl")
    told = place.run("plan", code=2)
    assert "error[credentials-in-source]" in told and "netrc" in told and "hunter2" not in told


def test_what_is_pinned_from_elsewhere_is_planned_without_a_network(place):
    place.declare("s3://bucket/rows.jsonl")
    assert "unlocked" in place.run("plan")
    assert "error[offline]" in place.run("lock", "--offline", code=1)
