"""The examination as lines."""

from __future__ import annotations

from typing import Any

from tunekit.report.figures import size
from tunekit.report.settings import block


def doctor_lines(found: dict[str, Any], *, every: bool = False) -> list[str]:
    """Sections; of packages only what is not as it should be, unless `every`."""
    head = [("tunekit", found["tunekit"]), ("python", found["python"])]
    sections = [
        block("sound" if found["ok"] else "NOT SOUND: see what is marked with !!", head),
        block("devices", _devices(found)),
        block("packages", _packages(found["packages"], every)),
        block("system", [(_mark(c["ok"], c["needed"]) + c["name"], c["note"] or "yes") for c in found["checks"]]),
        block("set", [(name, "yes" if there else "no") for name, there in found["settings"].items()]),
        block("can run", [(a["name"], "yes" if not a["missing"] else f"no: {', '.join(a['missing'])}")
                          for a in found["abilities"]]),
    ]  # fmt: skip
    return "\n\n".join("\n".join(s) for s in sections if s).split("\n")


def _devices(found: dict[str, Any]) -> list[tuple[str, str]]:
    cpu, memory, disk = found["cpu"], found["memory"], found["disk"]
    bf16 = "bfloat16 in hardware" if cpu["bf16"] else "bfloat16 slow"
    rows = [("cpu", f"{cpu['cores']} cores, {cpu['machine']}, {bf16}")]
    for g in found["gpus"]:
        able = "bfloat16" if g["bf16"] else "no bfloat16"
        told = f"{size(g['memory'])} ({size(g['free'])} free), {able}, compute {g['capability']}, driver {g['driver']}"
        rows.append((g["name"], told))
    if not found["gpus"]:
        rows.append(("gpu", "none that nvidia-smi tells of"))
    if memory["kind"] == "cpu":
        rows.append(("memory", f"{size(memory['total'])} ({size(memory['free'])} free)"))
    return [*rows, ("disk of the store", f"{size(disk['free'])} free of {size(disk['total'])} at {disk['mount']}")]


def _packages(found: list[dict[str, Any]], every: bool) -> list[tuple[str, str]]:
    rows = []
    for p in found:
        if p["ok"] and not every:
            continue
        extra = f" [{p['extra']}]" if p["extra"] else ""
        have = p["installed"] or "not installed"
        rows.append((f"{_mark(p['ok'], not p['extra'])}{p['name']}{p['wanted']}{extra}", have))
    fine = sum(p["ok"] for p in found)
    return [*rows, (f"{fine} of {len(found)}", "as they should be")]


def _mark(ok: bool, needed: bool) -> str:
    return "" if ok else "!! " if needed else "-- "
