"""The process that holds a model for `generate`: another one, because no verb may load torch."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec

from tunekit.cli.asking import environment, last_words
from tunekit.completion import Asked, Opening
from tunekit.errors import ActionError


class Talk:
    """Use as a context manager: the model goes with it. `ready` is what it says of itself."""

    def __init__(self, opening: Opening) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._process = subprocess.Popen(
            # -P and a folder of the system's: nothing of the project is ever imported
            [sys.executable, "-P", "-m", "tunekit.engine.talk", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            env=environment() | {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            cwd="/",
        )
        self._send(opening)
        self.ready: dict[str, Any] = {}

    def __enter__(self) -> Talk:
        try:
            self.ready = self._next()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._complaints.close()

    def ask(self, asked: Asked) -> Iterator[dict[str, Any]]:
        """Pieces and completions as they come. Raises ActionError: what is wrong, or `generate-died`."""
        self._send(asked)
        while (answer := self._next())["type"] != "end":
            yield answer

    def _send(self, what: Opening | Asked) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it is gone is known when its answer is read
            self._process.stdin.write(msgspec.json.encode(what) + b"\n")
            self._process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            said = last_words("the process that holds the model", status, self._complaints)
            oom = "it may have run out of memory" if status == -9 else "tunekit verify"
            raise ActionError(said, slug="generate-died", hint=oom)
        answer: dict[str, Any] = json.loads(line)
        if answer["type"] == "error":
            raise ActionError(answer["message"], slug=answer["slug"], hint=answer["hint"])
        return answer
