"""The door: requests survive their trip, events are one JSON object a line and nothing else."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunekit.build.executor import Running
from tunekit.protocol import EVENT_TYPES, Events, Input, Request

REQUEST = Request(
    action="run:x",
    key="sha256:" + "0" * 64,
    kind="run.sft",
    spec={"batch_size": 2, "name": "é"},
    inputs={"base": [Input("/a", "sha256:1", "model", "model:m")], "data": [],
            "tokens": [Input("/b", "sha256:2", "tokens", "run:x#tokens")]},
    code={"r.py": {"digest": "sha256:3", "snapshot": "/s/r.py"}},
    code_root="/s", staging="/w", out="/o", store="/st",
    resources={"cpus": 1, "gpus": [], "memory": 0}, seed=1, provenance={},
    bases=["sha256:4"], previous="/st/objects/ab/cd",
)  # fmt: skip


class Pipe:
    """Both ends of an event pipe: `events` writes, `lines()` is what came out."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()
        self.events = Events("run:x", self.write)

    def lines(self) -> list[dict[str, object]]:
        os.close(self.write)
        data = b""
        while block := os.read(self.read, 1 << 16):
            data += block
        os.close(self.read)
        return [json.loads(line, parse_constant=refuse) for line in data.splitlines()]


def refuse(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    yield Pipe()


def test_request_round_trip() -> None:
    assert Request.from_json(REQUEST.to_json()) == REQUEST
    assert REQUEST.one("base").label == "model:m"
    assert REQUEST.maybe("data") is None and REQUEST.maybe("nothing") is None
    assert json.loads(REQUEST.to_json())["protocol"] == 1


def test_another_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in version"):
        Request.from_json(REQUEST.to_json().replace('"protocol": 1', '"protocol": 2'))


def test_events_are_numbered_lines(pipe: Pipe) -> None:
    e = pipe.events
    e.emit("start", pid=1)
    e.progress(1, 1, "row")
    e.metric(3, loss=0.5)
    e.effective(attn="sdpa")
    e.part(0, "sha256:c", "sha256:d", made=True, rows=7, copied=5)
    e.warning("slug", "words\nin two lines")
    e.gate("g", True, 1.0, "> 0")
    e.flush()
    found = pipe.lines()
    assert [x["seq"] for x in found] == list(range(1, 8))
    assert {x["v"] for x in found} == {1} and {x["action"] for x in found} == {"run:x"}
    assert [x["type"] for x in found] == ["start", "progress", "metric", "effective", "part", "warning", "gate"]
    assert {name: found[4][name] for name in ("item", "chunk", "output", "made", "rows", "copied")} == {
        "item": 0, "chunk": "sha256:c", "output": "sha256:d", "made": True, "rows": 7, "copied": 5
    }  # fmt: skip


def test_what_is_not_finite_never_reaches_a_record(pipe: Pipe) -> None:
    """A record is strict JSON, and a NaN at the end of a long run must not cost the run."""
    pipe.events.metric(1, loss=math.nan, reward=1.0)
    pipe.events.effective(summary={"loss": math.inf, "all": [1.0, math.nan]})
    pipe.events.flush()
    warning, metric, effective = pipe.lines()
    assert (warning["type"], warning["slug"]) == ("warning", "not-finite")
    assert metric["figures"] == {"reward": 1.0}
    assert effective["settings"] == {"summary": {"loss": None, "all": [1.0, None]}}


def test_progress_is_throttled_but_the_end_is_told(pipe: Pipe) -> None:
    for i in range(1, 1001):
        pipe.events.progress(i, 1000)
    pipe.events.flush()
    found = pipe.lines()
    assert 1 <= len(found) < 50
    assert found[-1]["done"] == 1000


def test_progress_without_an_end_is_throttled_too(pipe: Pipe) -> None:
    for i in range(1, 1001):
        pipe.events.progress(i, 0)
    pipe.events.flush()
    assert 1 <= len(pipe.lines()) < 50


def test_what_is_held_back_comes_in_order(pipe: Pipe, monkeypatch) -> None:
    """Within 50 ms of the last write, what is in no hurry waits for the next event; later, nothing waits."""
    now = [pipe.events._sent]
    monkeypatch.setattr("tunekit.protocol.time.monotonic", lambda: now[0])
    written = lambda: [json.loads(line)["type"] for line in os.read(pipe.read, 1 << 16).splitlines()]  # noqa: E731
    now[0] += 0.049
    pipe.events.effective(a=1)
    pipe.events.metric(1, loss=1.0)
    assert written() == ["effective", "metric"]
    now[0] += 0.051
    pipe.events.progress(1, 9)
    assert written() == ["progress"]
    pipe.events.gate("g", True, 1.0, "> 0")
    pipe.events.flush()
    assert written() == ["gate"] and pipe.lines() == []


def test_unknown_types_are_bugs_and_other_ranks_are_silent() -> None:
    quiet = Events("run:x", -1)
    quiet.emit("done", outputs={})
    with pytest.raises(ValueError, match="unknown event type"):
        quiet.emit("finished")
    assert len(set(EVENT_TYPES)) == 9


def test_the_reader_passes_over_what_is_no_event(tmp_path: Path) -> None:
    """A worker's own child may inherit the pipe and write to it."""
    read, write = os.pipe()
    running = Running("run:x", read)
    event = json.dumps({"type": "metric", "step": 1})
    os.write(write, b'noise\n[1]\n"x"\n{"no": "type"}\n' + event[:5].encode())
    assert running.read() == ([], False)
    os.write(write, event[5:].encode() + b"\n{torn")
    assert running.read() == ([{"type": "metric", "step": 1}], False)
    os.close(write)
    assert running.read() == ([], True)
    os.close(read)
