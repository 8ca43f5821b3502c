"""Launch the jobs in argv[1] one by one, as a worker would: `[{request, processes, fault, events}]` → a JSON line each
with `outputs` or the error. It never computes itself, so that its processes can be forked."""

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tunekit.engine import arguments
from tunekit.engine.launch import launch
from tunekit.errors import ActionError
from tunekit.kinds import kind_of
from tunekit.protocol import Events, Request


class Faulty(Events):
    """Events of a process to which something happens at a step."""

    def __init__(self, fd: int, fault: dict[str, Any]) -> None:
        super().__init__("run:test", fd)
        self._fault = fault

    def progress(self, done: float, total: float, unit: str = "step", **figures: float) -> None:
        if done == self._fault.get("raise"):
            raise ActionError("told to", slug="told-to")
        if done == self._fault.get("kill"):
            os.kill(os.getpid(), signal.SIGKILL)


def room(request: Request, events: Events) -> dict[str, str]:
    if request.provenance.get("drops_strategy"):
        arguments.strategy_arguments = lambda spec: {}
    return importlib.import_module(kind_of(request.kind).room + ".run").run(request, events)


answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # trainers print
for job in json.loads(Path(sys.argv[1]).read_text()):
    request = Request.from_json(json.dumps(job["request"]))
    fd = os.open(job["events"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        answer = {"outputs": launch(room, job["processes"], request, Faulty(fd, job["fault"]))}
    except ActionError as e:
        answer = {"error": e.slug, "message": e.message}
    os.close(fd)
    print(json.dumps(answer), file=answers)
