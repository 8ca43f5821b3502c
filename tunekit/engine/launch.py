"""The processes of one action: forked from its worker by torch's elastic agent, which also ends them.

accelerate's own launchers stand on the same agent, but start anew (7 s of imports a process), only one process on a
machine without a device, or none once bitsandbytes was imported. Each process runs the whole room; process 0 writes
the events and the result. An error of any of them is the action's.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from tunekit.errors import ActionError, TunekitError
from tunekit.lifeline import die_with
from tunekit.protocol import Events, Request

Room = Callable[[Request, Events], dict[str, str]]


def launch(room: Room, processes: int, request: Request, events: Events) -> dict[str, str]:
    """Outputs of `room` run by so many processes of this machine.

    Raises ActionError: what one of them raised, else `process-died`.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    said = Path(request.staging).parent / "processes"
    said.mkdir(exist_ok=True)
    for old in said.iterdir():
        old.unlink()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
        if request.spec.get("strategy") == "zero1":
            _import_deepspeed()  # once for all processes; with a device it may not be looked at before they are forked
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=request.key[-16:],
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="fork",
    )
    events.flush()
    try:
        elastic_launch(config, _process)(room, request, events, said, os.getpid())
    except ChildFailedError as e:
        raise _error(said, e) from e
    outputs: dict[str, str] = json.loads((said / "outputs").read_text())
    return outputs


def _import_deepspeed() -> None:
    if find_spec("deepspeed") is None:
        raise ActionError(
            'strategy = "zero1" needs deepspeed, which is not installed',
            slug="not-installed",
            hint="pip install deepspeed, or the extra `deepspeed` of tunekit",
        )
    importlib.import_module("deepspeed")


def _process(room: Room, request: Request, events: Events, said: Path, parent: int) -> None:
    """One of the processes. Its threads are its share of the action's."""
    die_with(parent)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    threads = max(1, request.resources["cpus"] // world)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    try:
        outputs = room(request, events if rank == 0 else Events(request.action, -1, events.shelf))
    except TunekitError as e:
        _say(said / f"error-{rank}", {"slug": e.slug, "message": e.message, "hint": e.hint})
        raise
    events.flush()
    if rank == 0:
        _say(said / "outputs", outputs)


def _say(path: Path, value: Any) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(value))
    os.replace(new, path)


def _error(said: Path, failed: Any) -> ActionError:
    """The error that was raised first; the others may have failed since that one was gone."""
    errors = sorted((p for p in said.glob("error-*") if p.suffix != ".new"), key=lambda p: p.stat().st_mtime_ns)
    if errors:
        return ActionError(**json.loads(errors[0].read_text()))
    rank, failure = failed.get_first_failure()
    return ActionError(
        f"process {rank} of the action ended with status {failure.exitcode}",
        slug="process-died",
        hint="the log has what it printed",
    )
