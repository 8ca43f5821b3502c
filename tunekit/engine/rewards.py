"""Reward functions of the project, in a process of their own with a time limit.

A reward is the project's code: it may hang, print, leak or crash. It therefore never runs in the process that
trains. `Rewards` starts one child (`reward_child`), which dies with this process, and turns every way in which a
function can fail into an ActionError with a slug:

reward-missing      no such file or function          reward-length      not one value per completion
code-import-failed  its file does not import          reward-not-finite  a value that is no finite number
reward-columns      it takes what rows do not have    reward-timeout     a call took longer than the limit
reward-raised       it raised                         reward-died        the process ended during a call

The child stays in the action's process group: what a function itself starts ends with the action at the latest.
Nothing is tried twice: a reward that fails once would make a run that cannot be repeated.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tunekit
from tunekit.errors import ActionError

Values = list[float | None]
IMPORT_SECONDS = 120.0  # importing a reward's file may load big libraries; the limit is for calls
_CHUNK = 1 << 16


class Rewards:
    """The child process, as a context manager. Not thread-safe; start it from a thread that outlives it.

    `fns`: `file.py:function` of each reward, loaded on entry. `timeout`: seconds one call may take.
    """

    def __init__(self, code_root: str, fns: list[str], timeout: float) -> None:
        self.fns = list(dict.fromkeys(fns))
        self._root = code_root
        self._timeout = timeout
        self._calls = 0
        self._buffer = b""
        self._process: subprocess.Popen[bytes] | None = None
        self._to_child = -1
        self._from_child = -1

    def __enter__(self) -> Self:
        child_in, self._to_child = os.pipe()
        self._from_child, child_out = os.pipe()
        try:
            command = [sys.executable, "-P", "-m", "tunekit.engine.reward_child", self._root]
            self._process = subprocess.Popen(
                [*command, str(child_in), str(child_out), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=(child_in, child_out),
                env=_environment(),
            )
        finally:
            os.close(child_in)
            os.close(child_out)
        try:
            for fn in self.fns:
                self._ask(fn, {"op": "load", "fn": fn}, IMPORT_SECONDS, f"importing reward `{fn}`")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def call(
        self, fn: str, completions: list[str], prompts: list[Any], columns: dict[str, list[Any]], where: str = ""
    ) -> Values:
        """One value (None: leave it out) per completion. `prompts` and every column have the same length as
        `completions`. `where` says in an error which call it was (`step 12`). ActionError, see above."""
        self._calls += 1
        request = {"op": "call", "fn": fn, "completions": completions, "prompts": prompts, "columns": columns}
        what = f"call {self._calls} of reward `{fn}` ({where + ', ' if where else ''}{len(completions)} completions)"
        return self._ask(fn, request, self._timeout, what)

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        os.close(self._to_child)
        os.close(self._from_child)
        process.kill()
        process.wait()

    def _ask(self, fn: str, request: dict[str, Any], limit: float, what: str) -> Values:
        assert self._process is not None, "Rewards is used as a context manager"
        try:
            line = json.dumps(request).encode() + b"\n"
        except TypeError as e:
            raise ActionError(
                f"{what}: a column holds a value that JSON cannot ({e})",
                slug="reward-columns",
                hint="keep numbers, text, lists and tables in the dataset's rows",
            ) from e
        deadline = time.monotonic() + limit
        try:
            self._write(line)
            reply = json.loads(self._read_line(deadline))
        except TimeoutError:
            self.close()
            raise ActionError(
                f"{what} took longer than {limit:g} s",
                slug="reward-timeout",
                hint="make it faster, or raise `reward_timeout` (`scorer_timeout` of an eval)",
            ) from None
        except (EOFError, BrokenPipeError):
            raise self._died(what) from None
        if "error" in reply:
            error = reply["error"]
            raise ActionError(error["message"], slug=error["slug"], hint=error["hint"], fn=fn)
        values: Values = reply["values"]
        return values

    def _write(self, line: bytes) -> None:
        """The child reads whenever it is not in a call, so this cannot block for long."""
        left = memoryview(line)
        while left:
            left = left[os.write(self._to_child, left) :]

    def _read_line(self, deadline: float) -> bytes:
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._from_child], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            block = os.read(self._from_child, _CHUNK)
            if not block:
                raise EOFError
            self._buffer += block
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self, what: str) -> ActionError:
        process = self._process
        assert process is not None
        try:
            code = process.wait(timeout=1.0)  # closing its pipe is not yet being gone
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            how = "it closed its pipe"
        self.close()
        return ActionError(f"{what}: the process ended ({how})", slug="reward-died", hint="the log may say why")


class Columns:
    """Rows by column, as a call wants them: all columns that any row has, None where one has it not.

    ActionError `reward-columns` for a column whose name is that of another argument.
    """

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        names = sorted({name for row in rows for name in row} - {"prompt"})
        for taken in ("completions", "prompts"):
            if taken in names:
                raise ActionError(
                    f"a column is called `{taken}`, which is what rewards are given anyway",
                    slug="reward-columns",
                    hint="rename it with a `map`",
                )
        self._rows = rows
        self._names = names

    def take(self, numbers: Sequence[int]) -> tuple[list[Any], dict[str, list[Any]]]:
        """`(prompts, columns)` of the rows with these numbers."""
        rows = [self._rows[i] for i in numbers]
        return [row.get("prompt") for row in rows], {name: [row.get(name) for row in rows] for name in self._names}


def _environment() -> dict[str, str]:
    """This process's, with tunekit findable wherever it was imported from, and hashing that does not vary."""
    root = str(Path(tunekit.__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
