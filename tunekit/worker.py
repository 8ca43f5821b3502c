"""The worker's side of the door.

`python -m tunekit.worker FD GROUP` is a nursery: it imports what a group of rooms shares (`light`: pyarrow;
`torch`: the training stack), then forks one child per action on request. Every action still has a process of
its own, in its own process group; an import of 7 s is paid once per build. The nursery itself starts no
thread and touches no device, so its children may do both.

Nothing survives its parent: nursery and children ask the kernel for a signal when it dies (PR_SET_PDEATHSIG). What
an action started comes to the nursery as an orphan (PR_SET_CHILD_SUBREAPER), and is ended with the action.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tunekit import diskspace, variables
from tunekit.errors import ActionError, TunekitError
from tunekit.kinds import kind_of
from tunekit.lifeline import adopt_orphans, die_with, end_children
from tunekit.protocol import Events, Request, blank_of
from tunekit.store.artifacts import view
from tunekit.store.proof import Proof
from tunekit.store.shelf import StoreShelf
from tunekit.store.store import Store

PRELOAD = {
    "light": ("pyarrow", "tunekit.steps.dataset.run", "tunekit.steps.tokens.run"),
    "torch": ("torch", "transformers", "peft", "trl.trainer.sft_trainer", "trl.trainer.grpo_trainer"),
}

_BEGAN = time.time_ns()  # no later than the build's first action


def nursery(channel: socket.socket, group: str) -> None:
    """Serve until the controller closes the channel. Messages: `{"key": …}` with the event pipe's end and the request
    as a file."""
    for name in PRELOAD[group]:
        importlib.import_module(name)
    wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_w)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the controller decides what Ctrl-C means
    signal.signal(signal.SIGTERM, lambda *_: None)  # the controller has died, or wants this to end
    adopt_orphans()
    actions: set[int] = set()
    channel.sendall(b'{"ready": true}')
    while True:
        ready, _, _ = select.select([channel.fileno(), wake_r], [], [])
        if wake_r in ready:
            if signal.SIGTERM in os.read(wake_r, 4096):
                return
            _reap(channel, actions)
        if channel.fileno() in ready:
            message, fds, _, _ = socket.recv_fds(channel, 1 << 16, 2)
            if not message:
                return
            actions.add(_spawn(channel, json.loads(message), *fds))


def _reap(channel: socket.socket, actions: set[int]) -> None:
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(ended.si_pid, signal.SIGKILL)  # what it started and left behind goes with it
        pid, status = os.waitpid(ended.si_pid, 0)
        actions.discard(pid)
        end_children(keep=actions)
        channel.sendall(json.dumps({"exit": pid, "status": os.waitstatus_to_exitcode(status)}).encode())


def _spawn(channel: socket.socket, message: dict[str, Any], fd: int, asked: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(fd)
        os.close(asked)
        channel.sendall(json.dumps({"pid": pid, "key": message["key"]}).encode())
        return pid
    try:
        channel.close()
        os.setpgid(0, 0)
        die_with(parent)
        adopt_orphans()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        with open(asked, "rb") as file:
            file.seek(0)
            os.environ.update(json.loads(file.readline()))
            request = Request.from_json(file.read().decode())
        code = child(request, fd)
    except BaseException:
        code = 70
        with contextlib.suppress(OSError):
            traceback.print_exc()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def child(request: Request, fd: int) -> int:
    """Run one action, in the build's own folder at first. Its log takes stdout and stderr; what the controller learns
    goes through the events."""
    folder = Path(request.staging).parent
    events = Events(request.action, fd, StoreShelf(Store(Path(request.store)), _BEGAN))
    try:
        marks, blank = Path.cwd() / "proven", blank_of(Path.cwd(), os.getpid())
        folder.mkdir(exist_ok=True)
        _log_into(folder / "log.txt")
        _environment(request, folder)
        events.emit("start", pid=os.getpid())
        outputs = _run(request, events, marks)
        _leave(folder, blank)
    except Exception as e:
        error = _named(e, request)
        if error.slug == "disk-full":
            shutil.rmtree(request.out, ignore_errors=True)  # of no use to anybody, and others need the room
        events.emit("error", slug=error.slug, message=error.message, hint=error.hint)
        with contextlib.suppress(OSError):  # the log may have no room
            traceback.print_exc()
        return 1
    events.emit("done", outputs=outputs)
    return 0


def _log_into(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  (lives as long as the process)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115


def _leave(folder: Path, blank: str) -> None:
    """Remove the staging folder if nothing was printed and no state is left to continue from; else it stays until the
    result is published. The empty log is left to the controller, which makes the record of it: a file less to make."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        if not os.stat(folder / "log.txt").st_size:
            os.rename(folder / "log.txt", blank)
            os.rmdir(folder)


def _named(error: Exception, request: Request) -> TunekitError:
    """What the controller is told of an error. A full disk comes first: it may look like anybody's mistake."""
    if diskspace.ran_out(error):
        return diskspace.full(error, [request.store, request.staging])
    if name := variables.missed(error, os.environ):
        return _without(name, error)
    if isinstance(error, TunekitError):
        return error
    if isinstance(error, MemoryError):
        return ActionError("not enough memory", slug="out-of-memory", hint="a smaller micro_batch_size")
    return ActionError(f"{type(error).__name__}: {error}", slug="crashed", hint="the log has the traceback")


def _without(name: str, error: Exception) -> TunekitError:
    """An error about a variable that is not there: secrets of the user's shell do not get here by themselves."""
    hint = f'if ${name} is set in your shell: [project] pass_env = ["{name}"] hands it to the workers of this project'
    if isinstance(error, TunekitError):
        return ActionError(error.message, slug=error.slug, hint=f"{error.hint}; {hint}" if error.hint else hint)
    return ActionError(f"{type(error).__name__}: {error}", slug="crashed", hint=hint)


def _environment(request: Request, folder: Path) -> None:
    """What every room may rely on: threads from the granted cpus, no other library's cache, a clean `out`, and a
    working directory of its own: a relative path finds nothing of the workspace, which is not in the key."""
    cpus = str(request.resources["cpus"])
    home = folder / "home"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = cpus
    for name, sub in (("HF_HOME", "hf"), ("HF_DATASETS_CACHE", "datasets"), ("TRITON_CACHE_DIR", "triton")):
        os.environ[name] = str(home / sub)
    shutil.rmtree(request.out, ignore_errors=True)
    os.makedirs(request.out)
    os.makedirs(request.staging, exist_ok=True)
    os.chdir(request.staging)
    sys.dont_write_bytecode = True  # user code is imported from a view of the store, which nobody writes to
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    if kind_of(request.kind).preload == "light":
        # Rows are many small objects without cycles: to look for some after every 700 new ones is a tenth of the work.
        gc.freeze()
        gc.set_threshold(100_000, 10, 10)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(request.resources["cpus"])
    datasets: Any = sys.modules.get("datasets")
    if datasets is not None:
        datasets.disable_caching()


def _run(request: Request, events: Events, marks: Path) -> dict[str, str]:
    store = Store(Path(request.store))
    assert events.shelf is not None
    # files where they lie are in no store
    stored = [(role, found.digest) for role, inputs in request.inputs.items() for found in inputs if not found.reading]
    for _, tree in stored:
        view(store, tree)
    own = kind_of(request.kind).proves
    proof = Proof(store, [tree for role, tree in stored if role not in own], marks, _BEGAN)
    try:
        produced = _rooms(request, events)
    except Exception:
        proof.end()  # whatever went wrong, it may have been this
        raise
    proof.end()
    sealed: dict[str, str] = {}
    outputs = {}
    for role, name in produced.items():
        if name not in sealed:
            sealed[name] = events.shelf.seal(str(Path(request.out) / name))
        outputs[role] = sealed[name]
    os.chdir("/")
    shutil.rmtree(request.out)
    with contextlib.suppress(OSError):
        os.rmdir(request.staging)  # a state that can be continued stays until the result is published
    return outputs


def _room(request: Request, events: Events) -> dict[str, str]:
    """Role → directory, by the code of its kind."""
    kind = kind_of(request.kind)
    if kind.file:
        from tunekit.methods.local import run_file

        return run_file(kind.file, request, events)
    produced: dict[str, str] = importlib.import_module(kind.room + ".run").run(request, events)
    return produced


def _rooms(request: Request, events: Events) -> dict[str, str]:
    """The same by as many processes as the action asks for."""
    processes = request.spec.get("processes", 1)
    if processes == 1:
        return _room(request, events)
    from tunekit.engine.launch import launch

    return launch(_room, processes, request, events)


def main(argv: list[str]) -> None:
    fd, group, parent = int(argv[0]), argv[1], int(argv[2])
    die_with(parent, signal.SIGTERM)
    try:
        with socket.socket(fileno=fd) as channel:
            nursery(channel, group)
    finally:
        end_children()
    os._exit(0)  # the training stack would take its time to be taken down


if __name__ == "__main__":
    main(sys.argv[1:])
