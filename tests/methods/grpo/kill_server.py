"""Runs the jobs in argv[1], one after the other, each in a fork of this process: importing TRL takes seconds.

A job is {"request": file, "events": file, "kill_at": step}. With `kill_at` its process dies by SIGKILL when that step
is reported: no handler, no cleanup.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tunekit.methods.grpo.run import run
from tunekit.protocol import Events, Request


class Pen(Events):
    def __init__(self, kill_at: int) -> None:
        super().__init__("run:test", -1)
        self.kill_at = kill_at
        self.seen: list[dict[str, Any]] = []

    def emit(self, type: str, **data: Any) -> None:
        self.seen.append({"type": type, **data})
        if type == "metric" and data["step"] == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


def do(job: dict[str, Any]) -> None:
    pen = Pen(job["kill_at"])
    run(Request.from_json(Path(job["request"]).read_text()), pen)
    Path(job["events"]).write_text(json.dumps(pen.seen))


for job in json.loads(Path(sys.argv[1]).read_text()):
    child = os.fork()
    if child == 0:
        do(job)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    expected = -signal.SIGKILL if job["kill_at"] else 0
    if code != expected:
        sys.exit(f"{job}: ended with {code}")
