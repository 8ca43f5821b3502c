"""The page of a build: figures against the last result, and text that cannot break it."""

from __future__ import annotations

from tunekit.build import history
from tunekit.lockfile import empty_lock
from tunekit.plan.results import Results
from tunekit.report.summary import Summary
from tunekit.store import artifacts, records
from tunekit.store.store import Store

KEY = "sha256:" + "a" * 64


class Planned:
    """As much of a planner as a page asks for."""

    def __init__(self, root, store):
        self.inputs = type("Inputs", (), {"root": root})()
        self.store = store
        self.results = Results(store, empty_lock())
        self.nodes = {}


def result(store, attempt, loss):
    record = {
        "key": KEY, "attempt": attempt, "label": "run:x", "preimage": {}, "seconds": 61.0, "parts": {},
        "outputs": {"main": artifacts.write_tree(store, [])}, "effective": {"summary": {"loss": loss, "steps": 5}},
    }  # fmt: skip
    records.add(store, record)
    return record


def page_of(tmp_path, *events, link="", planner=None):
    page = Summary(tmp_path / "page.md", link)
    with page:
        page.planner = planner
        for event in events:
            page.take(event)
    return (tmp_path / "page.md").read_text()


def test_figures_against_the_last_result(tmp_path):
    store = Store(tmp_path / "store").ensure()
    old, new = result(store, "20260101T000000-1", 2.5), result(store, "20260102T000000-1", 2.25)
    for record in (old, new):
        history.append(tmp_path, "run:x", record, "built")
    events = [
        {"type": "plan", "order": [{"label": "run:x", "reasons": ["seed: 1 → 2"], "needs": []}]},
        {"type": "end", "action": "run:x", "how": "built", "record": new},
    ]
    text = page_of(tmp_path, *events, planner=Planned(tmp_path, store))
    assert "| `run:x` | ran | seed: 1 → 2 | 61s | loss 2.25 (was 2.5)<br>steps 5 |" in text
    assert "key `aaaaaaaaaaaa`" in text and "--attempt 20260102T000000-1" in text


def test_a_link_to_the_record(tmp_path):
    store = Store(tmp_path / "store").ensure()
    events = [{"type": "end", "action": "run:x", "how": "fetched", "record": result(store, "20260101T000000-1", 1.0)}]
    text = page_of(tmp_path, *events, link="https://cache.example/ac/", planner=Planned(tmp_path, store))
    assert f"[`aaaaaaaaaaaa`](https://cache.example/ac/{'a' * 64})" in text
    assert "| `run:x` | fetched |  |  | loss 1<br>steps 5 |" in text


def test_what_came_from_the_remote(tmp_path):
    """Its record is in the store by then; no other event tells of it."""
    store = Store(tmp_path / "store").ensure()
    planner = Planned(tmp_path, store)
    planner.nodes["run:x"] = type("Node", (), {"key": result(store, "20260101T000000-1", 1.5)["key"]})()
    event = {"type": "fetched", "action": "run:x", "seconds": 0.25, "remote": "s3://bucket"}
    text = page_of(tmp_path, event, planner=planner)
    assert "| `run:x` | fetched |  | 0.2s | loss 1.5<br>steps 5 |" in text
    assert "0 run, 1 found, 0 fresh" in text and "--attempt 20260101T000000-1" in text


def test_it_is_appended_and_nothing_breaks_it(tmp_path):
    (tmp_path / "page.md").write_text("before\n")
    events = [
        {"type": "plan", "order": [{"label": "run:x", "reasons": ["a|b\n<script>"], "needs": []}]},
        {"type": "warning", "action": "run:x", "slug": "odd", "message": "one\n## two"},
        {"type": "gate", "action": "run:x", "name": "loss", "passed": False, "measured": 3, "wanted": "< 2"},
        {"type": "failed", "action": "run:x", "slug": "s", "message": "m", "hint": "", "log": "```\nlast words"},
    ]
    text = page_of(tmp_path, *events)
    assert text.startswith("before\n## tunekit build\n")
    assert "| `run:x` | **failed** | a\\|b &lt;script> |" in text
    assert "- **odd** run:x: one ## two" in text and "- **gate** run:x: loss: 3 (wanted &lt; 2)" in text
    assert "'''\nlast words\n```" in text


def test_an_error_before_anything_ran(tmp_path):
    from tunekit.errors import LockError

    page = Summary(tmp_path / "page.md")
    try:
        with page:
            raise LockError("not pinned", slug="unlocked", hint="tunekit lock")
    except LockError:
        pass
    text = (tmp_path / "page.md").read_text()
    assert "**failed**" in text and "error[unlocked]: not pinned" in text and "= help: tunekit lock" in text


def test_interrupted(tmp_path):
    assert "**interrupted**" in "\n".join(Summary(tmp_path / "page.md").lines(KeyboardInterrupt()))


def test_a_place_that_cannot_be_written(project):
    project.rows("a.jsonl", [{"x": 1}])
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n')
    done = project.run("build", "--summary", str(project.root / "none" / "page.md"))
    assert done.code == 2 and "error[missing-file]" in done.err
    done = project.run("build", "--summary", str(project.root))
    assert done.code == 2 and "error[cannot-write]" in done.err


def test_a_no_op_is_said_too(project, monkeypatch):
    monkeypatch.setattr("tunekit.plan.state._RACY", 0)
    project.rows("a.jsonl", [{"x": 1}])
    project.manifest('[dataset.a]\nsource = "path:a.jsonl"\n')
    page = project.root.parent / "page.md"
    for _ in range(3):
        assert project.run("build", "--summary", str(page)).code == 0
    assert page.read_text().count("## tunekit build") == 3
    assert "**nothing to do**" in page.read_text().rpartition("## tunekit build")[2]


def test_links_where_the_remote_can_be_read_by_a_browser(project, monkeypatch):
    from argparse import Namespace

    from tunekit.cli.summing import summing

    project.manifest('[remote]\nurl = "https://cache.example/team"\n')
    args = Namespace(summary=str(project.root / "page.md"), folder=str(project.root))
    assert summing(args).link == "https://cache.example/team/ac/"
    monkeypatch.setenv("TUNEKIT_REMOTE", "s3://bucket/team")
    assert summing(args).link == ""
