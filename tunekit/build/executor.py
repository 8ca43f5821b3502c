"""The local executor: one nursery a group of rooms, one forked process an action."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tunekit
from tunekit import lifeline, variables
from tunekit.build.audit import Trace, command
from tunekit.errors import ActionError
from tunekit.protocol import Request, event_of

PATIENCE = 10.0  # seconds that a nursery has to end what its actions left behind


class Running:
    """One action in flight. `events` is the pipe it writes to; end of file means that the process is gone."""

    def __init__(self, label: str, fd: int) -> None:
        self.label = label
        self.fd = fd
        self.pid = 0
        self.status: int | None = None
        self._buffer = b""

    def read(self) -> tuple[list[dict[str, Any]], bool]:
        """New events, and whether the pipe has ended. Lines that are not events are passed over: a worker's
        child that inherited the pipe cannot break the build."""
        data = os.read(self.fd, 1 << 16)
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        found = []
        for line in lines:
            event = event_of(line)
            if event is not None:
                found.append(event)
        return found, not data

    def close(self) -> None:
        """Once: a second call does nothing."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Nursery:
    """The controller's end of one `tunekit.worker` process."""

    def __init__(self, group: str, folder: Path, *, traced: bool = False) -> None:
        self.group = group
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel = ours
        self._log = folder / f"nursery-{group}-{os.getpid()}.log"
        self._mark = f"TUNEKIT_WORKER={os.getpid()}-{group}-{os.urandom(6).hex()}".encode()
        env = variables.allowed(os.environ) | _environment(folder)
        env |= dict([self._mark.decode().split("=")])
        # -P: a project's own `json.py` or `pyarrow.py` is never what an import of ours finds
        program = [sys.executable, "-P", "-m", "tunekit.worker", str(theirs.fileno()), group, str(os.getpid())]
        self.trace: Trace | None = None
        if traced:
            file = folder / f"trace-{group}-{os.urandom(4).hex()}"
            self.trace, program = Trace(file), command(program, file)
        with theirs, open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                program,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                cwd=folder,
                start_new_session=True,
            )
        self._running: dict[str, Running] = {}
        self._pids: dict[int, Running] = {}

    def start(self, label: str, request: Request, given: dict[str, str]) -> Running:
        """Fork a child for a request, with variables that it is given: both go as a file without a name. It begins as
        soon as the nursery's imports are done."""
        read, write = os.pipe2(os.O_CLOEXEC)
        asked = _memory_file(json.dumps(given).encode() + b"\n" + request.to_json().encode())
        try:
            socket.send_fds(self.channel, [json.dumps({"key": request.key}).encode()], [write, asked])
        except OSError as e:
            os.close(read)
            raise ActionError(self.why_dead(), slug="worker-died") from e
        finally:
            os.close(write)
            os.close(asked)
        running = self._running[request.key] = Running(label, read)
        return running

    def listen(self) -> bool:
        """Take in all that the nursery has said so far; False when it is gone."""
        try:
            while self._receive(socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            return True
        return False

    def _receive(self, flags: int = 0) -> bool:
        """Take in one message; False when the nursery is gone."""
        try:
            message = self.channel.recv(1 << 16, flags)
        except ConnectionResetError:  # it died with requests of ours unread
            return False
        if not message:
            return False
        body = json.loads(message)
        if "pid" in body:
            running = self._running.pop(body["key"])
            running.pid = body["pid"]
            self._pids[running.pid] = running
        elif "exit" in body and (found := self._pids.pop(body["exit"], None)):
            found.status = body["status"]
        return True

    def await_exit(self, running: Running) -> int | None:
        """Exit status of a child whose event pipe has ended (negative: killed by that signal); None: the nursery is
        gone."""
        while running.status is None and self._receive():
            pass
        return running.status

    def why_dead(self) -> str:
        """Why the nursery has ended, with the end of what it printed."""
        code = self.process.wait()
        tail = self._log.read_text(errors="replace")[-2000:]
        return f"the {self.group} worker process ended with status {code}\n{tail}"

    def kill(self) -> None:
        """End the nursery and every child of it, whatever they do."""
        self.listen()
        for pid in list(self._pids):
            _kill_group(pid)
        self._end()
        self.channel.close()
        if self._log.exists() and not self._log.stat().st_size:
            self._log.unlink()

    def _end(self) -> None:
        """Have it end whatever its actions left behind, and itself."""
        if self.process.poll() is None:
            self.process.terminate()
            ended = os.pidfd_open(self.process.pid)
            select.select([ended], [], [], PATIENCE)
            os.close(ended)
        if self.process.poll() != 0:  # it could not: it was killed, or is at its imports, or does not answer
            _kill_group(self.process.pid)
            self.process.wait()
            lifeline.end_marked(self._mark)


def _memory_file(data: bytes) -> int:
    """A request goes as a file without a name: a message has a limit, and a named one costs its making and removal."""
    fd = os.memfd_create("request")
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]
    return fd


def stop(children: list[Running], grace: float) -> None:
    """Ask the children's groups to end, then make them."""
    live = [c for c in children if c.pid and c.status is None]
    for child in live:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
    until = time.monotonic() + grace
    for child in live:
        while time.monotonic() < until and not _ended(child, until - time.monotonic()):
            pass
        _kill_group(child.pid)


def _ended(child: Running, seconds: float) -> bool:
    """Whether a child's pipe has ended, or ends within these seconds."""
    ready, _, _ = select.select([child.fd], [], [], max(seconds, 0))
    return bool(ready) and child.read()[1]


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _environment(folder: Path) -> dict[str, str]:
    """Set before any import, since libraries read these once. Hashes are fixed, caches are this build's own."""
    home = str(folder / "home")
    ours = str(Path(tunekit.__file__).resolve().parents[1])  # also in a clone that is not installed
    path = [ours] if not ours.endswith("-packages") else []
    return {
        "PYTHONPATH": os.pathsep.join([*path, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "HF_HOME": home,
        "HF_DATASETS_CACHE": home + "/datasets",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TRANSFORMERS_VERBOSITY": os.environ.get("TRANSFORMERS_VERBOSITY", "warning"),
        "TRITON_CACHE_DIR": home + "/triton",
        "TRACKIO_DIR": "trackio",  # of each action's working directory
        # threads that spin while they wait made GRPO on two busy cores 18 times slower
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0)))),
    }
