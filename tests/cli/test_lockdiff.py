"""`tunekit lock diff` in words: against revisions of git and other files, with real packages that move."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tunekit.cli.main import run
from tunekit.lockfile import Environment, ResultBlock, load_lock, save_lock

KEY, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=root, check=True, capture_output=True, text=True).stdout


def wheel(folder: Path, version: str, rows: list[dict], **more: str) -> None:
    with zipfile.ZipFile(folder / f"corpus-{version}-py3-none-any.whl", "w") as z:
        z.writestr("corpus/rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for name, text in more.items():
            z.writestr(f"corpus/{name}", text)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder that pip looks into, and nothing else."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def moved(fresh, call, packages):
    """A committed project on version 1 of a package, built; then upgraded to version 2 and not built."""
    wheel(packages, "1.0", [{"text": f"row {i}"} for i in range(5)], old="x" * 100)
    (fresh / "tunekit.toml").write_text(
        '[project]\nname = "p"\n[dataset.c]\nsource = "pypi:corpus#corpus/rows.jsonl"\n'
    )
    assert call(fresh, "build").code == 0
    git(fresh, "init", "-q")
    (fresh / ".gitignore").write_text(".tunekit/\n")
    git(fresh, "add", ".")
    git(fresh, "commit", "-qm", "one")
    wheel(packages, "2.0", [{"text": f"row {i}", "id": i} for i in range(7)])
    assert call(fresh, "lock", "--upgrade").code == 0
    return fresh


def test_rows_and_schema_of_a_source_that_moved(moved, call):
    said = call(moved, "lock", "diff")
    lines = said.out.splitlines()
    assert said.code == 0 and lines[0].startswith("tunekit.lock against HEAD (")
    assert lines[1] == "  ~ pypi:corpus#corpus/rows.jsonl  revision 1.0 → 2.0"
    assert lines[2].startswith("      ~ rows.jsonl  ") and " bytes)" in lines[2]
    assert lines[3] == "      dataset:c: 5 rows before; rows and schema unknown until fetched"
    assert call(moved, "build", "dataset:c#fetch").code == 0
    assert "rows and schema unknown until dataset:c is built" in call(moved, "lock", "diff").out
    assert call(moved, "build").code == 0
    lines = call(moved, "lock", "diff", "HEAD").out.splitlines()
    assert lines[3:] == ["      dataset:c: rows 5 → 7 (+2)", "      + column id: int64"]
    body = call(moved, "lock", "diff", "--json").json
    assert body["schema"] == "tunekit/lock-diff/1" and body["same"] is False
    (source,) = body["sources"]
    assert (source["old"]["revision"], source["new"]["revision"]) == ("1.0", "2.0")
    (dataset,) = source["datasets"]
    assert (dataset["label"], dataset["old"]["rows"], dataset["new"]["rows"]) == ("dataset:c", 5, 7)
    assert dataset["unknown"] is None


def test_an_upgrade_by_label(fresh, call, packages):
    wheel(packages, "1.0", [{"text": "a"}])
    (fresh / "tunekit.toml").write_text(
        '[project]\nname = "p"\n[dataset.c]\nsource = "pypi:corpus#corpus/rows.jsonl"\n'
        '[dataset.d]\nsource = "pypi:corpus#corpus/*.jsonl"\n'
    )
    assert call(fresh, "lock").code == 0
    wheel(packages, "2.0", [{"text": "b"}])
    body = call(fresh, "lock", "--json", "--upgrade", "dataset:d").json
    assert body["changed"] == ["pypi:corpus#corpus/*.jsonl"]
    assert "error[unknown-source]" in call(fresh, "lock", "--upgrade", "dataset:e").err


def test_what_came_and_what_went(moved, call):
    toml = moved / "tunekit.toml"
    toml.write_text(toml.read_text().replace("pypi:corpus#", "pypi:corpus@1.0#"))
    assert call(moved, "lock").code == 0
    lock = load_lock(moved / "tunekit.lock")
    lock.environments["default"].packages.update({"msgspec": "0.0.1", "brand-new": "1.0"})
    lock.environments["vllm"] = Environment("3.12.1", {"vllm": "0.20"})
    lock.results.append(ResultBlock("dataset:c", KEY, "7f3a", {"main": OTHER}))
    save_lock(lock, moved / "tunekit.lock")
    out = call(moved, "lock", "diff").out
    assert "  - pypi:corpus#corpus/rows.jsonl  revision 1.0, 1 file, " in out
    assert "  + pypi:corpus@1.0#corpus/rows.jsonl  revision 1.0, 1 file, " in out
    assert "      dataset:c: 5 rows" in out, "the same bytes: it is known what they are"
    assert "  ~ environment: msgspec " in out and " → 0.0.1" in out
    assert "  + environment: brand-new 1.0" in out
    assert "  + environment vllm: python 3.12.1\n  + environment vllm: vllm 0.20" in out
    assert f"  + result of dataset:c (key {'1' * 12}): attempt 7f3a" in out


def test_against_files_and_revisions_and_in_a_subfolder(moved, call, tmp_path):
    first = git(moved, "rev-parse", "HEAD").strip()
    git(moved, "tag", "v1")
    git(moved, "commit", "-qam", "two")
    assert call(moved, "lock", "diff").out.endswith(": no difference\n")
    for revision in ("HEAD~1", "v1", first, first[:10]):
        assert "revision 1.0 → 2.0" in call(moved, "lock", "diff", revision).out
    (tmp_path / "old.lock").write_text(git(moved, "show", "v1:tunekit.lock"))
    assert "revision 1.0 → 2.0" in call(moved, "lock", "diff", str(tmp_path / "old.lock")).out
    inner = moved / "inner"
    inner.mkdir()
    (inner / "tunekit.toml").write_text((moved / "tunekit.toml").read_text())
    (inner / "tunekit.lock").write_bytes((moved / "tunekit.lock").read_bytes())
    said = call(inner, "lock", "diff")
    assert "which has no tunekit.lock" in said.out and "  + pypi:corpus#" in said.out, "its own lock, not the one above"


@pytest.mark.parametrize(
    "word", ["nope", "--output=/tmp/x", "-h", "HEAD:tunekit.toml", "HEAD\n", "", "HEAD -- x", ":0"]
)
def test_a_revision_is_never_an_option(fresh, capsys, word):
    git(fresh, "init", "-q")
    git(fresh, "commit", "-q", "--allow-empty", "-m", "one")
    assert run(["lock", "-C", str(fresh), "diff", "--", word]) == 2
    assert "error[unknown-revision]" in capsys.readouterr().err


def test_no_program_of_the_repository_runs(moved, call, tmp_path):
    """Of a repository that was unpacked with its configuration."""
    ran = tmp_path / "ran"
    evil = tmp_path / "evil"
    evil.write_text(f"#!/bin/sh\necho $0 >> {ran}\ncat\n")
    evil.chmod(0o755)
    git(moved, "config", "core.fsmonitor", str(evil))
    git(moved, "config", "core.pager", str(evil))
    git(moved, "config", "diff.x.textconv", str(evil))
    git(moved, "config", "core.hooksPath", str(tmp_path))
    (moved / ".gitattributes").write_text("*.lock diff=x\n")
    assert "revision 1.0 → 2.0" in call(moved, "lock", "diff").out
    assert not ran.exists()


def test_outside_of_git_and_what_lock_does_not_do(fresh, call, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(fresh.parent))
    assert "git knows no such revision" in call(fresh, "lock", "diff").err
    assert call(fresh, "lock", "difff").code == 2
    assert call(fresh, "lock", "diff", "HEAD", "HEAD~1").code == 2
    assert call(fresh, "lock", "diff", "--check").code == 2
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable) + "/nowhere")
    assert "error[unknown-revision]" in call(fresh, "lock", "diff").err


def test_a_lock_that_is_none(moved, call, tmp_path):
    (tmp_path / "x.lock").write_text("version = 9\n")
    said = call(moved, "lock", "diff", str(tmp_path / "x.lock"))
    assert said.code == 3 and "error[lock-version]" in said.err
