"""The process that reads artifacts for `inspect`. It is another one because reading needs pyarrow, tokenizers and
jinja2, which no verb may load (a test says so), and because it reads what strangers made: it can only die alone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

import tunekit
from tunekit import variables
from tunekit.errors import ActionError
from tunekit.question import Question

_TAIL = 2000  # bytes of its last words


def ask(question: Question) -> Iterator[dict[str, Any]]:
    """The answers as they come. Raises ActionError: what the reader says is wrong, or `inspect-died`."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            # -P and a folder of the system's: nothing of the project is ever imported
            [sys.executable, "-P", "-m", "tunekit.lens", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment(),
            cwd="/",
        )
        assert process.stdin is not None and process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(msgspec.json.encode(question))
            for line in process.stdout:
                answer = json.loads(line)
                if answer["type"] == "end":
                    return
                if answer["type"] == "error":
                    raise ActionError(answer["message"], slug=answer["slug"], hint=answer["hint"])
                yield answer
            raise ActionError(
                last_words("the process that reads artifacts", process.wait(), complaints),
                slug="inspect-died",
                hint="tunekit verify",
            )
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def last_words(who: str, status: int, complaints: IO[bytes]) -> str:
    """That a process has ended, and the end of what it complained of."""
    complaints.seek(0)
    tail = complaints.read()[-_TAIL:].decode(errors="replace").rstrip()
    return f"{who} ended with status {status}" + (f"\n{tail}" if tail else "")


def environment() -> dict[str, str]:
    """Of a process that runs our code only: no secret of the shell, no network."""
    ours = str(Path(tunekit.__file__).resolve().parents[1])  # also in a clone that is not installed
    path = [] if ours.endswith("-packages") else [ours]
    more = os.environ.get("PYTHONPATH")
    return {
        **variables.allowed(os.environ),
        "PYTHONPATH": os.pathsep.join([*path, *([more] if more else [])]),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
