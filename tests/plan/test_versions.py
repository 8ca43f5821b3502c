"""tunekit's own code enters a key as its kind's version number. This pins, beside that number, a digest of the room's
source and of what it imports inside tunekit: whoever changes what a room does sees it here, and either raises the
version (results become stale) or says in the commit why they are equal.

Re-pin: TUNEKIT_REPIN=1 pytest tests/plan/test_versions.py
"""

from __future__ import annotations

import ast
import json
import os
from functools import cache
from pathlib import Path

import tunekit
from tunekit import kinds
from tunekit.hashing import digest_of, sha256_bytes

PACKAGE = Path(tunekit.__file__).parent
PINS = Path(__file__).parents[1] / "versions.json"
REPIN = "TUNEKIT_REPIN=1 pytest tests/plan/test_versions.py"
# Carry bytes and messages, decide none: a new error text restales nothing.
NEUTRAL = {
    "tunekit",
    "tunekit.errors",
    "tunekit.parts",
    "tunekit.protocol",
    "tunekit.label",
    "tunekit.derive",
    "tunekit.kinds",
}


def file_of(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def closure(module: str, seen: dict[str, str]) -> dict[str, str]:
    """Module → digest of its source without docstrings and comments of ours being special: the bytes."""
    file = file_of(module)
    if file is None or module in seen or module in NEUTRAL:
        return seen
    seen[module], names = digest_and_imports(file)
    for name in names:
        closure(name, seen)
    return seen


@cache
def digest_and_imports(file: Path) -> tuple[str, list[str]]:
    """Of one file, read once for all rooms: its digest, and the names under `tunekit` that it imports."""
    data = file.read_bytes()
    names: list[str] = []
    for node in ast.walk(ast.parse(data)):
        if isinstance(node, ast.Import):
            names += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
    return sha256_bytes(data), [name for name in names if name.startswith("tunekit.")]


def pinned_now() -> dict[str, dict[str, object]]:
    out: dict[str, dict[str, object]] = {}
    for table in (kinds.TARGETS, kinds.METHODS, kinds.STEPS):
        for kind in table.values():
            sources = closure(kind.room + ".run", closure(kind.room + ".spec", {}))
            for file in sorted((PACKAGE.parent / Path(*kind.room.split("."))).glob("*.py")):
                closure(f"{kind.room}.{file.stem}", sources)
            out[kind.name] = {"version": kind.version, "source": digest_of(sources, "tunekit/room/1")[7:23]}
    # What a project's method may be made of: the rows' `derive`, and every seam of the engine.
    seams = closure(kinds.ROWS.room + ".spec", {})
    for file in sorted((PACKAGE / "engine").glob("*.py")):
        closure(f"tunekit.engine.{file.stem}", seams)
    out[kinds.ROWS.name] = {"version": kinds.ROWS.version, "source": digest_of(seams, "tunekit/room/1")[7:23]}
    return dict(sorted(out.items()))


def test_a_room_that_changed_says_so():
    now = pinned_now()
    if os.environ.get("TUNEKIT_REPIN") == "1":
        PINS.write_text(json.dumps(now, indent=1) + "\n")
    pins = json.loads(PINS.read_text())
    told = []
    for name, found in now.items():
        pin = pins.get(name)
        if pin is None:
            told.append(f"{name}: new")
        elif pin["source"] != found["source"] and pin["version"] == found["version"]:
            told.append(f"{name}: its code changed, its version is {found['version']} still: raise it in kinds.py, "
                        "or say in the commit why results are equal")  # fmt: skip
        elif pin != found:
            told.append(f"{name}: version {pin['version']} → {found['version']}")
    told += [f"{name}: gone" for name in pins.keys() - now.keys()]
    assert not told, "\n".join([*told, f"then: {REPIN}"])


def test_the_closure_reaches_the_shared_code():
    sources = closure("tunekit.methods.sft.run", {})
    assert {"tunekit.methods.spec", "tunekit.spec"} <= closure("tunekit.methods.sft.spec", {}).keys()
    assert any(m.startswith("tunekit.engine.") for m in sources) and any(m.startswith("tunekit.data.") for m in sources)
