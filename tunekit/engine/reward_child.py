"""The process that runs a project's reward functions: `python -m tunekit.engine.reward_child ROOT IN OUT PARENT`.

It imports no torch, so it starts in tens of milliseconds. One JSON object a line comes in on the descriptor IN and
one goes out on OUT for each; stdout and stderr belong to the project's own prints and go to the worker's log.

in   {"op": "load", "fn": "file.py:function"}
     {"op": "call", "fn": …, "completions": [text, …], "prompts": […], "columns": {name: […]}}
out  {"values": [float | None, …]}   or   {"error": {"slug": …, "message": …, "hint": …}}
"""

from __future__ import annotations

import ctypes
import inspect
import json
import linecache
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunekit.errors import ActionError
from tunekit.usercode import load_function, split_path

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Be killed when the thread that started this process ends. Linux; elsewhere the end of the pipe does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above took effect
        os._exit(1)


def load(code_root: str, fn: str) -> Callable[..., Any]:
    """The function, or ActionError `reward-missing` / `code-import-failed`."""
    file, _ = split_path(fn)
    if not file or not (Path(code_root) / file).is_file():
        raise ActionError(
            f"reward `{fn}`: there is no such file", slug="reward-missing", hint="write `file.py:function`"
        )
    try:
        return load_function(code_root, fn)
    except ActionError as e:
        slug = "reward-missing" if e.slug == "code-no-function" else e.slug
        raise ActionError(f"reward `{fn}`: {e.message}", slug=slug, hint=e.hint) from e


def arguments(
    fn: str, function: Callable[..., Any], completions: list[Any], offered: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """What the function is called with: of the columns (and `prompts`) only those that its signature takes.

    ActionError `reward-columns` if it wants something that the rows do not have.
    """
    parameters = inspect.signature(function).parameters
    by_name = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    first = next(iter(parameters.values()), None)
    named = any(p.name == "completions" for p in by_name)
    if not named and first is not None and first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        by_name = [p for p in by_name if p.name != first.name]
        positional, offered = [completions], {k: v for k, v in offered.items() if k != first.name}
    else:
        positional, offered = [], {"completions": completions, **offered}
    wanted = {p.name for p in by_name}
    missing = sorted(p.name for p in by_name if p.default is p.empty and p.name not in offered)
    if missing:
        raise ActionError(
            f"reward `{fn}` takes {', '.join(f'`{m}`' for m in missing)}, which the rows do not have",
            slug="reward-columns",
            hint="columns: " + ", ".join(sorted(k for k in offered if k not in ("completions", "prompts"))),
        )
    return positional, offered if everything else {k: v for k, v in offered.items() if k in wanted}


def numbers(fn: str, result: Any, count: int) -> list[float | None]:
    """The result as `count` finite floats or None. ActionError `reward-length` or `reward-not-finite`."""
    try:
        items = None if isinstance(result, (str, bytes, dict, set, frozenset)) else list(result)
    except TypeError:
        items = None
    if items is None:
        raise ActionError(
            f"reward `{fn}` returned a {type(result).__name__}, not a list of {count} numbers", slug="reward-length"
        )
    if len(items) != count:
        raise ActionError(f"reward `{fn}` returned {len(items)} values for {count} completions", slug="reward-length")
    return [_number(fn, i, item) for i, item in enumerate(items)]


def _number(fn: str, index: int, item: Any) -> float | None:
    if item is None:
        return None
    try:
        value = math.nan if isinstance(item, (str, bytes)) else float(item)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise ActionError(
            f"reward `{fn}` returned {item!r:.80} for completion {index}: not a finite number",
            slug="reward-not-finite",
            hint="return None to leave a completion out",
        )
    return value


def raised(fn: str, error: BaseException, code_root: str) -> ActionError:
    """The error for what a function raised, with the last line of the project's own code in the traceback."""
    traceback.print_exception(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(code_root)]
    where = ""
    if frames:
        last = frames[-1]
        file = os.path.relpath(last.filename, code_root)
        line = linecache.getline(last.filename, last.lineno or 0).strip()
        where = f" at {file}:{last.lineno} `{line}`"
    return ActionError(
        f"reward `{fn}` raised {type(error).__name__}: {error}{where}",
        slug="reward-raised",
        hint="the log has the whole traceback",
    )


def answer(request: dict[str, Any], code_root: str) -> list[float | None]:
    """Do what one request asks for."""
    fn = request["fn"]
    function = load(code_root, fn)
    if request["op"] == "load":
        return []
    completions = [[{"role": "assistant", "content": text}] for text in request["completions"]]
    positional, named = arguments(fn, function, completions, {"prompts": request["prompts"], **request["columns"]})
    try:
        result = function(*positional, **named)
    except (Exception, SystemExit) as e:
        raise raised(fn, e, code_root) from e
    return numbers(fn, result, len(completions))


def main(code_root: str, read_fd: int, write_fd: int, parent: int) -> None:
    """Answer requests until the pipe ends."""
    die_with_parent(parent)
    for fd in (read_fd, write_fd):
        os.set_inheritable(fd, False)  # a process that a reward starts must not hold the pipe open
    root = os.path.realpath(code_root)
    with os.fdopen(read_fd, "rb") as requests, os.fdopen(write_fd, "wb") as replies:
        for line in requests:
            try:
                reply: dict[str, Any] = {"values": answer(json.loads(line), root)}
            except ActionError as e:
                reply = {"error": {"slug": e.slug, "message": e.message, "hint": e.hint}}
            sys.stdout.flush()
            replies.write(json.dumps(reply).encode() + b"\n")
            replies.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
