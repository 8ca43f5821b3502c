"""`tunekit report` and `diff --html`: pages of records that are as hostile as they can be."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tunekit.build import history
from tunekit.store import artifacts, records
from tunekit.store.store import Store

HOSTILE = "<script>alert(1)</script><img src=x onerror=y>\"'&\x1b[31m\u202e"
MORE = """
[run.y]
method = "sft"
model = "model:m"
data = ["dataset:a"]
learning_rate = 1e-3
[dataset.p]
source = "path:a.jsonl"
format = "prompt"
[eval.e]
model = "run:x"
data = ["dataset:p"]
scorer = "score.py:f"
"""


HEADINGS = ["Result", "Warnings", "Gates", "Curves", "Settings", "Took effect", "Profile", "Files", "Environment"]


class Page(HTMLParser):
    """Tags with their attributes, and the text that a reader sees, a cell a line."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.seen: list[str] = []
        self.whole = file.read_text(encoding="utf-8")
        self.feed(self.whole)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.seen.append(data.strip())


def record_of(store: Store, label: str, kind: str, n: int, **more: Any) -> dict[str, Any]:
    points = [
        {"step": i, "loss": 5.0 / i + n, "eval_loss": 6.0 / i, f"rewards/{HOSTILE}/mean": 0.1 * i} for i in (1, 2, 3)
    ]
    metrics = artifacts.add_bytes(store, "".join(json.dumps(p) + "\n" for p in points).encode())
    return {
        "key": "sha256:" + f"{n:x}" * 64, "attempt": records.new_attempt(), "label": label, "kind": kind,
        "preimage": {}, "inputs": {}, "source": "", "outputs": {"main": "sha256:" + "e" * 64}, "log": "",
        "metrics": metrics, "parts": {},
        "spec": {"learning_rate": 10.0**-n, "note": HOSTILE}, "started": 1.7e9, "seconds": 12.5,
        "effective": {
            "summary": {"loss": 1.5 + n, HOSTILE: 2}, "threads": n,
            "health": {"not-finite": {"wanted": "finite", "act": "stop", "passed": True},
                       "exploding-gradient": {"wanted": "<= 100", "act": "warn", "passed": False, "worst": 312.0,
                                              "metric": "grad_norm", "at_step": 7, "tripped_at_step": 7}},
            "profile": {"steps": [3], "files": ["trace-3-3.json"],
                        "top": [{"operator": "aten::mm", "calls": 3, "cpu_ms": 1.5, "device_ms": 0.0}]},
        },
        "warnings": [{"slug": "odd", "message": HOSTILE}],
        "gates": [{"name": HOSTILE, "passed": False, "measured": 9, "wanted": "< 3"}],
        "environment": {"tunekit": "1", "python": "3", "machine": "m", "commit": "", "packages": {"torch": "2"}},
        **more,
    }  # fmt: skip


@pytest.fixture
def reported(project, tmp_path, monkeypatch):
    """A project whose history names two runs and an eval of the first; nobody has trained them."""
    project.write("score.py", "def f(completions): return [0.0]\n")
    project.one_run(MORE)
    store = Store(project.store).ensure()
    out = tmp_path / "samples"
    out.mkdir()
    samples = [{"prompt": [{"role": "user", "content": HOSTILE}], "completion": HOSTILE, "score": 0.25, "row": 0}]
    samples += [{"prompt": f"p{i}", "completion": f"c{i}", "score": None, "row": i} for i in range(1, 30)]
    (out / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
    tree = artifacts.seal(store, out)
    for label, kind, n, more in (
        ("run:x", "run.sft", 1, {}),
        ("run:y", "run.sft", 2, {"outputs": {"main": "sha256:" + "d" * 64}}),
        ("eval:e", "eval", 3, {"outputs": {"main": tree}}),
    ):
        record = record_of(store, label, kind, n, **more)
        records.add(store, record)
        history.append(project.root, label, record, "built")
    monkeypatch.chdir(tmp_path)
    return project


def harmless(page: Page) -> None:
    tags = [tag for tag, _ in page.tags]
    assert not {"script", "img", "link", "iframe", "object", "form", "a"} & set(tags)
    names = {name for _, attrs in page.tags for name in attrs}
    assert not {name for name in names if name.startswith("on") or name in ("src", "href", "style")}
    assert not re.search(r"https?:|url\(|@import|//[a-z]", page.whole)
    assert "\x1b" not in page.whole and "\u202e" not in page.whole
    (policy,) = [a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert "prefers-color-scheme: dark" in page.whole


def test_a_run(reported, tmp_path):
    done = reported.run("report", "run:x")
    assert done.code == 0 and done.out == "run-x.html\n", done.err
    page = Page(tmp_path / "run-x.html")
    harmless(page)
    assert [text for text in page.seen if text in HEADINGS] == HEADINGS
    assert any("its result of an earlier key" in text for text in page.seen)
    assert "exploding-gradient" in page.seen and "312" in page.seen and "broken" in page.seen and "FAILED" in page.seen
    assert sum(tag == "svg" for tag, _ in page.tags) == 2  # loss with its evaluation, and the reward
    assert sum(tag == "polyline" for tag, _ in page.tags) == 3
    assert any("<script>alert(1)</script>" in text for text in page.seen)  # as text
    assert "not in the store" in page.seen and "aten::mm" in page.seen


def test_an_eval_has_its_samples(reported, tmp_path):
    assert reported.run("report", "eval:e", "-o", "e.html").code == 0
    page = Page(tmp_path / "e.html")
    harmless(page)
    assert "eval:e: the first 10 samples" in page.seen and "c9" in page.seen and "c10" not in page.seen
    assert any(text.startswith("user: <script>") for text in page.seen)


def test_several_runs_over_each_other(reported, tmp_path):
    done = reported.run("report", "run:x", "run:y", "-o", "both.html")
    assert done.code == 0, done.err
    page = Page(tmp_path / "both.html")
    harmless(page)
    at = page.seen.index("learning_rate")
    assert page.seen[at + 1 : at + 3] == ["0.1", "0.01"] and "note" not in page.seen
    names = [text for text in page.seen if text in ("run:x loss", "run:y loss", "run:x eval_loss", "run:y eval_loss")]
    assert names == ["run:x loss", "run:x eval_loss", "run:y loss", "run:y eval_loss"]
    assert {a["class"] for t, a in page.tags if t == "polyline"} == {"c0", "c1"}
    html = reported.run("diff", "run:x", "run:y", "--html", "diff.html")
    assert html.code == 0 and (tmp_path / "diff.html").read_text() == page.whole
    assert reported.run("diff", "run:x", "run:y", "--html", "d", "--json").code == 2


def test_what_is_not_there(reported, tmp_path):
    done = reported.run("report", "model:m")
    assert done.code == 2 and "not-built" in done.err and "tunekit build model:m" in done.err
    assert "cannot-write" in reported.run("report", "run:x", "-o", "no/such/x.html").err
    assert reported.run("report", "run:x", "run:y", "--attempt", "2").code == 2
    assert not list(tmp_path.glob("*.html"))
