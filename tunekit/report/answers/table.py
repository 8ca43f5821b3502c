"""Every schema by its name, and as JSON schema."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec

from tunekit.errors import UsageError, nearest
from tunekit.report.answers import deeds, events, looks, results, sharing

# What `"schema": "tunekit/<name>/<version>"` names. A verb has one, and one more for each other thing that it does.
TABLE: dict[str, Any] = {
    "build": events.Build,
    "bundle": deeds.Bundle,
    "bundle-open": deeds.BundleOpen,
    "clean": deeds.Clean,
    "diff": looks.Diff,
    "doctor": looks.Doctor,
    "env": looks.Env,
    "export": deeds.Export,
    "gc": deeds.Gc,
    "generate": looks.Generate,
    "graph": looks.Graph,
    "inspect": looks.Inspect,
    "lock": deeds.Lock,
    "lock-check": deeds.LockCheck,
    "lock-diff": results.LockDiff,
    "path": looks.Path,
    "plan": looks.Plan,
    "plan-measure": looks.PlanMeasure,
    "promote": results.Promote,
    "publish": deeds.Publish,
    "pull": sharing.Pull,
    "push": sharing.Push,
    "query": looks.Query,
    "report": looks.Report,
    "show": looks.Show,
    "status": looks.Status,
    "trust": deeds.Trust,
    "verify": deeds.Verify,
    "verify-rebuild": deeds.VerifyRebuild,
    "verify-results": results.VerifyResults,
    "why": looks.Why,
}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(name: str) -> dict[str, Any]:
    """JSON schema of an answer. It lets further keys pass: a version may get more of them, and a reader of today must
    not mind. UsageError `unknown-schema`."""
    if name not in TABLE:
        raise UsageError(f"no verb prints `{name}`", slug="unknown-schema", hint=nearest(name, list(TABLE)))
    found = _open(msgspec.json.schema(TABLE[name], ref_template="#/$defs/{name}"))
    return {"$schema": _DRAFT, "title": f"tunekit {name} --json", **found}


def _open(value: Any) -> Any:
    """Without the ban on further keys; docstrings lose their indentation here (Python 3.13 does it by itself)."""
    if isinstance(value, dict):
        body = {k: _open(v) for k, v in value.items() if (k, v) != ("additionalProperties", False)}
        if isinstance(text := body.get("description"), str):
            body["description"] = inspect.cleandoc(text)
        return body
    return [_open(v) for v in value] if isinstance(value, list) else value
