"""A method that is a file of the project, run from its snapshot; and what it hands back, held against what a run
may be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tunekit.errors import ActionError, TunekitError
from tunekit.protocol import Events, Request
from tunekit.usercode import load_function

_ROLE = re.compile(r"[a-z][a-z0-9_-]*\Z")
# What code of ours writes into an artifact of weights: no pickle, no log, nothing that a time or a path is in.
_ALLOWED = (".safetensors", ".json", ".jinja")


def run_file(file: str, request: Request, events: Events) -> dict[str, str]:
    """The outputs of the file's `run(request, events)`: role → folder in `request.out`.

    Raises ActionError: `code-import-failed`, `code-no-function`, `method-raised`, `method-result`, `not-an-artifact`,
    `bad-weights`; what the engine raises goes through.
    """
    run = load_function(request.code_root, f"{file}:run")
    try:
        found = run(request, events)
    except (TunekitError, MemoryError):
        raise
    except Exception as e:
        raise ActionError(
            f"{file}: run raised {type(e).__name__}: {e}", slug="method-raised", hint="the log has the traceback"
        ) from e
    outputs = _outputs(file, found, Path(request.out))
    for name in sorted(set(outputs.values())):
        _check(file, Path(request.out), name)
    return outputs


def _outputs(file: str, found: Any, out: Path) -> dict[str, str]:
    """What `run` returned, if it is a dict of roles to folders that has `main`."""
    hint = 'for instance: save_run(loaded, request, Path(request.out) / "last"); return {"main": "last"}'
    if not isinstance(found, dict) or not all(isinstance(x, str) for pair in found.items() for x in pair):
        got = repr(found)
        message = f"{file}: run returned {got if len(got) < 60 else type(found).__name__}, not role → folder"
        raise ActionError(message, slug="method-result", hint=hint)
    if "main" not in found:
        raise ActionError(f"{file}: run returned no `main`: {found}", slug="method-result", hint=hint)
    for role, name in found.items():
        if not _ROLE.match(role):
            raise ActionError(f"{file}: run returned the role `{role}`", slug="method-result", hint="a lower-case word")
        if Path(name).name != name or not (out / name).is_dir():
            message = f"{file}: run returned {role} → `{name}`, which is no folder in request.out"
            raise ActionError(message, slug="method-result", hint=hint)
    return found


def _check(file: str, out: Path, name: str) -> None:
    """One folder of weights. (Links and special files are refused when it is sealed.)"""
    from tunekit.engine import weights

    bad = sorted(str(p.relative_to(out)) for p in (out / name).rglob("*") if p.is_file() and p.suffix not in _ALLOWED)
    if bad:
        raise ActionError(
            f"{file}: {', '.join(bad[:3])} does not belong into an artifact: it holds {', '.join(_ALLOWED)}",
            slug="not-an-artifact",
            hint="tunekit.engine.saving writes what belongs there; logs and metrics go into the record by themselves",
        )
    weights.validate(out / name)
