"""A run watched from the outside: stopped for its health, profiled, generated from, reported. One store for all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from tiny_project import Project

from tunekit.report.answers.table import TABLE

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """`run:base` full weights, profiled; `run:sft` an adapter on it."""
    root = tmp_path_factory.mktemp("watched")
    project = Project(root / "project", root / "store")
    project.edit("tunekit.toml", "sequence_len = 32\n", "sequence_len = 32\nprofile = { start = 2, steps = 2 }\n")
    project.build("run:sft")
    return project


def test_a_run_without_hope_is_stopped(project: Project) -> None:
    """Exit 5 with cause and cure, the log and the receipt."""
    worse = ["--set", "run:base.learning_rate=1e25"]
    out = project.run("build", "--json", "run:base", *worse, code=5)
    events = [json.loads(line) for line in out.splitlines()]
    (failed,) = [e for e in events if e["type"] == "failed"]
    assert failed["slug"] == "unhealthy" and "step 2" in failed["message"] and "learning_rate" in failed["hint"]
    assert "stopped by its health rule `not-finite`" in failed["log"]
    (gate,) = [e for e in events if e["type"] == "gate"]
    assert (gate["name"], gate["passed"]) == ("health/not-finite", False)
    for event in events:
        msgspec.convert(event, TABLE["build"])
    (begun,) = [e for e in events if e["type"] == "begin"]
    assert (Path(begun["log"]) / "log.txt").is_file()  # staging is kept


def test_the_record_has_receipts_and_a_profile(project: Project) -> None:
    record = json.loads(project.run("show", "run:base", "--json"))["record"]
    health, profile = record["effective"]["health"], record["effective"]["profile"]
    assert health["not-finite"]["passed"] is True and health["frozen-gradient"]["worst"] > 0
    assert profile["steps"] == [2, 3] and profile["top"][0]["cpu_ms"] > 0
    folder = project.root / ".tunekit" / "watch" / "run" / "base" / record["key"].removeprefix("sha256:")[:12]
    trace = json.loads((folder / "profile" / "trace-2-3.json").read_text())
    assert any(e.get("name") == "aten::mm" for e in trace["traceEvents"])
    assert record["effective"]["peak_memory"] > 50e6


def test_text_of_every_kind_of_weights(project: Project, tmp_path: Path) -> None:
    """The adapter on its base, through the template; and a whole model."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "the king"}\n{"messages": [{"role": "user", "content": "the rose"}]}\n')
    out = project.run("generate", "run:sft", "--file", str(prompts), "--max-tokens", "5", "--json")
    answers = [msgspec.json.decode(line, type=TABLE["generate"]) for line in out.splitlines()]
    assert [a.row for a in answers] == [0, 1] and all(0 < a.tokens <= 5 for a in answers)
    told = project.run("generate", "run:base@best", "--prompt", "x", code=2)
    assert told == ""  # no such output: said on standard error
    text = project.run("generate", "run:base", "--raw", "--prompt", "the king and the", "--max-tokens", "4")
    assert text.endswith("\n")


def test_a_report_of_a_real_run(project: Project, tmp_path: Path) -> None:
    page = tmp_path / "base.html"
    project.run("report", "run:base", "-o", str(page))
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") >= 4 and "aten::mm" in text and "dataset:text" in text and "not-finite" in text
    both = tmp_path / "both.html"
    project.run("report", "run:base", "run:sft", "-o", str(both))
    assert "run:base loss" in both.read_text(encoding="utf-8") and "run:sft loss" in both.read_text(encoding="utf-8")


def test_steps_that_are_only_measured(project: Project) -> None:
    """Real steps of a run, nothing published, its plan as it was."""
    before = project.run("plan", "--json", "run:sft")
    out = project.run("plan", "--measure", "run:sft", "--set", "run:sft.max_steps=50", "--json")
    found = msgspec.json.decode(out, type=TABLE["plan-measure"])
    assert found.taken == 3 and found.steps == 50 and found.devices == ["cpu"]
    assert 0 < found.seconds_per_step < 30 and found.peak_memory > 50e6
    assert project.run("plan", "--json", "run:sft") == before
    assert not list((project.store / "tmp").glob("measure-*"))
