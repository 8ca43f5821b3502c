"""Why an action is stale: the difference between two key preimages, as data."""

from __future__ import annotations

from typing import Any, NamedTuple


class Reason(NamedTuple):
    """`kind`: new, field, code, input, package, version, missing, forced, upstream, unlocked, gate, failed."""

    kind: str
    name: str = ""
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        name, old, new = self.name, _show(self.old), _show(self.new)
        return {
            "new": "never built",
            "field": f"{name}: {old} → {new}",
            "code": f"{name} edited" if self.old and self.new else (f"{name} added" if self.new else f"{name} removed"),
            "input": f"{name} changed",
            "package": f"{name}: {old} → {new}",
            "version": f"{name} version {old} → {new}",
            "missing": f"its result is not in the store{': ' + name if name else ''}",
            "forced": "forced",
            "upstream": f"stale or cut off, depends on {name}",
            "needed": f"needed by {name}",
            "unlocked": f"{name} is not in tunekit.lock",
            "failed": f"{name} failed",
        }[self.kind]


def _show(value: Any) -> str:
    if value is None:
        return "(default)"
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def difference(old: dict[str, Any], new: dict[str, Any], names: dict[str, str]) -> list[Reason]:
    """What differs between two preimages. `names`: role → label, for messages."""
    out: list[Reason] = []
    if old["kind"] != new["kind"]:
        out.append(Reason("field", "kind", old["kind"], new["kind"]))
    if old["version"] != new["version"]:
        out.append(Reason("version", new["kind"], old["version"], new["version"]))
    for kind, part in (("field", "fields"), ("code", "code"), ("package", "packages")):
        out += _items(kind, "", old[part], new[part])
    for role in sorted({*old["inputs"], *new["inputs"]}):
        before, after = old["inputs"].get(role, []), new["inputs"].get(role, [])
        if before != after:
            out.append(Reason("input", names.get(role, role), before, after))
    return out


def settings_difference(old: dict[str, Any], new: dict[str, Any]) -> list[Reason]:
    """What differs between two tables of settings, by the path of each field."""
    return _items("field", "", old, new)


def _items(kind: str, prefix: str, old: dict[str, Any], new: dict[str, Any]) -> list[Reason]:
    out = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            continue
        if kind == "field" and isinstance(before, dict) and isinstance(after, dict):
            out += _items(kind, f"{prefix}{name}.", before, after)
        else:
            out.append(Reason(kind, prefix + name, before, after))
    return out
