"""docs/ci/pipeline.sh as it stands, on a small project: cold, warm, after edits, and where it must fail."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from tunekit.report.answers.table import TABLE

SCRIPT = Path(__file__).parents[2] / "docs" / "ci" / "pipeline.sh"
TOML = """
[dataset.a]
source = "path:a.jsonl"

[dataset.b]
from = ["dataset:a"]
map = "ops.py:f"
args = { k = 1 }
"""


class Job(NamedTuple):
    """One run of the script."""

    code: int
    text: str
    page: str  # what the CI shows
    status: Any
    events: list[Any]


@pytest.fixture
def job(project, tmp_path):
    project.rows("a.jsonl", [{"text": "hi"}, {"text": "ho"}])
    project.write("ops.py", "def f(row, k):\n    return {**row, 'k': k}\n")
    project.manifest(TOML)
    assert project.run("lock").code == 0

    def run(*labels: str, **env: str) -> Job:
        page = tmp_path / "page.md"
        page.write_text("")
        more = {"TUNEKIT": f"{sys.executable} -m tunekit", "GITHUB_STEP_SUMMARY": str(page), **env}
        done = subprocess.run(
            ["bash", str(SCRIPT), *labels], cwd=project.root, env=project.environment(**more), text=True,
            capture_output=True, timeout=120,
        )  # fmt: skip
        out = project.root / ".tunekit" / "ci"
        status, events = out / "status.json", out / "build.jsonl"
        return Job(
            done.returncode,
            done.stdout + done.stderr,
            page.read_text(),
            msgspec.json.decode(status.read_text(), type=TABLE["status"]) if status.exists() else None,
            [msgspec.json.decode(x, type=TABLE["build"]) for x in events.read_text().splitlines()]
            if events.exists()
            else [],
        )

    run.project = project
    return run


def test_cold_warm_and_edited(job):
    cold = job()
    assert cold.code == 0, cold.text
    assert (cold.status.fresh, cold.status.stale) == (0, 2)
    assert cold.events[-1].executed == ["dataset:a#fetch", "dataset:a", "dataset:b"]
    assert "**built**: 3 run, 0 fresh" in cold.page
    assert "| `dataset:b` | ran | never built |" in cold.page

    warm = job()
    assert warm.code == 0 and warm.events[-1].executed == [] and warm.status.stale == 0
    assert "**nothing to do**" in warm.page and "reused: 3" in warm.page

    toml = job.project.root / "tunekit.toml"
    toml.write_text(toml.read_text().replace("k = 1", "k = 2"))
    edited = job()
    assert edited.code == 0 and edited.events[-1].executed == ["dataset:b"]
    assert "| `dataset:b` | ran | args.k: 1 → 2 |" in edited.page
    assert f"tunekit show dataset:b --attempt {edited.events[-2].record.attempt}" in edited.page


def test_a_fresh_checkout_with_the_store_of_the_last_job(job):
    """What a CI's cache gives: the store, and nothing of the project's state."""
    assert job().code == 0
    shutil.rmtree(job.project.root / ".tunekit")
    warm = job()
    assert warm.code == 0 and warm.status.stale == 0 and warm.events[-1].executed == []


def test_a_lock_that_was_edited(job):
    lock = job.project.root / "tunekit.lock"
    good = lock.read_text()
    lock.write_text(good.replace("[environment.default]", "[environment.other]").replace("default.", "other."))
    done = job()
    assert done.code == 3 and "error[lock-out-of-date]" in done.text
    assert "**the lock was refused**" in done.page and "tunekit lock" in done.page
    assert done.events == []
    lock.write_text(good.replace('python = "', 'pythons = "'))
    done = job()
    assert done.code == 3 and "error[lock-unknown-key]" in done.text and "lock-unknown-key" in done.page


def test_a_source_that_is_not_pinned(job):
    with open(job.project.root / "tunekit.toml", "a") as f:
        f.write('\n[dataset.c]\nsource = "pypi:corpus@1.0#a.jsonl"\n')
    done = job()
    assert done.code == 3 and "does not pin pypi:corpus@1.0#a.jsonl" in done.page


def test_what_fails_is_on_the_page(job):
    job.project.write("ops.py", "def f(row, k):\n    print('look | here')\n    raise ValueError('no <b>')\n")
    done = job()
    assert done.code == 1
    assert "**failed**" in done.page and "| `dataset:b` | **failed** | never built |" in done.page
    assert "look | here" in done.page and "no &lt;b>" in done.page
    assert done.events[-1].failed == ["dataset:b"]


def test_declarations_that_are_wrong(job):
    with open(job.project.root / "tunekit.toml", "a") as f:
        f.write('\n[dataset.c]\nsource = "path:none.jsonl"\n')
    done = job()
    assert done.code == 2 and "missing-file" in done.page and done.events == []


def test_code_that_nobody_trusts(job):
    job.project.trust = False
    done = job()
    assert done.code == 6 and "error[not-trusted]" in done.text
    assert "error[not-trusted]" in done.page and "**failed**" in done.page


def test_labels(job):
    done = job("dataset:a")
    assert done.code == 0 and done.events[-1].executed == ["dataset:a#fetch", "dataset:a"]


def test_the_workflow_is_yaml_that_calls_the_script():
    yaml = pytest.importorskip("yaml")
    body = yaml.safe_load((SCRIPT.parent / "github-actions.yml").read_text())
    runs = [step.get("run", "") for step in body["jobs"]["build"]["steps"]]
    assert "ci/pipeline.sh" in runs
    assert os.access(SCRIPT, os.X_OK)
    assert json.dumps(body)


def test_through_a_remote(job, tmp_path):
    """The job of the main branch pushes; a machine that has nothing fetches, and runs nothing."""
    toml = job.project.root / "tunekit.toml"
    toml.write_text(toml.read_text() + f'\n[remote]\nurl = "{tmp_path}/remote"\n')
    first = job(PUSH="1")
    assert first.code == 0, first.text
    shutil.rmtree(job.project.root / ".tunekit")
    second = job(TUNEKIT_STORE=str(tmp_path / "another-store"))
    assert second.code == 0, second.text
    assert second.events[-1].executed == [] and second.events[-1].fetched == ["dataset:b"]
    assert "| `dataset:b` | fetched |" in second.page
