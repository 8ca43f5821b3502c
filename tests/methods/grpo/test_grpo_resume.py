"""A run that was killed and continued writes the bytes of one that was not; its history has no gap and no double."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunekit.protocol import Request

pytestmark = pytest.mark.torch
LORA = {"method": "lora", "r": 4, "alpha": 8, "dropout": 0.1, "target_modules": ["embed_tokens", "q_proj", "v_proj"]}
CASES: dict[str, dict[str, Any]] = {
    # Full weights against a reference that is loaded again, in the second epoch, with accumulation.
    "full": {"max_steps": None, "epochs": 2.0, "micro_batch_size": 4, "beta": 0.05, "lr_scheduler": "cosine"},
    # An adapter that is continued, with its own copy as the reference, dropout, and completions used twice.
    "adapter": {"max_steps": 7, "num_iterations": 2, "checkpoint_steps": 1, "beta": 0.1, "temperature": 0.8},
}


class Jobs:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs: list[dict[str, Any]] = []

    def add(self, name: str, request: Request, kill_at: int = 0) -> None:
        file = self.root / f"{len(self.jobs)}.json"
        file.write_text(request.to_json())
        self.jobs.append({"request": str(file), "events": str(self.root / f"{name}.events"), "kill_at": kill_at})

    def run(self) -> None:
        file = self.root / "jobs.json"
        file.write_text(json.dumps(self.jobs))
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("kill_server.py")), str(file)],
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONPATH": os.getcwd()},
            timeout=240,
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.root / f"{name}.events").read_text())
        return found


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def test_killed_and_continued_equals_straight(jobs: Jobs, ask: Callable[..., Request], tree: Any) -> None:
    before = ask("before", adapter_spec=LORA)
    jobs.add("before", before)
    requests = {}
    for name, spec in CASES.items():
        adapter = str(Path(before.out) / "last") if name == "adapter" else ""
        requests[name] = {way: ask(f"{name}-{way}", adapter, **spec) for way in ("straight", "killed")}
        jobs.add(f"{name}-straight", requests[name]["straight"])
        jobs.add(f"{name}-killed", requests[name]["killed"], kill_at=5)
        jobs.add(f"{name}-killed", requests[name]["killed"])
    jobs.run()
    for name, ways in requests.items():
        straight, killed = jobs.events(f"{name}-straight"), jobs.events(f"{name}-killed")
        assert {"type": "effective", "settings": {"resumed_from_step": 4}} in killed
        assert metrics(killed) == metrics(straight)
        assert [step for step, _ in metrics(killed)] == list(range(1, 8))
        assert tree(Path(ways["killed"].out) / "last") == tree(Path(ways["straight"].out) / "last")


def metrics(events: list[dict[str, Any]]) -> list[tuple[int, dict[str, float]]]:
    return [(e["step"], e["figures"]) for e in events if e["type"] == "metric"]
