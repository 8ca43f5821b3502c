"""The import closure of a project's code file: the project modules that it statically imports, and theirs."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from tunekit.errors import DeclarationError, Problem
from tunekit.foreign import CODE_BYTES, Unfit, inside, python_of, read_plain

_OURS = ("tunekit", "tunekit_kernels")


def closure(root: Path, file: str) -> tuple[list[str], list[str]]:
    """Files (the given one first, then sorted) and candidate paths that do not exist but would change the closure.

    Only modules inside `root` count; a name that resolves to no file there is an installed package. tunekit's own
    modules never count, also where `root` is its clone: a kind's version stands for them.
    """
    seen: dict[str, None] = {}
    absent: dict[str, None] = {}
    stack = [file]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen[current] = None
        for module, level in _imports(root / current):
            if not level and module.partition(".")[0] in _OURS:
                continue
            for candidate in _candidates(root, current, module, level):
                if os.path.isfile(root / candidate):
                    _check_inside(root, candidate)
                    stack.append(candidate)
                else:
                    absent[candidate] = None
    return [file, *sorted(f for f in seen if f != file)], sorted(absent)


def _check_inside(root: Path, file: str) -> None:
    if not inside(root, root / file):
        message = f"{file} is a link that leaves the project"
        raise DeclarationError([Problem("path-outside-project", message, file, hint="copy it into the project")])


def _imports(path: Path) -> list[tuple[str, int]]:
    try:
        tree = python_of(read_plain(path, CODE_BYTES), path.name)
    except (OSError, Unfit, SyntaxError):
        return []
    out: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out += [(a.name, 0) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            out.append((base, node.level))
            out += [(f"{base}.{a.name}" if base else a.name, node.level) for a in node.names if a.name != "*"]
    return out


def _candidates(root: Path, file: str, module: str, level: int) -> list[str]:
    """Where a module would lie: beside the importing file, then at the root; packages on the way included."""
    folder = Path(file).parent
    up = folder.joinpath(*[".."] * (level - 1))
    bases = [up] if level else list(dict.fromkeys([folder, Path()]))
    parts = [p for p in module.split(".") if p]
    out = []
    for base in bases:
        place = Path(_normal(base))
        for i in range(1, len(parts) + 1):
            stem = place.joinpath(*parts[:i])
            out += [str(stem) + ".py", str(stem / "__init__.py")]
    return [c for c in out if not c.startswith("..")]


def _normal(path: Path) -> str:
    import os.path

    return os.path.normpath(path)
